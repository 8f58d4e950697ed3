//! The second process of `valet demo --split`.

use std::io::BufRead;
use std::process::Command;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use super::{cannot, metrics};
use crate::cli::{End, MINTER, exit, runtime, say};
use crate::demo::stack;
use crate::logging::LineSink;

/// This very program, as the minter.
pub(super) fn command() -> Result<Command, End> {
    let program =
        std::env::current_exe().map_err(|fault| cannot(format!("where this program is can't be told: {fault}")))?;
    let mut command = Command::new(program);
    command.arg(MINTER);
    Ok(command)
}

/// The second process of `valet demo --split`: until its stdin ends, and with it the process that started it.
pub(in crate::cli) fn minter() -> Result<(), End> {
    let (order, ended) = stdin()?;
    let runtime = runtime(0)?;
    let done = runtime.block_on(mint(order, ended));
    runtime.shutdown_background();
    done
}

async fn mint(order: oneshot::Receiver<String>, ended: oneshot::Receiver<()>) -> Result<(), End> {
    // Ctrl-C goes to both processes: the other ends well, and this one with it.
    let _interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
    let metrics = metrics()?;
    let lost = metrics.log_lines_lost.with_label_values(&["stdout"]);
    let lines = LineSink::new(std::io::stdout(), lost).map_err(cannot)?;
    let (answer, behind) = stack::minter::start(&order.await.unwrap_or_default(), metrics, lines.clone()).await;
    say(&answer);
    let Some(behind) = behind else { return Err(End { code: exit::SOFTWARE, lines: Vec::new() }) };
    // Its sender is gone: the same.
    let _ = ended.await;
    behind.stop().await;
    lines.close();
    Ok(())
}

/// The first line of stdin, and its end.
fn stdin() -> Result<(oneshot::Receiver<String>, oneshot::Receiver<()>), End> {
    let ((first, order), (end, ended)) = (oneshot::channel(), oneshot::channel());
    let read = move || {
        let mut lines = std::io::stdin().lock().lines().map_while(Result::ok);
        // Who waits for it may have ended.
        let _ = first.send(lines.next().unwrap_or_default());
        lines.for_each(drop);
        let _ = end.send(());
    };
    std::thread::Builder::new().name("stdin".into()).spawn(read).map_err(cannot)?;
    Ok((order, ended))
}

//! `valet demo`.

use std::io::IsTerminal;

use tokio::signal::unix::{SignalKind, signal};

mod minter;

pub(super) use minter::minter;

use super::{End, exit, runtime, say};
use crate::demo::app::{Feed, Said};
use crate::demo::idp::TokenRequest;
use crate::demo::serve::SimFault;
use crate::demo::stack::{self, DemoFault, Stack};
use crate::logging::LineSink;
use crate::server::StartFault;
use crate::telemetry::Metrics;

pub(super) fn demo(port: u16, open: bool, split: bool) -> Result<(), End> {
    let runtime = runtime(0)?;
    let done = runtime.block_on(show(port, open, split));
    runtime.shutdown_background();
    done
}

fn cannot(fault: impl std::fmt::Display) -> End {
    End::new(exit::SOFTWARE, format!("valet: {fault}"))
}

async fn show(port: u16, open: bool, split: bool) -> Result<(), End> {
    // Before anything is printed: who reads that Ctrl-C ends it may press it at once.
    let (mut interrupt, mut terminate) = match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
        (Ok(interrupt), Ok(terminate)) => (interrupt, terminate),
        (Err(fault), _) | (_, Err(fault)) => return Err(cannot(format!("no signals: {fault}"))),
    };
    let metrics = metrics()?;
    let lost = metrics.log_lines_lost.with_label_values(&["stdout"]);
    let feed = Feed::default();
    let lines = LineSink::new(feed.tee(std::io::stdout()), lost).map_err(cannot)?;
    let minter = if split { Some(minter::command()?) } else { None };
    let stack = stack::start(port, metrics, Some(lines), feed, minter).await.map_err(|fault| match fault {
        DemoFault::Gateway(StartFault::Bind(fault)) => cannot(format!("{}; try another --port", fault.without_place())),
        DemoFault::Simulator(SimFault::AddressInUse(address)) => {
            cannot(format!("{address} is in use by another program; choose other ports with --port (0: any free ones)"))
        }
        fault => cannot(fault),
    })?;
    introduce(&stack);
    if open && has_desktop() {
        // Who has no browser that can be started reads the address.
        let _ = open::that_detached(&stack.page);
    }
    let ended = tokio::select! {
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
        fault = stack.broken() => Err(End::new(exit::UNAVAILABLE, format!("valet: {fault}"))),
    };
    stack.stop().await;
    ended
}

fn metrics() -> Result<Metrics, End> {
    Metrics::new(env!("CARGO_PKG_VERSION"), env!("VALET_REVISION")).map_err(cannot)
}

fn introduce(stack: &Stack) {
    let page = &stack.page;
    let address = stack.gateway.addresses.first().cloned().unwrap_or_default();
    let token = stack.idp.sim.token(&TokenRequest::user("ada").session("demo"));
    let admin = stack.gateway.admin.clone().unwrap_or_default();
    let (api, pages) = stack.behind.addresses();
    say("");
    say(&format!("  Open in a browser         {page}"));
    say("");
    for Said { line, also, .. } in stack.processes.told() {
        say(&format!("  {line} ({also})"));
    }
    for line in [
        String::new(),
        format!("  Valet is serving          http://{address}"),
        format!("  the app behind it         {}", stack.app.url()),
        format!("  health and metrics        http://{admin}/metrics"),
        format!("  the simulated vendor      http://{api} (its API), http://{pages} (its plug-ins)"),
        format!("  the simulated IdP         {}", stack.idp.url()),
    ] {
        say(&line);
    }
    let mut below = "  Below: one access line for each request. Ctrl-C ends it.";
    if let Some(minter) = stack.behind.minter() {
        below = "  Below: one access line for each request, and the minter's for each link that it was asked for. Ctrl-C ends both.";
        let ready = &minter.ready;
        say(&format!(
            "  the minter                https://{} (with a certificate), http://{}/metrics",
            ready.minter, ready.admin
        ));
    }
    for line in [
        String::new(),
        "  Without a browser. Ada's session (a JWT, good for 23 hours):".into(),
        String::new(),
        format!("TOKEN={token}"),
        String::new(),
        "  Follow the redirect to her face scan (once: minted; again: the same URL, held):".into(),
        String::new(),
        format!("curl -sSL -D - -H \"Authorization: Bearer $TOKEN\" http://{address}/plugins/face-scan"),
        String::new(),
        below.into(),
        String::new(),
    ] {
        say(&line);
    }
}

/// Whether somebody sits before a screen: nothing is opened for a script, or through a remote shell.
#[allow(
    clippy::disallowed_methods,
    reason = "whether a browser can be opened here, only the session's environment says"
)]
fn has_desktop() -> bool {
    let screen = cfg!(target_os = "macos")
        || ["WAYLAND_DISPLAY", "DISPLAY"].iter().any(|name| std::env::var_os(name).is_some_and(|it| !it.is_empty()));
    screen && std::env::var_os("SSH_CONNECTION").is_none() && std::io::stdout().is_terminal()
}

//! The minter's process, seen from the edge's.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};

use super::DemoFault;
use super::handshake::{Answer, Order, Ready};
use crate::demo::serve::SimFault;
use crate::logging::LineSink;

/// It starts in a fraction of a second.
const START: Duration = Duration::from_secs(20);

/// Longer than it drains.
const END: Duration = Duration::from_secs(5);

/// Between its last word and its end.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How often its end is looked for within that time.
const LOOK: Duration = Duration::from_millis(10);

/// The minter's process. Dropped: it is killed.
pub struct Minter {
    /// Where everything is.
    pub ready: Ready,
    /// Its process id.
    pub pid: u32,
    process: Mutex<Process>,
    /// Its stdin: it ends when this does, however this process ends.
    lifeline: ChildStdin,
    /// Whether its stdout has ended.
    silent: watch::Receiver<bool>,
}

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Minter {
    /// Starts it. Its audit log goes to `lines`, each line with the process before it.
    ///
    /// Dropped before it returns: it is killed.
    pub(super) async fn start(mut command: Command, order: &Order, lines: Option<LineSink>) -> Result<Self, DemoFault> {
        let fault = |fault: std::io::Error| DemoFault::Minter(format!("can't be started: {fault}"));
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(fault)?;
        let pid = child.id();
        let mut process = Process(child);
        let (Some(mut lifeline), Some(stdout)) = (process.0.stdin.take(), process.0.stdout.take()) else {
            return Err(DemoFault::Minter("has no stdin or no stdout".into()));
        };
        // A few lines: they fit into the pipe, whether they are read or not.
        let order = serde_json::to_string(order).unwrap_or_default() + "\n";
        lifeline.write_all(order.as_bytes()).map_err(fault)?;
        let (first, answer) = oneshot::channel();
        let (ended, silent) = watch::channel(false);
        let listener = std::thread::Builder::new().name("minter".into());
        listener.spawn(move || listen(stdout, pid, first, lines, &ended)).map_err(fault)?;
        let answer = match tokio::time::timeout(START, answer).await {
            Ok(Ok(line)) => serde_json::from_str(&line).unwrap_or_else(|_| Answer::Fault(format!("says {line:?}"))),
            Ok(Err(_)) => return Err(DemoFault::Minter(format!("has ended ({})", status(&Mutex::new(process)).await))),
            Err(_) => Answer::Fault("does not say that it is ready".into()),
        };
        match answer {
            Answer::Ready(ready) => Ok(Self { ready, pid, process: Mutex::new(process), lifeline, silent }),
            Answer::InUse(address) => Err(SimFault::AddressInUse(address).into()),
            Answer::Fault(fault) => Err(DemoFault::Minter(fault)),
        }
    }

    /// Waits until it has ended by itself, and tells how. Dropped: nothing.
    pub async fn ended(&self) -> String {
        // A sender that is gone means the same.
        let _ = self.silent.clone().wait_for(|silent| *silent).await;
        status(&self.process).await
    }

    /// Asks it to end, and waits until it has. One that does not is killed. Dropped: it is killed.
    pub async fn stop(self) {
        let Self { lifeline, mut silent, process, .. } = self;
        drop(lifeline);
        let ended = async {
            let _ = silent.wait_for(|silent| *silent).await;
            status(&process).await
        };
        let _ = tokio::time::timeout(END, ended).await;
    }
}

fn listen(
    stdout: ChildStdout,
    pid: u32,
    first: oneshot::Sender<String>,
    lines: Option<LineSink>,
    ended: &watch::Sender<bool>,
) {
    let mut read = BufReader::new(stdout).lines().map_while(Result::ok);
    if let Some(line) = read.next() {
        // Nobody waits for it any more: the process is about to be killed.
        let _ = first.send(line);
        for line in read {
            if let Some(lines) = &lines {
                lines.push_with(|out| out.extend_from_slice(format!("minter, process {pid}: {line}\n").as_bytes()));
            }
        }
    }
    ended.send_replace(true);
}

/// How a process has ended that has said its last word.
async fn status(process: &Mutex<Process>) -> String {
    let look = async {
        loop {
            match process.lock().0.try_wait() {
                Ok(Some(status)) => return status.to_string(),
                Ok(None) => {}
                Err(fault) => return fault.to_string(),
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::time::timeout(LAST_WORDS, look).await.unwrap_or_else(|_| "its stdout is closed".into())
}

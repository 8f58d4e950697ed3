//! SIGUSR2: the program that is on disk now takes over from this process.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use tracing::{error, info, warn};

use super::ConfigFile;
use crate::config::STDIN;

/// What systemd says to one process alone.
const OURS: [&str; 4] = ["WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

/// What Linux puts behind the path of a program that has been replaced.
const REPLACED: &str = " (deleted)";

/// Starts it, with `--upgrade` and this process's configuration. What becomes of it is told in the log; this process goes on meanwhile.
pub(super) fn start(file: &ConfigFile) {
    if file.config.as_os_str() == STDIN {
        warn!(target: "valet", "the configuration came from standard input: no other process can take over by SIGUSR2");
        return;
    }
    let program = match std::env::current_exe() {
        Ok(path) => PathBuf::from(path.to_string_lossy().trim_end_matches(REPLACED)),
        Err(fault) => return error!(target: "valet", %fault, "the program can't be found: nothing takes over"),
    };
    let mut command = Command::new(program);
    command.args(["run", "--upgrade", "--config"]).arg(&file.config).stdin(Stdio::null());
    for name in OURS {
        command.env_remove(name);
    }
    let child = match command.spawn() {
        Ok(child) => child,
        Err(fault) => return error!(target: "valet", %fault, "no other process can be started: this one goes on"),
    };
    info!(target: "valet", process = child.id(), "another process is started to take over");
    // Where it fails it is ours to bury; where it takes over this process ends first.
    let bury = move || {
        let mut child = child;
        let code = child.wait().ok().and_then(|status| status.code());
        error!(target: "valet", process = child.id(), code, "the process that was started to take over has ended");
    };
    if let Err(fault) = std::thread::Builder::new().name("successor".into()).spawn(bury) {
        warn!(target: "valet", %fault, "nobody waits for the process that was started");
    }
}

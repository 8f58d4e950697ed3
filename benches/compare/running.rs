//! A server as a process, with those that it starts: its CPU, its memory, its descriptors.

use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long a server may take to start: with a million users some read for long.
const START: Duration = Duration::from_secs(120);

/// It ends when this is dropped, and when this program ends.
pub struct Running {
    pub child: Child,
}

/// A port that nobody has now.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The command on a core, to end with this program. With `descriptors` it may have no more.
pub fn on_core(core: &str, command: &Command, descriptors: Option<usize>) -> Command {
    let mut pinned = Command::new("setpriv");
    pinned.args(["--pdeathsig", "TERM", "taskset", "-c", core]);
    if let Some(most) = descriptors {
        pinned.args(["prlimit", &format!("--nofile={most}:{most}")]);
    }
    pinned.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        pinned.env(name, value.unwrap_or_default());
    }
    pinned
}

impl Running {
    /// Starts it on core 0, and waits until it takes connections at each address.
    pub fn start(command: &Command, addresses: &[SocketAddr], descriptors: Option<usize>) -> Result<Self, String> {
        let mut command = on_core("0", command, descriptors);
        let errors = tempfile::tempfile().map_err(|fault| fault.to_string())?;
        let kept = errors.try_clone().map_err(|fault| fault.to_string())?;
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors).spawn();
        let mut this = Self { child: child.map_err(|fault| format!("setpriv and taskset are needed: {fault}"))? };
        let end = Instant::now() + START;
        for address in addresses {
            while TcpStream::connect(address).is_err() {
                if this.child.try_wait().is_ok_and(|ended| ended.is_some()) {
                    return Err(format!("it ended before it was ready: {}", said(kept)));
                }
                if Instant::now() > end {
                    return Err(format!("it was not ready in {} s: {}", START.as_secs(), said(kept)));
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(this)
    }

    /// Its process, and those below.
    fn tree(&self) -> Vec<u32> {
        let mut all = vec![self.child.id()];
        let mut at = 0;
        while let Some(pid) = all.get(at).copied() {
            for task in tasks(pid) {
                let children = std::fs::read_to_string(format!("/proc/{pid}/task/{task}/children")).unwrap_or_default();
                all.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
            }
            at += 1;
        }
        all
    }

    /// Time that its threads have run so far, in microseconds.
    pub fn cpu(&self) -> f64 {
        self.tree().into_iter().map(ran).sum()
    }

    /// Time that its threads have waited for their core while others had it, in microseconds.
    pub fn waited(&self) -> f64 {
        self.tree().into_iter().map(|pid| scheduled(pid, 1)).sum()
    }

    /// Memory that is resident, in bytes; what processes share counts once.
    pub fn memory(&self) -> f64 {
        let of = |pid: u32| {
            let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
            let line = text.lines().find(|line| line.starts_with("Pss:"))?;
            line.split_whitespace().nth(1)?.parse::<f64>().ok()
        };
        self.tree().into_iter().filter_map(of).sum::<f64>() * 1024.0
    }

    /// Descriptors that are open.
    pub fn descriptors(&self) -> usize {
        let of = |pid: u32| std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
        self.tree().into_iter().map(of).max().unwrap_or(0)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let tree = self.tree();
        signal(self.child.id(), Signal::TERM);
        let end = Instant::now() + Duration::from_secs(3);
        while Instant::now() < end && !self.child.try_wait().is_ok_and(|ended| ended.is_some()) {
            std::thread::sleep(Duration::from_millis(10));
        }
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            for pid in tree {
                signal(pid, Signal::KILL);
            }
        }
        let _ = self.child.wait();
    }
}

/// Time that the threads of a process have run so far, user and system, in microseconds. The scheduler counts it in nanoseconds, where
/// `/proc/PID/stat` has ticks of 10 ms.
pub fn ran(pid: u32) -> f64 {
    scheduled(pid, 0)
}

fn scheduled(pid: u32, field: usize) -> f64 {
    let of = |task: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/task/{task}/schedstat")).unwrap_or_default();
        stat.split(' ').nth(field).and_then(|time| time.trim().parse::<u64>().ok()).unwrap_or(0)
    };
    tasks(pid).into_iter().map(of).sum::<u64>() as f64 / 1e3
}

/// Tells a process to read its files again.
pub fn reload(pid: u32) {
    signal(pid, Signal::HUP);
}

fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

fn tasks(pid: u32) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// The last lines that it wrote.
fn said(mut file: std::fs::File) -> String {
    use std::io::{Read, Seek, SeekFrom};
    let mut text = String::new();
    let _ = file.seek(SeekFrom::Start(0)).and_then(|_| file.read_to_string(&mut text));
    let lines: Vec<&str> = text.lines().rev().take(5).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" / ")
}

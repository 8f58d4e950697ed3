//! Instructions in user space, function by function: a server under callgrind, which is told when to count.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::process::{Server, wrapped};

/// Instructions of each function, and in all.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    pub total: f64,
    pub functions: BTreeMap<String, f64>,
}

/// A server under callgrind. With `PROFILES=DIRECTORY` its profiles are kept there, for `callgrind_annotate`.
pub struct Profiled {
    pub server: Server,
    directory: tempfile::TempDir,
    started: usize,
    parts: usize,
}

impl Profiled {
    pub fn start(name: &'static str, command: &Command) -> Self {
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        let directory = tempfile::tempdir().unwrap();
        let mut valgrind = Command::new("valgrind");
        valgrind.args(["--tool=callgrind", "--compress-strings=no", "--compress-pos=no", "--dump-line=no"]);
        valgrind.arg(format!("--callgrind-out-file={}", directory.path().join("out").display())).arg("--");
        let spawned =
            wrapped(valgrind, command).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let server = Server::listen(name, spawned.expect("valgrind is needed to count instructions"));
        Self { server, directory, started: STARTED.fetch_add(1, Ordering::Relaxed), parts: 0 }
    }

    /// What the server runs while `load` makes this many requests, for one of them.
    pub fn count(&mut self, requests: usize, load: impl FnOnce(&mut Server)) -> Counts {
        self.control("--zero");
        load(&mut self.server);
        self.control("--dump");
        self.parts += 1;
        let text = std::fs::read_to_string(self.part()).unwrap();
        if let Ok(kept) = std::env::var("PROFILES") {
            std::fs::write(PathBuf::from(kept).join(format!("{}.{}", self.started, self.parts)), &text).unwrap();
        }
        let per_request = |count: u64| count as f64 / requests as f64;
        let functions = functions(&text);
        Counts {
            total: per_request(functions.values().sum()),
            functions: functions.into_iter().map(|(name, count)| (name, per_request(count))).collect(),
        }
    }

    fn part(&self) -> PathBuf {
        self.directory.path().join(format!("out.{}", self.parts))
    }

    fn control(&self, what: &str) {
        let done = Command::new("callgrind_control").args([what, &self.server.pid().to_string()]).output();
        let done = done.expect("callgrind_control is part of valgrind");
        assert!(done.status.success(), "callgrind_control {what}: {}", String::from_utf8_lossy(&done.stderr));
    }
}

/// What each function of a profile has run itself, without those that it calls.
fn functions(profile: &str) -> BTreeMap<String, u64> {
    let (mut all, mut function, mut is_call) = (BTreeMap::new(), String::new(), false);
    for line in profile.lines() {
        if let Some(name) = line.strip_prefix("fn=") {
            function = plain(name);
        } else if line.starts_with("calls=") {
            // The next line has what the called one took.
            is_call = true;
        } else if line.starts_with(|first: char| first.is_ascii_digit()) {
            let count = line.split(' ').nth(1).and_then(|count| count.parse::<u64>().ok()).unwrap_or(0);
            if !std::mem::take(&mut is_call) {
                *all.entry(function.clone()).or_default() += count;
            }
        }
    }
    all
}

/// The name without what differs from build to build: the hash at its end, marks of clones and of recursion, addresses.
fn plain(name: &str) -> String {
    let name = name.split('\'').next().unwrap_or(name);
    let name = name.split(".llvm.").next().unwrap_or(name);
    if name.starts_with("0x") {
        return "(without a name)".to_owned();
    }
    match name.rsplit_once("::h") {
        Some((path, hash)) if hash.len() == 16 && hash.bytes().all(|digit| digit.is_ascii_hexdigit()) => {
            path.to_owned()
        }
        _ => name.to_owned(),
    }
}

//! A server as a process of its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};

use super::ROLE;
use super::load::{load, requests_for};

/// A server that said on its standard output where it is, what tokens it takes, and that it is ready.
pub struct Server {
    pub name: &'static str,
    child: Child,
    stdout: BufReader<ChildStdout>,
    pub address: SocketAddr,
    /// Tokens to be used again and again.
    pub tokens: Vec<String>,
    /// Tokens to be seen once.
    pub fresh: Vec<String>,
    /// Other words of the server: name and rest of the line.
    pub words: Vec<(String, String)>,
}

fn await_port(name: &str, child: &mut Child, address: SocketAddr) {
    while std::net::TcpStream::connect(address).is_err() {
        assert!(child.try_wait().unwrap().is_none(), "{name} ended before it was ready");
        std::thread::yield_now();
    }
}

/// Instructions of one request: the difference between two runs of different length over one connection, by its number of requests.
pub fn instructions(name: &'static str, command: &Command, path: &str) -> f64 {
    const SHORT: usize = 20;
    const MORE: usize = 40;
    const TOKENS: usize = 50;
    let mut command = copied(Command::new(command.get_program()), command);
    command.env("USERS", TOKENS.to_string()).env("FRESH", "0");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let counts = [SHORT, SHORT + MORE].map(|times| {
        let counted = Counted::start(name, &command);
        let far = std::time::Instant::now() + std::time::Duration::from_secs(3600);
        let mut tokens = counted.server.tokens.clone();
        tokens.resize(TOKENS, String::from("-"));
        let plain = requests_for(path, &tokens);
        for _ in 0..times {
            runtime.block_on(load(counted.server.address, &plain, 1, far, true));
        }
        counted.stop() as f64
    });
    (counts[1] - counts[0]) / (MORE * TOKENS) as f64
}

/// The command as arguments of this one.
pub fn wrapped(mut wrapper: Command, command: &Command) -> Command {
    wrapper.arg(command.get_program());
    copied(wrapper, command)
}

/// The command with this one's arguments and environment.
fn copied(mut into: Command, command: &Command) -> Command {
    into.args(command.get_args());
    for (name, value) in command.get_envs() {
        into.env(name, value.unwrap_or_default());
    }
    into
}

/// This program in one of its roles.
pub fn role(role: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env(ROLE, role);
    command
}

/// The command on a core.
fn on_core(core: &str, command: &Command) -> Command {
    let mut pinned = Command::new("taskset");
    pinned.args(["-c", core]);
    wrapped(pinned, command)
}

impl Server {
    /// Starts it on core 0, and reads what it says until `ready`.
    pub fn start(name: &'static str, command: &Command) -> Self {
        Self::start_on("0", name, command)
    }

    /// The same on another core.
    pub fn start_on(core: &str, name: &'static str, command: &Command) -> Self {
        let mut command = on_core(core, command);
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn();
        Self::listen(name, spawned.expect("taskset (util-linux) is needed"))
    }

    pub fn listen(name: &'static str, mut child: Child) -> Self {
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let (mut address, mut tokens, mut fresh, mut words) = (None, Vec::new(), Vec::new(), Vec::new());
        loop {
            let mut line = String::new();
            assert!(stdout.read_line(&mut line).unwrap() > 0, "{name} ended before it was ready");
            match line.trim().split_once(' ') {
                Some(("address", text)) => address = text.parse().ok(),
                Some(("token", text)) => tokens.push(text.to_owned()),
                Some(("fresh", text)) => fresh.push(text.to_owned()),
                Some((word, text)) => words.push((word.to_owned(), text.to_owned())),
                None => break,
            }
        }
        let address = address.unwrap();
        await_port(name, &mut child, address);
        Self { name, child, stdout, address, tokens, fresh, words }
    }

    /// A server that says nothing of itself: it is ready when its port is open.
    pub fn silent(name: &'static str, command: &Command, address: SocketAddr) -> Self {
        let mut child =
            on_core("0", command).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().expect("taskset is needed");
        let stdout = BufReader::new(child.stdout.take().unwrap());
        await_port(name, &mut child, address);
        Self { name, child, stdout, address, tokens: Vec::new(), fresh: Vec::new(), words: Vec::new() }
    }

    /// The rest of the line that began with this word.
    pub fn word(&self, name: &str) -> &str {
        self.words.iter().find(|(word, _)| word == name).map(|(_, text)| text.as_str()).expect("the server says it")
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Tells the server a line, and gives the one that it answers.
    pub fn tell(&mut self, line: &str) -> String {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
        let mut answer = String::new();
        self.stdout.read_line(&mut answer).unwrap();
        answer.trim().to_owned()
    }

    /// Time that the process's threads have run so far, user and system, in microseconds. The scheduler counts it in nanoseconds, where
    /// `/proc/PID/stat` has ticks of 10 ms.
    pub fn cpu(&self) -> f64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let ran = tasks.map(|task| {
            let stat = std::fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap_or_default();
            stat.split(' ').next().and_then(|ran| ran.parse::<u64>().ok()).unwrap_or(0)
        });
        ran.sum::<u64>() as f64 / 1e3
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server under callgrind, which counts its instructions in user space.
pub struct Counted {
    pub server: Server,
    stderr: ChildStderr,
}

impl Counted {
    pub fn start(name: &'static str, command: &Command) -> Self {
        let mut counted = Command::new("valgrind");
        counted.args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--"]);
        let spawned =
            wrapped(counted, command).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = spawned.expect("valgrind is needed to count instructions");
        let stderr = child.stderr.take().unwrap();
        Self { server: Server::listen(name, child), stderr }
    }

    /// Stops it: Valet by the end of its input, Pingora by SIGINT, at which it ends at once (what runs in the background may ignore that). How many instructions it
    /// has run in all.
    pub fn stop(mut self) -> u64 {
        let pid = self.server.child.id().to_string();
        drop(self.server.child.stdin.take());
        Command::new("kill").args(["-INT", &pid]).status().unwrap();
        let mut said = String::new();
        self.stderr.read_to_string(&mut said).unwrap();
        let line = said.lines().find(|line| line.contains("Collected")).expect("callgrind's count");
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }
}

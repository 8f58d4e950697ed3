//! Processes of a test: started, read, signalled, and never left behind.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// Far more than anything here takes; what takes longer hangs.
pub const HANG: Duration = Duration::from_secs(30);

/// The program under test.
pub const VALET: &str = env!("CARGO_BIN_EXE_valet");

/// A command that runs the program in `folder`.
pub fn valet(folder: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(VALET);
    command.args(words).current_dir(folder).stdin(Stdio::null());
    command
}

/// Runs the program in `folder` to its end.
pub fn end_of(folder: &Path, words: &[&str]) -> Ended {
    Program::start(valet(folder, words)).end()
}

/// A process that has ended, and all that it wrote.
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Ended {
    /// Ended with this code, and without a panic.
    pub fn assert_code(&self, code: i32) -> &Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        for text in [&self.stdout, &self.stderr] {
            assert!(!text.contains("panicked") && !text.contains("RUST_BACKTRACE"), "{text}");
        }
        self
    }

    /// The one line on stderr.
    pub fn only_line(&self) -> &str {
        let mut lines = self.stderr.lines();
        match (lines.next(), lines.next()) {
            (Some(line), None) => line,
            _ => panic!("not one line:\n{}", self.stderr),
        }
    }

    /// Both streams.
    pub fn all(&self) -> String {
        format!("{}\n{}", self.stdout, self.stderr)
    }
}

/// Which stream of a process.
#[derive(Clone, Copy, Debug)]
pub enum Stream {
    Stdout,
    Stderr,
}

#[derive(Default)]
struct Text {
    bytes: Mutex<(Vec<u8>, bool)>,
    more: Condvar,
}

/// A process that runs, and is killed when the test lets go of it.
pub struct Program {
    child: Child,
    stdout: Arc<Text>,
    stderr: Arc<Text>,
}

impl Drop for Program {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let said = self.so_far(Stream::Stderr);
            let last: Vec<&str> = said.lines().rev().take(20).collect();
            let last: Vec<&str> = last.into_iter().rev().collect();
            eprintln!("process {} said at last on stderr:\n{}", self.child.id(), last.join("\n"));
        }
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Program {
    /// Starts it with both streams read as they come.
    pub fn start(command: Command) -> Self {
        let mut program = Self::start_unread(command);
        program.read();
        program
    }

    /// Starts it with pipes that nobody reads until [`Self::read`].
    pub fn start_unread(mut command: Command) -> Self {
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        Self { child, stdout: Arc::default(), stderr: Arc::default() }
    }

    /// Reads what has not been read yet, and all that comes.
    pub fn read(&mut self) {
        self.read_stdout();
        self.read_stderr();
    }

    /// The same for stdout alone.
    pub fn read_stdout(&mut self) {
        if let Some(pipe) = self.child.stdout.take() {
            gather(pipe, self.stdout.clone());
        }
    }

    /// The same for stderr alone.
    pub fn read_stderr(&mut self) {
        if let Some(pipe) = self.child.stderr.take() {
            gather(pipe, self.stderr.clone());
        }
    }

    /// Nobody will ever read stdout.
    pub fn close_stdout(&mut self) {
        self.child.stdout = None;
        self.stdout.bytes.lock().1 = true;
    }

    /// What has been read of a stream so far.
    pub fn so_far(&self, stream: Stream) -> String {
        String::from_utf8_lossy(&self.text(stream).bytes.lock().0).into_owned()
    }

    /// Waits until `find` finds something in a whole line of the stream.
    pub fn line<T>(&self, stream: Stream, mut find: impl FnMut(&str) -> Option<T>) -> T {
        let text = self.text(stream);
        let deadline = Instant::now() + HANG;
        let mut bytes = text.bytes.lock();
        loop {
            let so_far = String::from_utf8_lossy(&bytes.0).into_owned();
            let whole = so_far.rfind('\n').map_or("", |end| &so_far[..end]);
            if let Some(found) = whole.lines().find_map(&mut find) {
                return found;
            }
            let over = bytes.1 || text.more.wait_until(&mut bytes, deadline).timed_out();
            assert!(!over, "the line that was waited for did not come on {stream:?}:\n{so_far}");
        }
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        let done = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", self.child.id())).status();
        assert!(done.expect("sh runs").success(), "no signal could be sent");
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().expect("it is ours").is_none()
    }

    /// Waits until it ends by itself.
    pub fn end(mut self) -> Ended {
        let status = self.wait();
        self.read();
        let text = |text: &Text| {
            let mut bytes = text.bytes.lock();
            while !bytes.1 {
                assert!(!text.more.wait_for(&mut bytes, HANG).timed_out(), "somebody holds the pipe");
            }
            String::from_utf8_lossy(&bytes.0).into_owned()
        };
        Ended { code: status.code(), stdout: text(&self.stdout), stderr: text(&self.stderr) }
    }

    /// Asks it to end, and waits until it has.
    pub fn terminate(self) -> Ended {
        self.signal("TERM");
        self.end()
    }

    fn wait(&mut self) -> ExitStatus {
        until("the process ends", || self.child.try_wait().expect("it is ours"))
    }

    fn text(&self, stream: Stream) -> &Arc<Text> {
        match stream {
            Stream::Stdout => &self.stdout,
            Stream::Stderr => &self.stderr,
        }
    }
}

fn gather(mut pipe: impl Read + Send + 'static, text: Arc<Text>) {
    std::thread::spawn(move || {
        let mut some = [0; 8192];
        loop {
            let read = pipe.read(&mut some).unwrap_or(0);
            let mut bytes = text.bytes.lock();
            bytes.0.extend_from_slice(&some[..read]);
            bytes.1 = read == 0;
            text.more.notify_all();
            if read == 0 {
                return;
            }
        }
    });
}

/// A token (RFC 7519) in the text, or its payload alone. Three letters, `eyJ` for `{"`, would not do: a hash in base64url has them by chance.
/// No hash has a dot before them, and none is longer than 43 letters.
pub fn jwt_in(text: &str) -> Option<&str> {
    const HASH: usize = 43;
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_';
    text.match_indices("eyJ").find_map(|(at, _)| {
        let rest = &text[at..];
        let run = &rest[..rest.find(|letter| !is_letter(letter)).unwrap_or(rest.len())];
        (text[..at].ends_with('.') || run.len() > HASH).then_some(run)
    })
}

#[test]
fn a_token_is_found_and_a_hash_that_looks_like_one_is_not() {
    let payload = "eyJzdWIiOiJhIn0";
    assert_eq!(jwt_in(&format!("x eyJhbGciOiJFUzI1NiJ9.{payload}.sig")), Some(payload));
    let alone = format!("eyJ{}", "x".repeat(60));
    assert_eq!(jwt_in(&format!("\"{alone}\"")), Some(&*alone));
    assert_eq!(jwt_in(&format!("\"subject\":\"{}\"", "eyJ".repeat(14))), None);
    assert_eq!(jwt_in("47fadace"), None);
}

/// Looks again and again until `look` finds something.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + HANG;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        // Pause: between two looks for a sign.
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Nobody listens there. The system gives out no such port, as it may one that was bound and let go: to another test, beside this one.
pub const NOBODY: &str = "127.0.0.1:9";

/// A port that nobody listens on, with `behind` free ones after it. Below the range that the system gives out for port 0, so that no other
/// test gets it in the meantime.
pub fn free_port(behind: u16) -> u16 {
    until("a port is free", || {
        let port = fastrand::u16(12_000..30_000);
        (port..=port + behind).all(|port| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok()).then_some(port)
    })
}

/// Keeps an address whose program has ended: nobody listens there, and no other test gets it.
pub fn keep(address: std::net::SocketAddr) -> socket2::Socket {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    // Where connections were, the port is not free otherwise for a minute.
    socket.set_reuse_address(true).expect("a socket");
    socket.bind(&address.into()).expect("it is free again");
    socket
}

/// Whether a program of the system is there; if not, says what is left out.
pub fn there_is(tool: &str) -> bool {
    let found = Command::new("sh").arg("-c").arg(format!("command -v {tool}")).output().expect("sh runs");
    if !found.status.success() {
        eprintln!("left out: this machine has no `{tool}`");
    }
    found.status.success()
}

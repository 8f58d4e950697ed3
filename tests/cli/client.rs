//! A small HTTP/1.1 client on a blocking socket: it shows every byte, and shares no code with what it tests.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::process::HANG;

/// An answer as it came.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    /// The first field of this name; names are given in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Where a redirect leads.
    pub fn location(&self) -> &str {
        self.header("location").unwrap_or_else(|| panic!("no redirect: {self:?}"))
    }

    /// The last part of a problem's type.
    pub fn problem(&self) -> String {
        let problem = self.json();
        problem["type"].as_str().and_then(|kind| kind.rsplit(['/', ':', '#']).next()).unwrap_or_default().to_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }
}

trait Socket: Read + Write + Send {}
impl Socket for TcpStream {}
impl Socket for UnixStream {}

/// One connection.
pub struct Connection {
    socket: Box<dyn Socket>,
    read: Vec<u8>,
}

impl Connection {
    /// To `host:port`; `None` if nobody listens.
    pub fn try_open(address: &str) -> Option<Self> {
        let socket = TcpStream::connect(address).ok()?;
        socket.set_read_timeout(Some(HANG)).unwrap();
        socket.set_write_timeout(Some(HANG)).unwrap();
        socket.set_nodelay(true).unwrap();
        Some(Self { socket: Box::new(socket), read: Vec::new() })
    }

    /// To `host:port`.
    pub fn open(address: &str) -> Self {
        Self::try_open(address).unwrap_or_else(|| panic!("nobody listens at {address}"))
    }

    /// To a socket file.
    pub fn open_unix(path: &Path) -> Self {
        let socket = UnixStream::connect(path).unwrap_or_else(|fault| panic!("{}: {fault}", path.display()));
        socket.set_read_timeout(Some(HANG)).unwrap();
        Self { socket: Box::new(socket), read: Vec::new() }
    }

    /// Sends these bytes; whether they were taken.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.socket.write_all(bytes.as_ref()).is_ok()
    }

    /// Sends a request and reads its answer.
    pub fn ask(&mut self, request: &str) -> Answer {
        assert!(self.send(request), "the connection is closed");
        self.answer().expect("an answer")
    }

    /// The next whole answer; `None` if the connection ended before it was whole.
    pub fn answer(&mut self) -> Option<Answer> {
        let end = loop {
            if let Some(at) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break at;
            }
            self.more().filter(|more| *more > 0)?;
        };
        let head = String::from_utf8(self.read[..end].to_vec()).expect("a head in ASCII");
        self.read.drain(..end + 4);
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
        let headers = lines.filter_map(|line| line.split_once(':'));
        let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
        let mut answer = Answer { status: status.expect("a status"), headers, body: String::new() };
        assert!(answer.header("transfer-encoding").is_none(), "this client knows lengths only: {answer:?}");
        let length = match answer.header("content-length") {
            Some(length) => length.parse().expect("a length"),
            None if matches!(answer.status, 204 | 304) => 0,
            None => {
                while self.more()? > 0 {}
                self.read.len()
            }
        };
        while self.read.len() < length {
            self.more().filter(|more| *more > 0)?;
        }
        answer.body = String::from_utf8_lossy(&self.read.drain(..length).collect::<Vec<u8>>()).into_owned();
        Some(answer)
    }

    /// The status of the next head, whatever comes behind it.
    pub fn head(&mut self) -> u16 {
        let end = loop {
            if let Some(at) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break at;
            }
            assert!(self.more().is_some_and(|more| more > 0), "no head");
        };
        let head = String::from_utf8_lossy(&self.read.drain(..end + 4).collect::<Vec<u8>>()).into_owned();
        head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status")
    }

    /// The next so many bytes; `None` if the connection ended before.
    pub fn bytes(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.read.len() < count {
            self.more().filter(|more| *more > 0)?;
        }
        Some(self.read.drain(..count).collect())
    }

    /// All that comes until the other side closes.
    pub fn rest(&mut self) -> Vec<u8> {
        while self.more().is_some_and(|more| more > 0) {}
        std::mem::take(&mut self.read)
    }

    /// Reads some; 0 at the end, `None` after a reset.
    fn more(&mut self) -> Option<usize> {
        let mut some = [0; 8192];
        match self.socket.read(&mut some) {
            Ok(read) => {
                self.read.extend_from_slice(&some[..read]);
                Some(read)
            }
            Err(fault) if matches!(fault.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("no answer came; so far: {:?}", String::from_utf8_lossy(&self.read))
            }
            Err(fault) => {
                eprintln!("the connection broke: {fault}");
                None
            }
        }
    }
}

/// A request's text. `headers` are whole lines without their end.
pub fn request(method: &str, path: &str, headers: &[&str], body: &str) -> String {
    let mut text = format!("{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n");
    for header in headers {
        text.push_str(header);
        text.push_str("\r\n");
    }
    if !body.is_empty() || method == "POST" || method == "PUT" {
        text.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    text.push_str("\r\n");
    text.push_str(body);
    text
}

/// One request on a connection of its own.
pub fn once(address: &str, method: &str, path: &str, headers: &[&str], body: &str) -> Answer {
    let headers: Vec<&str> = headers.iter().copied().chain(["connection: close"]).collect();
    Connection::open(address).ask(&request(method, path, &headers, body))
}

//! A client connection on which the test decides every byte.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::answer::Answer;
use super::in_time;

/// What a connection is made of.
trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

/// One connection.
pub struct Wire {
    stream: Box<dyn Transport>,
    buffer: Vec<u8>,
}

impl Wire {
    pub async fn open(address: &str) -> Self {
        Self::try_open(address).await.unwrap_or_else(|fault| panic!("no connection to {address}: {fault}"))
    }

    pub async fn try_open(address: &str) -> std::io::Result<Self> {
        let stream = in_time("connecting", TcpStream::connect(address)).await?;
        stream.set_nodelay(true)?;
        Ok(Self::over(stream))
    }

    /// On a connection that stands.
    pub fn over(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        Self { stream: Box::new(stream), buffer: Vec::new() }
    }

    /// Sends these bytes. A peer that has closed already shows when its answer is read.
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        let all = async {
            self.stream.write_all(bytes.as_ref()).await?;
            self.stream.flush().await
        };
        let _ = in_time("sending", all).await;
    }

    /// A WebSocket whose other end echoes.
    pub async fn assert_echoes(&mut self) {
        self.write("ping").await;
        self.read_to("ping").await;
    }

    /// The answer to a request that may have a body in its answer.
    #[track_caller]
    pub fn answer(&mut self) -> impl Future<Output = Answer> + '_ {
        self.answer_to("GET")
    }

    /// The answer to a request of this method.
    #[track_caller]
    pub fn answer_to(&mut self, method: &str) -> impl Future<Output = Answer> + '_ {
        let (head_only, caller) = (method == "HEAD", std::panic::Location::caller());
        async move {
            self.try_answer(head_only).await.unwrap_or_else(|| panic!("closed without an answer, asked at {caller}"))
        }
    }

    /// The next answer; `None` if the connection ended before its first byte. One that breaks off within an answer fails the test.
    pub async fn try_answer(&mut self, head_only: bool) -> Option<Answer> {
        let head_end = loop {
            if let Some(at) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if !self.more().await {
                assert!(self.buffer.is_empty(), "half an answer: {}", String::from_utf8_lossy(&self.buffer));
                return None;
            }
        };
        let head = String::from_utf8(self.buffer[..head_end].to_vec()).expect("an answer's head is UTF-8");
        let mut lines = head.trim_end().split("\r\n");
        let status_line = lines.next().expect("a status line");
        let status = status_line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).and_then(|n| n.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no status line: {status_line}"));
        let fields: Vec<(String, String)> = lines
            .map(|line| line.split_once(": ").unwrap_or_else(|| panic!("no field: {line}")))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let length = fields.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        let length: usize = length.map_or(0, |(_, value)| value.parse().expect("a length"));
        let end = head_end + if head_only || status == 204 { 0 } else { length };
        while self.buffer.len() < end {
            assert!(self.more().await, "half a body: {}", String::from_utf8_lossy(&self.buffer));
        }
        let rest = self.buffer.split_off(end);
        let raw = std::mem::replace(&mut self.buffer, rest);
        Some(Answer { status, fields, body: raw[head_end..].to_vec(), raw })
    }

    /// Reads until these bytes have come, and gives all up to their end.
    pub async fn read_to(&mut self, wanted: &str) -> String {
        let wanted = wanted.as_bytes();
        loop {
            if let Some(at) = self.buffer.windows(wanted.len()).position(|window| window == wanted) {
                let rest = self.buffer.split_off(at + wanted.len());
                return String::from_utf8_lossy(&std::mem::replace(&mut self.buffer, rest)).into_owned();
            }
            assert!(self.more().await, "closed before {wanted:?}: {}", String::from_utf8_lossy(&self.buffer));
        }
    }

    /// Whether these bytes come next; `false`: the connection ends before.
    pub async fn hears(&mut self, wanted: &str) -> bool {
        while self.buffer.len() < wanted.len() {
            if !self.more().await {
                return false;
            }
        }
        let rest = self.buffer.split_off(wanted.len());
        std::mem::replace(&mut self.buffer, rest) == wanted.as_bytes()
    }

    /// The next head, with its empty line; `None`: the connection ends before it.
    pub async fn next_head(&mut self) -> Option<String> {
        while !self.buffer.windows(4).any(|four| four == b"\r\n\r\n") {
            if !self.more().await {
                return None;
            }
        }
        Some(self.read_to("\r\n\r\n").await)
    }

    /// So many bytes, which come next.
    pub async fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.buffer.len() < count {
            assert!(self.more().await, "closed after {} of {count} bytes", self.buffer.len());
        }
        let rest = self.buffer.split_off(count);
        std::mem::replace(&mut self.buffer, rest).to_vec()
    }

    /// All that comes until the peer closes.
    pub async fn rest(&mut self) -> Vec<u8> {
        while self.more().await {}
        std::mem::take(&mut self.buffer).to_vec()
    }

    /// The same as text.
    pub async fn to_end(&mut self) -> String {
        String::from_utf8_lossy(&self.rest().await).into_owned()
    }

    /// The peer closes, and sends nothing before it.
    #[track_caller]
    pub fn assert_closed(&mut self) -> impl Future<Output = ()> + '_ {
        let caller = std::panic::Location::caller();
        async move {
            while self.more().await {}
            let rest = String::from_utf8_lossy(&self.buffer);
            assert!(rest.is_empty(), "more than was asked for at {caller}: {rest}");
        }
    }

    /// Reads what is there; `false` at the end of the connection.
    async fn more(&mut self) -> bool {
        let read = in_time("an answer", self.stream.read_buf(&mut self.buffer)).await;
        matches!(read, Ok(n) if n > 0)
    }
}

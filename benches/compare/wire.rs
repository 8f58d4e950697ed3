//! One connection of HTTP/1.1, and the few bytes of WebSockets that a load needs.

use std::io::{Error, ErrorKind, Result};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The length of a message of the WebSockets.
const MESSAGE: usize = 64;

/// A connection, and what was read of the answer.
pub struct Wire<S> {
    stream: S,
    buffer: Vec<u8>,
    have: usize,
}

/// How the body of an answer ends.
enum End {
    After(usize),
    Chunked,
}

struct Head {
    status: u16,
    length: usize,
    end: End,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub fn new(stream: S) -> Self {
        Self { stream, buffer: vec![0; 64 << 10], have: 0 }
    }

    /// What it goes over.
    pub fn stream(&self) -> &S {
        &self.stream
    }

    /// Asks, and reads the whole answer: its status, and the length of its body.
    pub async fn ask(&mut self, request: &[u8]) -> Result<(u16, usize)> {
        self.stream.write_all(request).await?;
        self.stream.flush().await?;
        let head = self.head().await?;
        let body = match head.end {
            End::After(length) => {
                let mut left = length.saturating_sub(self.have - head.length);
                while left > 0 {
                    left = left.saturating_sub(self.more(head.length).await?);
                }
                length
            }
            End::Chunked => self.chunked(head.length).await?,
        };
        Ok((head.status, body))
    }

    /// The value of a field of the last answer.
    pub fn field(&self, name: &str) -> Option<String> {
        let mut fields = [httparse::EMPTY_HEADER; 64];
        let mut answer = httparse::Response::new(&mut fields);
        let _ = answer.parse(&self.buffer[..self.have]);
        let field = answer.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name))?;
        Some(String::from_utf8_lossy(field.value).into_owned())
    }

    async fn head(&mut self) -> Result<Head> {
        self.have = 0;
        loop {
            let read = self.stream.read(&mut self.buffer[self.have..]).await?;
            if read == 0 {
                return Err(Error::new(ErrorKind::UnexpectedEof, "closed before the answer"));
            }
            self.have += read;
            if let Some(head) = parse(&self.buffer[..self.have])? {
                return Ok(head);
            }
        }
    }

    /// Reads on over what was read of the body. The head stays.
    async fn more(&mut self, head: usize) -> Result<usize> {
        let read = self.stream.read(&mut self.buffer[head..]).await?;
        if read == 0 {
            return Err(Error::new(ErrorKind::UnexpectedEof, "closed within the answer"));
        }
        self.have = head;
        Ok(read)
    }

    /// The body is text that has no `0` of its own: it ends with the last chunk. Returns some more than the text's length.
    async fn chunked(&mut self, head: usize) -> Result<usize> {
        const LAST: &[u8] = b"0\r\n\r\n";
        let mut all = self.have - head;
        let mut tail = self.buffer[head..self.have].to_vec();
        while !tail.ends_with(LAST) {
            let read = self.more(head).await?;
            all += read;
            tail.extend_from_slice(&self.buffer[head..head + read]);
            tail.drain(..tail.len().saturating_sub(LAST.len()));
        }
        Ok(all)
    }

    /// Makes it a WebSocket; the status that came.
    pub async fn upgrade(&mut self, request: &[u8]) -> Result<u16> {
        self.stream.write_all(request).await?;
        Ok(self.head().await?.status)
    }

    /// Sends a message, and reads the same one back.
    pub async fn echo(&mut self) -> Result<()> {
        // Masked with zeros: what the server sees is what was sent.
        let mut frame = [b'm'; 6 + MESSAGE];
        frame[..6].copy_from_slice(&[0x81, 0x80 | MESSAGE as u8, 0, 0, 0, 0]);
        self.stream.write_all(&frame).await?;
        let mut back = [0; 2 + MESSAGE];
        self.stream.read_exact(&mut back).await?;
        let is_same = back[..2] == [0x81, MESSAGE as u8] && back[2..] == frame[6..];
        if is_same { Ok(()) } else { Err(Error::other("another message came back")) }
    }
}

/// The head that starts here; `None`: more is to come.
fn parse(read: &[u8]) -> Result<Option<Head>> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut answer = httparse::Response::new(&mut fields);
    let parsed = answer.parse(read).map_err(|fault| Error::new(ErrorKind::InvalidData, fault))?;
    let httparse::Status::Complete(length) = parsed else { return Ok(None) };
    let mut end = End::After(0);
    for field in answer.headers {
        if field.name.eq_ignore_ascii_case("content-length") {
            let text = String::from_utf8_lossy(field.value);
            end = End::After(text.trim().parse().map_err(|fault| Error::new(ErrorKind::InvalidData, fault))?);
        } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
            end = End::Chunked;
        }
    }
    Ok(Some(Head { status: answer.code.unwrap_or(0), length, end }))
}

/// The answer to a key of a WebSocket (RFC 6455, section 4.2.2).
pub fn accept_key(key: &[u8]) -> String {
    let both = [key, b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"].concat();
    STANDARD.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, &both))
}

//! The framing of a chunked body (RFC 9112, section 7.1), judged before Pingora reads it: what a stricter reader behind us would refuse or read in
//! another way is not passed on.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use pingora_core::protocols::Stream;
use tokio::io::{AsyncRead, ReadBuf};

use crate::gateway::delegate::delegate_to_inner;
use crate::gateway::forward::proxied_request::ProxiedRequest;
use crate::gateway::http1::head::MAX_HEADERS;
use crate::web::is_token_byte;

/// The digits of a chunk's size: Pingora reads no more, and no chunk is larger than they say.
const MAX_DIGITS: u8 = 15;

/// The longest chunk line, with its extensions, in bytes. Nobody sends long ones but to cost the reader more than the sender.
const MAX_LINE: usize = 4 * 1024;

/// All trailer lines together, in bytes. They are read and dropped.
const MAX_TRAILERS: usize = 8 * 1024;

/// Framing that is not as the RFC has it, or beyond a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gateway) struct BadChunk;

/// How far a chunked body was read: what the next byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size {
        digits: u8,
    },
    /// White space before a `;`, or before a `=` too.
    Blank {
        assigns: bool,
    },
    BeforeName,
    Name,
    BeforeValue,
    Value,
    Quoted,
    Escaped,
    Closed,
    LineEnd,
    Data(u64),
    DataEnd,
    DataEndLf,
    Trailer,
    TrailerName,
    TrailerValue,
    TrailerEnd,
    BodyEnd,
    Done,
}

/// A reader of chunked framing that keeps nothing but its place.
#[derive(Debug)]
pub(in crate::gateway) struct ChunkJudge {
    state: State,
    /// The size of the chunk whose line is read.
    size: u64,
    /// Bytes of this chunk line, or of all trailers.
    line: usize,
    /// Trailer lines.
    trailers: usize,
    /// White space may stand behind a size, as some servers of apps have it.
    lenient: bool,
}

impl ChunkJudge {
    pub fn new() -> Self {
        Self { state: State::Size { digits: 0 }, size: 0, line: 0, trailers: 0, lenient: false }
    }

    /// Of an app's answer. White space may stand behind a size: some servers write sizes of one width.
    pub fn of_app() -> Self {
        Self { lenient: true, ..Self::new() }
    }

    /// Whether the body has ended.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Judges the bytes that follow those of the last call. Behind the end of the body anything may stand.
    pub fn take(&mut self, bytes: &[u8]) -> Result<(), BadChunk> {
        self.read(bytes, |_| {}).map(|_| ())
    }

    /// The same, and gives the data in them; with how many of them belong to the body.
    pub fn read(&mut self, bytes: &[u8], mut data: impl FnMut(&[u8])) -> Result<usize, BadChunk> {
        let mut read = 0;
        loop {
            let (framing, here) = self.next(&bytes[read..])?;
            read += framing + here;
            if here == 0 {
                return Ok(read);
            }
            data(&bytes[read - here..read]);
        }
    }

    /// Judges the bytes up to the end of the first data in them: how many of framing stand before it, and how many it is. No data: all of them that
    /// belong to the body were framing.
    pub fn next(&mut self, bytes: &[u8]) -> Result<(usize, usize), BadChunk> {
        for (at, byte) in bytes.iter().enumerate() {
            match self.state {
                State::Done => return Ok((at, 0)),
                State::Data(left) => {
                    let rest = bytes.len() - at;
                    let here = usize::try_from(left).map_or(rest, |left| left.min(rest));
                    let left = left - here as u64;
                    self.state = if left == 0 { State::DataEnd } else { State::Data(left) };
                    return Ok((at, here));
                }
                state => self.state = self.step(state, *byte)?,
            }
        }
        Ok((bytes.len(), 0))
    }

    fn step(&mut self, state: State, byte: u8) -> Result<State, BadChunk> {
        self.line += 1;
        let bound = if self.trailers > 0 || is_trailer(state) { MAX_TRAILERS } else { MAX_LINE };
        if self.line > bound {
            return Err(BadChunk);
        }
        let next = match (state, byte) {
            (State::Size { digits }, _) => return self.size(digits, byte),
            (State::Blank { assigns }, b' ' | b'\t') => State::Blank { assigns },
            (State::Blank { .. } | State::Name | State::Value | State::Closed, b';') => State::BeforeName,
            (State::Blank { assigns: true } | State::Name, b'=') => State::BeforeValue,
            (State::Name | State::Value | State::Closed, b' ' | b'\t') => {
                State::Blank { assigns: state == State::Name }
            }
            (State::Name | State::Value | State::Closed, b'\r') => State::LineEnd,
            (State::Blank { assigns: false }, b'\r') if self.lenient => State::LineEnd,
            (State::BeforeName | State::BeforeValue, b' ' | b'\t') => state,
            (State::BeforeValue, b'"') => State::Quoted,
            (State::BeforeName | State::Name, byte) if is_token_byte(byte) => State::Name,
            (State::BeforeValue | State::Value, byte) if is_token_byte(byte) => State::Value,
            (State::Quoted, b'"') => State::Closed,
            (State::Quoted, b'\\') => State::Escaped,
            (State::Quoted | State::Escaped, byte) if is_text(byte) => State::Quoted,
            (State::LineEnd, b'\n') => {
                self.line = 0;
                if self.size == 0 { State::Trailer } else { State::Data(self.size) }
            }
            (State::DataEnd, b'\r') => State::DataEndLf,
            (State::DataEndLf, b'\n') => {
                (self.size, self.line) = (0, 0);
                State::Size { digits: 0 }
            }
            (State::Trailer, b'\r') => State::BodyEnd,
            (State::TrailerName, b':') => State::TrailerValue,
            (State::Trailer | State::TrailerName, byte) if is_token_byte(byte) => State::TrailerName,
            (State::TrailerValue, b'\r') => State::TrailerEnd,
            (State::TrailerValue, byte) if is_text(byte) => State::TrailerValue,
            (State::TrailerEnd, b'\n') if self.trailers < MAX_HEADERS => {
                self.trailers += 1;
                State::Trailer
            }
            (State::BodyEnd, b'\n') => State::Done,
            _ => return Err(BadChunk),
        };
        Ok(next)
    }

    fn size(&mut self, digits: u8, byte: u8) -> Result<State, BadChunk> {
        match (char::from(byte).to_digit(16), byte) {
            (Some(digit), _) if digits < MAX_DIGITS => {
                self.size = self.size << 4 | u64::from(digit);
                Ok(State::Size { digits: digits + 1 })
            }
            (None, b'\r') if digits > 0 => Ok(State::LineEnd),
            (None, b';') if digits > 0 => Ok(State::BeforeName),
            (None, b' ' | b'\t') if digits > 0 => Ok(State::Blank { assigns: false }),
            _ => Err(BadChunk),
        }
    }
}

/// What the chunks of a body that was judged to its end carry.
pub(in crate::gateway) fn data(mut body: &[u8]) -> Option<Vec<u8>> {
    let mut data = Vec::new();
    loop {
        let line = memchr::memchr(b'\n', body)?;
        let digits = body.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let size = usize::from_str_radix(std::str::from_utf8(&body[..digits]).ok()?, 16).ok()?;
        body = &body[line + 1..];
        if size == 0 {
            return Some(data);
        }
        data.extend_from_slice(body.get(..size)?);
        body = body.get(size.checked_add(2)?..)?;
    }
}

fn is_trailer(state: State) -> bool {
    matches!(state, State::Trailer | State::TrailerName | State::TrailerValue | State::TrailerEnd | State::BodyEnd)
}

/// What a value may hold (RFC 9110, section 5.5): no control character but the tab.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= 0x20 && byte != 0x7f)
}

/// The connection of a client whose request has a chunked body: reading fails at the first byte of its framing that is wrong, and the `ProxiedRequest` is told.
pub(in crate::gateway) struct JudgedBody {
    inner: Stream,
    judge: ChunkJudge,
    proxied: Arc<ProxiedRequest>,
}

impl JudgedBody {
    /// `judge` has taken what was read already.
    pub fn new(inner: Stream, judge: ChunkJudge, proxied: Arc<ProxiedRequest>) -> Self {
        Self { inner, judge, proxied }
    }

    /// The connection itself, behind the body; `None`: this is none of ours.
    pub fn unwrap(stream: Stream) -> Option<Stream> {
        stream.into_any().downcast::<Self>().ok().map(|body| body.inner)
    }
}

impl fmt::Debug for JudgedBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JudgedBody").field("inner", &self.inner).field("judge", &self.judge).finish_non_exhaustive()
    }
}

impl AsyncRead for JudgedBody {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.inner).poll_read(cx, buffer);
        let misframed = &this.proxied.misframed;
        if misframed.load(Ordering::Relaxed) || this.judge.take(&buffer.filled()[before..]).is_err() {
            misframed.store(true, Ordering::Relaxed);
            buffer.set_filled(before);
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "the framing of a chunked body")));
        }
        read
    }
}

delegate_to_inner!(JudgedBody);

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the body is whole; wherever the packets end the verdict is the same.
    fn judge(body: &str) -> Result<bool, BadChunk> {
        let whole = |pieces: &[&[u8]]| {
            let mut judge = ChunkJudge::new();
            pieces.iter().try_for_each(|piece| judge.take(piece)).map(|()| judge.state == State::Done)
        };
        let body = body.as_bytes();
        let verdict = whole(&[body]);
        for at in 0..body.len() {
            assert_eq!(whole(&[&body[..at], &body[at..]]), verdict, "{:?} at {at}", String::from_utf8_lossy(body));
        }
        verdict
    }

    #[test]
    fn chunks_extensions_and_trailers_of_the_rfc_are_taken() {
        for body in [
            "0\r\n\r\n",
            "000\r\n\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
            "A\r\n0123456789\r\n00b\r\n\r\n\r\n\r\n\r\n012\r\n0\r\n\r\n",
            "1;a\r\nx\r\n0;b=c\r\n\r\n",
            "1 ; a = b\t;c=\"d;\\\"e\u{e9}\" ;f\r\nx\r\n0\r\n\r\n",
            "0\r\nx-trailer: y\r\nX:\r\nz: a\tb: c \r\n\r\n",
            "0\r\n\r\nGET / HTTP/1.1\n\n",
        ] {
            assert_eq!(judge(body), Ok(true), "{body:?}");
        }
        for body in ["", "5", "5\r\nhel", "5\r\nhello", "0\r\n", "0\r\nx: y\r\n", "0\r\n\r"] {
            assert_eq!(judge(body), Ok(false), "{body:?}");
        }
    }

    #[test]
    fn chunk_lines_and_trailers_that_the_rfc_does_not_know_are_refused() {
        for body in [
            "\r\n\r\n",
            ";a\r\n\r\n",
            " 0\r\n\r\n",
            "0\n\r\n",
            "0\r\n\n",
            "0\r\r\n\r\n",
            "0x1\r\na\r\n0\r\n\r\n",
            "+1\r\na\r\n0\r\n\r\n",
            "-1\r\n",
            "g\r\n",
            "1 \r\na\r\n0\r\n\r\n",
            "1 1\r\n",
            "1;\r\na\r\n0\r\n\r\n",
            "1;a\nb\r\na\r\n0\r\n\r\n",
            "1;a\rb\r\n",
            "1;a=\r\n",
            "1;a=b=c\r\n",
            "1;a b\r\n",
            "1;a=\"b\r\n",
            "1;a=\"\u{1}\"\r\n",
            "1;a=\"b\"c\r\n",
            "1\r\nab\r\n0\r\n\r\n",
            "1\r\na\n0\r\n\r\n",
            "1\r\na\r0\r\n\r\n",
            "1\r\na0\r\n\r\n",
            "0\r\nx\r\n\r\n",
            "0\r\n: x\r\n\r\n",
            "0\r\nx y: z\r\n\r\n",
            "0\r\nx : z\r\n\r\n",
            "0\r\n x: z\r\n\r\n",
            "0\r\nx: y\r\n z\r\n\r\n",
            "0\r\nx: y\n\r\n",
            "0\r\nx: a\rb\r\n\r\n",
            "0\r\nx: \0\r\n\r\n",
            "0\r\nGET / HTTP/1.1\r\n\r\n",
            "1000000000000000\r\n",
        ] {
            assert_eq!(judge(body), Err(BadChunk), "{body:?}");
        }
    }

    #[test]
    fn an_app_may_have_white_space_behind_a_size_and_no_more() {
        let done = |body: &str| {
            let mut judge = ChunkJudge::of_app();
            judge.take(body.as_bytes()).map(|()| judge.is_done())
        };
        assert_eq!(done("5   \r\nhello\r\n0\t\r\n\r\n"), Ok(true));
        for body in ["5 1\r\n", "5 \nhello", "5 =\r\n", "\r\n", "5\r\nhelloX"] {
            assert_eq!(done(body), Err(BadChunk), "{body:?}");
        }
    }

    #[test]
    fn chunk_lines_and_trailers_have_bounds() {
        let line = |length: usize| format!("0;{}\r\n\r\n", "a".repeat(length - 4));
        assert_eq!((judge(&line(MAX_LINE)), judge(&line(MAX_LINE + 1))), (Ok(true), Err(BadChunk)));
        let trailer = |length: usize| format!("0\r\nx:{}\r\n\r\n", "a".repeat(length - 6));
        assert_eq!((judge(&trailer(MAX_TRAILERS)), judge(&trailer(MAX_TRAILERS + 1))), (Ok(true), Err(BadChunk)));
        let lines = |count: usize| format!("0\r\n{}\r\n", "x:\r\n".repeat(count));
        assert_eq!((judge(&lines(MAX_HEADERS)), judge(&lines(MAX_HEADERS + 1))), (Ok(true), Err(BadChunk)));
        assert_eq!(judge(&format!("{}\r\n", "f".repeat(15))), Ok(false));
    }
}

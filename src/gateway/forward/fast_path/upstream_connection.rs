//! A connection to an app while one answer is read from it: the head, and the body by its framing (RFC 9112, sections 6 and 7), piece by piece.
//!
//! While nothing comes it holds no room.

use std::io;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BufMut as _, BytesMut};
use pingora_core::protocols::Stream;
use tokio::io::AsyncReadExt as _;

use crate::app::cause_of_break;
use crate::gateway::forward::fast_path::answer_head::{AnswerHead, Ends, Parsed, parse};
use crate::gateway::forward::fast_path::app_side::{AppSide, Wanted};
use crate::gateway::forward::headers;
use crate::gateway::http1::chunks::ChunkJudge;
use crate::http_client::Cause;

/// The largest head of an answer: Pingora's too.
const MAX_HEAD: usize = 1 << 20;

/// The room for one read of a head. A small answer fits whole.
const HEAD_ROOM: usize = 4096;

/// How the rest of the body is framed.
#[derive(Debug)]
enum Body {
    /// So many bytes are to come.
    Length(u64),
    Chunks(ChunkJudge),
    UntilClose,
    /// All of it was read.
    Whole,
}

/// The connection, and what was read from it.
pub(super) struct UpstreamConnection {
    pub stream: Stream,
    /// What was read and is not taken: a head, then pieces of the body.
    buffer: BytesMut,
    head: Option<Parsed>,
    body: Body,
    /// Of the body, at the start of the buffer.
    piece: usize,
    /// How often something was read.
    heard: u64,
    /// It was idle before this request.
    reused: bool,
    /// It ended while it should be read.
    over: bool,
    persistent: bool,
}

impl UpstreamConnection {
    /// `reused`: it has carried another request, and the app may have closed it since.
    pub fn new(stream: Stream, reused: bool) -> Box<Self> {
        Box::new(Self {
            stream,
            buffer: BytesMut::new(),
            head: None,
            body: Body::Whole,
            piece: 0,
            heard: 0,
            reused,
            over: false,
            persistent: false,
        })
    }

    /// Whether the app had closed an idle connection before it could know of this request, so that the request may be sent once more
    /// ([RFC 9110, section 9.2.2](https://www.rfc-editor.org/rfc/rfc9110#section-9.2.2)).
    pub fn is_dead(&self) -> bool {
        self.reused && self.over && self.heard == 0
    }

    /// The head that was read last; `None`: none is there.
    pub fn head(&self) -> Option<AnswerHead<'_>> {
        self.head.as_ref().map(|head| head.with_bytes(&self.buffer))
    }

    /// Behind the head of an interim answer another one follows.
    pub fn skip_head(&mut self) {
        if let Some(head) = self.head.take() {
            self.buffer.advance(head.length.min(self.buffer.len()));
        }
    }

    /// Behind the head the body follows. `head_only`: the request was a `HEAD`, and there is none.
    pub fn begin_body(&mut self, head_only: bool) {
        let Some(head) = self.head.take() else { return };
        self.buffer.advance(head.length.min(self.buffer.len()));
        let none = head_only || head.status.is_informational() || headers::has_no_body(head.status);
        self.body = match head.ends {
            _ if none => Body::Whole,
            Ends::Length(0) => Body::Whole,
            Ends::Length(length) => Body::Length(length),
            Ends::Chunks => Body::Chunks(ChunkJudge::of_app()),
            Ends::Close => Body::UntilClose,
        };
        self.persistent = head.persistent && !matches!(self.body, Body::UntilClose);
    }

    /// Behind a `101`: the connection, and what the app has said already.
    pub fn into_tunnel(mut self) -> (Stream, BytesMut) {
        self.skip_head();
        (self.stream, self.buffer)
    }

    /// The connection, if it can carry another request: its body is read, and nothing stands behind it.
    pub fn reuse(self) -> Option<Stream> {
        (self.persistent && self.is_done() && self.buffer.is_empty() && !self.over).then_some(self.stream)
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Cause>> {
        loop {
            if !self.buffer.is_empty() {
                self.head = parse(&self.buffer).map_err(|_| Cause::NotHttp)?;
                if self.head.is_some() {
                    return Poll::Ready(Ok(()));
                }
                if self.buffer.len() > MAX_HEAD {
                    return Poll::Ready(Err(Cause::NotHttp));
                }
            }
            if !ready!(self.poll_fill(HEAD_ROOM, cx))? {
                return Poll::Ready(Err(Cause::Broken));
            }
        }
    }

    /// Ready when there is a piece, or the body is whole. The last piece was taken.
    fn poll_body(&mut self, most: usize, cx: &mut Context<'_>) -> Poll<Result<(), Cause>> {
        self.take_piece();
        loop {
            match &mut self.body {
                Body::Whole => return Poll::Ready(Ok(())),
                _ if self.buffer.is_empty() => {}
                Body::Length(left) => {
                    self.piece = usize::try_from(*left).map_or(self.buffer.len(), |left| left.min(self.buffer.len()));
                    *left -= self.piece as u64;
                    if *left == 0 {
                        self.body = Body::Whole;
                    }
                    return Poll::Ready(Ok(()));
                }
                Body::Chunks(judge) => {
                    // What follows a fault of the framing goes nowhere.
                    let (framing, data) = judge.next(&self.buffer).map_err(|_| Cause::NotHttp)?;
                    let done = judge.is_done();
                    self.buffer.advance(framing);
                    self.piece = data;
                    if done {
                        self.body = Body::Whole;
                    }
                    if done || data > 0 {
                        return Poll::Ready(Ok(()));
                    }
                    continue;
                }
                Body::UntilClose => {
                    self.piece = self.buffer.len();
                    return Poll::Ready(Ok(()));
                }
            }
            if !ready!(self.poll_fill(most, cx))? {
                let whole = matches!(self.body, Body::UntilClose);
                self.body = Body::Whole;
                return Poll::Ready(if whole { Ok(()) } else { Err(Cause::Broken) });
            }
        }
    }

    /// Reads what is there, no more than `most` at once; `false`: the app has closed the connection.
    fn poll_fill(&mut self, most: usize, cx: &mut Context<'_>) -> Poll<Result<bool, Cause>> {
        if self.buffer.capacity() - self.buffer.len() < most / 4 || self.buffer.is_empty() {
            self.buffer.reserve(most);
        }
        let mut room = (&mut self.buffer).limit(most);
        let read = pin!(self.stream.read_buf(&mut room)).poll(cx);
        match read {
            Poll::Pending => {
                if self.buffer.is_empty() {
                    self.buffer = BytesMut::new();
                }
                Poll::Pending
            }
            Poll::Ready(Ok(read)) => {
                self.over = read == 0;
                self.heard += u64::from(read > 0);
                Poll::Ready(Ok(read > 0))
            }
            Poll::Ready(Err(error)) => {
                // What the kernel says is of the connection; what TLS says may be of what was sent.
                self.over = error.raw_os_error().is_some() || error.kind() == io::ErrorKind::UnexpectedEof;
                Poll::Ready(Err(cause_of_break(&error)))
            }
        }
    }
}

impl AppSide for UpstreamConnection {
    type Sink = Stream;

    fn sink(&mut self) -> &mut Stream {
        &mut self.stream
    }

    fn poll(&mut self, wanted: Wanted, cx: &mut Context<'_>) -> Poll<Result<(), Cause>> {
        match wanted {
            Wanted::Head => self.poll_head(cx),
            Wanted::Piece(most) => self.poll_body(most, cx),
        }
    }

    fn heard(&self) -> u64 {
        self.heard
    }

    fn piece(&mut self) -> (&mut Stream, &[u8]) {
        (&mut self.stream, &self.buffer[..self.piece])
    }

    fn take_piece(&mut self) {
        self.buffer.advance(std::mem::take(&mut self.piece));
    }

    fn is_last_piece(&self) -> bool {
        matches!(self.body, Body::Whole)
    }

    fn is_done(&self) -> bool {
        self.piece == 0 && self.is_last_piece()
    }
}

#[cfg(test)]
mod tests;

//! The client's side of the fast path: a connection of HTTP/1.1.

use std::future::poll_fn;
use std::io::{self, Write as _};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use pingora_core::protocols::Stream;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite as _};

use crate::gateway::forward::fast_path::Stop;
use crate::gateway::forward::fast_path::answer_head::Framing;
use crate::gateway::forward::fast_path::app_side::{AppSide as _, Sink};
use crate::gateway::forward::fast_path::ask::Downstream;
use crate::gateway::forward::fast_path::upload::{Http1Source, Upload};
use crate::gateway::forward::fast_path::upstream_connection::UpstreamConnection;
use crate::gateway::http1::reader::Deadline;
use crate::gateway::http1::wire;

/// Of what a client sends before it has its answer, this much is taken in: the largest head.
const MAX_AHEAD: usize = 32 * 1024;

/// Pieces up to this size share one write with what stands before them; larger ones are not copied.
const SHARED_WRITE: usize = 16 * 1024;

/// The connection of a client, lent for one request.
pub(in crate::gateway) struct Client<'c, 'a> {
    pub stream: &'c mut Stream,
    /// What it has sent behind the request.
    pub ahead: &'c mut BytesMut,
    pub deadline: &'c mut Deadline<'a>,
    /// What it gets next; empty before.
    pub out: &'c mut Vec<u8>,
    /// The answer has begun to go out.
    pub answered: bool,
    /// It takes a piece of the answer in this time.
    pub write: Duration,
    /// The body of its request. Boxed: a request without one does not hold the room for it.
    pub upload: Option<Box<Upload>>,
}

impl Downstream for Client<'_, '_> {
    fn poll_left(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        poll_gone(self.stream, self.ahead, cx)
    }

    fn upload(&mut self) -> Option<&mut Upload> {
        self.upload.as_deref_mut()
    }

    fn poll_upload(&mut self, app: &mut impl Sink, cx: &mut Context<'_>) -> Poll<Result<(), Stop>> {
        let Some(upload) = &mut self.upload else { return Poll::Ready(Ok(())) };
        upload.poll(app, &mut Http1Source { stream: Some(self.stream), ahead: self.ahead }, cx)
    }

    /// By the connection's one timer: nothing is written to the client meanwhile.
    fn poll_silence(&mut self, span: Duration, anew: bool, cx: &mut Context<'_>) -> Poll<()> {
        if anew {
            self.deadline.set(span);
        }
        self.deadline.poll(cx, false)
    }

    async fn pass(&mut self, app: &mut Stream, head: &[u8], span: Duration) -> io::Result<()> {
        self.deadline.set(span);
        wire::write(app, head, self.deadline).await
    }
}

impl Client<'_, '_> {
    /// Takes what of the request's body was read ahead: what is framed wrongly from its first bytes on gets to no app.
    pub(super) async fn prepare(&mut self) -> Result<(), Stop> {
        let Some(upload) = &mut self.upload else { return Ok(()) };
        let mut source = Http1Source::<Stream> { stream: None, ahead: self.ahead };
        poll_fn(|cx| Poll::Ready(upload.prepare(&mut source, cx))).await
    }

    /// Whether the body of its request has not gone to the app as a whole.
    pub(super) fn is_sending(&self) -> bool {
        self.upload.as_ref().is_some_and(|upload| !upload.is_whole())
    }

    /// Writes what is to go out. `app`: where the body of the request goes meanwhile.
    pub(super) async fn send(&mut self, app: Option<&mut Stream>) -> Result<(), Stop> {
        if self.out.is_empty() {
            return Ok(());
        }
        self.answered = true;
        let out = std::mem::take(self.out);
        let sent = self.write(&out, app).await;
        *self.out = out;
        self.out.clear();
        sent
    }

    /// A piece of the body, behind what is to go out already.
    pub(super) async fn give(&mut self, app: &mut UpstreamConnection, framing: Framing) -> Result<(), Stop> {
        let (stream, piece) = app.piece();
        if piece.is_empty() {
            return Ok(());
        }
        if framing == Framing::Chunked {
            // A vector takes all that is written.
            let _ = write!(self.out, "{:x}\r\n", piece.len());
        }
        if self.out.len() + piece.len() <= SHARED_WRITE {
            self.out.extend_from_slice(piece);
        } else {
            self.send(Some(stream)).await?;
            self.write(piece, Some(stream)).await?;
        }
        if framing == Framing::Chunked {
            self.out.extend_from_slice(b"\r\n");
        }
        Ok(())
    }

    /// Writes all of it. While the client takes nothing, the body of its request goes on.
    async fn write(&mut self, mut bytes: &[u8], app: Option<&mut Stream>) -> Result<(), Stop> {
        self.deadline.set(self.write);
        let Some(app) = app.filter(|_| self.is_sending()) else {
            return wire::write(self.stream, bytes, self.deadline).await.map_err(|_| Stop::Client);
        };
        poll_fn(|cx| {
            if let Poll::Ready(written) = poll_write_all(self.stream, &mut bytes, cx) {
                return Poll::Ready(written.map_err(|_| Stop::Client));
            }
            if self.deadline.poll(cx, false).is_ready() {
                return Poll::Ready(Err(Stop::Client));
            }
            match self.poll_upload(app, cx) {
                Poll::Ready(Err(stop)) => Poll::Ready(Err(stop)),
                _ => Poll::Pending,
            }
        })
        .await
    }
}

/// Ready when all of it is on its way; what is, is no longer in `bytes`.
fn poll_write_all(stream: &mut Stream, bytes: &mut &[u8], cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    while !bytes.is_empty() {
        match ready!(Pin::new(&mut *stream).poll_write(cx, bytes))? {
            0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            taken => *bytes = &bytes[taken..],
        }
    }
    Pin::new(stream).poll_flush(cx)
}

/// Ready when the client has left. What it sends before that is kept; beyond a bound it must wait, and is not missed until it has its answer.
fn poll_gone(stream: &mut (impl AsyncRead + Unpin), ahead: &mut BytesMut, cx: &mut Context<'_>) -> Poll<()> {
    while ahead.len() < MAX_AHEAD {
        match ready!(pin!(stream.read_buf(ahead)).poll(cx)) {
            Ok(n) if n > 0 => {}
            _ => return Poll::Ready(()),
        }
    }
    Poll::Pending
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    async fn gone(stream: &mut (impl AsyncRead + Unpin), ahead: &mut BytesMut) {
        poll_fn(|cx| poll_gone(stream, ahead, cx)).await;
    }

    #[tokio::test]
    async fn a_client_that_sends_ahead_is_kept_waiting_at_a_bound_and_missed_when_it_leaves() {
        let (mut client, mut ours) = tokio::io::duplex(1 << 20);
        let mut ahead = BytesMut::new();
        client.write_all(&[b'x'; 3 * MAX_AHEAD]).await.unwrap();
        assert!(gone(&mut ours, &mut ahead).now_or_never().is_none());
        assert!((MAX_AHEAD..2 * MAX_AHEAD).contains(&ahead.len()), "{}", ahead.len());
        let (client, mut ours) = tokio::io::duplex(64);
        ahead.clear();
        assert!(gone(&mut ours, &mut ahead).now_or_never().is_none());
        drop(client);
        gone(&mut ours, &mut ahead).await;
    }
}

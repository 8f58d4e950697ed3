//! The app's side of a request, by whatever protocol it speaks.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use pingora_core::protocols::Stream;
use tokio::io::AsyncWrite as _;

use crate::http_client::Cause;

/// What is waited for.
#[derive(Clone, Copy)]
pub(super) enum Wanted {
    /// The head of an answer.
    Head,
    /// A piece of its body, no larger than this.
    Piece(usize),
}

/// The app that is asked: what of a request goes to it, and what of an answer comes back.
pub(super) trait AppSide {
    type Sink: Sink;

    /// Where the body of the request goes.
    fn sink(&mut self) -> &mut Self::Sink;

    /// Ready when there is what is wanted. The piece before it is gone.
    fn poll(&mut self, wanted: Wanted, cx: &mut Context<'_>) -> Poll<Result<(), Cause>>;

    /// How often the app was heard: each time the wait for it begins again.
    fn heard(&self) -> u64;

    /// The piece of the body that was read last, and where the request's goes beside it.
    fn piece(&mut self) -> (&mut Self::Sink, &[u8]);

    /// The piece that was read last is taken.
    fn take_piece(&mut self);

    /// Whether nothing comes behind that piece.
    fn is_last_piece(&self) -> bool;

    /// Whether all of the body was read and taken.
    fn is_done(&self) -> bool;
}

/// Where the body of a request goes: to an app.
pub(super) trait Sink {
    /// Ready when the app has taken some of this piece, which is off it then. `last`: nothing follows it.
    fn poll_send(&mut self, piece: &mut BytesMut, last: bool, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Ready when what was taken is on its way.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Nothing follows.
    fn end(&mut self) -> io::Result<()>;
}

/// A connection of HTTP/1.1: where a body ends stands in its bytes.
impl Sink for Stream {
    fn poll_send(&mut self, piece: &mut BytesMut, _: bool, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match ready!(Pin::new(self).poll_write(cx, piece))? {
            0 => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            taken => {
                piece.advance(taken);
                Poll::Ready(Ok(()))
            }
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self).poll_flush(cx)
    }

    fn end(&mut self) -> io::Result<()> {
        Ok(())
    }
}

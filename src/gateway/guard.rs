//! What h2 does not bound: the wait for the preface and for the rest of a request's head, and floods of frames that ask for nothing.
//!
//! A client that PINGs and reads the answers takes a whole core, and h2 has no knob for it. So the frames' heads (RFC 9113, section 4.1) are
//! counted in the bytes on their way to h2.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pingora_core::protocols::Stream;
use prometheus::IntCounter;
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::gateway::delegate::delegate_to_inner;
use crate::gateway::frames::{Excess, Frames};
use crate::telemetry::Metrics;

/// What a client sends first (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Counts of connections that were ended.
#[derive(Clone, Debug)]
pub(super) struct Cuts {
    preface: IntCounter,
    head: IntCounter,
    flood: IntCounter,
    resets: IntCounter,
}

impl Cuts {
    pub fn new(metrics: &Metrics) -> Self {
        let count = |cause| metrics.connections_cut.with_label_values(&[cause]);
        Self { preface: count("preface"), head: count("head"), flood: count("flood"), resets: count("resets") }
    }
}

/// An HTTP/2 connection within bounds: once it is beyond one, reading fails.
#[derive(Debug)]
pub(super) struct Guarded {
    inner: Stream,
    /// How much of the preface is still to be read by h2.
    preface: &'static [u8],
    frames: Frames,
    /// How long a request's head may take.
    deadline: Duration,
    /// When the head that is half here has to be whole, and its number.
    due: Option<(u64, Pin<Box<Sleep>>)>,
    cuts: Cuts,
    cut: bool,
}

impl Guarded {
    /// Waits for the preface; `None`, and counted: it was not there in time, or something else was. Each request's head has as long, from its
    /// first byte to its last.
    ///
    /// Dropped: the connection is closed.
    pub async fn enter(mut stream: Stream, deadline: Duration, cuts: &Cuts) -> Option<Self> {
        let mut first = [0; PREFACE.len()];
        let whole = tokio::time::timeout(deadline, stream.read_exact(&mut first)).await;
        if !matches!(whole, Ok(Ok(_))) || first != *PREFACE {
            cuts.preface.inc();
            return None;
        }
        let frames = Frames::new();
        Some(Self { inner: stream, preface: PREFACE, frames, deadline, due: None, cuts: cuts.clone(), cut: false })
    }

    /// Whether a head is half here for longer than it may be; if not, wakes when it will be.
    fn poll_overdue(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(number) = self.frames.half_a_head() else {
            self.due = None;
            return Poll::Pending;
        };
        let due = match &mut self.due {
            Some((of, due)) if *of == number => due,
            due => &mut due.insert((number, Box::pin(tokio::time::sleep(self.deadline)))).1,
        };
        due.as_mut().poll(cx)
    }

    fn end(&mut self, error: io::Error) -> Poll<io::Result<()>> {
        self.cut = true;
        Poll::Ready(Err(error))
    }
}

impl AsyncRead for Guarded {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.cut {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        if !this.preface.is_empty() {
            let (now, later) = this.preface.split_at(this.preface.len().min(buffer.remaining()));
            buffer.put_slice(now);
            this.preface = later;
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.inner).poll_read(cx, buffer);
        if let Err(excess) = this.frames.take(&buffer.filled()[before..], Instant::now()) {
            match excess {
                Excess::Flood => this.cuts.flood.inc(),
                Excess::Resets => this.cuts.resets.inc(),
            }
            buffer.set_filled(before);
            return this.end(too_many());
        }
        if this.poll_overdue(cx).is_ready() {
            this.cuts.head.inc();
            buffer.set_filled(before);
            return this.end(io::Error::new(io::ErrorKind::TimedOut, "a request's head is not here in time"));
        }
        read
    }
}

fn too_many() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "too many frames")
}

delegate_to_inner!(Guarded);

#[cfg(test)]
mod tests;

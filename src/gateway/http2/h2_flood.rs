//! HTTP/2 flood mitigation (CVE-2023-44487 and its kind): bounds that h2 lacks for the preface, for the rest of a head, and for floods of frames.
//!
//! A client that PINGs and reads the answers takes a whole core, and h2 has no knob for it. So the frames' heads (RFC 9113, section 4.1) are counted
//! in the bytes on their way to h2.

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pingora_core::protocols::Stream;
use prometheus::IntCounter;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::gateway::delegate::delegate_identity_to_inner;
use crate::gateway::forward::fast_path::{SHORT, Unsent};
use crate::gateway::http2::frame_counter::{FloodKind, FrameCounter};
use crate::telemetry::Metrics;

/// What a client sends first (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Counts of connections that were ended.
#[derive(Clone, Debug)]
pub(in crate::gateway) struct FloodCounters {
    preface: IntCounter,
    head: IntCounter,
    flood: IntCounter,
    resets: IntCounter,
    stalled: IntCounter,
}

impl FloodCounters {
    pub fn new(metrics: &Metrics) -> Self {
        let count = |cause| metrics.connections_cut.with_label_values(&[cause]);
        Self {
            preface: count("preface"),
            head: count("head"),
            flood: count("flood"),
            resets: count("resets"),
            stalled: count("stalled"),
        }
    }
}

/// An HTTP/2 connection within bounds: once it is beyond one, reading fails.
#[derive(Debug)]
pub(in crate::gateway) struct FloodGuard {
    inner: Stream,
    /// How much of the preface is still to be read by h2.
    preface: &'static [u8],
    frames: FrameCounter,
    /// How long a request's head may take.
    deadline: Duration,
    /// When the head that is half here has to be whole, and its number.
    due: Option<(u64, Pin<Box<Sleep>>)>,
    counters: FloodCounters,
    cut: bool,
    takes: Option<Takes>,
}

/// How long a client may take nothing of what is written to it, by whichever stream.
pub(in crate::gateway) struct Takes {
    stall: Duration,
    unsent: Arc<Unsent>,
    /// Since when it has been taking nothing, and when that is looked at again.
    blocked: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl Takes {
    /// Less than `stall` while others wait for room.
    pub fn new(stall: Duration, unsent: Arc<Unsent>) -> Self {
        Self { stall, unsent, blocked: None }
    }

    /// Whether it has taken nothing for too long; if not, wakes when that is to be asked again.
    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let step = SHORT.min(self.stall);
        let (since, look) = self.blocked.get_or_insert_with(|| (Instant::now(), Box::pin(tokio::time::sleep(step))));
        while look.as_mut().poll(cx).is_ready() {
            let bound = if self.unsent.is_scarce() { step } else { self.stall };
            if since.elapsed() >= bound {
                return Poll::Ready(());
            }
            look.as_mut().reset(Instant::now() + step);
        }
        Poll::Pending
    }
}

impl fmt::Debug for Takes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Takes").field("stall", &self.stall).finish_non_exhaustive()
    }
}

impl FloodGuard {
    /// With a bound on how long the client takes nothing.
    pub fn that(mut self, takes: Takes) -> Self {
        self.takes = Some(takes);
        self
    }

    /// Waits for the preface; `None`, and counted: it was not there in time, or something else was. Each request's head has as long, from its
    /// first byte to its last.
    ///
    /// Dropped: the connection is closed.
    pub async fn enter(mut stream: Stream, deadline: Duration, counters: &FloodCounters) -> Option<Self> {
        let mut first = [0; PREFACE.len()];
        let whole = tokio::time::timeout(deadline, stream.read_exact(&mut first)).await;
        if !matches!(whole, Ok(Ok(_))) || first != *PREFACE {
            counters.preface.inc();
            return None;
        }
        let frames = FrameCounter::new();
        Some(Self {
            inner: stream,
            preface: PREFACE,
            frames,
            deadline,
            due: None,
            counters: counters.clone(),
            cut: false,
            takes: None,
        })
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

impl AsyncRead for FloodGuard {
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
                FloodKind::Frames => this.counters.flood.inc(),
                FloodKind::Resets => this.counters.resets.inc(),
            }
            buffer.set_filled(before);
            return this.end(too_many());
        }
        if this.poll_overdue(cx).is_ready() {
            this.counters.head.inc();
            buffer.set_filled(before);
            return this.end(io::Error::new(io::ErrorKind::TimedOut, "a request's head is not here in time"));
        }
        read
    }
}

fn too_many() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "too many frames")
}

impl FloodGuard {
    /// What writing comes to, within the bound.
    fn bounded<T>(&mut self, written: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        let Some(takes) = &mut self.takes else { return written };
        if written.is_ready() {
            takes.blocked = None;
            return written;
        }
        ready!(takes.poll_over(cx));
        self.counters.stalled.inc();
        self.cut = true;
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing")))
    }
}

impl AsyncWrite for FloodGuard {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.inner).poll_write(cx, bytes);
        if let Poll::Ready(Ok(count)) = written {
            this.frames.wrote(&bytes[..count]);
        }
        this.bounded(written, cx)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.inner).poll_flush(cx);
        this.bounded(flushed, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.inner).poll_write_vectored(cx, slices);
        if let Poll::Ready(Ok(mut count)) = written {
            for slice in slices {
                let taken = count.min(slice.len());
                this.frames.wrote(&slice[..taken]);
                count -= taken;
            }
        }
        this.bounded(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

delegate_identity_to_inner!(FloodGuard);

#[cfg(test)]
mod tests;

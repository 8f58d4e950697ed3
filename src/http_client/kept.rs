//! What has passed over a connection since its present request began: whether a call that failed may be made once more.
//!
//! Servers close idle connections when they like (RFC 9112, section 9.6): a request that is sent just then gets no answer, although nothing is wrong.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use http::{Extensions, Uri};
use hyper::rt::{Read, Write};
use hyper_util::client::legacy::Error;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tower_service::Service;

/// The traffic of one HTTP/1.1 connection, shared with who asks why a request on it failed.
#[derive(Clone, Default)]
pub(super) struct Traffic(Arc<Counts>);

#[derive(Default)]
struct Counts {
    /// Requests before the present one.
    earlier: AtomicU32,
    /// Bytes of the present request that the system has taken.
    written: AtomicUsize,
    /// Bytes of its answer.
    read: AtomicUsize,
}

impl Traffic {
    /// That of the connection on which a request failed; `None`: it never had one.
    pub(super) fn of(fault: &Error) -> Option<Self> {
        let mut extras = Extensions::new();
        fault.connect_info()?.get_extras(&mut extras);
        extras.remove()
    }

    /// Whether an earlier request was answered over this connection, and no byte came in answer to the present one.
    pub(super) fn was_kept_and_silent(&self) -> bool {
        self.0.earlier.load(Ordering::Acquire) > 0 && self.0.read.load(Ordering::Acquire) == 0
    }

    /// Whether no byte of the present request has left.
    pub(super) fn is_unwritten(&self) -> bool {
        self.0.written.load(Ordering::Acquire) == 0
    }

    /// The first attempt to write after bytes were read begins a request: HTTP/1.1 is not pipelined here.
    fn writes(&self) {
        if self.0.read.swap(0, Ordering::AcqRel) > 0 {
            self.0.written.store(0, Ordering::Release);
            self.0.earlier.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn wrote(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(count)) = &result {
            self.0.written.fetch_add(*count, Ordering::AcqRel);
        }
        result
    }
}

/// A connector whose connections count their traffic.
#[derive(Clone)]
pub(super) struct Counting<C>(pub C);

impl<C> Service<Uri> for Counting<C>
where
    C: Service<Uri>,
    C::Response: Read + Write + Connection + Send + Unpin + 'static,
    C::Future: Send + 'static,
{
    type Response = TokioIo<Counted<C::Response>>;
    type Error = C::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, C::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), C::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let connecting = self.0.call(target);
        Box::pin(async move {
            let stream = TokioIo::new(connecting.await?);
            Ok(TokioIo::new(Counted { stream, traffic: Traffic::default() }))
        })
    }
}

/// A connection that counts its traffic.
pub(super) struct Counted<S> {
    stream: TokioIo<S>,
    traffic: Traffic,
}

impl<S: Connection> Connection for Counted<S> {
    fn connected(&self) -> Connected {
        self.stream.inner().connected().extra(self.traffic.clone())
    }
}

impl<S: Read + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.traffic.0.read.fetch_add(buffer.filled().len() - before, Ordering::AcqRel);
        result
    }
}

impl<S: Write + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.traffic.writes();
        let result = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.traffic.wrote(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.traffic.writes();
        let result = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.traffic.wrote(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

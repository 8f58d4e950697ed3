//! What has passed over a connection since its present request began, and whether it is still there: whether a call that failed may be made once more,
//! and that nobody waits for an answer over a connection that is gone.
//!
//! Servers close idle connections when they like (RFC 9112, section 9.6): a request that is sent just then gets no answer, although nothing is wrong.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Extensions, Request, Response, Uri};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::rt::{Read, Write};
use hyper_util::client::legacy::connect::{Connect, Connected, Connection, capture_connection};
use hyper_util::client::legacy::{Client as Pool, Error};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tower_service::Service;

use super::Cause;

/// A request whose connection has ended has its answer, or its fault, at once; on a busy machine within this time.
const LAST_WORD: Duration = Duration::from_secs(1);

/// Why a request has no answer.
pub(super) enum NoAnswer {
    /// hyper says so.
    Fault(Error),
    /// hyper says nothing, but the connection is gone.
    Lost(Cause),
}

/// Sends a request over a pool.
///
/// hyper can lose a request that is handed to a connection in the moment in which it ends: it then lies in the channel of a task that is gone, for
/// as long as the sender is there, which is the one who waits. So the wait ends with the connection.
///
/// Dropped: as with the pool's own call.
pub(super) async fn send<C>(
    pool: &Pool<Counting<C>, Full<Bytes>>,
    mut request: Request<Full<Bytes>>,
) -> Result<Response<Incoming>, NoAnswer>
where
    C: Clone + Send + Sync + 'static,
    Counting<C>: Connect,
{
    let mut captured = capture_connection(&mut request);
    let lost = async {
        let traffic = captured.wait_for_connection_metadata().await.as_ref().and_then(Traffic::over);
        match traffic {
            Some(traffic) => traffic.ended().await,
            None => std::future::pending().await,
        }
    };
    unless_lost(pool.request(request), lost).await?.map_err(NoAnswer::Fault)
}

async fn unless_lost<T>(answer: impl Future<Output = T>, lost: impl Future<Output = Cause>) -> Result<T, NoAnswer> {
    let lost = async {
        let cause = lost.await;
        tokio::time::sleep(LAST_WORD).await;
        cause
    };
    tokio::select! {
        biased;
        answer = answer => Ok(answer),
        cause = lost => Err(NoAnswer::Lost(cause)),
    }
}

/// The traffic of one connection, shared with who asks why a request on it failed. What it says of single requests holds for HTTP/1.1.
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
    /// The connection is gone.
    ended: watch::Sender<bool>,
    /// Why it could not be read any further.
    fault: OnceLock<Cause>,
}

impl Traffic {
    /// That of the connection on which a request failed; `None`: it never had one.
    pub(super) fn of(fault: &Error) -> Option<Self> {
        Self::over(fault.connect_info()?)
    }

    fn over(connection: &Connected) -> Option<Self> {
        let mut extras = Extensions::new();
        connection.get_extras(&mut extras);
        extras.remove()
    }

    /// Waits until the connection is gone, and says why.
    async fn ended(&self) -> Cause {
        // The sender lives as long as this does.
        let _ = self.0.ended.subscribe().wait_for(|ended| *ended).await;
        self.0.fault.get().copied().unwrap_or(Cause::Broken)
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
        if let Poll::Ready(Err(fault)) = &result {
            let _ = self.traffic.0.fault.set(Cause::find(fault).unwrap_or(Cause::Broken));
        }
        result
    }
}

impl<S> Drop for Counted<S> {
    fn drop(&mut self) {
        self.traffic.0.ended.send_replace(true);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_an_answer_over_a_connection_that_is_gone() {
        let traffic = Traffic::default();
        let connection = Counted { stream: TokioIo::new(()), traffic: traffic.clone() };
        let mut never = std::pin::pin!(unless_lost(std::future::pending::<()>(), traffic.ended()));
        let early = tokio::time::timeout(Duration::from_secs(3600), never.as_mut()).await;
        assert!(early.is_err(), "the connection is there");
        drop(connection);
        assert!(matches!(never.await, Err(NoAnswer::Lost(Cause::Broken))));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_comes_just_behind_the_end_of_its_connection_counts() {
        let answer = async {
            // Pause: on the paused clock, where nothing waits.
            tokio::time::sleep(LAST_WORD / 2).await;
            7
        };
        assert!(matches!(unless_lost(answer, async { Cause::Broken }).await, Ok(7)));
    }
}

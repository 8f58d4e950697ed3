//! An app's connection in two hands of one task: Pingora reads the answer from it while the request's body is still written to it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::tls::SslDigest;
use pingora_core::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream, TimingDigest,
    UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// One of the two. The lock is never waited for: both are polled by one task, one after the other.
#[derive(Clone, Debug)]
pub(super) struct SharedStream(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    stream: Mutex<Stream>,
    /// How often the app was heard.
    heard: AtomicU64,
}

impl SharedStream {
    pub fn new(stream: Stream) -> Self {
        Self(Arc::new(Shared { stream: Mutex::new(stream), heard: AtomicU64::new(0) }))
    }

    /// The connection itself, if this is the last that has it. Any other connection comes back as it is.
    pub fn unwrap(stream: Stream) -> Option<Stream> {
        if !(*stream).as_any().is::<Self>() {
            return Some(stream);
        }
        let shared = stream.into_any().downcast::<Self>().ok()?;
        Arc::try_unwrap(shared.0).ok().map(|shared| shared.stream.into_inner())
    }

    /// How often something was read from it: each time the wait for the app begins again.
    pub fn heard(&self) -> u64 {
        self.0.heard.load(Ordering::Relaxed)
    }
}

impl AsyncRead for SharedStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut *self.0.stream.lock()).poll_read(cx, buffer);
        if read.is_ready() {
            self.0.heard.fetch_add(1, Ordering::Relaxed);
        }
        read
    }
}

impl AsyncWrite for SharedStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.stream.lock()).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.stream.lock()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.stream.lock()).poll_shutdown(cx)
    }
}

#[async_trait]
impl Shutdown for SharedStream {
    async fn shutdown(&mut self) {
        // A fault of it is nobody's: the connection is given up.
        let _ = std::future::poll_fn(|cx| Pin::new(&mut *self).poll_shutdown(cx)).await;
    }
}

impl UniqueID for SharedStream {
    fn id(&self) -> UniqueIDType {
        self.0.stream.lock().id()
    }
}

impl Ssl for SharedStream {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.0.stream.lock().get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.0.stream.lock().selected_alpn_proto()
    }
}

impl GetTimingDigest for SharedStream {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.0.stream.lock().get_timing_digest()
    }

    fn get_read_pending_time(&self) -> Duration {
        self.0.stream.lock().get_read_pending_time()
    }

    fn get_write_pending_time(&self) -> Duration {
        self.0.stream.lock().get_write_pending_time()
    }
}

impl GetProxyDigest for SharedStream {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.0.stream.lock().get_proxy_digest()
    }

    fn set_proxy_digest(&mut self, digest: ProxyDigest) {
        self.0.stream.lock().set_proxy_digest(digest);
    }
}

impl GetSocketDigest for SharedStream {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.0.stream.lock().get_socket_digest()
    }

    fn set_socket_digest(&mut self, digest: SocketDigest) {
        self.0.stream.lock().set_socket_digest(digest);
    }
}

impl Peek for SharedStream {}

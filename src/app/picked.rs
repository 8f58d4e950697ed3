//! An upstream that was chosen for one request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use pingora::protocols::Stream;
use pingora::upstreams::peer::HttpPeer;
use tokio::sync::OwnedSemaphorePermit;

use super::address::Address;
use super::endpoints::Endpoints;
use super::outlier_detection::Admission;
use super::upstream::Upstream;
use crate::http_client::Cause;

/// One upstream, chosen. Counts as a request under way until dropped.
pub struct Picked {
    endpoints: Arc<Endpoints>,
    upstream: Arc<Upstream>,
    pass: Admission,
    /// Whether the pass was used: what comes after is as any request.
    settled: AtomicBool,
    /// Failures in a row that this request's success has wiped out. They count again if its answer breaks after all.
    wiped: AtomicU32,
}

impl Picked {
    pub(super) fn new(endpoints: Arc<Endpoints>, upstream: Arc<Upstream>, pass: Admission) -> Self {
        upstream.under_way.fetch_add(1, Ordering::Relaxed);
        Self { endpoints, upstream, pass, settled: AtomicBool::new(false), wiped: AtomicU32::new(0) }
    }

    /// How to reach it, for a request that switches to no other protocol: an `Upgrade` is not passed on.
    pub fn peer(&self) -> &HttpPeer {
        &self.upstream.peer
    }

    /// How to reach it for a WebSocket: HTTP/1.1, and `websocket_timeout` between two messages.
    pub fn websocket_peer(&self) -> &HttpPeer {
        &self.upstream.websocket_peer
    }

    /// Whether it spoke HTTP/1.1 where HTTP/2 was offered by TLS.
    pub fn is_known_for_http_1(&self) -> bool {
        self.upstream.speaks_http_1.load(Ordering::Relaxed)
    }

    /// It speaks HTTP/1.1 where HTTP/2 was offered by TLS.
    pub fn note_http_1(&self) {
        self.upstream.speaks_http_1.store(true, Ordering::Relaxed);
    }

    /// A connection to it that another request has used, for HTTP/1.1.
    pub fn take_idle(&self) -> Option<Stream> {
        self.upstream.idle.take()
    }

    /// Keeps a connection to it for another request, for `idle_timeout` at most. `place`: among all idle connections to apps.
    pub fn keep_idle(&self, stream: Stream, place: OwnedSemaphorePermit) {
        if let Some(span) = self.peer().options.idle_timeout {
            self.upstream.idle.keep(stream, span, place);
        }
    }

    /// Its address, for `tried` of the next [`Pool::pick`](super::Pool::pick).
    pub fn address(&self) -> Address {
        self.upstream.address.clone()
    }

    /// Its address, as logs and metrics name it.
    pub fn label(&self) -> &str {
        &self.upstream.label
    }

    /// The entry of `upstreams` that it comes from, as configured.
    pub fn name(&self) -> &str {
        &self.upstream.target.text
    }

    /// The head of an answer came, whatever its status.
    pub fn succeeded(&self) {
        let wiped = self.endpoints.succeeded(&self.upstream, self.settle());
        self.wiped.fetch_max(wiped, Ordering::AcqRel);
    }

    /// The upstream failed. Call it once, and never for a client's fault (it leaves, it stops in the middle of its body). After
    /// [`Picked::succeeded`]: the answer broke off.
    pub fn failed(&self, why: Cause) {
        let wiped = self.wiped.swap(0, Ordering::AcqRel);
        self.endpoints.failed(&self.upstream, self.settle(), wiped, why);
    }

    fn settle(&self) -> Admission {
        if self.settled.swap(true, Ordering::AcqRel) { Admission::Normal } else { self.pass }
    }
}

impl Drop for Picked {
    fn drop(&mut self) {
        self.upstream.under_way.fetch_sub(1, Ordering::Relaxed);
        if self.settle() == Admission::HalfOpenProbe {
            self.upstream.outlier_detection.give_probe_back();
        }
    }
}

//! Our Pingora application: one task for each connection, from its first byte to its last.

mod http1;
mod http2;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use pingora::proxy::{HttpProxy, http_proxy};
use pingora_core::apps::HttpServerApp as _;
use pingora_core::protocols::{ALPN, Stream};
use pingora_core::server::ShutdownWatch;
use pingora_core::server::configuration::ServerConf;

use self::http1::Http1Connection;
use self::http2::Http2Connection;
use crate::gateway::Gateway;
use crate::gateway::accept::acceptor::{AcceptError, Accepted, Acceptor};
use crate::gateway::accept::peer::Peer;
use crate::gateway::accept::shutdown_signal::ShutdownSignal;
use crate::gateway::bounds::Limits;
use crate::gateway::drain::{Drain, Present};
use crate::gateway::ext_authz;
use crate::gateway::forward::fast_path::{FastPath, Unsent};
use crate::gateway::forward::proxy::Forwarder;
use crate::gateway::http1::reader::{Deadline, HeadLimits};
use crate::gateway::http2::h2_flood::{FloodCounters, FloodGuard, Takes};
use crate::gateway::in_force::InForce;
use crate::limit::ConnectionLimiter;
use crate::problem::Refusal;

/// A connection that was taken while we stop has this long to send something.
const GRACE: Duration = Duration::from_secs(1);

/// The data plane on Pingora's listeners.
pub struct Front {
    gateway: Arc<InForce>,
    drain: Arc<Drain>,
    /// `None`: there are no apps.
    proxying: ArcSwapOption<Proxying>,
    /// What clients of HTTP/2 do not take.
    unsent: Arc<Unsent>,
    flood_counters: FloodCounters,
    connections: Arc<ConnectionLimiter>,
}

/// The ways to the apps, with their connections.
struct Proxying {
    /// The way from clients of HTTP/1 to apps of which some upstream speaks HTTP/2, and from those of HTTP/2 to their other upstreams.
    proxy: Arc<HttpProxy<Forwarder>>,
    /// The fast path, of all else.
    fast_path: Arc<FastPath>,
}

impl Front {
    /// Answers connections with `gateway`; of one address at most `per_address` at once. `proxy`: how Pingora's proxy is set up; `None`: there are
    /// no apps.
    pub fn new(
        gateway: Arc<InForce>,
        drain: Arc<Drain>,
        per_address: Option<usize>,
        proxy: Option<ServerConf>,
    ) -> Self {
        let flood_counters = FloodCounters::new(gateway.load().metrics());
        let connections = ConnectionLimiter::new(per_address);
        let (proxying, unsent) = (ArcSwapOption::empty(), Unsent::new());
        let front = Self { gateway, drain, flood_counters, connections, proxying, unsent };
        if let Some(conf) = proxy {
            front.set_proxy(conf);
        }
        front
    }

    /// From the next request on Pingora's proxy is set up like this, with connections to apps of its own. Until its gateway is in force the old one
    /// answers through it.
    pub fn set_proxy(&self, conf: ServerConf) {
        let fast_path = Arc::new(FastPath::new(self.gateway.clone(), self.drain.clone(), self.unsent.clone(), &conf));
        let forwarder = Forwarder { gateway: self.gateway.clone(), drain: self.drain.clone() };
        let proxy = Arc::new(http_proxy(&Arc::new(conf), forwarder));
        self.proxying.store(Some(Arc::new(Proxying { proxy, fast_path })));
    }

    /// From now on one address has at most so many connections at once; those that are open stay.
    pub fn set_connections_per_address(&self, most: Option<usize>) {
        self.connections.set_most(most);
    }

    /// Ends what waits inside Pingora's proxy.
    pub async fn cleanup(&self) {
        if let Some(proxying) = &*self.proxying.load() {
            proxying.proxy.http_cleanup().await;
        }
    }

    /// Counts a connection that is about to be served.
    pub fn enter(&self) -> Present {
        self.drain.enter()
    }

    /// Serves one connection, which came through `acceptor`, until it ends. `stop`: true when idle connections are to be closed; a new one gets a
    /// moment all the same.
    pub async fn serve(&self, stream: Stream, acceptor: &Acceptor, present: Present, stop: &ShutdownWatch) {
        // Counted until the last byte, the lingering included.
        let _present = present;
        let gateway = self.gateway.load_full();
        if self.drain.connected() > gateway.bounds().max_connections {
            gateway.count_rejected();
            return;
        }

        // What ends it: the end of a drain at once, a stop where nothing is under way, and its deadlines.
        let abort = self.drain.abort();
        let wait = std::pin::pin!(until(abort.clone()));
        let abort = ShutdownSignal::new(&abort, wait);
        let grace = tokio::time::Instant::now() + GRACE;
        let stopped = std::pin::pin!(async move {
            until(stop.clone()).await;
            tokio::time::sleep_until(grace).await;
        });
        let sleep = std::pin::pin!(tokio::time::sleep(gateway.bounds().idle));
        let mut deadline = Deadline::new(sleep, ShutdownSignal::new(stop, stopped));

        let accepted = self.accept(stream, acceptor, &gateway, &mut deadline).await;
        let Some(Accepted { stream, peer, permit: _permit }) = accepted else { return };
        let Limits { head, max_head, max_line, .. } = *gateway.bounds();
        // A connection holds no configuration, only its requests do.
        drop(gateway);

        if acceptor.is_ext_authz() {
            return Box::pin(ext_authz::serve(&self.gateway, &self.drain, stream, peer, stop)).await;
        }
        let tls = stream.get_ssl_digest().is_some();
        if matches!(stream.selected_alpn_proto(), Some(ALPN::H2)) {
            return Box::pin(self.http2(stream, (peer, tls), &mut deadline, stop)).await;
        }
        // A client that connects has something to say: its first head is due at once.
        let limits = HeadLimits { idle: head, head, max_head, max_line };
        Http1Connection::new(self, (acceptor, stop), (peer, tls), (deadline, abort), limits).serve(stream).await;
    }

    /// What an accepted connection is, after PROXY protocol and TLS; `None`: it is closed unanswered.
    async fn accept(
        &self,
        stream: Stream,
        acceptor: &Acceptor,
        gateway: &Gateway,
        deadline: &mut Deadline<'_>,
    ) -> Option<Accepted> {
        deadline.set(gateway.bounds().head);
        let opened = tokio::select! {
            biased;
            // Boxed: an idle connection does not hold the room for a handshake.
            opened = Box::pin(acceptor.open(stream, gateway.trusted(), &self.connections)) => opened,
            () = deadline.expires(true) => return None,
        };
        match opened {
            // Whoever may ask learns what a credential is worth.
            Ok(accepted) if acceptor.is_ext_authz() && !accepted.peer.may_ask() => gateway.count_rejected(),
            Ok(accepted) => return Some(accepted),
            Err(AcceptError::Gone) => {}
            Err(AcceptError::Full) => gateway.count_rejected(),
            // What is spoken there nobody knows.
            Err(AcceptError::Malformed(peer)) => {
                gateway.reject(&Refusal::BadRequest, &peer, &mut Vec::new());
            }
        }
        None
    }

    /// A connection of HTTP/2, within the bounds that h2 does not have.
    async fn http2(
        &self,
        stream: Stream,
        (peer, tls): (Peer, bool),
        deadline: &mut Deadline<'_>,
        stop: &ShutdownWatch,
    ) {
        // The guard has the deadline; a silent client holds up no stop.
        let Limits { head, write, .. } = *self.gateway.load().bounds();
        deadline.set(head + GRACE);
        let takes = Takes::new(write, self.unsent.clone());
        let entered = tokio::select! {
            entered = FloodGuard::enter(stream, head, &self.flood_counters) => entered,
            () = deadline.expires(true) => None,
        };
        let Some(guarded) = entered.map(|guarded| guarded.that(takes)) else { return };
        Http2Connection { front: self, peer, tls, stop }.serve(Box::new(guarded)).await;
    }
}

/// Ends when this becomes true, or can't any more.
async fn until(mut watch: ShutdownWatch) {
    // Not to be put off by the task's budget: who is polled once must be registered then.
    let _ = tokio::task::unconstrained(watch.wait_for(|is_so| *is_so)).await;
}

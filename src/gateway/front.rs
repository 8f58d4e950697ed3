//! Our Pingora application: one task for each connection, one head after the other.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::{Buf, BytesMut};
use pingora::proxy::{HttpProxy, http_proxy};
use pingora_core::apps::{HttpServerApp as _, HttpServerOptions, ServerApp as _};
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v2::server::default_h2_options;
use pingora_core::protocols::{ALPN, Stream};
use pingora_core::server::ShutdownWatch;
use pingora_core::server::configuration::ServerConf;
use tokio::io::AsyncWriteExt as _;

use crate::gateway::accept::acceptor::{AcceptError, Accepted, Acceptor};
use crate::gateway::accept::shutdown_signal::ShutdownSignal;
use crate::gateway::drain::{Drain, Present};
use crate::gateway::ext_authz;
use crate::gateway::forward::fast_path::{Client, FastPath, Next};
use crate::gateway::forward::proxied_request::{ProxiedRequest, UpstreamHead};
use crate::gateway::forward::proxy::Forwarder;
use crate::gateway::forward::session_end;
use crate::gateway::handle::Disposition;
use crate::gateway::http1::chunks::{ChunkJudge, JudgedBody};
use crate::gateway::http1::reader::{self, Deadline, HeadLimits, Read};
use crate::gateway::http1::wire::{linger, skip, slim, write};
use crate::gateway::http2::h2_flood::{FloodCounters, FloodGuard, Takes};
use crate::gateway::in_force::InForce;
use crate::gateway::receive;
use crate::gateway::request::ConnectionInfo;
use crate::gateway::settings::ServerSettings;
use crate::limit::ConnectionLimiter;
use crate::problem::Refusal;

/// Bytes of framing that small DATA frames may take before the app has read them: some 100,000 frames.
const DATA_FRAME_BUDGET: usize = 1 << 20;

/// Bytes of an answer that a stream of HTTP/2 may have in h2 before the client takes them.
const UNSENT: usize = 64 * 1024;

/// A connection that was taken while we stop has this long to send something.
const GRACE: Duration = Duration::from_secs(1);

/// The longest that `[server]` may say for a deadline.
const LONGEST: Duration = Duration::from_secs(3600);

/// Idle connections to all apps together, by either way to them: more than a busy gateway has under way, so that none is opened anew for each burst.
const IDLE_TO_APPS: usize = 1024;

/// Deadlines, sizes and numbers. What `[server]` says applies within them.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// A connection that has had a request and has no other is closed after this long.
    pub idle: Duration,
    /// A connection's first byte is due in this time; a head must be whole this long after its first byte; a body that nobody reads this long after its head; an answer of ours must be taken in this time.
    pub head: Duration,
    /// A piece of a request's body to an app is due in this time.
    pub body: Duration,
    /// A piece of an app's answer must be taken in this time.
    pub write: Duration,
    /// The largest head, in bytes.
    pub max_head: usize,
    /// The longest request line, in bytes.
    pub max_line: usize,
    /// Connections at once; one more is closed unread.
    pub max_connections: usize,
    /// Requests under way to apps and waiting for mints at once; one more is refused.
    pub max_requests: usize,
    /// Idle connections that each of the two ways to the apps keeps.
    pub idle_to_apps: usize,
    /// Connections of edges at a minter at once; one more is closed.
    pub max_edge_connections: usize,
}

impl Limits {
    /// With what `[server]` says, where that is stricter.
    pub(crate) fn within(mut self, server: &ServerSettings) -> Self {
        self.idle = self.idle.min(server.idle_timeout.0);
        self.body = self.body.min(server.body_stall.0);
        self.write = self.write.min(server.write_stall.0);
        self.max_requests = self.max_requests.min(server.max_requests.unwrap_or(usize::MAX));
        self
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            idle: LONGEST,
            head: Duration::from_secs(10),
            body: LONGEST,
            write: LONGEST,
            // The longest token (8 KiB by default) in two sources, and room for an app's cookies.
            max_head: 32 * 1024,
            max_line: 8 * 1024,
            // The command line lowers these to what the file descriptors allow.
            max_connections: 1 << 20,
            max_requests: 1 << 20,
            idle_to_apps: IDLE_TO_APPS,
            max_edge_connections: 1024,
        }
    }
}

/// The data plane on Pingora's listeners.
pub struct Front {
    gateway: Arc<InForce>,
    drain: Arc<Drain>,
    /// `None`: there are no apps, and no HTTP/2 is spoken.
    proxying: ArcSwapOption<Proxying>,
    flood_counters: FloodCounters,
    connections: Arc<ConnectionLimiter>,
}

/// The ways to the apps, with their connections.
struct Proxying {
    /// The way to the apps, and the reading of HTTP/2.
    proxy: Arc<HttpProxy<Forwarder>>,
    /// The fast path to the apps, for the requests that it fits.
    fast_path: Arc<FastPath>,
}

impl Front {
    /// Answers connections with `gateway`; of one address at most `per_address` at once. `proxy`: how Pingora's proxy is set up; `None`: there are
    /// no apps, and no HTTP/2 is spoken.
    pub fn new(
        gateway: Arc<InForce>,
        drain: Arc<Drain>,
        per_address: Option<usize>,
        proxy: Option<ServerConf>,
    ) -> Self {
        let flood_counters = FloodCounters::new(gateway.load().metrics());
        let connections = ConnectionLimiter::new(per_address);
        let front = Self { gateway, drain, flood_counters, connections, proxying: ArcSwapOption::empty() };
        if let Some(conf) = proxy {
            let limits = *front.gateway.load().bounds();
            front.set_proxy(conf, &limits);
        }
        front
    }

    /// From the next connection on Pingora's proxy is set up like this, with connections to apps of its own. Until the gateway of these `limits` is
    /// in force the old one answers through it.
    pub fn set_proxy(&self, conf: ServerConf, limits: &Limits) {
        let fast_path = Arc::new(FastPath::new(self.gateway.clone(), self.drain.clone(), &conf));
        let forwarder =
            Forwarder { gateway: self.gateway.clone(), drain: self.drain.clone(), fast_path: fast_path.clone() };
        let proxy = Arc::new(bounded(http_proxy(&Arc::new(conf), forwarder), limits));
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
        let abort = self.drain.abort();
        let wait = std::pin::pin!(until(abort.clone()));
        let mut abort = ShutdownSignal::new(&abort, wait);
        let watch = stop;
        let grace = tokio::time::Instant::now() + GRACE;
        let stop = std::pin::pin!(async move {
            until(watch.clone()).await;
            tokio::time::sleep_until(grace).await;
        });
        let sleep = std::pin::pin!(tokio::time::sleep(gateway.bounds().idle));
        let mut deadline = Deadline::new(sleep, ShutdownSignal::new(watch, stop));
        let mut buffer = BytesMut::new();
        let mut out = Vec::new();
        let Limits { head, max_head, max_line, .. } = *gateway.bounds();
        deadline.set(head);
        let opened = tokio::select! {
            biased;
            // Boxed: an idle connection does not hold the room for a handshake.
            opened = Box::pin(acceptor.open(stream, gateway.trusted(), &self.connections)) => opened,
            () = deadline.expires(true) => return,
        };
        let Accepted { mut stream, peer, permit: _permit } = match opened {
            Ok(accepted) => accepted,
            Err(AcceptError::Gone) => return,
            Err(AcceptError::Full) => return gateway.count_rejected(),
            Err(AcceptError::Malformed(peer)) => {
                // Closed unanswered: what is spoken there nobody knows.
                gateway.reject(&Refusal::BadRequest, &peer, &mut out);
                return;
            }
        };
        if acceptor.is_ext_authz() {
            // Whoever may ask learns what a credential is worth.
            if !peer.is_trusted() && !peer.address().is_some_and(|address| address.is_loopback()) {
                return gateway.count_rejected();
            }
            drop(gateway);
            return Box::pin(ext_authz::serve(&self.gateway, &self.drain, stream, peer, watch)).await;
        }
        // A connection holds no configuration, only its requests do.
        drop(gateway);
        if matches!(stream.selected_alpn_proto(), Some(ALPN::H2)) {
            return Box::pin(self.http2(stream, &mut deadline, watch)).await;
        }
        let tls = stream.get_ssl_digest().is_some();
        // A client that connects has something to say: its first head is due at once.
        let mut limits = HeadLimits { idle: head, head, max_head, max_line };
        loop {
            slim(&mut buffer, &mut out);
            let read = reader::head(&mut stream, &mut buffer, &mut deadline, &limits).await;
            let after = match read {
                Read::Gone => return,
                Read::Head(end) => {
                    let gateway = self.gateway.load();
                    let Limits { idle, write: write_stall, .. } = *gateway.bounds();
                    limits.idle = idle;
                    // Boxed: an idle connection does not hold the room for a request.
                    let lame = || self.drain.is_lame() || acceptor.is_leaving();
                    let connection =
                        ConnectionInfo { raw: &buffer[..end], peer: &peer, tls, http2: false, lame: &lame };
                    let after = Box::pin(gateway.handle(connection, &mut out, abort.received())).await;
                    if let Disposition::Forward(proxied, UpstreamHead::Wire(head)) = after {
                        buffer.advance(end);
                        drop(gateway);
                        let proxying = self.proxying.load_full();
                        if let (true, Some(Proxying { fast_path, .. })) =
                            (proxied.fits_fast_path(), proxying.as_deref())
                        {
                            let (ahead, deadline, out) = (&mut buffer, &mut deadline, &mut out);
                            let client = Client {
                                stream: &mut stream,
                                ahead,
                                deadline,
                                out,
                                answered: false,
                                write: write_stall,
                            };
                            match Box::pin(fast_path.exchange(client, &head, &proxied, &mut abort)).await {
                                Next::KeepAlive => continue,
                                Next::Close => {
                                    // It is over for the app.
                                    drop(proxied);
                                    return linger(stream).await;
                                }
                                Next::Abort => return,
                            }
                        }
                        let exchange = self.exchange(stream, (head, &mut buffer), proxied, &mut abort, watch);
                        match Box::pin(exchange).await {
                            Some(back) => stream = back,
                            None => return,
                        }
                        continue;
                    }
                    buffer.advance(end);
                    match after {
                        Disposition::Receive(post) => {
                            deadline.set(head);
                            let body = receive::body(&mut stream, &mut buffer, &post, &mut deadline).await;
                            let gateway = self.gateway.load_full();
                            Box::pin(gateway.receive(&post, body, &mut out)).await
                        }
                        after => after,
                    }
                }
                Read::Malformed => self.gateway.load().reject(&Refusal::BadRequest, &peer, &mut out),
                Read::LongTarget => self.gateway.load().reject(&Refusal::UriTooLong, &peer, &mut out),
                Read::TooLarge => self.gateway.load().reject(&Refusal::HeaderTooLarge, &peer, &mut out),
                Read::TooSlow => self.gateway.load().reject(&Refusal::TooSlow, &peer, &mut out),
            };
            deadline.set(head);
            if write(&mut stream, &out, &mut deadline).await.is_err() {
                return;
            }
            match after {
                Disposition::KeepAlive { body: 0 } => {}
                Disposition::KeepAlive { body } => {
                    if !skip(&mut stream, &mut buffer, body, &mut deadline).await {
                        return;
                    }
                }
                Disposition::Close | Disposition::Forward(..) | Disposition::Receive(_) => return linger(stream).await,
            }
        }
    }

    /// A connection on which Pingora reads the requests, within the bounds that h2 does not have.
    async fn http2(&self, stream: Stream, deadline: &mut Deadline<'_>, stop: &ShutdownWatch) {
        // The guard has the deadline; a silent client holds up no stop.
        let Limits { head, write, .. } = *self.gateway.load().bounds();
        deadline.set(head + GRACE);
        let Some(proxying) = self.proxying.load_full() else { return };
        let takes = Takes::new(write, proxying.fast_path.unsent());
        let entered = tokio::select! {
            entered = FloodGuard::enter(stream, head, &self.flood_counters) => entered,
            () = deadline.expires(true) => None,
        };
        let Some(guarded) = entered.map(|guarded| guarded.that(takes)) else { return };
        let mut abort = self.drain.abort();
        tokio::select! {
            _ = proxying.proxy.process_new(Box::new(guarded), stop) => {}
            _ = abort.wait_for(|abort| *abort) => {}
        }
    }

    /// One request to an app: its head, and what was read behind it. The stream comes back if the client may send another.
    ///
    /// Dropped: both connections are cut.
    async fn exchange(
        &self,
        mut stream: Stream,
        (mut head, read): (BytesMut, &mut BytesMut),
        proxied: Arc<ProxiedRequest>,
        abort: &mut ShutdownSignal<'_>,
        stop: &ShutdownWatch,
    ) -> Option<Stream> {
        let proxying = self.proxying.load_full()?;
        if proxied.chunked {
            let mut judge = ChunkJudge::new();
            if judge.take(read).is_err() {
                self.refuse_body(stream, &proxied).await;
                return None;
            }
            stream = Box::new(JudgedBody::new(stream, judge, Arc::clone(&proxied)));
        }
        if !read.is_empty() {
            head.extend_from_slice(&read.split());
        }
        let mut session = ServerSession::new_http1(stream);
        session.set_connection_user_context(Some(Box::new(Arc::clone(&proxied))));
        // The head that Pingora reads is ours.
        session.set_pipelined_prefix(head);
        let served = proxying.proxy.process_new_http(session, stop);
        let back = tokio::select! {
            biased;
            back = served => back?,
            () = abort.received() => {
                self.gateway.load().log_proxied(&proxied, 0, "cut", None, None);
                return None;
            }
            () = session_end::revoked(&proxied, &self.gateway) => {
                self.gateway.load().log_proxied(&proxied, 0, "session_ended", None, None);
                return None;
            }
        };
        let back = back.consume().0;
        if proxied.chunked { JudgedBody::unwrap(back) } else { Some(back) }
    }

    /// Answers a request whose body is framed wrongly from its first bytes on: nothing of it has gone to the app.
    async fn refuse_body(&self, mut stream: Stream, proxied: &ProxiedRequest) {
        let mut out = Vec::new();
        proxied.refuse(&Refusal::BadRequest, &mut out);
        let head = self.gateway.load().bounds().head;
        let written = tokio::time::timeout(head, stream.write_all(&out)).await;
        let row = Refusal::BadRequest.row();
        self.gateway.load().log_proxied(proxied, row.status, row.outcome, None, None);
        if matches!(written, Ok(Ok(()))) && stream.flush().await.is_ok() {
            linger(stream).await;
        }
    }
}

/// Ends when this becomes true, or can't any more.
async fn until(mut watch: ShutdownWatch) {
    // Not to be put off by the task's budget: who is polled once must be registered then.
    let _ = tokio::task::unconstrained(watch.wait_for(|is_so| *is_so)).await;
}

/// The proxy with our bounds for HTTP/2.
fn bounded(mut proxy: HttpProxy<Forwarder>, limits: &Limits) -> HttpProxy<Forwarder> {
    let mut options = HttpServerOptions::default();
    options.h2_idle_timeout = Some(limits.idle);
    proxy.server_options = Some(options);
    let mut h2 = default_h2_options();
    // Small pieces, as gRPC streams them, are no attack; those that ask for nothing the guard counts.
    h2.data_frame_budget(DATA_FRAME_BUDGET);
    h2.max_header_list_size(u32::try_from(limits.max_head).unwrap_or(u32::MAX));
    h2.max_send_buffer_size(UNSENT);
    proxy.h2_options = Some(h2);
    proxy
}

//! One connection of HTTP/2 (RFC 9113): its own task judges each request and answers it, so that the answers to what came together leave in one write.
//! What goes to an app gets a task of its own.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use h2::Reason;
use h2::server::Connection;
use pingora_core::apps::HttpServerApp as _;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v2::server::{H2Accept, H2Options, HttpSession, default_h2_options, handshake};
use pingora_core::protocols::{Digest, Stream};
use pingora_core::server::ShutdownWatch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::{Front, GRACE, Proxying, until};
use crate::gateway::accept::peer::Peer;
use crate::gateway::bounds::Limits;
use crate::gateway::drain::GOODBYE;
use crate::gateway::forward::proxied_request::{ProxiedRequest, UpstreamHead, fields_of};
use crate::gateway::forward::proxy::Carried;
use crate::gateway::forward::session_end;
use crate::gateway::http2::exchange::{self, replace};
use crate::gateway::in_force::InForce;
use crate::gateway::receive::Disposition;
use crate::problem::Refusal;
use crate::telemetry::Outcome;

/// Bytes of framing that small DATA frames may take before the app has read them: some 100,000 frames.
const DATA_FRAME_BUDGET: usize = 1 << 20;

/// Bytes of an answer that a stream may have in h2 before the client takes them.
const UNSENT: usize = 64 * 1024;

/// Requests that are none on one connection: a client that sends so many means no good.
const MAX_MALFORMED: usize = 32;

/// A connection whose preface has been read.
pub(super) struct Http2Connection<'c> {
    pub front: &'c Front,
    pub peer: Peer,
    pub tls: bool,
    pub stop: &'c ShutdownWatch,
}

/// The requests that are on their way to apps. They notice themselves that their client is gone, and write their access lines.
#[derive(Default)]
struct ToApps(JoinSet<()>);

impl Drop for ToApps {
    fn drop(&mut self) {
        self.0.detach_all();
    }
}

impl Http2Connection<'_> {
    /// Answers requests until the connection ends.
    ///
    /// Dropped: it is cut; what goes to apps ends a moment later.
    pub async fn serve(&self, stream: Stream) {
        let limits = *self.front.gateway.load().bounds();
        // A client that broke off is no event.
        let Ok(mut connection) = handshake(stream, Some(options(&limits))).await else { return };
        let mut stopped = pin!(until(self.stop.clone()));
        let mut aborted = pin!(until(self.front.drain.abort()));
        let (mut patience, mut idle) = (limits.idle, pin!(sleep(limits.idle)));
        let (mut stopping, mut quiet) = (false, true);
        let mut incoming = Incoming { of: self, digest: Arc::default(), malformed: 0 };
        let mut requests = FuturesUnordered::new();
        let mut to_apps = ToApps::default();
        loop {
            tokio::select! {
                biased;
                () = &mut aborted => break,
                () = &mut stopped, if !stopping => {
                    // GOAWAY: what is under way is answered.
                    connection.graceful_shutdown();
                    (stopping, patience) = (true, GOODBYE);
                    idle.as_mut().reset(Instant::now() + patience);
                }
                accepted = incoming.next(&mut connection) => {
                    let Some(request) = accepted else { return };
                    // Boxed: what waits is moved on its way into the set and out of it.
                    requests.push(Box::pin(self.request(request)));
                    // Those that came with it are judged before h2 is asked to write again.
                    while let Some(accepted) = incoming.next(&mut connection).now_or_never() {
                        let Some(request) = accepted else { return };
                        requests.push(Box::pin(self.request(request)));
                    }
                }
                Some(mut forwarded) = requests.next() => loop {
                    if let Some((request, proxied, head)) = forwarded {
                        to_apps.0.spawn(self.carry(request, proxied, head));
                    }
                    match requests.next().now_or_never() {
                        Some(Some(next)) => forwarded = next,
                        _ => break,
                    }
                },
                Some(_) = to_apps.0.join_next() => {}
                // Closed at once: a client that is gone would never take a GOAWAY. One that was told of a stop hears of its last stream.
                () = &mut idle, if quiet => if stopping { break } else { return },
            }
            let was = std::mem::replace(&mut quiet, requests.is_empty() && to_apps.0.is_empty());
            if quiet && !was {
                idle.as_mut().reset(Instant::now() + patience);
            }
        }
        // What waited for a mint was refused just now, by the same sign.
        while requests.next().now_or_never().flatten().is_some() {}
        let _ = connection.accept().now_or_never();
        connection.abrupt_shutdown(Reason::NO_ERROR);
        let _ = timeout(GRACE, poll_fn(|cx| connection.poll_closed(cx))).await;
    }

    /// A request that is none was answered or reset below us: it is counted and logged as over HTTP/1.
    fn note_malformed(&self) {
        let gateway = self.front.gateway.load();
        gateway.reject(&Refusal::BadRequest, &self.peer.under(gateway.trusted()), &mut Vec::new());
    }

    /// Judges a request, and answers it unless it goes to an app.
    async fn request(&self, mut request: HttpSession) -> Option<(HttpSession, Arc<ProxiedRequest>, UpstreamHead)> {
        let gateway = self.front.gateway.load();
        let peer = self.peer.under(gateway.trusted());
        let lame = || self.front.drain.is_lame();
        let mut out = Vec::new();
        let abort = until(self.front.drain.abort());
        match exchange::judge(&gateway, &request, (&peer, self.tls), &lame, abort, &mut out).await {
            Disposition::Forward(proxied, head) => return Some((request, proxied, head)),
            Disposition::Receive(mut post) => {
                let body = timeout(gateway.bounds().head, exchange::body(&mut request)).await;
                let body = body.unwrap_or(Err(Refusal::TooSlow));
                Box::pin(gateway.receive(&mut post, body, &mut out)).await;
            }
            Disposition::KeepAlive { .. } | Disposition::Close => {}
        }
        // A client that takes no answer is no event.
        let _ = exchange::answer(&mut request, out, gateway.bounds().write).await;
        None
    }

    /// Carries a request to its app and the answer back: on the fast path, or by Pingora's proxy where some upstreams of the app speak HTTP/2, or did,
    /// and the one that is chosen does not.
    fn carry(
        &self,
        request: HttpSession,
        proxied: Arc<ProxiedRequest>,
        head: UpstreamHead,
    ) -> impl Future<Output = ()> + use<> {
        let (gateway, stop) = (self.front.gateway.clone(), self.stop.clone());
        let proxying = self.front.proxying.load_full();
        async move {
            // Without apps there is no way to one.
            if let Some(proxying) = proxying {
                carry(request, proxied, head, (&proxying, &gateway, &stop)).await;
            }
        }
    }
}

async fn carry(
    mut request: HttpSession,
    proxied: Arc<ProxiedRequest>,
    head: UpstreamHead,
    (proxying, gateway, stop): (&Proxying, &InForce, &ShutdownWatch),
) {
    let Limits { write, body, .. } = *gateway.load().bounds();
    let fields = match head {
        UpstreamHead::Wire(head) => {
            if proxying.fast_path.exchange_http2(&mut request, &head, &proxied, (write, body)).await.is_ok() {
                return;
            }
            fields_of(&head)
        }
        UpstreamHead::Fields(fields) => fields,
    };
    if replace(request.req_header_mut(), &proxied, fields).is_err() {
        let mut out = Vec::new();
        proxied.refuse(&Refusal::BadRequest, &mut out);
        let row = Refusal::BadRequest.row();
        let told = exchange::answer(&mut request, out, write).await.map_or(0, |()| row.status);
        return gateway.load().log_proxied(&proxied, told, row.outcome, None, None);
    }
    // Boxed, as what follows: a request to an app of HTTP/1.1 does not hold the room for it.
    let carried = Box::pin(proxying.fast_path.exchange_streams(&mut request, &proxied, (write, body))).await;
    let Err(elsewhere) = carried else { return };
    request.req_header_mut().extensions_mut().insert(Carried::new(&proxied, elsewhere));
    let session = ServerSession::new_http2(request);
    tokio::select! {
        biased;
        _ = Box::pin(proxying.proxy.process_new_http(session, stop)) => {}
        // Dropped, the client's stream is reset, and a connection of HTTP/1.1 to the app closed: no piece need come by for that.
        () = session_end::revoked(&proxied, gateway) => {
            gateway.load().log_dropped(&proxied, Outcome::SessionEnded);
        }
    }
}

/// The requests of a connection, one after the other.
struct Incoming<'c> {
    of: &'c Http2Connection<'c>,
    /// Nobody reads it: what is known of the connection goes beside it.
    digest: Arc<Digest>,
    malformed: usize,
}

impl Incoming<'_> {
    /// The next request; `None`: the connection is over. Drives the connection: nothing is read or written but here.
    ///
    /// Dropped: nothing is lost.
    async fn next(&mut self, connection: &mut Connection<Stream, Bytes>) -> Option<HttpSession> {
        loop {
            match HttpSession::from_h2_conn(connection, self.digest.clone()).await {
                Ok(Some(H2Accept::Session(request))) => return Some(request),
                Ok(Some(H2Accept::Rejected)) => {
                    self.of.note_malformed();
                    self.malformed += 1;
                    if self.malformed == MAX_MALFORMED {
                        return None;
                    }
                }
                Ok(None) | Err(_) => return None,
            }
        }
    }
}

/// h2 with the bounds that Pingora has, and ours.
fn options(limits: &Limits) -> H2Options {
    let mut options = default_h2_options();
    // Small pieces, as gRPC streams them, are no attack; those that ask for nothing the guard counts.
    options.data_frame_budget(DATA_FRAME_BUDGET);
    options.max_header_list_size(u32::try_from(limits.max_head).unwrap_or(u32::MAX));
    options.max_send_buffer_size(UNSENT);
    options
}

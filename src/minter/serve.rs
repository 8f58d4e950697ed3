//! The minter's listener: HTTP/2 with mutual TLS, each connection an edge's.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use super::TARGET;
use super::edge_registry::Edge;
use super::service::MintService;
use crate::certificate::identities;
use crate::provider::wire::{self, Denial, MintError, MintRequest};
use crate::telemetry::{Outcome, TRACEPARENT, TraceContext};

/// A handshake between two machines of one network.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// An ask is one frame or two.
const BODY: Duration = Duration::from_secs(5);

/// Asks of one connection at once: more than any edge has mints under way.
const MAX_STREAMS: u32 = 1024;

/// Handshakes at once: a client that is silent in one takes no edge's place.
const HANDSHAKES: usize = 256;

/// Bytes of answers that a stream may have in hyper before the edge takes them: more than the longest answer has.
const UNSENT: usize = 64 * 1024;

/// An ask beyond the bound is worth trying again after this.
const OVERLOADED: Duration = Duration::from_secs(1);

/// After GOAWAY what is under way has this long: the longest ask there is. A client that ignores it is cut then.
const LAST_ASKS: Duration = Duration::from_secs(65);

/// An ask's head is a path and a length.
const MAX_HEADER_LIST: u32 = 16 * 1024;

/// A certificate that was taken back is shown and judged again after this long.
const MAX_AGE: Duration = Duration::from_secs(600);

/// An edge that is gone without a word is noticed after this and half as long again.
const SIGN_OF_LIFE: Duration = Duration::from_secs(20);

/// Names in a certificate that names no edge are shown up to this length.
const MAX_SHOWN: usize = 256;

/// After a failed accept (no file descriptor is free) the next is tried after this.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listener that serves edges.
pub struct Serving {
    /// As bound.
    pub address: String,
    role: Arc<ArcSwap<Role>>,
    draining: Arc<AtomicBool>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// What a configuration says of a minter: who judges, and how edges are known.
struct Role {
    service: Arc<MintService>,
    tls: TlsAcceptor,
}

impl Serving {
    /// From the next request on this mint service judges, on the connections that stand too; from the next connection on this is how edges are known.
    pub fn replace(&self, service: Arc<MintService>, tls: Arc<ServerConfig>) {
        self.role.store(Arc::new(Role { service, tls: TlsAcceptor::from(tls) }));
    }

    /// From now on edges are told to ask another minter.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Closes the listener, lets what is under way end, for `at_most` this long.
    ///
    /// Dropped: connections are cut when the runtime ends.
    pub async fn stop(self, at_most: Duration) {
        self.drain();
        self.leave(at_most).await;
    }

    /// Stops without waiting for edges to notice, where another process listens on: edges connect there, and need no other minter.
    ///
    /// Dropped: connections are cut when the runtime ends.
    pub async fn leave(self, at_most: Duration) {
        self.stop.send_replace(true);
        let _ = tokio::time::timeout(at_most, self.task).await;
    }
}

/// What a minter has at once.
#[derive(Clone, Copy, Debug)]
pub struct AtOnce {
    /// Edges are few, and each has one connection or two: what comes in beyond this is no edge, and is closed.
    pub connections: usize,
    /// Asks, those that wait for another's mint too; one more is refused.
    pub asks: usize,
}

/// Serves edges on a listener that is bound and does not block. Must be called on a tokio runtime.
///
/// # Errors
/// The listener can't be used on this runtime.
pub fn serve(
    listener: std::net::TcpListener,
    tls: Arc<ServerConfig>,
    service: Arc<MintService>,
    bounds: AtOnce,
) -> std::io::Result<Serving> {
    let address = listener.local_addr()?.to_string();
    let listener = TcpListener::from_std(listener)?;
    let (stop, stopped) = watch::channel(false);
    let draining = Arc::new(AtomicBool::new(false));
    let place = |most: usize| Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
    let (connections, asks) = (place(bounds.connections), place(bounds.asks));
    let role = Arc::new(ArcSwap::from_pointee(Role { service, tls: TlsAcceptor::from(tls) }));
    let server = Server { role: role.clone(), draining: draining.clone(), stopped, connections, asks };
    Ok(Serving { address, role, draining, stop, task: tokio::spawn(server.accept(listener)) })
}

#[derive(Clone)]
struct Server {
    role: Arc<ArcSwap<Role>>,
    draining: Arc<AtomicBool>,
    stopped: watch::Receiver<bool>,
    connections: Arc<Semaphore>,
    asks: Arc<Semaphore>,
}

impl Server {
    async fn accept(self, listener: TcpListener) {
        let (places, handshakes) = (self.connections.clone(), Arc::new(Semaphore::new(HANDSHAKES)));
        let mut connections = JoinSet::new();
        let mut stopped = self.stopped.clone();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                Some(_) = connections.join_next() => continue,
                _ = stopped.wait_for(|stop| *stop) => break,
            };
            let Ok((stream, _)) = accepted else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            // Beyond a bound the connection closes.
            let (place, handshake) = (places.clone().try_acquire_owned(), handshakes.clone().try_acquire_owned());
            let (Ok(place), Ok(handshake)) = (place, handshake) else {
                self.role.load().service.count(None, Outcome::TurnedAway);
                continue;
            };
            let server = self.clone();
            connections.spawn(async move {
                server.connection(stream, handshake).await;
                drop(place);
            });
        }
        drop(listener);
        while connections.join_next().await.is_some() {}
    }

    async fn connection(mut self, stream: TcpStream, handshaking: OwnedSemaphorePermit) {
        let _ = stream.set_nodelay(true);
        let role = self.role.load_full();
        let handshake = tokio::time::timeout(HANDSHAKE, async {
            // Whoever says at once that nothing will come has asked for a sign of life: that is no event.
            if matches!(stream.peek(&mut [0]).await, Ok(0)) {
                return None;
            }
            Some(role.tls.accept(stream).await)
        });
        let stream = tokio::select! {
            stream = handshake => stream,
            _ = self.stopped.wait_for(|stop| *stop) => return,
        };
        let stream = match stream {
            Ok(None) => return,
            Ok(Some(stream)) => stream.ok(),
            Err(_) => None,
        };
        let Some(stream) = stream else {
            // No certificate, an unknown authority, or no TLS at all.
            return role.service.count(None, Outcome::Handshake);
        };
        let leaf = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let names = leaf.and_then(identities).map(|(names, _)| names).unwrap_or_default();
        drop(handshaking);
        let edge = role.service.edge(&names);
        let connected = edge.as_ref().map(|edge| edge.connections.clone().try_acquire_owned());
        let _connected = match connected {
            Some(Err(_)) => return role.service.count(edge.as_deref(), Outcome::TurnedAway),
            Some(Ok(place)) => Some(place),
            None => None,
        };
        if edge.is_none() {
            let names: String = names.join(", ").chars().take(MAX_SHOWN).collect();
            tracing::warn!(target: TARGET, names, "a certificate of our authority names no [[minter.edge]]");
        }
        drop(role);
        let (role, draining, asks) = (self.role.clone(), self.draining.clone(), self.asks.clone());
        let service = service_fn(move |request| {
            // An edge has the rights of the configuration in force, however old its connection is.
            let service = role.load().service.clone();
            let (edge, draining, asks) = (service.edge(&names), draining.clone(), asks.clone());
            async move { Ok::<_, Infallible>(respond(&service, edge.as_ref(), &draining, &asks, request).await) }
        });
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(MAX_HEADER_LIST)
            .max_send_buf_size(UNSENT)
            .keep_alive_interval(SIGN_OF_LIFE)
            .keep_alive_timeout(SIGN_OF_LIFE / 2)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            // An edge that broke off is no event.
            _ = connection.as_mut() => return,
            () = tokio::time::sleep(MAX_AGE) => {}
            _ = self.stopped.wait_for(|stop| *stop) => {}
        }
        // GOAWAY: what is under way is answered.
        connection.as_mut().graceful_shutdown();
        let _ = tokio::time::timeout(LAST_ASKS, connection).await;
    }
}

async fn respond(
    service: &Arc<MintService>,
    edge: Option<&Arc<Edge>>,
    draining: &AtomicBool,
    under_way: &Arc<Semaphore>,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let refuse_and_count = |refusal: Denial| {
        service.count(edge.map(|edge| &**edge), refusal.outcome());
        refuse(MintError::now(refusal))
    };
    let Some(edge) = edge else { return refuse_and_count(Denial::NoEdge) };
    let asks = (request.method(), request.uri().path()) == (&Method::POST, wire::MINT);
    // Before anything of it is read.
    if let Err(wait) = if asks { &edge.asks } else { &edge.looks }.admit() {
        service.count(Some(edge), Denial::ProviderBusy.outcome());
        return refuse(MintError::for_now(Denial::ProviderBusy, wait));
    }
    let draining = draining.load(Ordering::Relaxed);
    match (request.method(), request.uri().path()) {
        (&Method::GET, wire::HEALTH) if draining => refuse(MintError::now(Denial::Draining)),
        (&Method::GET, wire::HEALTH) => {
            service.health(edge).map_or_else(refuse, |health| json(StatusCode::OK, &health))
        }
        // Also while it drains: whoever asked did not know.
        _ if asks => {
            // Taken before the body is read, and by the task that answers, so that an edge that leaves does not free it early.
            let Ok(place) = under_way.clone().try_acquire_owned() else {
                service.count(Some(edge), Outcome::Overloaded);
                return refuse(MintError::for_now(Denial::ProviderBusy, OVERLOADED));
            };
            let mut callers = request.headers().get_all(TRACEPARENT).iter();
            let caller = callers.next().filter(|_| callers.next().is_none());
            let caller = caller.and_then(|caller| TraceContext::parse(caller.as_bytes()));
            let Some(ask) = read(request).await else { return refuse_and_count(Denial::BadRequest) };

            let (service, edge) = (service.clone(), edge.clone());
            // A task of its own: an edge that leaves takes nothing out of the audit log.
            let answering = async move {
                let _place = place;
                service.answer(&edge, ask, caller).await
            };
            let answered = tokio::spawn(answering).await;
            let answered = answered.unwrap_or(Err(MintError::now(Denial::Internal)));
            answered.map_or_else(refuse, |granted| json(StatusCode::OK, &granted))
        }
        _ => refuse_and_count(Denial::NotFound),
    }
}

async fn read(request: Request<Incoming>) -> Option<MintRequest> {
    let body = Limited::new(request.into_body(), wire::MAX_ASK_BYTES).collect();
    let body = tokio::time::timeout(BODY, body).await.ok()?.ok()?.to_bytes();
    serde_json::from_slice(&body).ok()
}

fn refuse(denied: MintError) -> Response<Full<Bytes>> {
    let status = StatusCode::from_u16(denied.refusal.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json(status, &denied);
    if let Some(wait) = denied.retry_after() {
        // Whole seconds, and not too early (RFC 9110, section 10.2.3).
        let seconds = HeaderValue::from(u64::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u64::MAX).max(1));
        response.headers_mut().insert(RETRY_AFTER, seconds);
    }
    response
}

fn json(status: StatusCode, value: &impl serde::Serialize) -> Response<Full<Bytes>> {
    let body = serde_json::to_vec(value).unwrap_or_default();
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

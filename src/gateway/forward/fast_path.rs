//! The fast path to an app: a `GET` without a body, HTTP/1.1 on both sides, in the clear to the app; and every WebSocket. Connections, the reading of
//! answers and their framing are Pingora's; its proxy, which carries all else, is passed by: the head that `headers` wrote goes out as it is.

mod client;
mod http2;
mod tunnel;
mod unsent;
mod upgrade;

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use http::{HeaderName, StatusCode, Version, header};
use pingora::http::ResponseHeader;
use pingora::upstreams::peer::Peer as _;
use pingora_core::connectors::{ConnectorOptions, TransportConnector};
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::date::get_cached_date;
use pingora_core::protocols::http::v1::client::HttpSession;
use pingora_core::server::configuration::ServerConf;
use smallvec::SmallVec;

use crate::app::{Address, Picked, cause_of};
use crate::gateway::accept::shutdown_signal::ShutdownSignal;
use crate::gateway::drain::Drain;
use crate::gateway::forward::attempt::{MAX_INTERIM, TRIES, behind};
use crate::gateway::forward::headers;
use crate::gateway::forward::headers::{HSTS, REQUEST_ID};
use crate::gateway::forward::proxied_request::ProxiedRequest;
use crate::gateway::forward::session_end;
use crate::gateway::{Gateway, InForce};
use crate::http_client::Cause;

pub(in crate::gateway) use client::Client;
pub(in crate::gateway) use http2::SHORT;
pub(in crate::gateway) use unsent::Unsent;

/// The fast path, and its connections to apps.
pub(in crate::gateway) struct FastPath {
    gateway: Arc<InForce>,
    drain: Arc<Drain>,
    connector: TransportConnector,
    /// Of all answers to clients of HTTP/2.
    unsent: Arc<Unsent>,
}

/// What becomes of the client's connection.
pub(in crate::gateway) enum Next {
    /// It may send another request.
    KeepAlive,
    /// It has its answer, and is told that there is no other.
    Close,
    /// The answer is not whole, or nobody reads it.
    Abort,
}

/// Why an answer did not come through whole.
enum Stop {
    /// The app's fault.
    App(Cause),
    /// The client is gone, or takes nothing.
    Client,
    /// The gateway stops.
    Abort,
    /// The session of a WebSocket is over.
    SessionEnd,
}

/// What is learnt on the way.
#[derive(Default)]
struct FastPathContext {
    /// Where it goes now.
    picked: Option<Picked>,
    /// The status of the answer; 0: there is none yet.
    status: u16,
    /// When the one that it goes to now was asked.
    asked: Option<Instant>,
}

impl FastPathContext {
    /// The head of the app's answer is there.
    fn answered(&mut self, gateway: &Gateway, proxied: &ProxiedRequest, status: StatusCode) {
        if let (Some(picked), Some(asked)) = (&self.picked, self.asked.take()) {
            picked.succeeded();
            gateway.time_app(proxied, picked.label(), status.as_u16(), asked.elapsed());
        }
    }
}

/// Who waits for an answer.
trait Downstream {
    /// Ends when it has left.
    async fn left(&mut self);

    /// Sends the head of its request on, in this time.
    async fn pass(&mut self, app: &mut Stream, head: &[u8], span: Duration) -> io::Result<()>;

    /// What the app's side of it comes to, while it is there.
    async fn wait<T>(&mut self, work: impl Future<Output = pingora::Result<T>>) -> Result<T, Stop> {
        tokio::select! {
            biased;
            done = work => done.map_err(|error| Stop::App(cause_of(&error))),
            () = self.left() => Err(Stop::Client),
        }
    }
}

/// Upstreams that could not be reached.
type Tried = SmallVec<[Address; TRIES]>;

/// How the body of an answer is told to the client.
#[derive(Clone, Copy, PartialEq)]
enum Framing {
    /// As long as its length says; or there is none.
    Sized,
    Chunked,
}

impl FastPath {
    /// No connection yet. `conf`: what Pingora's proxy is set up with.
    pub fn new(gateway: Arc<InForce>, drain: Arc<Drain>, conf: &ServerConf) -> Self {
        let connector = TransportConnector::new(Some(ConnectorOptions::from_server_conf(conf)));
        Self { gateway, drain, connector, unsent: Unsent::new() }
    }

    /// The bound on what clients of HTTP/2 do not take.
    pub fn unsent(&self) -> Arc<Unsent> {
        Arc::clone(&self.unsent)
    }

    /// One request, with its head as the app gets it, and its answer.
    ///
    /// Dropped: both connections are cut, and no access line is written.
    pub async fn exchange(
        &self,
        mut client: Client<'_, '_>,
        head: &[u8],
        proxied: &ProxiedRequest,
        abort: &mut ShutdownSignal<'_>,
    ) -> Next {
        let mut context = FastPathContext::default();
        let carried = tokio::select! {
            biased;
            carried = self.carry(&mut client, head, proxied, &mut context) => carried,
            () = abort.received() => Err(Stop::Abort),
            () = session_end::revoked(proxied, &self.gateway) => Err(Stop::SessionEnd),
        };
        let (outcome, next, cause) = match carried {
            Ok(next) => ("forwarded", next, None),
            Err(Stop::Client) => ("cancelled", Next::Abort, None),
            Err(Stop::Abort) => ("cut", Next::Abort, None),
            // Its last message may be half sent: no frame of ours can stand behind that, so that the connections are closed and no more is said.
            Err(Stop::SessionEnd) => ("session_ended", Next::Abort, None),
            Err(Stop::App(why)) => {
                if let Some(picked) = &context.picked {
                    picked.failed(why);
                }
                let refusal = behind(why);
                let next = if !client.answered {
                    context.status = refusal.row().status;
                    client.out.clear();
                    proxied.refuse(&refusal, client.out);
                    client.send().await.map_or(Next::Abort, |()| Next::Close)
                } else {
                    Next::Abort
                };
                (refusal.row().outcome, next, Some(why))
            }
        };
        let status = if client.answered { context.status } else { 0 };
        self.gateway.load().log_proxied(proxied, status, outcome, context.picked.as_ref().map(Picked::label), cause);
        next
    }

    async fn carry(
        &self,
        client: &mut Client<'_, '_>,
        head: &[u8],
        proxied: &ProxiedRequest,
        context: &mut FastPathContext,
    ) -> Result<Next, Stop> {
        let mut app = if proxied.websocket {
            // Boxed: a plain request does not hold the room for a tunnel.
            match Box::pin(self.upgrade(client, head, proxied, context)).await? {
                Some(declined) => declined,
                None => return Ok(Next::Close),
            }
        } else {
            self.ask(client, head, proxied, context).await?
        };
        let mut interim = 0;
        let (framing, close) = loop {
            let Some(answer) = app.resp_header().filter(|answer| is_possible(answer)) else {
                return Err(Stop::App(Cause::NotHttp));
            };
            if answer.status.is_informational() && interim == MAX_INTERIM {
                return Err(Stop::App(Cause::NotHttp));
            }
            // What a client sent for a protocol that the app does not switch to is no request.
            let mistaken = proxied.websocket && !client.ahead.is_empty();
            let close = proxied.start.close || self.drain.is_lame() || mistaken;
            let framing = write_head(answer, proxied, close, client.out);
            if !answer.status.is_informational() {
                context.status = answer.status.as_u16();
                context.answered(&self.gateway.load(), proxied, answer.status);
                break (framing, close);
            }
            client.send().await?;
            client.answered = false;
            client.wait(app.read_response()).await?;
            interim += 1;
        };
        while !app.is_body_done() {
            let piece = match app.read_body_ref().now_or_never() {
                Some(read) => read.map_err(|error| Stop::App(cause_of(&error)))?,
                None => {
                    client.send().await?;
                    client.wait(app.read_body_ref()).await?
                }
            };
            if let Some(piece) = piece.filter(|piece| !piece.is_empty()) {
                client.give(piece, framing).await?;
            }
        }
        if framing == Framing::Chunked {
            client.out.extend_from_slice(b"0\r\n\r\n");
        }
        if !proxied.websocket {
            self.give_back(app, context).await;
        }
        client.send().await?;
        Ok(if close { Next::Close } else { Next::KeepAlive })
    }

    /// Sends the head to an upstream and reads the head of its answer, or of one before its answer.
    async fn ask(
        &self,
        client: &mut impl Downstream,
        head: &[u8],
        proxied: &ProxiedRequest,
        context: &mut FastPathContext,
    ) -> Result<HttpSession, Stop> {
        let app = proxied.forward.app();
        let mut tried = Tried::new();
        // An idle connection may be dead without our knowing; a new one is tried then.
        let mut anew = false;
        loop {
            let (mut stream, reused) = self.connect(proxied, context, &mut tried, anew).await?;
            match client.pass(&mut stream, head, app.read_timeout).await {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::TimedOut => return Err(Stop::App(Cause::TimedOut)),
                Err(_) if reused => {
                    anew = true;
                    continue;
                }
                Err(_) => return Err(Stop::App(Cause::Broken)),
            }
            let mut session = HttpSession::new(stream);
            session.read_timeout = Some(app.read_timeout);
            let read = async {
                match session.read_response().await {
                    Ok(_) => Ok(true),
                    // The app had closed it while it was idle; a `GET` may be asked again (RFC 9110, section 9.2.2).
                    Err(mut error) if reused => {
                        error.retry.decide_reuse(reused);
                        if error.retry.retry() { Ok(false) } else { Err(error) }
                    }
                    Err(error) => Err(error),
                }
            };
            if client.wait(read).await? {
                return Ok(session);
            }
            anew = true;
        }
    }

    /// A connection to an upstream, and whether it was used before.
    async fn connect(
        &self,
        proxied: &ProxiedRequest,
        context: &mut FastPathContext,
        tried: &mut Tried,
        anew: bool,
    ) -> Result<(Stream, bool), Stop> {
        loop {
            let picked = proxied.forward.app().pick(proxied.forward.session(), &proxied.start.client, tried);
            let picked = context.picked.insert(picked.ok_or(Stop::App(Cause::Dns))?);
            context.asked = Some(Instant::now());
            // A WebSocket takes no idle one: those have the socket options of requests.
            let peer = if proxied.websocket { picked.websocket_peer() } else { picked.peer() };
            if !anew
                && !proxied.websocket
                && let Some(stream) = self.connector.reused_stream(peer).await
            {
                return Ok((stream, true));
            }
            // Boxed: a request that finds an idle connection does not hold the room for opening one.
            let connected = Box::pin(self.connector.new_stream(peer)).await.map(|stream| (stream, false));
            let error = match connected {
                Ok(connected) => return Ok(connected),
                Err(error) => error,
            };
            // Nothing was sent: it may go elsewhere.
            let why = cause_of(&error);
            picked.failed(why);
            tried.push(picked.address());
            context.picked = None;
            if tried.len() == TRIES {
                return Err(Stop::App(why));
            }
        }
    }

    /// Keeps the connection for another request, if it can carry one.
    async fn give_back(&self, mut app: HttpSession, context: &FastPathContext) {
        app.respect_keepalive();
        if let (Some(stream), Some(picked)) = (app.reuse().await, &context.picked) {
            let peer = picked.peer();
            self.connector.release_stream(stream, peer.reuse_hash(), peer.idle_timeout());
        }
    }
}

/// Whether this can be an answer: nobody asked for another protocol, and its body ends in one place only.
fn is_possible(answer: &ResponseHeader) -> bool {
    answer.status != StatusCode::SWITCHING_PROTOCOLS && headers::is_framed_once(answer)
}

fn write_head(answer: &ResponseHeader, proxied: &ProxiedRequest, close: bool, out: &mut Vec<u8>) -> Framing {
    let interim = answer.status.is_informational();
    let switches = answer.status == StatusCode::SWITCHING_PROTOCOLS;
    let mut cleaned = None;
    let hsts = proxied.hsts();
    let replaced = hsts.is_some() && answer.headers.contains_key(HSTS);
    if interim || replaced || answer.headers.contains_key(REQUEST_ID) || !headers::is_end_to_end(answer) {
        let cleaned = cleaned.insert(answer.clone());
        headers::response(cleaned);
        headers::response_to(Version::HTTP_11, cleaned);
        cleaned.remove_header(&HeaderName::from_static(REQUEST_ID));
        if replaced {
            cleaned.remove_header(&HeaderName::from_static(HSTS));
        }
        // Ours to say.
        cleaned.remove_header(&header::CONNECTION);
        if switches {
            // RFC 9110, section 8.6; RFC 9112, section 6.1.
            cleaned.remove_header(&header::CONTENT_LENGTH);
            cleaned.remove_header(&header::TRANSFER_ENCODING);
        }
    }
    let answer = cleaned.as_ref().unwrap_or(answer);
    let (status, has) = (answer.status, |name| answer.headers.contains_key(name));
    for part in ["HTTP/1.1 ", status.as_str(), " ", answer.get_reason_phrase().unwrap_or_default(), "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
    answer.header_to_h1_wire(out);
    let mut field = |name: &str, value: &[u8]| {
        for part in [name.as_bytes(), b": ", value, b"\r\n"] {
            out.extend_from_slice(part);
        }
    };
    field(REQUEST_ID, proxied.start.id.text().as_bytes());
    if let Some(hsts) = hsts {
        field(HSTS, hsts.as_bytes());
    }
    if switches {
        field("connection", b"upgrade");
    }
    let mut framing = if has(header::TRANSFER_ENCODING) { Framing::Chunked } else { Framing::Sized };
    if !interim {
        if !has(header::DATE) {
            // RFC 9110, section 6.6.1.
            field("date", get_cached_date().as_bytes());
        }
        if close {
            field("connection", b"close");
        }
        if !headers::has_no_body(status) && framing == Framing::Sized && !has(header::CONTENT_LENGTH) {
            // The app ends it by closing; the client's connection stays.
            field("transfer-encoding", b"chunked");
            framing = Framing::Chunked;
        }
    }
    out.extend_from_slice(b"\r\n");
    framing
}

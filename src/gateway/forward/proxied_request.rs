//! A proxied request: what is known of it, from its head to its access line.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use bytes::BytesMut;
use http::{HeaderName, HeaderValue};
use smallvec::SmallVec;

use crate::app::settings::WebsocketEnd;
use crate::app::{Address, Picked};
use crate::clock::{Stopwatch, Timestamp};
use crate::gateway::accept::connection::ListenerConnection;
use crate::gateway::answer::reply::Reply;
use crate::gateway::concurrency::ConcurrencyPermit;
use crate::gateway::forward::body_limits::BodyMeter;
use crate::gateway::forward::headers::{self, BadFields, Identity};
use crate::gateway::http1::head::{Body, Head};
use crate::gateway::judge::authenticate::Check;
use crate::gateway::judge::negotiate;
use crate::gateway::judge::permission::Forward;
use crate::gateway::judge::request_log::RequestLog;
use crate::gateway::request::{ConnectionInfo, RequestId, known};
use crate::http_client::Cause;
use crate::problem::Refusal;
use crate::session::{Session, Sessions, Sources};
use crate::telemetry::Place;

/// What we say beside the client, mostly.
const ROOM: usize = 512;

/// The end of a request line.
const HTTP_1_1: &str = " HTTP/1.1\r\n";
const HTTP_1_0: &str = " HTTP/1.0\r\n";

/// When a request began, and under which name.
pub(in crate::gateway) struct Start {
    pub began: Stopwatch,
    pub time: Timestamp,
    pub id: RequestId,
    /// Where it stands in a trace.
    pub place: Place,
    /// Where our call of the app stands, below it.
    pub to_app: Place,
    /// Its sender, as access lines show it.
    pub client: Box<str>,
    /// The connection is closed behind the answer.
    pub close: bool,
    /// The client's.
    pub accepted: Arc<ListenerConnection>,
    /// Among the requests under way; free again when the request is over.
    pub _permit: ConcurrencyPermit,
}

/// A request as the app gets it.
pub(in crate::gateway) enum UpstreamHead {
    /// The head of HTTP/1; of a request that came over HTTP/2, for the fast path.
    Wire(BytesMut),
    /// The fields of HTTP/2.
    Fields(Vec<(HeaderName, HeaderValue)>),
}

/// The fields of a head that was written for HTTP/1, for an app that turned out to speak HTTP/2.
pub(in crate::gateway) fn fields_of(wire: &[u8]) -> Vec<(HeaderName, HeaderValue)> {
    let lines = wire.split(|byte| *byte == b'\n').skip(1).filter_map(|line| line.strip_suffix(b"\r"));
    let fields = lines.filter_map(|line| {
        let (name, value) = line.split_at(memchr::memchr(b':', line)?);
        Some((HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(value.get(2..)?).ok()?))
    });
    // How a body is framed is between two sides of HTTP/1.
    fields.filter(|(name, _)| *name != http::header::TRANSFER_ENCODING).collect()
}

/// Makes the head of a request by HTTP/1.0 say so again, for Pingora's proxy to an app that turned out to speak HTTP/2.
pub(in crate::gateway) fn set_http_1_0(wire: &mut [u8]) {
    let end = memchr::memchr(b'\n', wire).map_or(0, |end| end + 1);
    if let Some(line) = wire.get_mut(..end).filter(|line| line.ends_with(HTTP_1_1.as_bytes())) {
        line[end - HTTP_1_0.len()..].copy_from_slice(HTTP_1_0.as_bytes());
    }
}

/// A request that may go to an app.
pub(in crate::gateway) struct ProxiedRequest {
    pub forward: Forward,
    pub start: Start,
    pub method: &'static str,
    /// The path as judged.
    pub path: Box<str>,
    pub check: Option<Check>,
    /// The policy that decided.
    pub policy: Option<Arc<str>>,
    pub websocket: bool,
    /// Of HTTP/1.1 or HTTP/2.
    pub modern: bool,
    /// How its body is framed by the client.
    pub body: Body,
    /// It may be asked twice ([RFC 9110, section 9.2.2](https://www.rfc-editor.org/rfc/rfc9110#section-9.2.2)).
    pub idempotent: bool,
    /// The client waits for a word of the app before it sends the body.
    pub expects_continue: bool,
    /// The body comes in chunks of HTTP/1.
    pub chunked: bool,
    /// The framing of those turned out to be wrong.
    pub misframed: AtomicBool,
    /// `te: trailers` over HTTP/2: gRPC asks for it by name.
    pub trailers: bool,
    /// What a refusal of ours goes by: somebody looks at the answer.
    pub navigation: bool,
    /// The origin whose page may read a refusal of ours.
    origin: Option<Box<str>>,
    /// Of the app's answer, once it has begun: its status, and the upstream as logs name it. What carries it may be dropped with all that it knows.
    pub answer: OnceLock<(u16, Box<str>)>,
    /// Its access line is written.
    pub logged: AtomicBool,
}

impl ProxiedRequest {
    /// `sources`: where credentials stand.
    pub fn new(
        forward: Forward,
        head: &Head<'_>,
        log: &RequestLog<'_, '_>,
        connection: &ConnectionInfo<'_>,
        start: Start,
        sources: &Sources,
    ) -> Result<(Self, UpstreamHead), BadFields> {
        let identity = Identity {
            app: forward.app(),
            session: forward.session(),
            assertion: forward.assertion(),
            peer: connection.peer,
            tls: connection.tls,
            request_id: start.id.text(),
            place: start.to_app,
            keeps_state: start.place.parent.is_some(),
        };
        let upstream_head = if connection.http2 && !forward.app().is_http_1() {
            let mut fields = Vec::with_capacity(head.headers.len() + 8);
            headers::request(head, &identity, sources, &mut fields)?;
            UpstreamHead::Fields(fields)
        } else {
            let mut wire = BytesMut::with_capacity(connection.raw.len() + ROOM);
            // Each side speaks for itself (RFC 9110, section 2.5). Pingora reads this head as the client's, which is of HTTP/1.0 then.
            let modern = head.modern || forward.app().is_http_1();
            for part in [head.method, " ", forward.target(), if modern { HTTP_1_1 } else { HTTP_1_0 }] {
                wire.extend_from_slice(part.as_bytes());
            }
            headers::request(head, &identity, sources, &mut wire)?;
            if head.http2 && forward.app().request_host.is_none() && head.all("host").next().is_none() {
                headers::Sink::field(&mut wire, "host", head.host.as_bytes());
            }
            if head.http2 && head.body == Body::Chunked {
                headers::Sink::field(&mut wire, "transfer-encoding", b"chunked");
            }
            wire.extend_from_slice(b"\r\n");
            UpstreamHead::Wire(wire)
        };
        let proxied = Self {
            forward,
            start,
            method: known(head.method),
            path: log.path.as_deref().unwrap_or("/").into(),
            check: log.check,
            policy: log.policy.clone(),
            websocket: head.wants_websocket(),
            modern: head.modern,
            body: head.body,
            idempotent: matches!(head.method, "GET" | "HEAD" | "OPTIONS" | "PUT" | "DELETE"),
            expects_continue: head.expects_continue,
            chunked: !head.http2 && head.body == Body::Chunked,
            misframed: AtomicBool::new(false),
            trailers: head.http2 && head.text("te").is_some_and(|te| te.eq_ignore_ascii_case("trailers")),
            navigation: negotiate::is_navigation(head),
            origin: log.origin.map(Into::into),
            answer: OnceLock::new(),
            logged: AtomicBool::new(false),
        };
        Ok((proxied, upstream_head))
    }

    /// Whether the fast path can carry it: a WebSocket, or one for which the app is asked in HTTP/1.1 too.
    pub fn fits_fast_path(&self) -> bool {
        self.websocket || self.forward.app().is_http_1()
    }

    /// When a WebSocket ends at the latest: with its session, where the app says so.
    pub fn must_end(&self) -> Option<Timestamp> {
        let app = self.forward.app();
        let ends = self.websocket && app.websocket_ends_with == WebsocketEnd::Session;
        self.forward.session().filter(|_| ends).map(Session::ends)
    }

    /// What each answer says of TLS; an app's own word on it is replaced.
    pub fn hsts(&self) -> Option<&str> {
        self.start.accepted.hsts()
    }

    /// Our answer in place of the app's. The connection closes behind it.
    pub fn refuse(&self, refusal: &Refusal, out: &mut Vec<u8>) {
        let mut reply = Reply {
            out,
            request_id: self.start.id.text(),
            head_only: self.method == "HEAD",
            close: true,
            origin: self.origin.as_deref(),
            hsts: self.hsts(),
            at: Stopwatch::start(),
        };
        if self.navigation { reply.page(refusal, None) } else { reply.problem(refusal) }
    }
}

impl ProxyContext {
    /// The session that began it has been revoked. A request without a body has its answer in one look; this is for long ones.
    pub fn is_revoked(&self, sessions: &Sessions) -> bool {
        let session = self.proxied.as_ref().and_then(|proxied| proxied.forward.session());
        session.is_some_and(|session| sessions.is_revoked(session))
    }

    /// The app's answer has begun.
    pub fn answered(&self) -> bool {
        self.proxied.as_ref().is_some_and(|proxied| proxied.answer.get().is_some())
    }
}

/// What is learnt on the way.
#[derive(Default)]
pub(in crate::gateway) struct ProxyContext {
    /// `None`: before its first filter.
    pub proxied: Option<Arc<ProxiedRequest>>,
    /// Where it goes now.
    pub picked: Option<Picked>,
    /// When the one that it goes to now was asked.
    pub asked: Option<Stopwatch>,
    /// Where it could not go.
    pub tried: SmallVec<[Address; 2]>,
    /// The app waited in vain for the rest of the request's body.
    pub unsent: bool,
    /// What has come of the request's body so far.
    pub body: BodyMeter,
    /// Answers before the answer so far.
    pub interim: usize,
    /// Why it was refused after all.
    pub refusal: Option<Refusal>,
    /// What the app failed by.
    pub cause: Option<Cause>,
}

//! What identity providers and transmitters post to us: logout tokens (OpenID Connect Back-Channel Logout 1.0) and security events by push
//! (RFC 8935). Each may end sessions; none opens one.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use pingora_core::protocols::Stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::clock::{Stopwatch, Timestamp};
use crate::gateway::Gateway;
use crate::gateway::answer::access_log::AccessRecord;
use crate::gateway::answer::reply::Reply;
use crate::gateway::bounds::MAX_BODY;
use crate::gateway::forward::proxied_request::{ProxiedRequest, UpstreamHead};
use crate::gateway::http1::chunks::{self, ChunkJudge};
use crate::gateway::http1::head::{Body, Head};
use crate::gateway::http1::reader::Deadline;
use crate::gateway::judge::path;
use crate::gateway::request::{RequestId, known, micros};
use crate::limit::Taken;
use crate::problem::Refusal;
use crate::revocation::{Ended, NotRevoked, Revoker, Source};
use crate::session::{EventFault, SessionFault};
use crate::telemetry::{Outcome, Place};

/// The media types of the two bodies.
const FORM: &str = "application/x-www-form-urlencoded";
const EVENT: &str = "application/secevent+jwt";

/// Framing adds to a body that comes in chunks: more than this much is no body of ours.
const MAX_CHUNKED: usize = 2 * MAX_BODY as usize;

/// What is posted where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Inbox {
    Logout,
    Events,
}

impl Inbox {
    /// As metrics and logs call it; no plug-in has a name with a colon.
    pub fn name(self) -> &'static str {
        match self {
            Self::Logout => "valet:logout",
            Self::Events => "valet:events",
        }
    }

    fn media_type(self) -> &'static str {
        match self {
            Self::Logout => FORM,
            Self::Events => EVENT,
        }
    }

    fn source(self) -> Source {
        match self {
            Self::Logout => Source::Logout,
            Self::Events => Source::Event,
        }
    }
}

/// Where such posts come in, and who ends the sessions.
pub struct Inboxes {
    /// As [`path::standing`] spells it, and so the next.
    logout: Option<Box<str>>,
    events: Option<Box<str>>,
    revoker: Arc<Revoker>,
}

impl Inboxes {
    /// `logout`: `session.logout.path`; `events`: `session.events.path`; `revoker`: what ends sessions.
    pub fn new(logout: Option<&str>, events: Option<&str>, revoker: Arc<Revoker>) -> Self {
        let spelled = |own: Option<&str>| own.map(|own| path::standing(own).into());
        Self { logout: spelled(logout), events: spelled(events), revoker }
    }

    /// What is posted at this judged path.
    pub(super) fn at(&self, path: &str) -> Option<Inbox> {
        let is = |own: &Option<Box<str>>| own.as_ref().is_some_and(|own| **own == *path::standing(path));
        if is(&self.logout) { Some(Inbox::Logout) } else { is(&self.events).then_some(Inbox::Events) }
    }

    /// The inboxes that there are.
    pub(super) fn all(&self) -> impl Iterator<Item = Inbox> {
        let logout = self.logout.as_ref().map(|_| Inbox::Logout);
        logout.into_iter().chain(self.events.as_ref().map(|_| Inbox::Events))
    }
}

/// What the connection does behind the answer.
pub(super) enum Disposition {
    /// Reads this many bytes of the request's body, then the next head.
    KeepAlive { body: u64 },
    /// Closes.
    Close,
    /// There is no answer yet: the request goes to an app.
    Forward(Arc<ProxiedRequest>, UpstreamHead),
    /// There is no answer yet: the body is to be read for [`Gateway::receive`].
    Receive(Box<Post>),
}

/// A post whose head is judged and whose body is to be read.
pub(super) struct Post {
    pub inbox: Inbox,
    pub framing: Body,
    pub expects_continue: bool,
    media_type: bool,
    id: RequestId,
    began: Stopwatch,
    time: Timestamp,
    place: Place,
    path: Box<str>,
    hsts: Option<Box<str>>,
    client: Box<str>,
    address: Option<IpAddr>,
    /// Given back where another limit refuses it.
    taken: Taken,
    close: bool,
}

/// What is known of it beside its head.
pub(super) struct PostParts<'a> {
    pub inbox: Inbox,
    pub id: RequestId,
    pub began: Stopwatch,
    pub time: Timestamp,
    pub place: Place,
    pub client: &'a str,
    pub hsts: Option<&'a str>,
    pub address: Option<IpAddr>,
    /// Of the limits.
    pub taken: Taken,
    /// The connection is closed behind the answer.
    pub close: bool,
}

impl Post {
    pub fn new(head: &Head<'_>, path: &str, parts: PostParts<'_>) -> Self {
        let PostParts { inbox, id, began, time, place, client, hsts, address, taken, close } = parts;
        let named = head.text("content-type").and_then(|kind| kind.split(';').next());
        Self {
            inbox,
            framing: head.body,
            expects_continue: head.expects_continue && head.modern && !head.http2,
            media_type: named.is_some_and(|kind| kind.trim().eq_ignore_ascii_case(inbox.media_type())),
            id,
            began,
            time,
            place,
            path: path.into(),
            hsts: hsts.map(Into::into),
            client: client.into(),
            address,
            taken,
            // What follows chunks is not looked for.
            close: close || head.body == Body::Chunked,
        }
    }
}

/// How a post is answered.
enum Receipt {
    Taken,
    /// The JSON of what is wrong.
    Wrong(&'static str),
    Refused(Refusal),
}

/// The bodies of 400: OpenID Connect Back-Channel Logout 1.0, section 2.8; RFC 8935, section 2.4.
const NO_LOGOUT: &str = r#"{"error":"invalid_request"}"#;
const NO_EVENT: &str = r#"{"err":"invalid_request","description":"no valid security event token"}"#;
const WRONG_KEY: &str = r#"{"err":"invalid_key","description":"not signed by a key of the transmitter"}"#;
const WRONG_ISSUER: &str = r#"{"err":"invalid_issuer","description":"not of a configured transmitter"}"#;
const WRONG_AUDIENCE: &str = r#"{"err":"invalid_audience","description":"not for this receiver"}"#;

impl Gateway {
    /// Does what the post asks for, and answers it into `out`. `body`: what was read of it.
    ///
    /// Dropped: what has begun to end goes on.
    pub(super) async fn receive(
        &self,
        post: &mut Post,
        body: Result<Vec<u8>, Refusal>,
        out: &mut Vec<u8>,
    ) -> Disposition {
        let close = post.close || body.is_err();
        let receipt = match body {
            Err(refusal) => Receipt::Refused(refusal),
            Ok(_) if !post.media_type => self.wrong(post.inbox),
            Ok(body) => match self.limits.check_invalid(post.address) {
                Err(wait) => {
                    self.limits.give_back(&mut post.taken);
                    Receipt::Refused(Refusal::TooManyRequests(wait))
                }
                Ok(()) => match post.inbox {
                    Inbox::Logout => self.logout(post, &body).await,
                    Inbox::Events => self.event(post, &body).await,
                },
            },
        };
        let mut reply = Reply {
            out,
            request_id: post.id.text(),
            head_only: false,
            close,
            origin: None,
            hsts: post.hsts.as_deref(),
            at: Stopwatch::start(),
        };
        let (status, outcome) = match receipt {
            Receipt::Taken if post.inbox == Inbox::Events => (202, Outcome::Received),
            Receipt::Taken => (200, Outcome::Received),
            Receipt::Wrong(_) => (400, Refusal::BadRequest.row().outcome),
            Receipt::Refused(refusal) => (refusal.row().status, refusal.row().outcome),
        };
        match receipt {
            Receipt::Taken => reply.taken(status),
            Receipt::Wrong(body) => reply.wrong(body),
            Receipt::Refused(refusal) => reply.problem(&refusal),
        }
        let route = post.inbox.name();
        self.metrics.requests.with_label_values(&[route, outcome.label()]).inc();
        let took = post.began.elapsed();
        self.time(route, outcome, None, took);
        self.note(&AccessRecord {
            pattern: Some(&post.path),
            method: Some(known("POST")),
            path: Some(&post.path),
            route: Some(route),
            duration_us: micros(took),
            ..AccessRecord::bare((post.time, post.place, post.id.text()), (status, outcome), &post.client)
        });
        if close { Disposition::Close } else { Disposition::KeepAlive { body: 0 } }
    }

    /// It is counted, and nothing is done.
    fn wrong(&self, inbox: Inbox) -> Receipt {
        self.inboxes.revoker.count(inbox.source(), Outcome::Refused);
        Receipt::Wrong(if inbox == Inbox::Logout { NO_LOGOUT } else { NO_EVENT })
    }

    async fn logout(&self, post: &Post, body: &[u8]) -> Receipt {
        let mut tokens = url::form_urlencoded::parse(body).filter(|(name, _)| name == "logout_token");
        let (Some((_, token)), None) = (tokens.next(), tokens.next()) else { return self.wrong(post.inbox) };
        match self.sessions.verify_logout(token.as_bytes(), self.clock.now()).await {
            Ok(token) => {
                let ended = Ended {
                    issuer: token.issuer.clone(),
                    subject: token.subject,
                    session: token.session,
                    until: Some(token.issued_at),
                };
                self.end(post.inbox, (token.issuer, token.id), vec![ended]).await
            }
            Err(SessionFault::KeysUnavailable(wait)) => self.later(post.inbox, Refusal::KeysUnavailable(wait)),
            Err(SessionFault::Expired | SessionFault::Invalid(_)) => {
                self.limits.note_invalid(post.address);
                self.wrong(post.inbox)
            }
        }
    }

    async fn event(&self, post: &Post, body: &[u8]) -> Receipt {
        let event = match self.sessions.verify_event(body.trim_ascii(), self.clock.now()).await {
            Ok(event) => event,
            Err(EventFault::KeysUnavailable(wait)) => {
                return self.later(post.inbox, Refusal::KeysUnavailable(wait));
            }
            Err(fault) => {
                self.limits.note_invalid(post.address);
                self.inboxes.revoker.count(Source::Event, Outcome::Refused);
                return Receipt::Wrong(match fault {
                    EventFault::Key => WRONG_KEY,
                    EventFault::Issuer => WRONG_ISSUER,
                    EventFault::Audience => WRONG_AUDIENCE,
                    EventFault::Request | EventFault::KeysUnavailable(_) => NO_EVENT,
                });
            }
        };
        let ended = event.ended.into_iter().map(|of| Ended {
            issuer: event.issuer.clone(),
            subject: of.subject,
            session: of.session,
            until: Some(of.until),
        });
        self.end(post.inbox, (event.transmitter, event.id), ended.collect()).await
    }

    fn later(&self, inbox: Inbox, refusal: Refusal) -> Receipt {
        self.inboxes.revoker.count(inbox.source(), Outcome::Refused);
        Receipt::Refused(refusal)
    }

    async fn end(&self, inbox: Inbox, token: (String, String), ended: Vec<Ended>) -> Receipt {
        match self.inboxes.revoker.end_by_token(inbox.source(), token, ended).await {
            Ok(()) => Receipt::Taken,
            Err(NotRevoked::Nobody) => Receipt::Wrong(if inbox == Inbox::Logout { NO_LOGOUT } else { NO_EVENT }),
            Err(NotRevoked::Full) => Receipt::Refused(Refusal::Overloaded),
            Err(NotRevoked::Unwritten) => Receipt::Refused(Refusal::StoreUnavailable),
        }
    }
}

/// The body of a post over HTTP/1. What was read behind it stays in `buffer`, but behind chunks.
pub(super) async fn body(
    stream: &mut Stream,
    buffer: &mut BytesMut,
    post: &Post,
    deadline: &mut Deadline<'_>,
) -> Result<Vec<u8>, Refusal> {
    if post.expects_continue {
        // RFC 9110, section 10.1.1: the client waits for a word.
        let told = stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await;
        if told.is_err() || stream.flush().await.is_err() {
            return Err(Refusal::BadRequest);
        }
    }
    let mut judge = ChunkJudge::new();
    let mut judged = 0;
    loop {
        match post.framing {
            Body::Empty => return Ok(Vec::new()),
            Body::Length(length) if length > MAX_BODY => return Err(Refusal::BodyTooLarge),
            Body::Length(length) => {
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                if buffer.len() >= length {
                    let body = buffer[..length].to_vec();
                    buffer.advance(length);
                    return Ok(body);
                }
            }
            Body::Chunked => {
                judge.take(&buffer[judged..]).map_err(|_| Refusal::BadRequest)?;
                judged = buffer.len();
                if judge.is_done() {
                    let body = chunks::data(buffer).filter(|body| body.len() as u64 <= MAX_BODY);
                    return body.ok_or(Refusal::BodyTooLarge);
                }
                if judged > MAX_CHUNKED {
                    return Err(Refusal::BodyTooLarge);
                }
            }
        }
        let read = tokio::select! {
            biased;
            read = stream.read_buf(buffer) => read,
            () = deadline.expires(false) => return Err(Refusal::TooSlow),
        };
        if !matches!(read, Ok(n) if n > 0) {
            return Err(Refusal::BadRequest);
        }
    }
}

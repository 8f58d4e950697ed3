//! The way to the apps: a dull shell around Pingora's proxy. What may go where was decided before, in `decide`.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Version};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::proxy::{FailToProxy, ProxyHttp, Session as Exchange};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource, ErrorType, RetryType};

use crate::app::UpstreamFailure;
use crate::gateway::access::Facts;
use crate::gateway::answer::Reply;
use crate::gateway::drain::Drain;
use crate::gateway::handle::{After, Arrival, micros};
use crate::gateway::head::{BadHead, Head};
use crate::gateway::journey::{Journey, Onward, Way};
use crate::gateway::peer::Peer;
use crate::gateway::{Gateway, Limits, hygiene};
use crate::problem::Refusal;

/// Upstreams that one request tries at most.
const TRIES: usize = 3;

/// A body comes at this rate at least, in bytes a second, once [`SLOW_AFTER`] has passed: who sends slower holds connections open.
const MIN_BODY_RATE: u64 = 256;

const SLOW_AFTER: Duration = Duration::from_secs(10);

/// A client takes a piece of an answer, at most 64 KiB, in this time: over 2 KiB a second, which the slowest phone has.
const PIECE_TAKEN: Duration = Duration::from_secs(30);

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const TOO_LARGE: ErrorType = ErrorType::Custom("BodyTooLarge");
const TOO_SLOW: ErrorType = ErrorType::Custom("BodyTooSlow");

/// Pingora's view of the gateway.
pub(super) struct Forwarder {
    pub gateway: Arc<Gateway>,
    pub drain: Arc<Drain>,
    pub limits: Limits,
}

#[async_trait]
impl ProxyHttp for Forwarder {
    type CTX = Way;

    fn new_ctx(&self) -> Way {
        Way::default()
    }

    /// No module: nothing is compressed on the way.
    fn init_downstream_modules(&self, _: &mut HttpModules) {}

    /// The way of a journey from our own reading of a head into Pingora's: the value that a connection may carry between requests.
    fn on_connection_reuse(&self, _: &mut Exchange, way: &mut Way, carried: Box<dyn std::any::Any + Send + Sync>) {
        way.journey = carried.downcast::<Arc<Journey>>().ok().map(|journey| *journey);
    }

    async fn request_filter(&self, exchange: &mut Exchange, way: &mut Way) -> pingora::Result<bool> {
        if way.journey.is_none() && !self.judge(exchange, way).await? {
            return Ok(true);
        }
        let journey = journey(way)?;
        exchange.set_write_timeout(Some(PIECE_TAKEN));
        if exchange.req_header().version == Version::HTTP_10 {
            // It knows no interim answers, and would take one for the answer (RFC 9110, section 15.2).
            exchange.set_ignore_info_resp(true);
        }
        if journey.websocket {
            exchange.set_read_timeout(None);
        } else {
            exchange.set_read_timeout(Some(self.limits.head));
        }
        let idle = (!journey.start.close).then_some(self.limits.idle.as_secs());
        exchange.set_keepalive(idle);
        Ok(false)
    }

    async fn upstream_peer(&self, _: &mut Exchange, way: &mut Way) -> pingora::Result<Box<HttpPeer>> {
        let journey = journey(way)?;
        let picked = journey.forward.app().pick(journey.forward.session(), &journey.start.client, &way.tried);
        let picked = picked.ok_or_else(|| Error::new_up(ErrorType::ConnectNoRoute))?;
        let peer = if journey.websocket { picked.websocket_peer() } else { picked.peer() };
        way.picked = Some(picked);
        Ok(peer)
    }

    async fn request_body_filter(
        &self,
        _: &mut Exchange,
        body: &mut Option<Bytes>,
        _: bool,
        way: &mut Way,
    ) -> pingora::Result<()> {
        let Some(piece) = body else { return Ok(()) };
        way.body += piece.len() as u64;
        let began = *way.body_began.get_or_insert_with(Instant::now);
        let journey = journey(way)?;
        if journey.websocket {
            return Ok(());
        }
        if way.body > journey.forward.app().max_body {
            return Err(Error::new_down(TOO_LARGE));
        }
        let late = began.elapsed().saturating_sub(SLOW_AFTER).as_secs();
        if way.body < late.saturating_mul(MIN_BODY_RATE) {
            return Err(Error::new_down(TOO_SLOW));
        }
        Ok(())
    }

    async fn upstream_response_filter(
        &self,
        exchange: &mut Exchange,
        response: &mut ResponseHeader,
        way: &mut Way,
    ) -> pingora::Result<()> {
        // Nobody asked for another protocol.
        if response.status == http::StatusCode::SWITCHING_PROTOCOLS && !exchange.is_upgrade_req() {
            return Err(Error::new_up(ErrorType::InvalidHTTPHeader));
        }
        if !hygiene::is_framed_once(response) {
            return Err(Error::new_up(ErrorType::InvalidHTTPHeader));
        }
        hygiene::response(response);
        if !response.status.is_informational() || response.status == http::StatusCode::SWITCHING_PROTOCOLS {
            way.answered = true;
            if let Some(picked) = &way.picked {
                picked.succeeded();
            }
        }
        Ok(())
    }

    async fn response_filter(
        &self,
        exchange: &mut Exchange,
        response: &mut ResponseHeader,
        way: &mut Way,
    ) -> pingora::Result<()> {
        hygiene::response_to(exchange.req_header().version, response);
        if let Some(journey) = &way.journey {
            response.insert_header(REQUEST_ID, journey.start.id.text())?;
        }
        Ok(())
    }

    /// Nothing was sent: any request may go elsewhere.
    fn fail_to_connect(&self, _: &mut Exchange, _: &HttpPeer, way: &mut Way, mut error: Box<Error>) -> Box<Error> {
        if let Some(picked) = way.picked.take() {
            picked.failed(failure(&error));
            way.tried.push(picked.address());
        }
        error.set_retry(way.tried.len() < TRIES);
        error
    }

    /// Something may have been sent: only what may be done twice is, and only where an idle connection turned out to be dead.
    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        exchange: &mut Exchange,
        mut error: Box<Error>,
        way: &mut Way,
        reused: bool,
    ) -> Box<Error> {
        // A connection that the app had closed while it was idle is no failure of the app.
        let idle = reused && matches!(error.retry, RetryType::ReusedOnly);
        if *error.esource() == ErrorSource::Upstream && failure(&error) == UpstreamFailure::TimedOut {
            // The app answers when it has the whole body: who did not send it is who is slow.
            way.unsent = !way.answered && !exchange.as_downstream_mut().is_body_done();
        }
        if let (ErrorSource::Upstream, false, false, Some(picked)) = (error.esource(), idle, way.unsent, &way.picked) {
            picked.failed(failure(&error));
        }
        let once_only = !exchange.req_header().method.is_idempotent() || exchange.as_ref().retry_buffer_truncated();
        if once_only || way.answered {
            error.set_retry(false);
        } else {
            error.retry.decide_reuse(reused);
        }
        error
    }

    async fn fail_to_proxy(&self, exchange: &mut Exchange, error: &Error, way: &mut Way) -> FailToProxy {
        let refusal = if way.unsent { Some(Refusal::TooSlow) } else { refusal(error) };
        let mut error_code = 0;
        if let (Some(refusal), Some(journey)) = (&refusal, &way.journey) {
            error_code = refusal.row().status;
            let mut out = Vec::new();
            let mut reply = Reply {
                out: &mut out,
                request_id: journey.start.id.text(),
                head_only: &*journey.method == "HEAD",
                close: true,
                origin: None,
            };
            if journey.navigation {
                reply.page(refusal, None)
            } else {
                reply.problem(refusal)
            }
            // A client that is gone gets nothing.
            let _ = write(exchange, &out).await;
        }
        way.refusal = refusal;
        FailToProxy { error_code, can_reuse_downstream: false }
    }

    async fn logging(&self, exchange: &mut Exchange, _: Option<&Error>, way: &mut Way) {
        let Some(journey) = &way.journey else { return };
        let status = exchange.response_written().map_or(0, |head| head.status.as_u16());
        let outcome = match &way.refusal {
            // The app's answer went out; that the client did not send the rest of its request then is no matter.
            Some(Refusal::TooSlow | Refusal::BadRequest | Refusal::BodyTooLarge) if way.answered => "forwarded",
            Some(refusal) => refusal.row().outcome,
            None if way.answered => "forwarded",
            None => "cancelled",
        };
        let upstream = way.picked.as_ref().map(|picked| picked.address().to_string());
        self.gateway.tell_of(journey, status, outcome, upstream.as_deref());
    }

    /// Pingora's lines name the query; ours don't.
    fn suppress_error_log(&self, _: &Exchange, _: &Way, _: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _: &Exchange,
        _: &Way,
        _: &Error,
        _: pingora::proxy::ProxyWarnLogContext,
    ) -> bool {
        true
    }

    fn request_summary(&self, _: &Exchange, _: &Way) -> String {
        String::new()
    }
}

impl Gateway {
    /// Counts a request to an app, and writes its access line; once.
    pub(super) fn tell_of(&self, journey: &Journey, status: u16, outcome: &'static str, upstream: Option<&str>) {
        if journey.told.swap(true, Ordering::Relaxed) {
            return;
        }
        let app = journey.forward.app();
        if outcome == "forwarded" {
            app.forwarded.inc();
        } else {
            self.metrics.requests.with_label_values(&[&*app.name, outcome]).inc();
        }
        self.note(&Facts {
            time: journey.start.time,
            request_id: journey.start.id.text(),
            method: Some(&journey.method),
            path: Some(&journey.path),
            route: Some(&app.name),
            status,
            outcome,
            source: None,
            check: journey.check,
            remaining: None,
            upstream,
            duration_us: micros(journey.start.began),
            peer: &journey.start.client,
            session: journey.forward.session(),
        });
    }
}

impl Forwarder {
    /// A request that came over HTTP/2, past our own reading of heads. `false`: it is answered.
    async fn judge(&self, exchange: &mut Exchange, way: &mut Way) -> pingora::Result<bool> {
        let has_body = !exchange.as_downstream_mut().is_body_empty();
        // The announced one, where the PROXY protocol is spoken: the door told Pingora so.
        let address = exchange.client_addr().and_then(|address| address.as_inet());
        let unix = exchange.server_addr().is_some_and(|address| address.as_unix().is_some());
        let peer = Peer::new(address.map(|address| address.ip().to_canonical()), unix, self.gateway.trusted());
        let tls = exchange.digest().is_some_and(|digest| digest.ssl_digest.is_some());
        let request = exchange.req_header().clone();
        let field = |(name, value): (&'_ HeaderName, &'_ HeaderValue)| (name.clone(), value.clone());
        let fields: Vec<(HeaderName, HeaderValue)> = request.headers.iter().map(field).collect();
        let fields: Vec<httparse::Header<'_>> = fields
            .iter()
            .map(|(name, value)| httparse::Header { name: name.as_str(), value: value.as_bytes() })
            .collect();
        let target = std::str::from_utf8(request.raw_path()).unwrap_or_default();
        let host = request.uri.authority().map_or("", |authority| authority.as_str());
        let mut out = Vec::new();
        let after = match Head::of_parts(request.method.as_str(), target, host, &fields, has_body) {
            Ok(head) => {
                let mut cut = self.drain.cut();
                let cut = async {
                    let _ = cut.wait_for(|cut| *cut).await;
                };
                let arrival = Arrival { raw: &[], peer: &peer, tls, http2: true, drain: &self.drain };
                self.gateway.answer(&head, &arrival, &mut out, cut).await
            }
            Err(BadHead::Malformed) => self.gateway.turn_away(&Refusal::BadRequest, peer.text(), &mut out),
            Err(BadHead::TooManyHeaders) => self.gateway.turn_away(&Refusal::HeaderTooLarge, peer.text(), &mut out),
        };
        if let After::Forward(journey, Onward::Fields(fields)) = after {
            replace(exchange.req_header_mut(), journey.forward.target(), fields)?;
            way.journey = Some(journey);
            return Ok(true);
        }
        write(exchange, &out).await?;
        Ok(false)
    }
}

/// The head that goes on is ours.
fn replace(request: &mut RequestHeader, target: &str, fields: Vec<(HeaderName, HeaderValue)>) -> pingora::Result<()> {
    let names: Vec<HeaderName> = request.headers.keys().cloned().collect();
    for name in names {
        request.remove_header(&name);
    }
    let authority = request.uri.authority().cloned();
    request.set_raw_path(target.as_bytes())?;
    for (name, value) in fields {
        request.append_header(name, value)?;
    }
    if let Some(authority) = authority {
        request.insert_header(http::header::HOST, authority.as_str())?;
    }
    Ok(())
}

fn journey(way: &Way) -> pingora::Result<&Journey> {
    way.journey.as_deref().ok_or_else(|| Error::new_in(ErrorType::InternalError))
}

/// Writes an answer of ours, which is the text of HTTP/1.1, by whatever protocol the client speaks.
async fn write(exchange: &mut Exchange, out: &[u8]) -> pingora::Result<()> {
    let mut slots = [httparse::EMPTY_HEADER; 32];
    let mut parsed = httparse::Response::new(&mut slots);
    let Ok(httparse::Status::Complete(end)) = parsed.parse(out) else {
        return Err(Error::new_in(ErrorType::InternalError));
    };
    let mut head = ResponseHeader::build_no_case(parsed.code.unwrap_or(500), Some(parsed.headers.len()))?;
    for field in parsed.headers.iter().filter(|field| !field.name.eq_ignore_ascii_case("connection")) {
        head.append_header(field.name.to_owned(), field.value)?;
    }
    exchange.as_downstream_mut().write_error_response(head, Bytes::copy_from_slice(&out[end..])).await
}

/// What the upstream did wrong.
fn failure(error: &Error) -> UpstreamFailure {
    match error.etype() {
        ErrorType::ConnectTimedout
        | ErrorType::ReadTimedout
        | ErrorType::WriteTimedout
        | ErrorType::TLSHandshakeTimedout => UpstreamFailure::TimedOut,
        ErrorType::TLSHandshakeFailure | ErrorType::InvalidCert | ErrorType::HandshakeError => UpstreamFailure::Tls,
        ErrorType::ConnectRefused | ErrorType::ConnectNoRoute | ErrorType::ConnectError | ErrorType::SocketError => {
            UpstreamFailure::Unreachable
        }
        _ => UpstreamFailure::Broken,
    }
}

/// What the client is told; `None`: it is gone.
fn refusal(error: &Error) -> Option<Refusal> {
    match (error.esource(), error.etype()) {
        (_, etype) if *etype == TOO_LARGE => Some(Refusal::BodyTooLarge),
        (_, etype) if *etype == TOO_SLOW => Some(Refusal::TooSlow),
        (ErrorSource::Upstream, _) => Some(match failure(error) {
            UpstreamFailure::TimedOut => Refusal::AppTimeout,
            UpstreamFailure::Unreachable | UpstreamFailure::Tls | UpstreamFailure::Broken => Refusal::AppUnavailable,
        }),
        (ErrorSource::Downstream, ErrorType::ReadTimedout) => Some(Refusal::TooSlow),
        (ErrorSource::Downstream, ErrorType::WriteError | ErrorType::ReadError | ErrorType::ConnectionClosed)
        | (ErrorSource::Downstream, ErrorType::WriteTimedout) => None,
        (ErrorSource::Downstream, _) => Some(Refusal::BadRequest),
        (ErrorSource::Internal | ErrorSource::Unset, _) => Some(Refusal::Internal),
    }
}

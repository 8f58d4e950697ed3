//! The reverse proxy to the apps on Pingora's `ProxyHttp`. `decide` has decided before what may go where.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{StatusCode, Version};
use parking_lot::Mutex;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::proxy::{FailToProxy, ProxyHttp, Session as Exchange};
use pingora::upstreams::peer::{HttpPeer, HttpUpstreamRequestPolicy};
use pingora::{Error, ErrorSource, ErrorType, RetryType};

use crate::app::{NO_ADDRESS, Picked, cause_of};
use crate::clock::Stopwatch;
use crate::gateway::answer::access_log::AccessRecord;
use crate::gateway::drain::Drain;
use crate::gateway::forward::attempt::{MAX_INTERIM, TRIES};
use crate::gateway::forward::downstream_refusal::{REVOKED, TOO_LARGE, TOO_SLOW, refusal};
use crate::gateway::forward::fast_path::Elsewhere;
use crate::gateway::forward::headers;
use crate::gateway::forward::no_chunks::NoChunks;
use crate::gateway::forward::proxied_request::{ProxiedRequest, ProxyContext};
use crate::gateway::http2::exchange::write;
use crate::gateway::request::micros;
use crate::gateway::{Gateway, InForce, Limits, spans};
use crate::http_client::Cause;
use crate::problem::Refusal;
use crate::telemetry::Outcome;

/// Pingora's view of the gateway.
pub(in crate::gateway) struct Forwarder {
    pub gateway: Arc<InForce>,
    pub drain: Arc<Drain>,
}

/// A proxied request's way from our own reading of a head of HTTP/2 into Pingora's proxy: among the extensions of the head, which are cloned with it.
#[derive(Clone)]
pub(in crate::gateway) struct Carried {
    proxied: Arc<ProxiedRequest>,
    /// Taken once, by the proxy.
    picked: Arc<Mutex<Option<Picked>>>,
}

impl Carried {
    pub fn new(proxied: &Arc<ProxiedRequest>, to: Elsewhere) -> Self {
        Self { proxied: Arc::clone(proxied), picked: Arc::new(Mutex::new(to.picked)) }
    }
}

#[async_trait]
impl ProxyHttp for Forwarder {
    type CTX = ProxyContext;

    fn new_ctx(&self) -> ProxyContext {
        ProxyContext::default()
    }

    /// Nothing is compressed on the way.
    fn init_downstream_modules(&self, modules: &mut HttpModules) {
        modules.add_module(Box::new(NoChunks));
    }

    /// A proxied request's way from our own reading of a head into Pingora's: the value that a connection may carry between requests.
    fn on_connection_reuse(
        &self,
        _: &mut Exchange,
        context: &mut ProxyContext,
        carried: Box<dyn std::any::Any + Send + Sync>,
    ) {
        context.proxied = carried.downcast::<Arc<ProxiedRequest>>().ok().map(|proxied| *proxied);
    }

    async fn request_filter(&self, exchange: &mut Exchange, context: &mut ProxyContext) -> pingora::Result<bool> {
        let Limits { write, body, idle, .. } = *self.gateway.load().bounds();
        exchange.set_write_timeout(Some(write));
        if context.proxied.is_none()
            && let Some(carried) = exchange.req_header_mut().extensions_mut().remove::<Carried>()
        {
            context.proxied = Some(carried.proxied);
            context.picked = carried.picked.lock().take();
        }
        let proxied = proxied(context)?;
        if exchange.req_header().version == Version::HTTP_10 {
            // It knows no interim answers, and would take one for the answer (RFC 9110, section 15.2).
            exchange.set_ignore_info_resp(true);
        }
        // A client that waits to be asked for its body waits for the app, and this way carries no `100 Continue`.
        let patience = if proxied.expects_continue { body.max(proxied.forward.app().read_timeout) } else { body };
        exchange.set_read_timeout(Some(patience));
        let idle = (!proxied.start.close).then_some(idle.as_secs());
        exchange.set_keepalive(idle);
        Ok(false)
    }

    async fn upstream_peer(&self, _: &mut Exchange, context: &mut ProxyContext) -> pingora::Result<Box<HttpPeer>> {
        // The first time there may be one already.
        let picked = if context.asked.is_none() { context.picked.take() } else { None };
        let proxied = proxied(context)?;
        let pick = || proxied.forward.app().pick(proxied.forward.session(), &proxied.start.client, &context.tried);
        let picked = picked.or_else(pick).ok_or_else(|| Error::new_up(NO_ADDRESS))?;
        let mut peer = Box::new(picked.peer().clone());
        // We have written the request's head, without what is between the client and us: Pingora would look for the same fields once more.
        peer.options.http_upstream_request_policy = HttpUpstreamRequestPolicy::preserve();
        context.picked = Some(picked);
        context.asked = Some(Stopwatch::start());
        Ok(peer)
    }

    async fn upstream_request_filter(
        &self,
        _: &mut Exchange,
        request: &mut RequestHeader,
        context: &mut ProxyContext,
    ) -> pingora::Result<()> {
        // How the body is framed is between the client and us: Pingora frames it itself.
        if request.headers.contains_key(http::header::TRANSFER_ENCODING) {
            request.remove_header(&http::header::TRANSFER_ENCODING);
        }
        // `headers` takes it out with what is between a client and us; over HTTP/2 from end to end trailers pass.
        if request.version == Version::HTTP_2 && context.proxied.as_ref().is_some_and(|proxied| proxied.trailers) {
            request.insert_header(http::header::TE, "trailers")?;
        }
        Ok(())
    }

    async fn request_body_filter(
        &self,
        exchange: &mut Exchange,
        body: &mut Option<Bytes>,
        end: bool,
        context: &mut ProxyContext,
    ) -> pingora::Result<()> {
        if end && body.as_ref().is_some_and(Bytes::is_empty) {
            // HTTP/2 ends a body by an empty frame. Pingora would write it as a chunk of no bytes, which is the last one, and then the last one once
            // more: to the app the beginning of another request.
            *body = None;
        }
        let Some(piece) = body else { return Ok(()) };
        if context.is_revoked(&self.gateway.load().sessions) {
            return Err(Error::new_down(REVOKED));
        }
        let proxied = proxied(context)?;
        let most = proxied.forward.app().max_body;
        let stall = self.gateway.load().bounds().body;
        if proxied.expects_continue {
            exchange.set_read_timeout(Some(stall));
        }
        context.body.take(piece.len(), most, stall).map_err(|refusal| match refusal {
            Refusal::BodyTooLarge => Error::new_down(TOO_LARGE),
            _ => Error::new_down(TOO_SLOW),
        })
    }

    async fn upstream_response_filter(
        &self,
        _: &mut Exchange,
        response: &mut ResponseHeader,
        context: &mut ProxyContext,
    ) -> pingora::Result<()> {
        // Nobody asked for another protocol: WebSockets go by the fast path.
        if response.status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Error::new_up(ErrorType::InvalidHTTPHeader));
        }
        if !headers::is_framed_once(response) {
            return Err(Error::new_up(ErrorType::InvalidHTTPHeader));
        }
        headers::response(response);
        if response.status.is_informational() {
            context.interim += 1;
            if context.interim > MAX_INTERIM {
                return Err(Error::new_up(ErrorType::InvalidHTTPHeader));
            }
        }
        if !response.status.is_informational() {
            if let Some(proxied) = &context.proxied {
                let label = context.picked.as_ref().map_or("", Picked::label);
                // Once: an app has one answer.
                let _ = proxied.answer.set((response.status.as_u16(), label.into()));
                if let Some(asked) = context.asked.take() {
                    self.gateway.load().time_app(proxied, label, response.status.as_u16(), asked.elapsed());
                }
            }
            if let Some(picked) = &context.picked {
                picked.succeeded();
            }
        }
        Ok(())
    }

    /// What Pingora carries over HTTP/2 ends with the next piece of it.
    fn response_body_filter(
        &self,
        _: &mut Exchange,
        _: &mut Option<Bytes>,
        _: bool,
        context: &mut ProxyContext,
    ) -> pingora::Result<Option<Duration>> {
        if context.is_revoked(&self.gateway.load().sessions) { Err(Error::new_down(REVOKED)) } else { Ok(None) }
    }

    async fn response_filter(
        &self,
        exchange: &mut Exchange,
        response: &mut ResponseHeader,
        context: &mut ProxyContext,
    ) -> pingora::Result<()> {
        headers::response_to(exchange.req_header().version, response);
        if self.drain.is_lame() {
            // Asked now, and not when the request came: the client must not believe that it may send another.
            exchange.set_keepalive(None);
        }
        if let Some(proxied) = &context.proxied {
            response.insert_header(headers::REQUEST_ID, proxied.start.id.text())?;
            if let Some(hsts) = proxied.hsts() {
                response.insert_header(headers::HSTS, hsts)?;
            }
        }
        Ok(())
    }

    /// Nothing was sent: any request may go elsewhere.
    fn fail_to_connect(
        &self,
        _: &mut Exchange,
        _: &HttpPeer,
        context: &mut ProxyContext,
        mut error: Box<Error>,
    ) -> Box<Error> {
        if let Some(picked) = context.picked.take() {
            picked.failed(cause_of(&error));
            context.tried.push(picked.address());
        }
        error.set_retry(context.tried.len() < TRIES);
        error
    }

    /// Something may have been sent: only what may be done twice is, and only where an idle connection turned out to be dead.
    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        exchange: &mut Exchange,
        mut error: Box<Error>,
        context: &mut ProxyContext,
        reused: bool,
    ) -> Box<Error> {
        // A connection that the app had closed while it was idle is no failure of the app.
        let idle = reused && matches!(error.retry, RetryType::ReusedOnly);
        if *error.esource() == ErrorSource::Upstream && cause_of(&error) == Cause::TimedOut {
            // The app answers when it has the whole body: who did not send it is who is slow.
            context.unsent = !context.answered() && !exchange.as_downstream_mut().is_body_done();
        }
        if let (ErrorSource::Upstream, false, false, Some(picked)) =
            (error.esource(), idle, context.unsent, &context.picked)
        {
            picked.failed(cause_of(&error));
        }
        let once_only = !exchange.req_header().method.is_idempotent() || exchange.as_ref().retry_buffer_truncated();
        if once_only || context.answered() || context.interim > 0 {
            error.set_retry(false);
        } else {
            error.retry.decide_reuse(reused);
        }
        error
    }

    async fn fail_to_proxy(&self, exchange: &mut Exchange, error: &Error, context: &mut ProxyContext) -> FailToProxy {
        let misframed = context.proxied.as_ref().is_some_and(|proxied| proxied.misframed.load(Ordering::Relaxed));
        let refusal = match (context.unsent, misframed) {
            (true, _) => Some(Refusal::TooSlow),
            (false, true) => Some(Refusal::BadRequest),
            (false, false) => refusal(error),
        };
        let mut error_code = 0;
        if let (Some(refusal), Some(proxied)) = (&refusal, &context.proxied) {
            error_code = refusal.row().status;
            let mut out = Vec::new();
            proxied.refuse(refusal, &mut out);
            // A client that is gone gets nothing.
            let _ = write(exchange, out).await;
        }
        if matches!(refusal, Some(Refusal::AppUnavailable | Refusal::AppTimeout)) {
            context.cause = Some(cause_of(error));
        }
        context.refusal = refusal;
        FailToProxy { error_code, can_reuse_downstream: false }
    }

    async fn logging(&self, exchange: &mut Exchange, error: Option<&Error>, context: &mut ProxyContext) {
        let Some(proxied) = &context.proxied else { return };
        let status = exchange.response_written().map_or(0, |head| head.status.as_u16());
        let outcome = match &context.refusal {
            // The app's answer went out; that the client did not send the rest of its request then is no matter.
            Some(Refusal::TooSlow | Refusal::BadRequest | Refusal::BodyTooLarge) if context.answered() => {
                Outcome::Forwarded
            }
            Some(Refusal::SessionRevoked) => Outcome::SessionEnded,
            Some(refusal) => refusal.row().outcome,
            None if context.answered() && error.is_none() => Outcome::Forwarded,
            None => Outcome::Cancelled,
        };
        self.gateway.load().log_proxied(
            proxied,
            status,
            outcome,
            context.picked.as_ref().map(Picked::label),
            context.cause,
        );
    }

    /// Pingora's lines name the query; ours don't.
    fn suppress_error_log(&self, _: &Exchange, _: &ProxyContext, _: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _: &Exchange,
        _: &ProxyContext,
        _: &Error,
        _: pingora::proxy::ProxyWarnLogContext,
    ) -> bool {
        true
    }

    fn request_summary(&self, _: &Exchange, _: &ProxyContext) -> String {
        String::new()
    }
}

impl Gateway {
    /// The head of an app's answer is there, this long after `upstream` was asked.
    pub(in crate::gateway) fn time_app(&self, proxied: &ProxiedRequest, upstream: &str, status: u16, took: Duration) {
        proxied.forward.app().response.observe(took.as_secs_f64());
        if proxied.start.to_app.own.sampled {
            let start = self.clock.now().minus(took);
            self.metrics.tracer.record(|| spans::app(proxied, upstream, status, start, took));
        }
    }

    /// Counts a request to an app, and writes its access line; once.
    pub(in crate::gateway) fn log_proxied(
        &self,
        proxied: &ProxiedRequest,
        status: u16,
        outcome: Outcome,
        upstream: Option<&str>,
        cause: Option<Cause>,
    ) {
        if proxied.logged.swap(true, Ordering::Relaxed) {
            return;
        }
        let app = proxied.forward.app();
        if outcome == Outcome::Forwarded {
            app.passed.inc();
        } else {
            self.metrics.requests.with_label_values(&[&*app.name, outcome.label()]).inc();
        }
        let took = proxied.start.began.elapsed();
        // A tunnel's life says nothing of how fast anybody was.
        if status != StatusCode::SWITCHING_PROTOCOLS.as_u16() {
            let known = (outcome == Outcome::Forwarded).then_some(&app.passed_duration);
            self.time(&app.name, outcome, known, took);
        }
        let start = &proxied.start;
        self.note(&AccessRecord {
            pattern: Some(app.prefix()),
            method: Some(proxied.method),
            path: Some(&proxied.path),
            route: Some(&app.name),
            check: proxied.check,
            upstream,
            cause,
            duration_us: micros(took),
            session: proxied.forward.session(),
            policy: proxied.policy.as_ref(),
            ..AccessRecord::bare((start.time, start.place, start.id.text()), (status, outcome), &start.client)
        });
    }

    /// The same of one whose way through Pingora's proxy was dropped.
    pub(in crate::gateway) fn log_dropped(&self, proxied: &ProxiedRequest, outcome: Outcome) {
        let (status, upstream) = proxied.answer.get().map_or((0, None), |(status, label)| (*status, Some(&**label)));
        self.log_proxied(proxied, status, outcome, upstream, None);
    }
}

fn proxied(context: &ProxyContext) -> pingora::Result<&ProxiedRequest> {
    context.proxied.as_deref().ok_or_else(|| Error::new_in(ErrorType::InternalError))
}

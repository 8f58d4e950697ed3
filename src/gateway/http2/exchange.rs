//! Requests over HTTP/2, as h2 has read them, and our own answers to them.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::Session as Exchange;
use pingora::{Error, ErrorType};
use pingora_core::protocols::http::v2::server::HttpSession;
use smallvec::SmallVec;

use crate::gateway::Gateway;
use crate::gateway::accept::peer::Peer;
use crate::gateway::answer::reply::Written;
use crate::gateway::bounds::MAX_BODY;
use crate::gateway::forward::proxied_request::ProxiedRequest;
use crate::gateway::http1::head::{BadHead, FEW_HEADERS, Head};
use crate::gateway::receive::Disposition;
use crate::gateway::request::ConnectionInfo;
use crate::problem::Refusal;

/// Judges a request of HTTP/2: answered into `out`, or on its way to an app. `lame` and `abort` as HTTP/1 has them.
///
/// Dropped: nothing is answered; a mint that it waits for goes on.
pub(in crate::gateway) async fn judge(
    gateway: &Gateway,
    request: &HttpSession,
    (peer, tls): (&Peer, bool),
    lame: &(dyn Fn() -> bool + Sync),
    abort: impl Future<Output = ()>,
    out: &mut Vec<u8>,
) -> Disposition {
    let has_body = !request.is_body_empty();
    let request = request.req_header();
    let fields: SmallVec<[httparse::Header<'_>; FEW_HEADERS]> = request
        .headers
        .iter()
        .map(|(name, value)| httparse::Header { name: name.as_str(), value: value.as_bytes() })
        .collect();
    let target = std::str::from_utf8(request.raw_path()).unwrap_or_default();
    // RFC 9113, section 8.3.1: `Host` may stand in for `:authority`.
    let named = || request.headers.get(http::header::HOST).and_then(|host| host.to_str().ok());
    let host = request.uri.authority().map(|authority| authority.as_str()).or_else(named).unwrap_or_default();
    match Head::of_parts(request.method.as_str(), target, host, &fields, has_body) {
        _ if target.len() > gateway.bounds().max_line => gateway.reject(&Refusal::UriTooLong, peer, out),
        // Not asked of us: an app would take it for one of ours.
        Ok(_) if request.uri.scheme_str().is_some_and(|scheme| !matches!(scheme, "http" | "https")) => {
            gateway.reject(&Refusal::BadRequest, peer, out)
        }
        Ok(head) => {
            let connection = ConnectionInfo { raw: &[], peer, tls, http2: true, lame };
            gateway.answer(&head, &connection, out, abort).await
        }
        Err(BadHead::Malformed) => gateway.reject(&Refusal::BadRequest, peer, out),
        Err(BadHead::TooManyHeaders) => gateway.reject(&Refusal::HeaderTooLarge, peer, out),
    }
}

/// The body of a post to us.
pub(in crate::gateway) async fn body(request: &mut HttpSession) -> Result<Vec<u8>, Refusal> {
    let mut body = Vec::new();
    while let Some(piece) = request.read_body_bytes().await.map_err(|_| Refusal::BadRequest)? {
        body.extend_from_slice(&piece);
        if body.len() as u64 > MAX_BODY {
            return Err(Refusal::BodyTooLarge);
        }
    }
    Ok(body)
}

/// The head that goes on is ours.
pub(in crate::gateway) fn replace(
    request: &mut RequestHeader,
    proxied: &ProxiedRequest,
    fields: Vec<(HeaderName, HeaderValue)>,
) -> pingora::Result<()> {
    let names: Vec<HeaderName> = request.headers.keys().cloned().collect();
    for name in names {
        request.remove_header(&name);
    }
    let authority = request.uri.authority().cloned();
    request.set_raw_path(proxied.forward.target().as_bytes())?;
    for (name, value) in fields {
        request.append_header(name, value)?;
    }
    // Where the app is told another host, that one is among the fields.
    if let (Some(authority), None) = (authority, &proxied.forward.app().request_host) {
        request.insert_header(http::header::HOST, authority.as_str())?;
    }
    Ok(())
}

/// Sends an answer of ours, which is the text of HTTP/1.1. A client takes the body of it in `stall`.
///
/// Dropped: the stream is reset.
pub(in crate::gateway) async fn answer(to: &mut HttpSession, out: &[u8], stall: Duration) -> pingora::Result<()> {
    let (head, body) = fields_of(out)?;
    to.write_response_header(Box::new(head), body.is_empty())?;
    if body.is_empty() {
        return Ok(());
    }
    to.set_write_timeout(Some(stall));
    to.write_body(Bytes::copy_from_slice(body), true).await
}

/// The same to a client of Pingora's proxy, by whatever protocol it speaks.
pub(in crate::gateway) async fn write(exchange: &mut Exchange, out: &[u8]) -> pingora::Result<()> {
    let (head, body) = fields_of(out)?;
    exchange.as_downstream_mut().write_error_response(head, Bytes::copy_from_slice(body)).await
}

/// Head and body of an answer of ours.
fn fields_of(out: &[u8]) -> pingora::Result<(ResponseHeader, &[u8])> {
    let Some(written) = Written::read(out) else { return Err(Error::new_in(ErrorType::InternalError)) };
    let mut head = ResponseHeader::build_no_case(written.status, Some(written.fields.len()))?;
    for (name, value) in written.fields.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("connection")) {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| Error::new_in(ErrorType::InternalError))?;
        head.append_header(name, *value)?;
    }
    Ok((head, written.body))
}

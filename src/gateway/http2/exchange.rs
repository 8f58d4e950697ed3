//! Requests over HTTP/2, as h2 has read them, and our own answers to them.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, LOCATION, REFERRER_POLICY, VARY};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::Session as Exchange;
use pingora::{Error, ErrorType};
use pingora_core::protocols::http::v2::server::HttpSession;
use smallvec::SmallVec;

use crate::gateway::Gateway;
use crate::gateway::accept::peer::Peer;
use crate::gateway::answer::reply::Written;
use crate::gateway::bounds::MAX_BODY;
use crate::gateway::forward::headers::REQUEST_ID;
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
pub(in crate::gateway) async fn answer(to: &mut HttpSession, out: Vec<u8>, stall: Duration) -> pingora::Result<()> {
    let (head, body) = head_and_body(out)?;
    to.write_response_header(Box::new(head), body.is_empty())?;
    if body.is_empty() {
        return Ok(());
    }
    to.set_write_timeout(Some(stall));
    to.write_body(body, true).await
}

/// The same to a client of Pingora's proxy, by whatever protocol it speaks.
pub(in crate::gateway) async fn write(exchange: &mut Exchange, out: Vec<u8>) -> pingora::Result<()> {
    let (head, body) = head_and_body(out)?;
    exchange.as_downstream_mut().write_error_response(head, body).await
}

/// Head and body of an answer of ours.
fn head_and_body(out: Vec<u8>) -> pingora::Result<(ResponseHeader, Bytes)> {
    let unwritten = || Error::new_in(ErrorType::InternalError);
    let written = Written::read(out).ok_or_else(unwritten)?;
    let mut answer = Response::new(());
    *answer.status_mut() = StatusCode::from_u16(written.status).map_err(|_| unwritten())?;
    let fields = answer.headers_mut();
    fields.reserve(written.fields().len());
    for (name, value) in written.fields() {
        let Some(name) = field_name(name) else { continue };
        let mut value = field_value(&written, value).ok_or_else(unwritten)?;
        // RFC 7541, section 7.1.3: a secret is in no table by which it could be guessed. And what comes once would push out what comes each time.
        value.set_sensitive(name == LOCATION || name.as_str() == REQUEST_ID);
        fields.append(name, value);
    }
    Ok((answer.into_parts().0.into(), written.body()))
}

/// The name of a field of ours; `None`: it is none of HTTP/2's.
fn field_name(name: &[u8]) -> Option<HeaderName> {
    // Those of a redirect are told apart faster here than by the list of all names.
    match name {
        b"cache-control" => Some(CACHE_CONTROL),
        b"vary" => Some(VARY),
        b"location" => Some(LOCATION),
        b"referrer-policy" => Some(REFERRER_POLICY),
        b"content-length" => Some(CONTENT_LENGTH),
        // Pingora writes its own.
        b"date" | b"connection" => None,
        name if name == REQUEST_ID.as_bytes() => Some(const { HeaderName::from_static(REQUEST_ID) }),
        other => HeaderName::from_bytes(other).ok(),
    }
}

/// The value of a field of ours.
fn field_value(written: &Written, value: &[u8]) -> Option<HeaderValue> {
    // Those that each redirect has are not looked through.
    Some(match value {
        b"no-store" => const { HeaderValue::from_static("no-store") },
        b"Accept, Origin" => const { HeaderValue::from_static("Accept, Origin") },
        b"no-referrer" => const { HeaderValue::from_static("no-referrer") },
        b"0" => const { HeaderValue::from_static("0") },
        other => HeaderValue::from_maybe_shared(written.share(other)).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Stopwatch;
    use crate::gateway::answer::reply::Reply;

    #[test]
    fn where_a_redirect_leads_is_in_no_table_of_hpack() {
        let mut out = Vec::new();
        let mut reply = Reply {
            out: &mut out,
            request_id: "7f2b",
            head_only: false,
            close: true,
            origin: None,
            hsts: None,
            at: Stopwatch::start(),
        };
        reply.login("https://id.example/?next=/");
        let (head, body) = head_and_body(out).unwrap();
        let names = |sensitive| {
            let fields = head.headers.iter().filter(move |(_, value)| value.is_sensitive() == sensitive);
            fields.map(|(name, _)| name.as_str()).collect::<Vec<_>>()
        };
        assert_eq!((head.status.as_u16(), body.len()), (302, 0));
        assert_eq!(names(true), ["x-request-id", "location"]);
        assert_eq!(names(false), ["cache-control", "vary", "referrer-policy", "content-length"]);
    }
}

//! Requests over HTTP/2, as Pingora has read them, and our own answers to them.

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::Session as Exchange;
use pingora::{Error, ErrorType};

use crate::gateway::accept::connection::ListenerConnection;
use crate::gateway::accept::peer::Peer;
use crate::gateway::answer::reply::Written;
use crate::gateway::forward::proxied_request::{ProxiedRequest, ProxyContext, UpstreamHead};
use crate::gateway::forward::proxy::Forwarder;
use crate::gateway::handle::Disposition;
use crate::gateway::http1::head::{BadHead, Head};
use crate::gateway::judge::decide::MAX_BODY;
use crate::gateway::request::ConnectionInfo;
use crate::problem::Refusal;

impl Forwarder {
    /// A request that came over HTTP/2, past our own reading of heads. `false`: it is answered.
    pub(in crate::gateway) async fn judge(
        &self,
        exchange: &mut Exchange,
        context: &mut ProxyContext,
    ) -> pingora::Result<bool> {
        let gateway = self.gateway.load();
        let has_body = !exchange.as_downstream_mut().is_body_empty();
        // The announced one, where the PROXY protocol is spoken: the acceptor told Pingora so.
        let address = exchange.client_addr().and_then(|address| address.as_inet());
        let unix = exchange.server_addr().is_some_and(|address| address.as_unix().is_some());
        let connection = ListenerConnection::of_digest(exchange.digest()).unwrap_or_default();
        let address = address.map(|address| address.ip().to_canonical());
        let peer = Peer::new(address, unix, gateway.trusted(), connection);
        let tls = exchange.digest().is_some_and(|digest| digest.ssl_digest.is_some());
        let request = exchange.req_header().clone();
        let fields: Vec<httparse::Header<'_>> = request
            .headers
            .iter()
            .map(|(name, value)| httparse::Header { name: name.as_str(), value: value.as_bytes() })
            .collect();
        let target = std::str::from_utf8(request.raw_path()).unwrap_or_default();
        // RFC 9113, section 8.3.1: `Host` may stand in for `:authority`.
        let named = || request.headers.get(http::header::HOST).and_then(|host| host.to_str().ok());
        let host = request.uri.authority().map(|authority| authority.as_str()).or_else(named).unwrap_or_default();
        let mut out = Vec::new();
        let after = match Head::of_parts(request.method.as_str(), target, host, &fields, has_body) {
            _ if target.len() > gateway.bounds().max_line => gateway.reject(&Refusal::UriTooLong, &peer, &mut out),
            // Not asked of us: an app would take it for one of ours.
            Ok(_) if request.uri.scheme_str().is_some_and(|scheme| !matches!(scheme, "http" | "https")) => {
                gateway.reject(&Refusal::BadRequest, &peer, &mut out)
            }
            Ok(head) => {
                let mut abort = self.drain.abort();
                let abort = async {
                    let _ = abort.wait_for(|abort| *abort).await;
                };
                let connection =
                    ConnectionInfo { raw: &[], peer: &peer, tls, http2: true, lame: &|| self.drain.is_lame() };
                gateway.answer(&head, &connection, &mut out, abort).await
            }
            Err(BadHead::Malformed) => gateway.reject(&Refusal::BadRequest, &peer, &mut out),
            Err(BadHead::TooManyHeaders) => gateway.reject(&Refusal::HeaderTooLarge, &peer, &mut out),
        };
        if let Disposition::Forward(proxied, upstream_head) = after {
            match upstream_head {
                UpstreamHead::Fields(fields) => replace(exchange.req_header_mut(), &proxied, fields)?,
                UpstreamHead::Wire(head) => context.wire = Some(head),
            }
            context.proxied = Some(proxied);
            return Ok(true);
        }
        if let Disposition::Receive(post) = after {
            let gateway = self.gateway.load_full();
            let body = tokio::time::timeout(gateway.bounds.head, body(exchange)).await;
            let body = body.unwrap_or(Err(Refusal::TooSlow));
            Box::pin(gateway.receive(&post, body, &mut out)).await;
        }
        write(exchange, &out).await?;
        Ok(false)
    }
}

/// The body of a post to us.
async fn body(exchange: &mut Exchange) -> Result<Vec<u8>, Refusal> {
    let mut body = Vec::new();
    while let Some(piece) = exchange.as_downstream_mut().read_request_body().await.map_err(|_| Refusal::BadRequest)? {
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

/// Writes an answer of ours, which is the text of HTTP/1.1, by whatever protocol the client speaks.
pub(in crate::gateway) async fn write(exchange: &mut Exchange, out: &[u8]) -> pingora::Result<()> {
    let Some(written) = Written::read(out) else { return Err(Error::new_in(ErrorType::InternalError)) };
    let mut head = ResponseHeader::build_no_case(written.status, Some(written.fields.len()))?;
    for (name, value) in written.fields.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("connection")) {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| Error::new_in(ErrorType::InternalError))?;
        head.append_header(name, *value)?;
    }
    exchange.as_downstream_mut().write_error_response(head, Bytes::copy_from_slice(written.body)).await
}

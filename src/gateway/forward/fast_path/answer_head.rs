//! The head of an app's answer as a client of HTTP/1.1 gets it: cleaned, with a framing of ours.

use http::{HeaderName, StatusCode, Version, header};
use pingora::http::ResponseHeader;
use pingora_core::protocols::http::date::get_cached_date;

use crate::gateway::forward::headers::{self, HSTS, REQUEST_ID};
use crate::gateway::forward::proxied_request::ProxiedRequest;

/// How the body of an answer is told to the client.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Framing {
    /// As long as its length says; or there is none.
    Sized,
    Chunked,
}

/// Whether this can be an answer: nobody asked for another protocol, and its body ends in one place only.
pub(super) fn is_possible(answer: &ResponseHeader) -> bool {
    answer.status != StatusCode::SWITCHING_PROTOCOLS && headers::is_framed_once(answer)
}

pub(super) fn write_head(answer: &ResponseHeader, proxied: &ProxiedRequest, close: bool, out: &mut Vec<u8>) -> Framing {
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

//! Header sanitising for a reverse proxy: spoofed identity headers and hop-by-hop fields (RFC 9110, section 7.6.1) are removed, then our own are set.

use std::borrow::Cow;

use bytes::BytesMut;
use http::header::{self, HeaderName, HeaderValue};
use http::{StatusCode, Version};
use pingora::http::ResponseHeader;
use smallvec::SmallVec;

use crate::gateway::accept::forwarded::{self, Connection};
use crate::gateway::accept::peer::Peer;
use crate::gateway::forward::proxy_fields::{is_proxy_field, is_request_field, same};
use crate::gateway::http1::head::{Head, is_token};
use crate::gateway::judge::app_route::AppRoute;
use crate::session::{FieldClaim, Redaction, Session, Sources};
use crate::telemetry::{Place, TRACEPARENT, TRACESTATE};

/// Whom the session speaks for.
pub(in crate::gateway) const SUBJECT: &str = "x-auth-subject";

/// The issuer that vouches for it.
pub(in crate::gateway) const ISSUER: &str = "x-auth-issuer";

/// A signed word on the session.
pub(in crate::gateway) const ASSERTION: &str = "x-auth-assertion";

/// The `Cookie` without our credential, for a proxy that carries the request itself. No app's request has it.
pub(in crate::gateway) const COOKIE: &str = "x-auth-cookie";

/// The certificate that the client showed, in the form of `Client-Cert` (RFC 9440, section 2.2).
const CLIENT_CERTIFICATE: &str = "x-auth-client-certificate";

/// Of a request and its answer. As it stands on the wire: Pingora would make a copy of a `HeaderName`.
pub(in crate::gateway) const REQUEST_ID: &str = "x-request-id";

/// Of an answer (RFC 6797, section 6.1).
pub(in crate::gateway) const HSTS: &str = "strict-transport-security";

/// Fields that frame a message. In another spelling some app servers take them for these, and we don't: two readings of one request.
const FRAMING: [&str; 3] = ["content-length", "transfer-encoding", "host"];

/// Fields that are between the client and us (RFC 9110, section 7.6.1), besides those that `Connection` names.
const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "http2-settings",
];

/// Fields that frame or route a request: who names one of them in `Connection` wants two readings of it.
const NOT_TO_BE_NAMED: [&str; 6] =
    ["host", "content-length", "transfer-encoding", "authorization", "cookie", "x-forwarded-for"];

/// More names in `Connection` than this are no browser's.
const MAX_NAMED: usize = 9;

/// A `Connection` field that is no list of names or names what it must not, or a field that frames the message in an odd spelling.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::gateway) struct BadFields;

/// What the app is told beside what the client said.
pub(in crate::gateway) struct Identity<'a> {
    pub app: &'a AppRoute,
    pub session: Option<&'a Session>,
    /// A signed word on it.
    pub assertion: Option<&'a str>,
    pub peer: &'a Peer,
    pub tls: bool,
    pub request_id: &'a str,
    /// Where our call of the app stands in a trace.
    pub place: Place,
    /// The trace is the caller's, and so is `tracestate`.
    pub keeps_state: bool,
}

/// Takes the fields of a request in the order in which the app gets them.
pub(in crate::gateway) trait Sink {
    /// The value is what the parts are one behind the other.
    fn parts(&mut self, name: &str, parts: &[&[u8]]);

    fn field(&mut self, name: &str, value: &[u8]) {
        self.parts(name, &[value]);
    }
}

/// The text of HTTP/1.1.
impl Sink for BytesMut {
    fn parts(&mut self, name: &str, parts: &[&[u8]]) {
        self.extend_from_slice(name.as_bytes());
        self.extend_from_slice(b": ");
        for part in parts {
            self.extend_from_slice(part);
        }
        self.extend_from_slice(b"\r\n");
    }
}

/// For HTTP/2. What is no field there is left out; there is nothing of that kind that a head can bring.
impl Sink for Vec<(HeaderName, HeaderValue)> {
    fn parts(&mut self, name: &str, parts: &[&[u8]]) {
        let value = match parts {
            [one] => HeaderValue::from_bytes(one),
            parts => HeaderValue::from_bytes(&parts.concat()),
        };
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), value) {
            self.push((name, value));
        }
    }
}

/// Writes the fields of a request as the app gets them. `sources`: where credentials stand.
pub(in crate::gateway) fn request(
    head: &Head<'_>,
    identity: &Identity<'_>,
    sources: &Sources,
    out: &mut impl Sink,
) -> Result<(), BadFields> {
    let named = named_by_connection(head)?;
    let websocket = head.wants_websocket();
    let mut cookies: SmallVec<[Cow<'_, [u8]>; 2]> = SmallVec::new();
    for field in head.headers {
        let name = field.name;
        let is = |known: &&str| name.eq_ignore_ascii_case(known);
        let between_us = HOP_BY_HOP.iter().any(is)
            || name.eq_ignore_ascii_case("upgrade")
            // It carries a credential: gone in every spelling, like the ones that are configured.
            || same("proxy-authorization", name)
            || named.iter().any(|known| name.as_bytes().eq_ignore_ascii_case(known));
        // The app is told another one, by `set_forwarding`.
        let replaced = identity.app.request_host.is_some() && is(&"host");
        // A stranger's trace is none: what vendors of tracing add to ours is passed on only with the caller's place.
        let traced = same(TRACEPARENT, name) || (!identity.keeps_state && same(TRACESTATE, name));
        if between_us || replaced || traced || is_identity_field(name, &identity.app.identity) {
            continue;
        }
        // Platforms name some fields that carry tokens like those that only a proxy writes (`x-auth-request-access-token`).
        if is_proxy_field(name) && !(identity.app.pass_credential && sources.names_header(name.as_bytes())) {
            continue;
        }
        check_name(name)?;
        let left =
            if identity.app.pass_credential { Redaction::Whole } else { sources.redact(name.as_bytes(), field.value) };
        let value = match left {
            Redaction::Nothing => continue,
            Redaction::Whole if is(&"content-length") => Cow::Borrowed(without_zeros(field.value)),
            // Nothing else was taken, in whatever letters.
            Redaction::Whole if is(&"transfer-encoding") => Cow::Borrowed(&b"chunked"[..]),
            Redaction::Whole => Cow::Borrowed(field.value),
            Redaction::Value(value) => Cow::Owned(value),
        };
        if is(&"cookie") { cookies.push(value) } else { out.field(name, &value) }
    }
    match cookies.as_slice() {
        [] => {}
        [one] => out.field("cookie", one),
        // RFC 9113, section 8.2.3: the crumbs of HTTP/2 are one field to everybody else.
        crumbs => out.field("cookie", &crumbs.join(&b"; "[..])),
    }
    if websocket {
        out.field("connection", b"Upgrade");
        out.field("upgrade", b"websocket");
    }
    set_forwarding(head, identity, out);
    Ok(())
}

/// Refuses a field that frames the message in an odd spelling, of a request that another proxy sends on.
pub(in crate::gateway) fn check_framing(head: &Head<'_>) -> Result<(), BadFields> {
    head.headers.iter().try_for_each(|field| check_name(field.name))
}

fn check_name(name: &str) -> Result<(), BadFields> {
    let framing = FRAMING.iter().any(|known| same(known, name) && !name.eq_ignore_ascii_case(known));
    if framing { Err(BadFields) } else { Ok(()) }
}

/// Says whom a request comes from, in the order in which an app is told: of each field that the app gets, its name and its value.
pub(in crate::gateway) fn identity_fields<'a>(
    app: &'a AppRoute,
    session: Option<&'a Session>,
    assertion: Option<&'a str>,
    mut field: impl FnMut(&'a str, &'a str),
) {
    let Some(session) = session else { return };
    // Subjects hold no control characters, the session check saw to it, and issuers are the operator's own.
    field(SUBJECT, session.subject());
    field(ISSUER, session.issuer());
    if let Some(assertion) = assertion {
        field(ASSERTION, assertion);
    }
    for (name, position) in &app.claims {
        if let Some(claim) = session.fields().get(*position).and_then(FieldClaim::text) {
            field(name.as_str(), claim);
        }
    }
}

/// Gives the names of the fields that the app would not get of this request, `Cookie` aside. Those that the proxy that asks writes itself are left to it;
/// of those by which proxies tell one another of a request, the ones that an app of ours gets, where a trusted proxy sent them (`by_proxy`): from anybody
/// else they are the client's own, for the proxy that asks passes them on.
pub(in crate::gateway) fn removed<'h>(
    head: &Head<'h>,
    app: &AppRoute,
    (sources, by_proxy): (&Sources, bool),
    mut name: impl FnMut(&'h str),
) {
    for field in head.headers {
        let is_proxys =
            matches!(field.name, REQUEST_ID | "x-forwarded-for" | "x-forwarded-proto" | "x-forwarded-client-cert")
                || field.name.starts_with("x-envoy-")
                || (by_proxy && matches!(field.name, "forwarded" | "x-forwarded-host" | "x-forwarded-port"));
        let passes = app.pass_credential && sources.names_header(field.name.as_bytes());
        let spoofed = is_identity_field(field.name, &app.identity) || (is_proxy_field(field.name) && !passes);
        let credential = !app.pass_credential
            && !same("cookie", field.name)
            && sources.redact(field.name.as_bytes(), field.value) == Redaction::Nothing;
        if (spoofed && !is_proxys) || credential {
            name(field.name);
        }
    }
}

/// The `Cookie` of a request as the app gets it: without our credential, unless the app is to have it.
pub(in crate::gateway) fn cookie(head: &Head<'_>, app: &AppRoute, sources: &Sources) -> Vec<u8> {
    let left = head.all("cookie").filter_map(|value| {
        match if app.pass_credential { Redaction::Whole } else { sources.redact(b"cookie", value) } {
            Redaction::Nothing => None,
            Redaction::Whole => Some(Cow::Borrowed(value)),
            Redaction::Value(value) => Some(Cow::Owned(value)),
        }
    });
    left.collect::<Vec<_>>().join(&b"; "[..])
}

/// A length as everybody writes it: a reader may take a zero before it for the sign of another base.
pub(in crate::gateway) fn without_zeros(length: &[u8]) -> &[u8] {
    let zeros = length.iter().take_while(|digit| **digit == b'0').count();
    &length[zeros.min(length.len().saturating_sub(1))..]
}

fn set_forwarding(head: &Head<'_>, identity: &Identity<'_>, out: &mut impl Sink) {
    identity_fields(identity.app, identity.session, identity.assertion, |name, value| {
        out.field(name, value.as_bytes())
    });
    if let Some(certificate) = identity.peer.connection().client_certificate() {
        out.field(CLIENT_CERTIFICATE, certificate.as_bytes());
    }
    out.field(REQUEST_ID, identity.request_id.as_bytes());
    out.field(TRACEPARENT, &identity.place.own.header());
    match &identity.app.request_host {
        Some(host) => out.field("host", host.as_bytes()),
        // A client of HTTP/1.0 need not name one; the app is asked in HTTP/1.1, which does (RFC 9112, section 3.2), and by the host that was judged.
        None if head.hostless => out.field("host", head.host.as_bytes()),
        None => {}
    }
    let connection = Connection { peer: identity.peer.address_text(), tls: identity.tls, host: head.host };
    forwarded::fields(&identity.peer.chain(head), connection, |name, parts| out.parts(name, parts));
}

/// The names in `Connection` that are fields of the request.
fn named_by_connection<'h>(head: &Head<'h>) -> Result<SmallVec<[&'h [u8]; 4]>, BadFields> {
    let mut named = SmallVec::new();
    for value in head.all("connection") {
        for name in value.split(|b| *b == b',').map(<[u8]>::trim_ascii).filter(|name| !name.is_empty()) {
            let not_to_be = |known: &&str| name.eq_ignore_ascii_case(known.as_bytes());
            if !is_token(name) || NOT_TO_BE_NAMED.iter().any(not_to_be) || named.len() == MAX_NAMED {
                return Err(BadFields);
            }
            named.push(name);
        }
    }
    Ok(named)
}

/// Whether a field is one that only we may say, or that frames or places the message, in any spelling: no claim can stand in it.
pub(crate) fn is_reserved(name: &str) -> bool {
    let is_traced = same(TRACEPARENT, name) || same(TRACESTATE, name);
    is_traced || is_said_by_us(name) || is_request_field(name) || FRAMING.iter().any(|own| same(own, name))
}

fn is_said_by_us(name: &str) -> bool {
    matches!(name.as_bytes(), [b'x' | b'X', ..])
        && [SUBJECT, ISSUER, ASSERTION, COOKIE, REQUEST_ID, CLIENT_CERTIFICATE].iter().any(|own| same(own, name))
}

fn is_identity_field(name: &str, claims: &[HeaderName]) -> bool {
    is_said_by_us(name) || claims.iter().any(|own| same(own.as_str(), name))
}

/// Whether an answer of this status ends with its head, whoever asked (RFC 9112, section 6.3).
pub(in crate::gateway) fn has_no_body(status: StatusCode) -> bool {
    matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// Whether a field of an answer is between the app and us (RFC 9110, section 7.6.1).
pub(in crate::gateway) fn is_hop_by_hop(name: &str) -> bool {
    const FIELDS: [&str; 7] =
        ["connection", "keep-alive", "proxy-connection", "proxy-authenticate", "te", "trailer", "upgrade"];
    FIELDS.iter().any(|field| name.eq_ignore_ascii_case(field))
}

/// An answer as the client gets it: what is between the app and us stays there (RFC 9110, section 7.6.1).
pub(in crate::gateway) fn response(response: &mut ResponseHeader) {
    const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
    const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
    // One look at each field finds nothing in most answers.
    if !response.headers.keys().any(|name| is_hop_by_hop(name.as_str())) {
        return;
    }
    if response.headers.contains_key(header::CONNECTION) {
        let named: Vec<HeaderName> = response
            .headers
            .get_all(header::CONNECTION)
            .iter()
            .flat_map(|value| value.as_bytes().split(|b| *b == b','))
            .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
            .filter(|name| {
                ![header::CONNECTION, header::UPGRADE, header::TRANSFER_ENCODING, header::CONTENT_LENGTH].contains(name)
            })
            .collect();
        for name in named {
            response.remove_header(&name);
        }
    }
    for name in [KEEP_ALIVE, PROXY_CONNECTION, header::PROXY_AUTHENTICATE, header::TE, header::TRAILER] {
        if response.headers.contains_key(&name) {
            response.remove_header(&name);
        }
    }
    if response.status != StatusCode::SWITCHING_PROTOCOLS && response.headers.contains_key(header::UPGRADE) {
        response.remove_header(&header::UPGRADE);
    }
}

/// Whether an answer can be framed in one way only: one length or exactly `chunked`, not both (RFC 9112, section 6; RFC 9110, section 8.6).
pub(in crate::gateway) fn is_framed_once(response: &ResponseHeader) -> bool {
    let mut lengths = response.headers.get_all(header::CONTENT_LENGTH).iter();
    let mut codings = response.headers.get_all(header::TRANSFER_ENCODING).iter();
    match (lengths.next(), lengths.next(), codings.next(), codings.next()) {
        (None, None, None, None) => true,
        (Some(length), None, None, None) => !length.as_bytes().contains(&b','),
        (None, None, Some(coding), None) => coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"),
        _ => false,
    }
}

/// Makes an answer's head fit a client of this version: one of HTTP/1.0 knows no chunks, so the end of the connection is that of the answer.
pub(in crate::gateway) fn response_to(version: Version, response: &mut ResponseHeader) {
    // RFC 9112, section 2.3: the version of an answer is its sender's.
    if response.version == Version::HTTP_10 || response.version == Version::HTTP_09 {
        response.set_version(Version::HTTP_11);
    }
    let interim = response.status.is_informational() && response.status != StatusCode::SWITCHING_PROTOCOLS;
    if interim {
        response.remove_header(&header::CONNECTION);
    }
    // RFC 9112, section 6.1; RFC 9110, section 8.6.
    if interim || response.status == StatusCode::NO_CONTENT {
        response.remove_header(&header::CONTENT_LENGTH);
    }
    if interim || has_no_body(response.status) {
        response.remove_header(&header::TRANSFER_ENCODING);
    }
    if version == Version::HTTP_10 {
        response.remove_header(&header::TRANSFER_ENCODING);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_spelling_of_what_only_we_may_say_counts() {
        let claims = [HeaderName::from_static("y-email")];
        for name in [
            "x-auth-subject",
            "X-Auth-Subject",
            "X-Auth-Client_Certificate",
            "x_auth_subject",
            "X.Auth.Subject",
            "x-auth_issuer",
            "Y_email",
            "forwarded",
            "True-Client-IP",
            "x-forwarded-for",
            "x_forwarded_for",
            "X-Forwarded-Anything",
            "x-real-ip",
            "x_original.url",
            "x-rewrite-url",
            "x-request-id",
            "X~Auth~Subject",
            "x+auth+issuer",
            "x|real|ip",
            "Proxy",
            "Client_IP",
        ] {
            assert!(is_identity_field(name, &claims) || is_proxy_field(name), "{name}");
        }
        for name in ["x-auth-subjects", "xauthsubject", "x-auth", "x-forwarded-", "y-emai", "cookie", "referer", ""] {
            assert!(!is_identity_field(name, &claims) && !is_proxy_field(name), "{name}");
        }
    }

    #[test]
    fn what_is_between_the_app_and_us_stays_there() {
        let mut answer = ResponseHeader::build(200, None).unwrap();
        for (name, value) in [
            ("connection", "close, X-Secret , content-length"),
            ("x-secret", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-authenticate", "Basic"),
            ("upgrade", "h2c"),
            ("trailer", "x"),
            ("transfer-encoding", "chunked"),
            ("set-cookie", "a=b"),
        ] {
            answer.append_header(name.to_owned(), value).unwrap();
        }
        let left = |answer: &ResponseHeader| {
            let mut left: Vec<String> = answer.headers.keys().map(|name| name.as_str().to_owned()).collect();
            left.sort_unstable();
            left
        };
        response(&mut answer);
        response_to(Version::HTTP_11, &mut answer);
        assert_eq!(left(&answer), ["connection", "set-cookie", "transfer-encoding"]);
        response_to(Version::HTTP_10, &mut answer);
        assert_eq!(left(&answer), ["connection", "set-cookie"]);
    }
}

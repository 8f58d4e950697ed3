//! Parses one request head (RFC 9112), strictly: against request smuggling, what two parsers could read in two ways is refused.

use std::mem::MaybeUninit;

use httparse::{Header, Request};

pub(in crate::gateway) use crate::web::is_token;

/// More header lines than this are refused: browsers send about 20.
pub(in crate::gateway) const MAX_HEADERS: usize = 100;

/// As many as nearly every head has: what is kept for a request is moved with it, and a hundred are 3 KiB.
pub(in crate::gateway) const FEW_HEADERS: usize = 24;

/// Why a head is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gateway) enum BadHead {
    /// It can't be read safely: 400.
    Malformed,
    /// Too many header lines: 431.
    TooManyHeaders,
}

/// How the request's body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gateway) enum Body {
    /// None.
    Empty,
    /// This many bytes.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

/// A head that was read.
pub(in crate::gateway) struct Head<'h> {
    pub method: &'h str,
    /// The request target as sent.
    pub target: &'h str,
    pub headers: &'h [Header<'h>],
    pub body: Body,
    /// The client wants the connection closed, or speaks HTTP/1.0.
    pub close: bool,
    pub expects_continue: bool,
    /// HTTP/1.1 or later; else HTTP/1.0.
    pub modern: bool,
    pub http2: bool,
    /// `Host`, lower case not yet applied; in an HTTP/1.0 request without one what [`Head::parse`] was told of us.
    pub host: &'h str,
    /// An HTTP/1.0 request without `Host`.
    pub hostless: bool,
}

impl<'h> Head<'h> {
    /// Reads a whole head, which ends in an empty line. Every line end is known to be CRLF. `own_host`: the host of `public_url`, which a request of
    /// HTTP/1.0 without `Host` means: it is judged by the host that an app is told. `slots`: room for the fields; a head with more of them has too
    /// many headers.
    pub fn parse(raw: &'h [u8], slots: &'h mut [MaybeUninit<Header<'h>>], own_host: &'h str) -> Result<Self, BadHead> {
        let mut request = Request::new(&mut []);
        match request.parse_with_uninit_headers(raw, slots) {
            Ok(httparse::Status::Complete(_)) => {}
            Err(httparse::Error::TooManyHeaders) => return Err(BadHead::TooManyHeaders),
            Ok(httparse::Status::Partial) | Err(_) => return Err(BadHead::Malformed),
        }
        let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
            return Err(BadHead::Malformed);
        };
        if !is_visible(target) {
            return Err(BadHead::Malformed);
        }
        let headers: &'h [Header<'h>] = request.headers;
        let fields = Fields::read(headers)?;
        let host = match fields.host {
            Some(host) if is_host(host) => host,
            None if minor == 0 => own_host,
            _ => return Err(BadHead::Malformed),
        };
        if minor == 0 && fields.body == Body::Chunked {
            return Err(BadHead::Malformed);
        }
        Ok(Self {
            method,
            target,
            headers,
            body: fields.body,
            close: fields.close || minor == 0,
            expects_continue: fields.expects_continue,
            modern: minor > 0,
            http2: false,
            host,
            hostless: fields.host.is_none(),
        })
    }

    /// A head that HTTP/2 brought: framed by the protocol, its host in `:authority`. The same rules for what is in it.
    pub fn of_parts(
        method: &'h str,
        target: &'h str,
        host: &'h str,
        headers: &'h [Header<'h>],
        has_body: bool,
    ) -> Result<Self, BadHead> {
        if headers.len() > MAX_HEADERS {
            // RFC 9113, section 8.2.3: the crumbs of `Cookie` are one field. How many bytes they have, HTTP/2's bound of a header list says.
            let crumbs = headers.iter().filter(|field| field.name == "cookie").count();
            if headers.len() - crumbs.saturating_sub(1) > MAX_HEADERS {
                return Err(BadHead::TooManyHeaders);
            }
        }
        if !is_visible(target) || !is_host(host) {
            return Err(BadHead::Malformed);
        }
        // RFC 9113, section 8.2.1: a value neither begins nor ends with a blank. HTTP/1 has it taken away, so the app would see another value.
        let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
        if headers.iter().any(|field| is_blank(field.value.first()) || is_blank(field.value.last())) {
            return Err(BadHead::Malformed);
        }
        let fields = Fields::read(headers)?;
        if fields.body == Body::Chunked || fields.host.is_some_and(|field| field != host) {
            return Err(BadHead::Malformed);
        }
        let body = if has_body && fields.body == Body::Empty { Body::Chunked } else { fields.body };
        // A length of nothing in other digits (`00`), and a body that may come all the same: an app of HTTP/1.1 would be told both.
        if body == Body::Chunked && headers.iter().any(|field| field.name == "content-length") {
            return Err(BadHead::Malformed);
        }
        let expects_continue = fields.expects_continue;
        Ok(Self {
            method,
            target,
            headers,
            body,
            close: false,
            expects_continue,
            modern: true,
            http2: true,
            host,
            hostless: false,
        })
    }

    /// Whether the client asks for a WebSocket (RFC 6455, section 4.1). One with a body does not: it is a request like any other.
    pub fn wants_websocket(&self) -> bool {
        let upgrades =
            |value: &[u8]| value.split(|b| *b == b',').any(|name| name.trim_ascii().eq_ignore_ascii_case(b"upgrade"));
        let asked = self.text("upgrade").is_some_and(|protocol| protocol.eq_ignore_ascii_case("websocket"));
        asked
            && self.method == "GET"
            && self.modern
            && !self.http2
            && self.body == Body::Empty
            && self.all("connection").any(upgrades)
    }

    /// The value of the first field of this name (lower case), if it is visible ASCII or spaces.
    pub fn text(&self, name: &str) -> Option<&'h str> {
        let field = self.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(field.value).ok()
    }

    /// The values of all fields of this name (lower case).
    pub fn all(&self, name: &'static str) -> impl Iterator<Item = &'h [u8]> {
        self.headers.iter().filter(move |field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
    }
}

/// The fields that frame a message, read once.
struct Fields<'h> {
    host: Option<&'h str>,
    body: Body,
    close: bool,
    expects_continue: bool,
}

impl<'h> Fields<'h> {
    fn read(headers: &'h [Header<'h>]) -> Result<Self, BadHead> {
        let mut fields = Self { host: None, body: Body::Empty, close: false, expects_continue: false };
        let (mut length, mut chunked) = (None, false);
        let mut fetch = [false; FETCH_METADATA.len()];
        for Header { name, value } in headers {
            // The length tells most names apart before letters are compared.
            match name.len() {
                4 if name.eq_ignore_ascii_case("host") => {
                    let text = std::str::from_utf8(value).map_err(|_| BadHead::Malformed)?;
                    if fields.host.replace(text).is_some() {
                        return Err(BadHead::Malformed);
                    }
                }
                6 if name.eq_ignore_ascii_case("expect") => fields.expects_continue = true,
                10 if name.eq_ignore_ascii_case("connection") => {
                    fields.close |= value.split(|b| *b == b',').any(|t| t.trim_ascii().eq_ignore_ascii_case(b"close"));
                }
                14 if name.eq_ignore_ascii_case("content-length") => {
                    let again = length.replace(content_length(value)?).is_some();
                    if again {
                        return Err(BadHead::Malformed);
                    }
                }
                14 => {
                    // A browser sends each once: which of two is true nobody knows.
                    let which = folded(name);
                    let which = FETCH_METADATA.iter().position(|known| *known == which);
                    if which.is_some_and(|which| std::mem::replace(&mut fetch[which], true)) {
                        return Err(BadHead::Malformed);
                    }
                }
                17 if name.eq_ignore_ascii_case("transfer-encoding") => {
                    if chunked || !value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                        return Err(BadHead::Malformed);
                    }
                    chunked = true;
                }
                _ => {}
            }
        }
        fields.body = match (length, chunked) {
            (None, false) | (Some(0), false) => Body::Empty,
            (Some(length), false) => Body::Length(length),
            (None, true) => Body::Chunked,
            (Some(_), true) => return Err(BadHead::Malformed),
        };
        Ok(fields)
    }
}

/// The fields by which a browser says which page is behind a request (Fetch Metadata), as [`folded`] makes them.
const FETCH_METADATA: [Option<(u64, u64)>; 4] =
    [folded("sec-fetch-site"), folded("sec-fetch-mode"), folded("sec-fetch-dest"), folded("sec-fetch-user")];

/// The first and the last eight bytes of a name as numbers that are the same in upper and lower case. A byte of a name that becomes a letter or `-` is
/// one.
const fn folded(name: &str) -> Option<(u64, u64)> {
    const LOWER: u64 = u64::from_le_bytes([0x20; 8]);
    match (name.as_bytes().first_chunk(), name.as_bytes().last_chunk()) {
        (Some(first), Some(last)) => Some((u64::from_le_bytes(*first) | LOWER, u64::from_le_bytes(*last) | LOWER)),
        _ => None,
    }
}

/// RFC 9110, 8.6: digits only, no list, no sign.
fn content_length(value: &[u8]) -> Result<u64, BadHead> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(BadHead::Malformed);
    }
    std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).ok_or(BadHead::Malformed)
}

/// Whether there are only visible characters of ASCII in it. Without a branch for each byte, so that the compiler makes vectors of it.
pub(in crate::gateway) fn is_visible(text: &str) -> bool {
    text.bytes().fold(true, |visible, byte| visible & matches!(byte, 0x21..=0x7e))
}

/// `host[:port]` of RFC 3986, without userinfo; a name or an address, never empty. A name's labels are not empty either, but for the root behind a
/// final dot (RFC 1034, section 3.1): `a.test..` is nobody's name, and readers disagree on whose it is.
pub(in crate::gateway) fn is_host(text: &str) -> bool {
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((v6, port)) if v6.bytes().all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.')) => (v6, port),
            _ => return false,
        },
        None => match text.bytes().position(|b| b == b':') {
            Some(colon) => text.split_at(colon),
            None => (text, ""),
        },
    };
    let labels = name.strip_suffix('.').unwrap_or(name);
    // Without a branch for each byte, so that the compiler makes vectors of it.
    let fits = |b: u8| b.is_ascii_alphanumeric() | matches!(b, b'-' | b'_' | b':' | b'.');
    let pairs = labels.as_bytes().iter().zip(labels.as_bytes().get(1..).unwrap_or_default());
    // No label is empty: no dot stands first, behind another, or last.
    let named = labels.bytes().fold(true, |named, b| named & fits(b))
        && !matches!(labels.as_bytes(), [] | [b'.', ..] | [.., b'.'])
        && pairs.fold(true, |apart, (first, next)| apart & !((*first == b'.') & (*next == b'.')));
    let ported = port.is_empty()
        || port.strip_prefix(':').is_some_and(|p| p.len() <= 5 && p.bytes().all(|b| b.is_ascii_digit()));
    named && ported
}

/// A line end that is no CRLF, or a line that starts with white space (obsolete folding).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gateway) struct OddLine;

/// The end of the head at the start of `raw`: what is behind its first empty line. `from`: what stands before it was looked through already; the
/// last byte of that is looked at again, for what follows it was not there.
pub(in crate::gateway) fn end_of_head(raw: &[u8], from: usize) -> Result<Option<usize>, OddLine> {
    for at in memchr::memchr_iter(b'\n', &raw[from..]) {
        let end = from + at + 1;
        let line = &raw[..end];
        if !line.ends_with(b"\r\n") {
            return Err(OddLine);
        }
        if line.ends_with(b"\r\n\r\n") {
            return Ok(Some(end));
        }
        if matches!(raw.get(end), Some(b' ' | b'\t')) {
            return Err(OddLine);
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "own.example";

    fn read(raw: &str) -> Result<(String, Body, bool), BadHead> {
        assert_eq!(end_of_head(raw.as_bytes(), 0), Ok(Some(raw.len())));
        let mut slots = [const { MaybeUninit::uninit() }; MAX_HEADERS];
        Head::parse(raw.as_bytes(), &mut slots, OWN).map(|head| (head.target.to_owned(), head.body, head.close))
    }

    fn with(fields: &str) -> Result<(String, Body, bool), BadHead> {
        read(&format!("POST /x HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n"))
    }

    #[test]
    fn a_plain_head_is_read() {
        assert_eq!(with(""), Ok(("/x".into(), Body::Empty, false)));
        assert_eq!(with("Content-Length: 5\r\n"), Ok(("/x".into(), Body::Length(5), false)));
        assert_eq!(with("Transfer-Encoding: Chunked\r\n"), Ok(("/x".into(), Body::Chunked, false)));
        assert_eq!(with("Connection: foo, Close\r\n"), Ok(("/x".into(), Body::Empty, true)));
    }

    #[test]
    fn framing_that_two_parsers_could_read_in_two_ways_is_refused() {
        for fields in [
            "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: 2\r\nContent-Length: 2\r\n",
            "Content-Length: 2, 2\r\n",
            "Content-Length: +2\r\n",
            "Content-Length: 0x2\r\n",
            "Content-Length: -1\r\n",
            "Content-Length: \r\n",
            "Content-Length: 18446744073709551616\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: chunked, chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: xchunked\r\n",
            "Transfer-Encoding: identity\r\n",
            "Transfer-Encoding:\r\n",
            "Host: a.example\r\n",
            "Host: b.example\r\n",
            "Name : x\r\n",
            "Na me: x\r\n",
            "X: a\rb\r\n",
            "X: a\0b\r\n",
        ] {
            assert_eq!(with(fields), Err(BadHead::Malformed), "{fields:?}");
        }
    }

    #[test]
    fn a_host_is_needed_and_must_be_one() {
        assert_eq!(read("GET / HTTP/1.1\r\n\r\n"), Err(BadHead::Malformed));
        for host in [
            ".",
            "..",
            "a.test..",
            "a..test",
            ".a.test",
            "a.test..:80",
            "",
            "a,b",
            "a b",
            "a/b",
            "u@a",
            "[::1",
            "[::1]x",
            "a:b",
            "a:123456",
            "é",
        ] {
            assert_eq!(read(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")), Err(BadHead::Malformed), "{host:?}");
        }
        for host in ["a", "a.example.", "a.example.:80", "a.example:80", "127.0.0.1", "[::1]", "[::1]:8080"] {
            assert!(read(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).is_ok(), "{host:?}");
        }
        assert_eq!(read("GET / HTTP/1.0\r\n\r\n"), Ok(("/".into(), Body::Empty, true)));
        assert_eq!(read("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), Err(BadHead::Malformed));
    }

    #[test]
    fn odd_request_lines_are_refused() {
        for line in [
            "GET /x y HTTP/1.1",
            "GET  /x HTTP/1.1",
            "GET /\u{e9} HTTP/1.1",
            "GET /x HTTP/1.2",
            "GET /x",
            "GET /x http/1.1",
            "GET /a\tb HTTP/1.1",
        ] {
            assert_eq!(read(&format!("{line}\r\nHost: a\r\n\r\n")), Err(BadHead::Malformed), "{line:?}");
        }
    }

    #[test]
    fn bare_line_feeds_and_folded_lines_are_seen_wherever_the_packet_ends() {
        for raw in ["GET / HTTP/1.1\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", "\n"] {
            assert_eq!(end_of_head(raw.as_bytes(), 0), Err(OddLine), "{raw:?}");
        }
        let split = b"GET / HTTP/1.1\r\nHost: a\r\n b: c";
        let end = split.len();
        assert!((0..end).any(|from| end_of_head(split, from).is_err()));
    }

    #[test]
    fn a_head_ends_at_its_first_empty_line_wherever_the_packets_end() {
        let (head, behind) = ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", " \n\r\n\r\n");
        let whole = [head, behind].concat();
        for seen in 1..whole.len() {
            let end = if seen < head.len() { None } else { Some(head.len()) };
            for from in 0..seen.min(head.len()) {
                assert_eq!(end_of_head(&whole.as_bytes()[..seen], from), Ok(end), "{from} of {seen}");
            }
        }
    }

    #[test]
    fn too_many_header_lines_are_told_apart() {
        let many = |count: usize| with(&"X: y\r\n".repeat(count - 1));
        assert!(many(MAX_HEADERS).is_ok());
        assert_eq!(many(MAX_HEADERS + 1), Err(BadHead::TooManyHeaders));
    }

    #[test]
    fn a_request_without_a_host_is_judged_by_our_own() {
        let mut slots = [const { MaybeUninit::uninit() }; MAX_HEADERS];
        let head = Head::parse(b"GET / HTTP/1.0\r\n\r\n", &mut slots, OWN).ok().unwrap();
        assert_eq!((head.host, head.hostless), (OWN, true));
        let mut slots = [const { MaybeUninit::uninit() }; MAX_HEADERS];
        let head = Head::parse(b"GET / HTTP/1.0\r\nHost: a.example\r\n\r\n", &mut slots, OWN).ok().unwrap();
        assert_eq!((head.host, head.hostless), ("a.example", false));
    }

    #[test]
    fn a_field_of_fetch_metadata_that_stands_twice_is_refused() {
        for name in ["Sec-Fetch-Site", "Sec-Fetch-Mode", "Sec-Fetch-Dest", "Sec-Fetch-User"] {
            let lower = name.to_ascii_lowercase();
            assert_eq!(with(&format!("{name}: none\r\n{lower}: none\r\n")), Err(BadHead::Malformed), "{name}");
        }
        let once = "Sec-Fetch-Site: none\r\nSec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\nSec-Fetch-User: ?1\r\n";
        assert!(with(once).is_ok());
        assert!(with("Sec-Fetch-Sire: a\r\nSec-Fetch-Sire: b\r\nSec-Fetch_Site: a\r\nSec-Fetch_Site: b\r\n").is_ok());
    }

    fn of_fields(fields: &[(&str, &str)]) -> Option<BadHead> {
        let fields: Vec<_> = fields.iter().map(|(name, value)| Header { name, value: value.as_bytes() }).collect();
        Head::of_parts("GET", "/", "a.example", &fields, false).err()
    }

    #[test]
    fn a_body_of_http_2_that_may_still_come_has_no_length_of_zero() {
        let body = |length: &str, has_body| {
            let fields = [Header { name: "content-length", value: length.as_bytes() }];
            Head::of_parts("POST", "/", "a.example", &fields, has_body).map(|head| head.body)
        };
        for zero in ["0", "00", "000"] {
            assert_eq!((body(zero, false), body(zero, true)), (Ok(Body::Empty), Err(BadHead::Malformed)), "{zero}");
        }
        assert_eq!(body("01", true), Ok(Body::Length(1)));
    }

    #[test]
    fn a_value_of_http_2_has_no_blanks_at_its_ends() {
        for value in [" a", "a ", "\ta", "a\t", " "] {
            assert_eq!(of_fields(&[("x", value)]), Some(BadHead::Malformed), "{value:?}");
        }
        assert_eq!(of_fields(&[("x", "a b"), ("y", ""), ("z", "a\tb")]), None);
    }
}

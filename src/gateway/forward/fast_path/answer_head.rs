//! The head of an app's answer (RFC 9112, section 4): read where it stands, and written anew without what is between the app and us (hop-by-hop
//! fields), with a framing of ours.

use std::mem::MaybeUninit;

use http::{HeaderName, HeaderValue, StatusCode};
use memchr::memchr2;
use pingora::http::ResponseHeader;
use pingora_core::protocols::http::date::get_cached_date;
use smallvec::SmallVec;

use crate::gateway::forward::headers::{self, HSTS, REQUEST_ID};
use crate::gateway::forward::proxied_request::ProxiedRequest;

/// Fields of an answer: as many as Pingora reads.
const MAX_FIELDS: usize = 256;

/// Most answers have no more.
const FEW_FIELDS: usize = 16;

/// It can't be an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotHttp;

/// How the body of an answer is told to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// As long as its length says; or there is none.
    Sized,
    Chunked,
    /// The end of the connection is its end: a client of HTTP/1.0 knows no chunks.
    UntilClose,
}

/// How the app frames the body of its answer (RFC 9112, section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ends {
    /// Behind so many bytes.
    Length(u64),
    Chunks,
    /// With the connection.
    Close,
}

/// A part of the buffer.
#[derive(Clone, Copy, Default)]
struct Span {
    at: u32,
    length: u32,
}

/// What a field is to us.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    EndToEnd,
    /// Between the app and us.
    HopByHop,
    Connection,
    Upgrade,
    Length,
    Coding,
    Date,
    RequestId,
    Hsts,
}

#[derive(Clone, Copy)]
struct Field {
    name: Span,
    value: Span,
    kind: Kind,
}

/// What was read of a head: where its parts stand in the buffer that it was read from.
pub(super) struct Parsed {
    pub status: StatusCode,
    /// In bytes, with the empty line behind it.
    pub length: usize,
    pub ends: Ends,
    /// The connection may carry another request (RFC 9112, section 9.3).
    pub persistent: bool,
    modern: bool,
    /// A value may go on in the next line, as it once could (RFC 9112, section 5.2).
    folded: bool,
    reason: Span,
    fields: SmallVec<[Field; FEW_FIELDS]>,
}

/// A head with the bytes that it was read from.
#[derive(Clone, Copy)]
pub(super) struct AnswerHead<'b> {
    parsed: &'b Parsed,
    bytes: &'b [u8],
}

/// Reads the head at the start of `bytes`; `None`: it is not whole. As lenient as Pingora is with apps, but each body must end in one place only.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<Parsed>, NotHttp> {
    let mut slots = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut answer = httparse::Response::new(&mut []);
    let mut config = httparse::ParserConfig::default();
    config.allow_spaces_after_header_name_in_responses(true);
    let mut folded = false;
    let mut read = config.parse_response_with_uninit_headers(&mut answer, bytes, &mut slots);
    let mut lenient_slots;
    if read.is_err() {
        config.allow_obsolete_multiline_headers_in_responses(true);
        folded = true;
        lenient_slots = [const { MaybeUninit::uninit() }; MAX_FIELDS];
        answer = httparse::Response::new(&mut []);
        read = config.parse_response_with_uninit_headers(&mut answer, bytes, &mut lenient_slots);
    }
    match read {
        Ok(httparse::Status::Complete(length)) => Parsed::new(&answer, bytes, length, folded).map(Some),
        Ok(httparse::Status::Partial) => Ok(None),
        Err(_) => Err(NotHttp),
    }
}

impl Parsed {
    fn new(answer: &httparse::Response<'_, '_>, bytes: &[u8], length: usize, folded: bool) -> Result<Self, NotHttp> {
        let modern = answer.version == Some(1);
        let mut parsed = Self {
            status: StatusCode::from_u16(answer.code.unwrap_or_default()).map_err(|_| NotHttp)?,
            length,
            ends: Ends::Close,
            persistent: false,
            modern,
            folded,
            reason: span(bytes, answer.reason.unwrap_or_default().as_bytes())?,
            fields: SmallVec::with_capacity(answer.headers.len()),
        };
        let (mut size, mut sizes, mut chunked) = (None, 0, false);
        let mut connection = ConnectionOptions::default();
        for field in answer.headers.iter() {
            let kind = kind(field.name);
            match kind {
                Kind::Length => {
                    size = Some(field.value);
                    sizes += 1;
                }
                Kind::Coding => {
                    let known = field.value.trim_ascii().eq_ignore_ascii_case(b"chunked");
                    if std::mem::replace(&mut chunked, true) || !known {
                        return Err(NotHttp);
                    }
                }
                Kind::Connection => connection.read(field.value),
                _ => {}
            }
            parsed.fields.push(Field {
                name: span(bytes, field.name.as_bytes())?,
                value: span(bytes, field.value)?,
                kind,
            });
        }
        parsed.persistent = !connection.close && (modern || connection.keep_alive);
        parsed.ends = match size {
            _ if chunked => {
                // RFC 9112, section 6.1: what comes behind an answer of HTTP/1.0 with chunks, or one that has a length too, is not to be trusted.
                parsed.persistent &= modern && size.is_none();
                Ends::Chunks
            }
            // Two lengths are two readings of where it ends.
            Some(size) if sizes == 1 => Ends::Length(number(size).ok_or(NotHttp)?),
            Some(_) => return Err(NotHttp),
            None => Ends::Close,
        };
        Ok(parsed)
    }

    /// `bytes`: what it was read from.
    pub fn with_bytes<'b>(&'b self, bytes: &'b [u8]) -> AnswerHead<'b> {
        AnswerHead { parsed: self, bytes }
    }
}

impl<'b> AnswerHead<'b> {
    pub fn status(&self) -> StatusCode {
        self.parsed.status
    }

    /// Whether it switches to a WebSocket. A client fails the connection where it does not (RFC 6455, section 4.1).
    pub fn is_websocket(&self) -> bool {
        let mut named = self.parsed.fields.iter().filter(|field| field.kind == Kind::Upgrade);
        let right = named.next().is_some_and(|field| self.text(field.value).eq_ignore_ascii_case(b"websocket"));
        right && named.next().is_none() && self.parsed.modern
    }

    fn text(&self, span: Span) -> &'b [u8] {
        let at = span.at as usize;
        self.bytes.get(at..at + span.length as usize).unwrap_or_default()
    }

    fn has(&self, kind: Kind) -> bool {
        self.parsed.fields.iter().any(|field| field.kind == kind)
    }

    /// Whether the app's `Connection` names this field: it is between the app and us.
    fn is_named(&self, name: &[u8]) -> bool {
        let connection = self.parsed.fields.iter().filter(|field| field.kind == Kind::Connection);
        let mut named = connection.flat_map(|field| self.text(field.value).split(|byte| *byte == b','));
        named.any(|named| named.trim_ascii().eq_ignore_ascii_case(name))
    }

    /// The fields that a client gets, and what the app says of the length where that counts. `replaces_hsts`: we say it in the app's place.
    fn passed(&self, replaces_hsts: bool) -> impl Iterator<Item = (&'b [u8], &'b [u8], Kind)> {
        let head = *self;
        let has_connection = head.has(Kind::Connection);
        let status = head.status();
        let no_length = status.is_informational() || status == StatusCode::NO_CONTENT || head.has(Kind::Coding);
        head.parsed.fields.iter().filter_map(move |field| {
            let (name, value) = (head.text(field.name), head.text(field.value));
            let passes = match field.kind {
                Kind::HopByHop | Kind::Connection | Kind::Coding | Kind::RequestId => false,
                // RFC 9110, section 8.6.
                Kind::Length => !no_length,
                Kind::Upgrade => status == StatusCode::SWITCHING_PROTOCOLS,
                Kind::Hsts if replaces_hsts => false,
                Kind::EndToEnd | Kind::Date | Kind::Hsts => !(has_connection && head.is_named(name)),
            };
            let value = if field.kind == Kind::Length { headers::without_zeros(value) } else { value };
            passes.then_some((name, value, field.kind))
        })
    }

    /// Writes it as a client of HTTP/1 gets it. `close`: the client's connection ends behind the answer; `old`: it speaks HTTP/1.0.
    pub fn write(&self, proxied: &ProxiedRequest, close: bool, old: bool, out: &mut Vec<u8>) -> Framing {
        let status = self.status();
        let interim = status.is_informational();
        let hsts = proxied.hsts();
        out.reserve(self.bytes.len().min(self.parsed.length) + ROOM);
        // RFC 9112, section 2.3: the version of an answer is its sender's.
        for part in [b"HTTP/1.1 ", status.as_str().as_bytes(), b" ", self.text(self.parsed.reason), b"\r\n"] {
            out.extend_from_slice(part);
        }
        let mut dated = false;
        for (name, value, kind) in self.passed(hsts.is_some()) {
            dated |= kind == Kind::Date;
            out.extend_from_slice(name);
            out.extend_from_slice(b": ");
            if self.parsed.folded {
                write_unfolded(value, out)
            } else {
                out.extend_from_slice(value)
            }
            out.extend_from_slice(b"\r\n");
        }
        let mut field = |name: &str, value: &[u8]| {
            for part in [name.as_bytes(), b": ", value, b"\r\n"] {
                out.extend_from_slice(part);
            }
        };
        field(REQUEST_ID, proxied.start.id.text().as_bytes());
        if let Some(hsts) = hsts {
            field(HSTS, hsts.as_bytes());
        }
        if status == StatusCode::SWITCHING_PROTOCOLS {
            field("connection", b"upgrade");
        }
        let mut framing = Framing::Sized;
        if !interim {
            if !dated {
                // RFC 9110, section 6.6.1.
                field("date", get_cached_date().as_bytes());
            }
            // Where the app ends it by closing, the client's connection stays. The answer to a `HEAD` says what the app says, and ends here.
            let closes = self.parsed.ends == Ends::Close && proxied.method != "HEAD";
            if !headers::has_no_body(status) && (closes || self.parsed.ends == Ends::Chunks) {
                framing = if old { Framing::UntilClose } else { Framing::Chunked };
            }
            if framing == Framing::Chunked {
                field("transfer-encoding", b"chunked");
            }
            if close || framing == Framing::UntilClose {
                field("connection", b"close");
            }
        }
        out.extend_from_slice(b"\r\n");
        framing
    }

    /// The same as a client of HTTP/2 gets it.
    pub fn for_http2(&self, proxied: &ProxiedRequest) -> Result<ResponseHeader, NotHttp> {
        let hsts = proxied.hsts();
        let build = || -> pingora::Result<ResponseHeader> {
            let mut head = ResponseHeader::build_no_case(self.status(), Some(self.parsed.fields.len() + 3))?;
            for (name, value, _) in self.passed(hsts.is_some()) {
                let unfolded = self.parsed.folded.then(|| {
                    let mut unfolded = Vec::with_capacity(value.len());
                    write_unfolded(value, &mut unfolded);
                    unfolded
                });
                let value = HeaderValue::from_bytes(unfolded.as_deref().unwrap_or(value));
                if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), value) {
                    head.append_header(name, value)?;
                }
            }
            head.insert_header(REQUEST_ID, proxied.start.id.text())?;
            if let Some(hsts) = hsts {
                head.insert_header(HSTS, hsts)?;
            }
            Ok(head)
        };
        build().map_err(|_| NotHttp)
    }
}

/// What we say beside the app.
const ROOM: usize = 192;

/// A value that went on in the next line stands in one (RFC 9112, section 5.2).
fn write_unfolded(mut value: &[u8], out: &mut Vec<u8>) {
    while let Some(end) = memchr2(b'\r', b'\n', value) {
        out.extend_from_slice(&value[..end]);
        out.push(b' ');
        value = &value[end + 1..];
    }
    out.extend_from_slice(value);
}

/// Where this part of the buffer stands in it.
fn span(bytes: &[u8], part: &[u8]) -> Result<Span, NotHttp> {
    if part.is_empty() {
        return Ok(Span::default());
    }
    let at = (part.as_ptr() as usize).checked_sub(bytes.as_ptr() as usize).ok_or(NotHttp)?;
    let of = |number: usize| u32::try_from(number).map_err(|_| NotHttp);
    Ok(Span { at: of(at)?, length: of(part.len())? })
}

fn kind(name: &str) -> Kind {
    let is = |known: &str| name.eq_ignore_ascii_case(known);
    match name.len() {
        4 if is("date") => Kind::Date,
        7 if is("upgrade") => Kind::Upgrade,
        10 if is("connection") => Kind::Connection,
        12 if is(REQUEST_ID) => Kind::RequestId,
        14 if is("content-length") => Kind::Length,
        17 if is("transfer-encoding") => Kind::Coding,
        25 if is(HSTS) => Kind::Hsts,
        _ if headers::is_hop_by_hop(name) => Kind::HopByHop,
        _ => Kind::EndToEnd,
    }
}

/// What all values of `Connection` say of the next request: `close` holds, whatever stands beside it (RFC 9112, section 9.3).
#[derive(Default)]
struct ConnectionOptions {
    close: bool,
    keep_alive: bool,
}

impl ConnectionOptions {
    fn read(&mut self, value: &[u8]) {
        for option in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }
}

/// Digits alone, and no more than a number holds.
fn number(digits: &[u8]) -> Option<u64> {
    let all = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    all.then(|| std::str::from_utf8(digits).ok()?.parse().ok()).flatten()
}

#[cfg(test)]
mod tests;

//! Writes the gateway's own answers. Each is one buffer and one write.

use std::sync::LazyLock;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use smallvec::SmallVec;

use crate::clock::{Stopwatch, Timestamp};
use crate::gateway::forward::headers::{self, HSTS};
use crate::gateway::judge::preflight::Preflight;
use crate::lease::Lease;
use crate::problem::{Refusal, TYPE_BASE};

/// The head of a redirect, mostly: one look at the room for all of its parts.
const ROOM: usize = 1024;

/// The first lines of a redirect.
const FOUND: &[u8] = b"HTTP/1.1 302 Found\r\ncache-control: no-store\r\nvary: Accept, Origin\r\nx-request-id: ";

/// How long a browser may remember the answer to `OPTIONS`, in seconds.
const PREFLIGHT_MAX_AGE: &str = "600";

/// What all answers to one request share.
pub(in crate::gateway) struct Reply<'a> {
    pub out: &'a mut Vec<u8>,
    pub request_id: &'a str,
    /// `HEAD`: fields as for `GET`, no body.
    pub head_only: bool,
    /// The connection is closed behind this answer.
    pub close: bool,
    /// The origin whose page may read it.
    pub origin: Option<&'a str>,
    /// `Strict-Transport-Security`.
    pub hsts: Option<&'a str>,
    /// Started when it is written, or so little before that `Date` is true.
    pub at: Stopwatch,
}

impl Reply<'_> {
    /// `302` or `303` to the plug-in URL, byte for byte.
    pub fn redirect(&mut self, status: u16, lease: &Lease) {
        if status == 303 {
            self.start(status, "See Other")
        } else {
            self.found()
        }
        // The one place where the URL leaves for a browser.
        self.field("location", lease.url.expose());
        self.out.extend_from_slice(b"referrer-policy: no-referrer\r\n");
        self.finish(None);
    }

    /// `200` with the URL, or the token, for a program.
    pub fn json(&mut self, lease: &Lease, plugin: &str, now: Timestamp) {
        self.start(200, "OK");
        self.field("x-content-type-options", "nosniff");
        self.field("cross-origin-resource-policy", "same-origin");
        self.field("referrer-policy", "no-referrer");
        let promised = lease.promised();
        let what = if lease.url.is_token() { "token" } else { "url" };
        let body = serde_json::json!({
            // The other place: the body of an answer to somebody with a session.
            what: lease.url.expose(),
            "expires_at": promised.map(Timestamp::rfc3339),
            "expires_in": promised.map(|end| end.since(now).as_secs()),
            "plugin": plugin,
        });
        self.finish(Some(("application/json", body.to_string().as_bytes())));
    }

    /// `200` to a proxy that carries the request itself: who it is from, and its `Cookie` where it asked for that.
    pub fn authorized<'i>(&mut self, identity: impl Iterator<Item = (&'i str, &'i str)>, cookie: Option<&[u8]>) {
        self.start(200, "OK");
        identity.for_each(|(name, value)| self.field(name, value));
        if let Some(cookie) = cookie {
            self.bytes(headers::COOKIE, cookie);
        }
        self.finish(None);
    }

    /// The public keys of assertions (RFC 7517, section 8.5.1). An app that verifies keeps them for five minutes.
    pub fn key_set(&mut self, keys: &str) {
        self.start_with(200, "OK", "public, max-age=300");
        self.field("x-content-type-options", "nosniff");
        self.finish(Some(("application/jwk-set+json", keys.as_bytes())));
    }

    /// What was seen of a request, to the one that sent it.
    pub fn doctor(&mut self, report: &str) {
        self.start(200, "OK");
        self.field("x-content-type-options", "nosniff");
        self.finish(Some(("application/json", report.as_bytes())));
    }

    /// `302` to the login page.
    pub fn login(&mut self, location: &str) {
        self.start(302, "Found");
        self.field("location", location);
        self.field("referrer-policy", "no-referrer");
        self.finish(None);
    }

    /// `308` to the same path at another origin (RFC 9110, section 15.4.9).
    pub fn moved(&mut self, location: &str) {
        self.start(308, "Permanent Redirect");
        self.field("location", location);
        self.finish(None);
    }

    /// `204` to a preflight (Fetch standard, "CORS-preflight request").
    pub fn preflight(&mut self, preflight: &Preflight) {
        self.start(204, "No Content");
        self.field("access-control-allow-methods", &preflight.methods);
        if !preflight.fields.is_empty() {
            self.field("access-control-allow-headers", &preflight.fields);
        }
        self.field("access-control-max-age", PREFLIGHT_MAX_AGE);
        self.end();
    }

    /// A post to us was taken: nothing more is said.
    pub fn taken(&mut self, status: u16) {
        self.start(status, if status == 202 { "Accepted" } else { "OK" });
        self.finish(None);
    }

    /// `400` in the words of the protocol by which something was posted.
    pub fn wrong(&mut self, body: &str) {
        self.start(400, "Bad Request");
        self.finish(Some(("application/json", body.as_bytes())));
    }

    /// A refusal for a program: RFC 9457.
    pub fn problem(&mut self, refusal: &Refusal) {
        let row = refusal.row();
        self.refuse(refusal);
        let body = serde_json::json!({
            "type": format!("{TYPE_BASE}{}", row.slug),
            "title": row.title,
            "status": row.status,
            "detail": row.advice,
            "instance": format!("urn:uuid:{}", self.request_id),
        });
        self.finish(Some(("application/problem+json", body.to_string().as_bytes())));
    }

    /// The same refusal for a person, without script. `login`: where to sign in, for a page inside a frame.
    pub fn page(&mut self, refusal: &Refusal, login: Option<&str>) {
        let row = refusal.row();
        self.refuse(refusal);
        self.field("content-security-policy", &CSP);
        self.field("x-content-type-options", "nosniff");
        self.field("referrer-policy", "no-referrer");
        let link = login
            .map_or(String::new(), |login| format!("<p><a href=\"{}\" target=\"_top\">Sign in</a></p>", escape(login)));
        let body = format!(
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
             <title>{title}</title><style>{STYLE}</style></head><body><main><h1>{title}</h1><p>{advice}</p>{link}\
             <p class=\"id\">Request {id}</p></main></body></html>",
            title = escape(row.title),
            advice = escape(row.advice),
            id = self.request_id,
        );
        self.finish(Some(("text/html; charset=utf-8", body.as_bytes())));
    }

    fn refuse(&mut self, refusal: &Refusal) {
        let row = refusal.row();
        self.start(row.status, row.reason);
        if let Refusal::StepUpRequired(step_up) = refusal {
            // RFC 9470, section 3. The values fit a quoted string: `StepUp::new` takes no others.
            let mut challenge =
                format!("Bearer error=\"insufficient_user_authentication\", acr_values=\"{}\"", step_up.acr_values);
            if let Some(max_age) = step_up.max_age {
                challenge.push_str(&format!(", max_age=\"{max_age}\""));
            }
            self.field("www-authenticate", &challenge);
        } else if row.status == 401 {
            // RFC 6750, section 3.1: who brought no bearer token is told of no error.
            let absent = matches!(refusal, Refusal::SessionRequired | Refusal::OtherScheme);
            self.field("www-authenticate", if absent { "Bearer" } else { "Bearer error=\"invalid_token\"" });
        }
        if let Refusal::MethodNotAllowed(allow) = refusal {
            self.field("allow", allow);
        }
        if let Some(wait) = refusal.retry_after() {
            // Rounded up: a client that waits this long is not sent away again.
            let secs = wait.as_millis().div_ceil(1000).max(1);
            self.field("retry-after", &secs.to_string());
        }
    }

    fn start(&mut self, status: u16, reason: &str) {
        self.start_with(status, reason, "no-store");
    }

    fn start_with(&mut self, status: u16, reason: &str, cache_control: &str) {
        // Of three digits, as all are (RFC 9110, section 15).
        let digit = |number: u16| b'0' + (number % 10).to_le_bytes()[0];
        let status = [digit(status / 100), digit(status / 10), digit(status), b' '];
        self.out.reserve(ROOM);
        for part in [
            &b"HTTP/1.1 "[..],
            &status,
            reason.as_bytes(),
            b"\r\ncache-control: ",
            cache_control.as_bytes(),
            b"\r\nvary: Accept, Origin\r\nx-request-id: ",
        ] {
            self.out.extend_from_slice(part);
        }
        self.common();
    }

    /// `302`, as [`Self::start`] writes it: nearly every answer begins so.
    fn found(&mut self) {
        self.out.reserve(ROOM);
        self.out.extend_from_slice(FOUND);
        self.common();
    }

    /// What each answer has behind its first lines.
    fn common(&mut self) {
        self.out.extend_from_slice(self.request_id.as_bytes());
        self.out.extend_from_slice(b"\r\n");
        if let Some(hsts) = self.hsts {
            self.field(HSTS, hsts);
        }
        if let Some(origin) = self.origin {
            self.field("access-control-allow-origin", origin);
            self.field("access-control-allow-credentials", "true");
        }
    }

    /// A field whose value holds no line end: fixed text, a checked URL, a parsed header value.
    fn field(&mut self, name: &str, value: &str) {
        self.bytes(name, value.as_bytes());
    }

    fn bytes(&mut self, name: &str, value: &[u8]) {
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b": ");
        self.out.extend_from_slice(value);
        self.out.extend_from_slice(b"\r\n");
    }

    fn finish(&mut self, body: Option<(&str, &[u8])>) {
        match body {
            None => self.out.extend_from_slice(b"content-length: 0\r\n"),
            Some((kind, body)) => {
                self.field("content-type", kind);
                self.field("content-length", &body.len().to_string());
            }
        }
        self.end();
        if let Some((_, body)) = body.filter(|_| !self.head_only) {
            self.out.extend_from_slice(body);
        }
    }

    fn end(&mut self) {
        self.out.extend_from_slice(b"date: ");
        self.out.extend_from_slice(&self.at.http_date());
        self.out.extend_from_slice(if self.close { b"\r\nconnection: close\r\n\r\n" } else { b"\r\n\r\n" });
    }
}

const STYLE: &str = ":root{color-scheme:light dark}body{margin:0;min-height:100vh;display:grid;place-items:center;font:1rem/1.5 system-ui,sans-serif}\
    main{max-width:30rem;padding:1.5rem}h1{font-size:1.35rem;line-height:1.3}.id{opacity:.75;font-size:.8rem}";

/// No script, no other source; the one style by its hash.
static CSP: LazyLock<String> = LazyLock::new(|| {
    let hash = STANDARD.encode(digest::digest(&digest::SHA256, STYLE.as_bytes()));
    format!("default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'")
});

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

/// An answer of ours, read back from the text of HTTP/1.1 for whoever writes it in another form. Not one's that came from elsewhere: its form is known.
pub(in crate::gateway) struct Written {
    pub status: u16,
    text: Bytes,
    fields: SmallVec<[Line; FIELDS]>,
    /// Where the body begins.
    body: usize,
}

/// Fields of an answer of ours, mostly.
const FIELDS: usize = 12;

/// Where a field's line begins, where its colon is, and where the line ends.
struct Line {
    start: usize,
    colon: usize,
    end: usize,
}

impl Default for Written {
    /// Nothing can be said of it: 500.
    fn default() -> Self {
        Self { status: 500, text: Bytes::new(), fields: SmallVec::new(), body: 0 }
    }
}

impl Written {
    /// `None`: it is no answer of ours.
    pub fn read(out: Vec<u8>) -> Option<Self> {
        let status = std::str::from_utf8(out.get(9..12)?).ok()?.parse().ok()?;
        let mut fields = SmallVec::new();
        let mut start = memchr::memchr(b'\n', &out)? + 1;
        while !out[start..].starts_with(b"\r\n") {
            let colon = start + memchr::memchr(b':', &out[start..])?;
            let end = colon + memchr::memchr(b'\r', &out[colon..])?;
            if colon + 2 > end {
                return None;
            }
            fields.push(Line { start, colon, end });
            start = (end + 2).min(out.len());
        }
        Some(Self { status, text: out.into(), fields, body: start + 2 })
    }

    /// The names and values of the answer's header fields.
    pub fn fields(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> {
        self.fields.iter().map(|line| (&self.text[line.start..line.colon], &self.text[line.colon + 2..line.end]))
    }

    /// A part of it, which shares its memory.
    pub fn share(&self, part: &[u8]) -> Bytes {
        self.text.slice_ref(part)
    }

    /// What stands behind its head.
    pub fn body(&self) -> Bytes {
        self.text.slice(self.body..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::Refusal;

    /// Status, fields and body of an answer as it is read back.
    fn read(write: impl FnOnce(&mut Reply<'_>)) -> (u16, Vec<(String, String)>, String) {
        let (mut out, id) = (Vec::new(), "7f2b");
        let origin = Some("https://page.example");
        write(&mut Reply {
            out: &mut out,
            request_id: id,
            head_only: false,
            close: true,
            origin,
            hsts: Some("max-age=1"),
            at: Stopwatch::start(),
        });
        let text = String::from_utf8(out.clone()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let told: Vec<String> = head.split("\r\n").skip(1).map(str::to_owned).collect();
        let written = Written::read(out).unwrap();
        let text = |part: &[u8]| String::from_utf8(written.share(part).into()).unwrap();
        let fields: Vec<_> = written.fields().map(|(name, value)| (text(name), text(value))).collect();
        assert_eq!(fields.iter().map(|(name, value)| format!("{name}: {value}")).collect::<Vec<_>>(), told);
        assert_eq!(written.body(), body);
        (written.status, fields, body.to_owned())
    }

    #[test]
    fn each_answer_is_read_back_as_it_was_written() {
        let (status, fields, body) = read(|reply| reply.login("https://id.example/?next=a:b"));
        assert_eq!((status, &*body), (302, ""));
        assert!(fields.contains(&("location".into(), "https://id.example/?next=a:b".into())), "{fields:?}");
        assert!(fields.contains(&("connection".into(), "close".into())), "{fields:?}");
        let (status, _, body) = read(|reply| reply.problem(&Refusal::NotFound));
        assert!(status == 404 && body.starts_with('{'), "{body}");
        // What looks like the end of a head stands in a body.
        let (status, _, body) = read(|reply| reply.wrong("{\r\n\r\n: }"));
        assert_eq!((status, &*body), (400, "{\r\n\r\n: }"));
    }

    #[test]
    fn a_redirect_begins_as_each_answer_does() {
        let (mut found, mut started) = (Vec::new(), Vec::new());
        let reply = |out| Reply {
            out,
            request_id: "7f2b",
            head_only: false,
            close: false,
            origin: Some("https://page.example"),
            hsts: Some("max-age=1"),
            at: Stopwatch::start(),
        };
        reply(&mut found).found();
        reply(&mut started).start(302, "Found");
        assert_eq!(String::from_utf8(found), String::from_utf8(started));
    }

    #[test]
    fn what_is_no_answer_of_ours_is_not_read() {
        for text in ["", "HTTP/1.1 ", "HTTP/1.1 abc\r\n\r\n", "HTTP/1.1 200 OK", "HTTP/1.1 200 OK\r\ndate: x\r\n"] {
            assert!(Written::read(text.into()).is_none(), "{text}");
        }
        let nothing = Written::default();
        assert_eq!((nothing.status, nothing.fields().count(), nothing.body().len()), (500, 0, 0));
    }
}

//! The access log: one JSON object for each request.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::gateway::judge::authenticate::Check;
use crate::http_client::Cause;
use crate::lease::Source;
use crate::session::Session;
use crate::telemetry::{Outcome, Place, RecentRequest, TraceContext};

/// A longer path is cut in the line.
const MAX_PATH: usize = 256;

/// What the line says.
pub(in crate::gateway) struct AccessRecord<'a> {
    /// When the request's head was there.
    pub time: Timestamp,
    pub request_id: &'a str,
    /// Where it stands in a trace.
    pub place: Place,
    /// It began a mint.
    pub began_mint: bool,
    /// The mint of another request, whose URL this one got.
    pub joined: Option<TraceContext>,
    /// The path or prefix of the route.
    pub pattern: Option<&'a str>,
    /// `None` where the head could not be read.
    pub method: Option<&'a str>,
    /// As judged, without the query.
    pub path: Option<&'a str>,
    /// The plug-in's or app's name.
    pub route: Option<&'a str>,
    pub status: u16,
    pub outcome: Outcome,
    /// Where the URL came from.
    pub source: Option<Source>,
    pub check: Option<Check>,
    /// Life left in the URL sent.
    pub remaining: Option<Duration>,
    /// The upstream that answered last.
    pub upstream: Option<&'a str>,
    /// What the app failed by.
    pub cause: Option<Cause>,
    pub duration_us: u64,
    pub peer: &'a str,
    pub session: Option<&'a Session>,
    /// The policy that decided.
    pub policy: Option<&'a Arc<str>>,
}

impl<'a> AccessRecord<'a> {
    /// Of a request of which nothing else is known.
    pub fn bare(
        (time, place, request_id): (Timestamp, Place, &'a str),
        (status, outcome): (u16, Outcome),
        peer: &'a str,
    ) -> Self {
        Self {
            time,
            request_id,
            place,
            began_mint: false,
            joined: None,
            pattern: None,
            method: None,
            path: None,
            route: None,
            status,
            outcome,
            source: None,
            check: None,
            remaining: None,
            upstream: None,
            cause: None,
            duration_us: 0,
            peer,
            session: None,
            policy: None,
        }
    }

    /// What is remembered of it.
    pub fn remembered(&self) -> RecentRequest {
        RecentRequest {
            time: self.time,
            request_id: self.request_id.into(),
            trace_id: String::from_utf8_lossy(&self.place.own.trace_id_text()).into(),
            method: self.method.map(Into::into),
            path: self.path.map(cut).map(Into::into),
            route: self.route.map(Into::into),
            status: self.status,
            outcome: self.outcome.label(),
            source: self.source.map(Source::label),
            session_check: self.check.map(Check::label),
            cause: self.cause.map(Cause::label),
            policy: self.policy.cloned(),
            upstream: self.upstream.map(Into::into),
            remaining: self.remaining,
            duration_us: self.duration_us,
            subject: self.session.map(|session| session.log_id().into()),
        }
    }
}

/// Writes the line, with its line end. Never the query, a credential, a URL of a vendor or a plain subject.
pub(in crate::gateway) fn line(out: &mut Vec<u8>, facts: &AccessRecord<'_>) {
    out.extend_from_slice(b"{\"time\":\"");
    facts.time.write_rfc3339(out);
    out.extend_from_slice(b"\",\"request_id\":");
    plain(out, Some(facts.request_id));
    out.extend_from_slice(b",\"trace_id\":\"");
    out.extend_from_slice(&facts.place.own.trace_id_text());
    out.push(b'"');
    out.extend_from_slice(b",\"method\":");
    plain(out, facts.method);
    out.extend_from_slice(b",\"path\":");
    text(out, facts.path.map(cut));
    out.extend_from_slice(b",\"route\":");
    plain(out, facts.route);
    out.extend_from_slice(b",\"status\":");
    number(out, facts.status.into());
    out.extend_from_slice(b",\"outcome\":");
    plain(out, Some(facts.outcome.label()));
    out.extend_from_slice(b",\"source\":");
    plain(out, facts.source.map(Source::label));
    out.extend_from_slice(b",\"session_check\":");
    plain(out, facts.check.map(Check::label));
    out.extend_from_slice(b",\"remaining_s\":");
    match facts.remaining {
        Some(remaining) => number(out, remaining.as_secs()),
        None => out.extend_from_slice(b"null"),
    }
    if let Some(upstream) = facts.upstream {
        out.extend_from_slice(b",\"upstream\":");
        plain(out, Some(upstream));
    }
    if facts.policy.is_some() {
        out.extend_from_slice(b",\"policy\":");
        text(out, facts.policy.map(|policy| &**policy));
    }
    if let Some(cause) = facts.cause {
        out.extend_from_slice(b",\"cause\":");
        plain(out, Some(cause.label()));
    }
    out.extend_from_slice(b",\"duration_us\":");
    number(out, facts.duration_us);
    out.extend_from_slice(b",\"peer\":");
    plain(out, Some(facts.peer));
    out.extend_from_slice(b",\"subject\":");
    plain(out, facts.session.map(Session::log_id));
    out.extend_from_slice(b"}\n");
}

fn number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// A word of ours, of the configuration's names, or of base64url: nothing in it needs an escape.
fn plain(out: &mut Vec<u8>, value: Option<&str>) {
    let Some(value) = value else { return out.extend_from_slice(b"null") };
    out.push(b'"');
    out.extend_from_slice(value.as_bytes());
    out.push(b'"');
}

/// What a client wrote.
fn text(out: &mut Vec<u8>, value: Option<&str>) {
    match value {
        None => out.extend_from_slice(b"null"),
        // Without a branch for each byte.
        Some(value)
            if value.bytes().fold(true, |plain, b| plain & matches!(b, 0x20..=0x7e) & (b != b'"') & (b != b'\\')) =>
        {
            out.push(b'"');
            out.extend_from_slice(value.as_bytes());
            out.push(b'"');
        }
        Some(value) => {
            let _ = serde_json::to_writer(out, value);
        }
    }
}

fn cut(path: &str) -> &str {
    let mut end = path.len().min(MAX_PATH);
    while !path.is_char_boundary(end) {
        end -= 1;
    }
    &path[..end]
}

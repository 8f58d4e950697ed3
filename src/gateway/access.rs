//! The access line: one JSON object for each request.

use std::io::Write;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::gateway::decide::Check;
use crate::lease::Source;
use crate::session::Session;

/// A longer path is cut in the line.
const MAX_PATH: usize = 256;

/// What the line says.
pub(super) struct Facts<'a> {
    /// When the request's head was there.
    pub time: Timestamp,
    pub request_id: &'a str,
    /// `None` where the head could not be read.
    pub method: Option<&'a str>,
    /// As judged, without the query.
    pub path: Option<&'a str>,
    /// The plug-in's or app's name.
    pub route: Option<&'a str>,
    pub status: u16,
    pub outcome: &'static str,
    /// Where the URL came from.
    pub source: Option<Source>,
    pub check: Option<Check>,
    /// Life left in the URL sent.
    pub remaining: Option<Duration>,
    /// The upstream that answered last.
    pub upstream: Option<&'a str>,
    pub duration_us: u64,
    pub peer: &'a str,
    pub session: Option<&'a Session>,
}

/// Writes the line, with its line end. Never the query, a credential, a URL of a vendor or a plain subject.
pub(super) fn line(out: &mut Vec<u8>, facts: &Facts<'_>) {
    // Writing into a Vec can't fail.
    let _ = write!(out, "{{\"time\":\"{}\",\"request_id\":\"{}\",\"method\":", facts.time.rfc3339(), facts.request_id);
    plain(out, facts.method);
    out.extend_from_slice(b",\"path\":");
    text(out, facts.path.map(cut));
    out.extend_from_slice(b",\"route\":");
    plain(out, facts.route);
    let _ = write!(out, ",\"status\":{},\"outcome\":\"{}\",\"source\":", facts.status, facts.outcome);
    plain(out, facts.source.map(Source::label));
    out.extend_from_slice(b",\"session_check\":");
    plain(out, facts.check.map(Check::label));
    match facts.remaining {
        Some(remaining) => drop(write!(out, ",\"remaining_s\":{}", remaining.as_secs())),
        None => out.extend_from_slice(b",\"remaining_s\":null"),
    }
    if let Some(upstream) = facts.upstream {
        out.extend_from_slice(b",\"upstream\":");
        plain(out, Some(upstream));
    }
    let _ = write!(out, ",\"duration_us\":{},\"peer\":\"{}\",\"subject\":", facts.duration_us, facts.peer);
    plain(out, facts.session.map(Session::log_id));
    out.extend_from_slice(b"}\n");
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
        Some(value) if value.bytes().all(|b| matches!(b, 0x20..=0x7e) && b != b'"' && b != b'\\') => {
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

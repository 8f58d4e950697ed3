//! The access line: one JSON object for each request.

use std::io::Write;

use crate::gateway::decide::{Check, Trace};

/// A longer path is cut in the line.
const MAX_PATH: usize = 256;

/// What the line says beyond the trace.
pub(super) struct Facts<'a> {
    /// When the request's head was there.
    pub time: crate::clock::Timestamp,
    pub request_id: &'a str,
    /// `None` where the head could not be read.
    pub method: Option<&'a str>,
    pub status: u16,
    pub outcome: &'static str,
    pub duration_us: u64,
    pub peer: &'a str,
}

/// Writes the line, with its line end. Never the query, a credential, a URL of a vendor or a plain subject.
pub(super) fn line(out: &mut Vec<u8>, facts: &Facts<'_>, trace: &Trace<'_, '_>) {
    // Writing into a Vec can't fail.
    let _ = write!(out, "{{\"time\":\"{}\",\"request_id\":\"{}\",\"method\":", facts.time.rfc3339(), facts.request_id);
    text(out, facts.method);
    out.extend_from_slice(b",\"path\":");
    text(out, trace.path.as_deref().map(cut));
    out.extend_from_slice(b",\"route\":");
    text(out, trace.route.map(|route| &*route.name));
    let _ = write!(out, ",\"status\":{},\"outcome\":\"{}\",\"source\":", facts.status, facts.outcome);
    text(out, trace.source.map(crate::lease::Source::label));
    out.extend_from_slice(b",\"session_check\":");
    text(out, trace.check.map(Check::label));
    match trace.remaining {
        Some(remaining) => drop(write!(out, ",\"remaining_s\":{}", remaining.as_secs())),
        None => out.extend_from_slice(b",\"remaining_s\":null"),
    }
    let _ = write!(out, ",\"duration_us\":{},\"peer\":\"{}\",\"subject\":", facts.duration_us, facts.peer);
    text(out, trace.session.as_ref().map(|session| session.log_id()));
    out.extend_from_slice(b"}\n");
}

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

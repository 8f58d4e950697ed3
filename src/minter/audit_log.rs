//! The audit log: one JSON line for each request of an edge. Never a URL, a credential or a plain subject.

use std::time::Duration;

use serde::Serialize;

use crate::clock::Timestamp;
use crate::logging::LineSink;

/// What a line says.
#[derive(Serialize)]
pub(super) struct Entry<'a> {
    pub time: String,
    pub request_id: Option<&'a str>,
    pub trace_id: &'a str,
    pub edge: &'a str,
    pub plugin: Option<&'a str>,
    pub provider: Option<&'a str>,
    pub reason: &'static str,
    /// `granted`, or the refusal.
    pub outcome: &'static str,
    /// Where the URL came from.
    pub source: Option<&'static str>,
    /// Life left in the URL.
    pub remaining_s: Option<u64>,
    pub duration_us: u64,
    /// The keyed hash.
    pub subject: Option<&'a str>,
}

/// Where the lines go.
pub(super) struct AuditLog(Option<LineSink>);

impl AuditLog {
    pub fn new(lines: Option<LineSink>) -> Self {
        Self(lines)
    }

    pub fn note(&self, entry: &Entry<'_>) {
        let Some(lines) = &self.0 else { return };
        lines.push_with(|line| {
            // Writing into a Vec can't fail.
            let _ = serde_json::to_writer(&mut *line, entry);
            line.push(b'\n');
        });
    }
}

/// As the line writes it.
pub(super) fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// As the line writes it.
pub(super) fn time(now: Timestamp) -> String {
    now.rfc3339()
}

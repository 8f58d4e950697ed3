//! What is known of a request before it is judged: the connection that it came by, its id, and how both are written.

use std::time::Duration;

use uuid::Uuid;
use uuid::fmt::Hyphenated;

use crate::gateway::accept::peer::Peer;
use crate::gateway::http1::head::Head;

/// A request as the connection sees it.
pub(super) struct ConnectionInfo<'a> {
    pub raw: &'a [u8],
    pub peer: &'a Peer,
    /// The connection is encrypted.
    pub tls: bool,
    /// The client speaks HTTP/2.
    pub http2: bool,
    /// Whether the gateway is about to stop: asked when the answer is ready, not before.
    pub lame: &'a (dyn Fn() -> bool + Sync),
}

/// In whole microseconds.
pub(super) fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// A method as it may stand in a log.
pub(super) fn known(method: &str) -> &'static str {
    const KNOWN: [&str; 9] = ["GET", "HEAD", "POST", "OPTIONS", "PUT", "DELETE", "PATCH", "CONNECT", "TRACE"];
    KNOWN.into_iter().find(|known| *known == method).unwrap_or("other")
}

/// An `x-request-id`, or room for one.
#[derive(Clone, Copy)]
pub(super) struct RequestId([u8; Hyphenated::LENGTH]);

impl Default for RequestId {
    fn default() -> Self {
        Self([b'-'; Hyphenated::LENGTH])
    }
}

impl RequestId {
    /// The one that came in, as it was written, if it is one UUID.
    pub fn of<'h>(head: &Head<'h>) -> Option<&'h str> {
        let mut all = head.all("x-request-id");
        let (Some(text), None) = (all.next(), all.next()) else { return None };
        // Of this length only the form with hyphens is one.
        let is_one = text.len() == Hyphenated::LENGTH && Uuid::try_parse_ascii(text).is_ok();
        std::str::from_utf8(text).ok().filter(|_| is_one)
    }

    /// Writes one of ours.
    pub fn write(&mut self, uuid: Uuid) -> &str {
        uuid.hyphenated().encode_lower(&mut self.0)
    }

    /// Keeps the text of one.
    pub fn keep(text: &str) -> Self {
        text.as_bytes().first_chunk().copied().map_or_else(Self::default, Self)
    }

    pub fn text(&self) -> &str {
        // A UUID is written in ASCII.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

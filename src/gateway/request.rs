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

/// An `x-request-id`.
pub(super) struct RequestId(pub(super) [u8; Hyphenated::LENGTH]);

impl RequestId {
    /// The one that came in, as it was written, if it is one UUID.
    pub fn of(head: &Head<'_>) -> Option<Self> {
        let mut all = head.all("x-request-id");
        let (Some(text), None) = (all.next(), all.next()) else { return None };
        // Of this length only the form with hyphens is one.
        let text = <[u8; Hyphenated::LENGTH]>::try_from(text).ok()?;
        Uuid::try_parse_ascii(&text).is_ok().then_some(Self(text))
    }

    pub fn from(uuid: Uuid) -> Self {
        let mut text = [0; Hyphenated::LENGTH];
        uuid.hyphenated().encode_lower(&mut text);
        Self(text)
    }

    pub fn text(&self) -> &str {
        // A UUID is written in ASCII.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

//! Deadlines, sizes and numbers of the data plane.

use std::time::Duration;

use crate::gateway::settings::ServerSettings;

/// The longest that `[server]` may say for a deadline.
const LONGEST: Duration = Duration::from_secs(3600);

/// Idle connections to all apps together, of one protocol on one way to them: more than a busy gateway has under way, so that no burst opens new ones.
const IDLE_TO_APPS: usize = 1024;

/// A plug-in route reads no body; one that is larger is not worth reading to the end.
pub(in crate::gateway) const MAX_BODY: u64 = 64 * 1024;

/// Deadlines, sizes and numbers. What `[server]` says applies within them.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// A connection that has had a request and has no other is closed after this long.
    pub idle: Duration,
    /// A connection's first byte is due in this time; a head must be whole this long after its first byte; a body that nobody reads this long after its head; an answer of ours must be taken in this time.
    pub head: Duration,
    /// A piece of a request's body to an app is due in this time.
    pub body: Duration,
    /// A piece of an app's answer must be taken in this time.
    pub write: Duration,
    /// The largest head, in bytes.
    pub max_head: usize,
    /// The longest request line, in bytes.
    pub max_line: usize,
    /// Connections at once; one more is closed unread.
    pub max_connections: usize,
    /// Requests under way to apps and waiting for mints at once; one more is refused.
    pub max_requests: usize,
    /// Idle connections that each of the two ways to the apps keeps of each protocol.
    pub idle_to_apps: usize,
    /// Connections of edges at a minter at once; one more is closed.
    pub max_edge_connections: usize,
}

impl Limits {
    /// With what `[server]` says, where that is stricter.
    pub(crate) fn within(mut self, server: &ServerSettings) -> Self {
        self.idle = self.idle.min(server.idle_timeout.0);
        self.body = self.body.min(server.body_stall.0);
        self.write = self.write.min(server.write_stall.0);
        self.max_requests = self.max_requests.min(server.max_requests.unwrap_or(usize::MAX));
        self
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            idle: LONGEST,
            head: Duration::from_secs(10),
            body: LONGEST,
            write: LONGEST,
            // The longest token (8 KiB by default) in two sources, and room for an app's cookies.
            max_head: 32 * 1024,
            max_line: 8 * 1024,
            // The command line lowers these to what the file descriptors allow.
            max_connections: 1 << 20,
            max_requests: 1 << 20,
            idle_to_apps: IDLE_TO_APPS,
            max_edge_connections: 1024,
        }
    }
}

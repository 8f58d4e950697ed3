//! Answers of the gateway's own: redirects, JSON, problems (RFC 9457), pages; and the access log.

pub(super) mod access_log;
pub(super) mod reply;

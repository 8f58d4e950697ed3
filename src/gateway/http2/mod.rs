//! HTTP/2 on the client's side (RFC 9113): flood mitigation, and requests that Pingora has read.

pub(super) mod exchange;
pub(super) mod frame_counter;
pub(super) mod h2_flood;

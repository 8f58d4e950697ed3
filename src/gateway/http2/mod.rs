//! HTTP/2 on the client's side (RFC 9113): flood mitigation, heads that h2 has read, and how our own answers go out.

pub(super) mod exchange;
pub(super) mod frame_counter;
pub(super) mod h2_flood;

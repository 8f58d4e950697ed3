//! HTTP/1.1 on the client's side (RFC 9112): reading a head, judging the framing of a body against request smuggling, writing.

pub(super) mod chunks;
pub(super) mod head;
pub(super) mod reader;
pub(super) mod wire;

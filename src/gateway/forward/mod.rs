//! A reverse-proxied request on its way to an app: header sanitising, identity headers, the fast path and Pingora's proxy.

pub(super) mod attempt;
mod body_limits;
mod downstream_refusal;
pub(super) mod fast_path;
pub(super) mod headers;
mod no_chunks;
pub(super) mod proxied_request;
pub(super) mod proxy;
pub(super) mod proxy_fields;
pub(super) mod session_end;

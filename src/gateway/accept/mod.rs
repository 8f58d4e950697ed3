//! How a connection begins: the PROXY protocol, TLS, who is at the other end, which proxies are trusted, when it has to end.

pub(super) mod acceptor;
pub(super) mod client;
pub mod connection;
pub mod forwarded;
pub(super) mod peer;
pub(super) mod proxy_protocol;
pub(super) mod shutdown_signal;
pub(super) mod trusted;

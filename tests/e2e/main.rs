//! The product from outside: real sockets, a simulated vendor, simulated identity providers, time that is moved and not waited for.

// Tests and measurements take orders from the environment, and tell a story from its begin to its end.
#![allow(clippy::disallowed_methods, clippy::too_many_lines)]
// A test may panic: that is how it fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

// Also the kit of `tests/prometheus.rs`: a module of two programs is in the folder of neither.
#[path = "../kit/mod.rs"]
mod kit;

mod admin;
mod answers;
mod app_request;
mod apps;
mod assertion;
mod authorize;
mod canary;
mod causes;
mod credentials;
mod drain;
mod erasure;
mod ext_authz;
mod flights;
mod framing;
mod front;
mod http2;
mod http2_apps;
mod http2_bodies;
mod http2_streams;
mod limits;
mod listeners;
mod login;
mod origins;
mod overload;
mod policies;
mod presets;
mod proxies;
mod recipes;
mod refusals;
mod relay;
mod reload;
mod reload_listeners;
mod reload_refused;
mod reload_sign_out;
mod revocation;
mod routes;
mod seeds;
mod session_ends;
mod sessions;
mod sign_out;
mod sockets;
mod telemetry;
mod times;
mod tls;
mod tls_apps;
mod traces;
mod uploads;
mod vendor;
mod websockets;

//! The product from outside: real sockets, a simulated vendor, simulated identity providers, time that is moved and not waited for.

// Tests and measurements take orders from the environment, and tell a story from its begin to its end.
#![allow(clippy::disallowed_methods, clippy::too_many_lines)]
// A test may panic: that is how it fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod kit;

#[path = "e2e/admin.rs"]
mod admin;
#[path = "e2e/answers.rs"]
mod answers;
#[path = "e2e/app_request.rs"]
mod app_request;
#[path = "e2e/apps.rs"]
mod apps;
#[path = "e2e/assertion.rs"]
mod assertion;
#[path = "e2e/authorize.rs"]
mod authorize;
#[path = "e2e/canary.rs"]
mod canary;
#[path = "e2e/causes.rs"]
mod causes;
#[path = "e2e/credentials.rs"]
mod credentials;
#[path = "e2e/drain.rs"]
mod drain;
#[path = "e2e/erasure.rs"]
mod erasure;
#[path = "e2e/ext_authz.rs"]
mod ext_authz;
#[path = "e2e/flights.rs"]
mod flights;
#[path = "e2e/framing.rs"]
mod framing;
#[path = "e2e/front.rs"]
mod front;
#[path = "e2e/http2.rs"]
mod http2;
#[path = "e2e/http2_bodies.rs"]
mod http2_bodies;
#[path = "e2e/http2_streams.rs"]
mod http2_streams;
#[path = "e2e/limits.rs"]
mod limits;
#[path = "e2e/listeners.rs"]
mod listeners;
#[path = "e2e/login.rs"]
mod login;
#[path = "e2e/origins.rs"]
mod origins;
#[path = "e2e/overload.rs"]
mod overload;
#[path = "e2e/policies.rs"]
mod policies;
#[path = "e2e/presets.rs"]
mod presets;
#[path = "e2e/proxies.rs"]
mod proxies;
#[path = "e2e/recipes.rs"]
mod recipes;
#[path = "e2e/refusals.rs"]
mod refusals;
#[path = "e2e/relay.rs"]
mod relay;
#[path = "e2e/reload.rs"]
mod reload;
#[path = "e2e/reload_listeners.rs"]
mod reload_listeners;
#[path = "e2e/reload_refused.rs"]
mod reload_refused;
#[path = "e2e/reload_sign_out.rs"]
mod reload_sign_out;
#[path = "e2e/revocation.rs"]
mod revocation;
#[path = "e2e/routes.rs"]
mod routes;
#[path = "e2e/session_ends.rs"]
mod session_ends;
#[path = "e2e/sessions.rs"]
mod sessions;
#[path = "e2e/sign_out.rs"]
mod sign_out;
#[path = "e2e/sockets.rs"]
mod sockets;
#[path = "e2e/telemetry.rs"]
mod telemetry;
#[path = "e2e/times.rs"]
mod times;
#[path = "e2e/tls.rs"]
mod tls;
#[path = "e2e/tls_apps.rs"]
mod tls_apps;
#[path = "e2e/traces.rs"]
mod traces;
#[path = "e2e/uploads.rs"]
mod uploads;
#[path = "e2e/vendor.rs"]
mod vendor;
#[path = "e2e/websockets.rs"]
mod websockets;

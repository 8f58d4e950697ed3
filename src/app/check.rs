//! What can be wrong with an app's settings on this side, besides its certificates.

use std::sync::Arc;
use std::time::Duration;

use http::uri::{Authority, PathAndQuery};
use rustls::pki_types::ServerName;

use super::settings::{AppSettings, HealthSettings, SessionNeed, WebsocketEnd};
use super::target::{Target, number, read_host};
use crate::setting::FieldFault;

const A_HOST: &str = "expected a host name or an IP address, with or without a port, such as \"app.internal:8080\"";

/// More than anybody writes by hand.
const MAX_UPSTREAMS: usize = 64;

/// The upstreams, and whatever is wrong with them and with the numbers beside them.
pub(super) fn targets(settings: &AppSettings, faults: &mut Vec<FieldFault>) -> Vec<Arc<Target>> {
    let mut targets: Vec<Arc<Target>> = Vec::new();
    let mut note = |message: String| faults.push(FieldFault::at("upstreams", message));
    for (place, text) in settings.upstreams.iter().enumerate() {
        match Target::parse(text) {
            // What stands before an `@` may be a password.
            Err(fault) if text.contains('@') => note(format!("entry {}: {fault}", place + 1)),
            Err(fault) => note(format!("{text:?}: {fault}")),
            Ok(target) => match targets.iter().find(|other| other.is_alike(&target)) {
                Some(other) => note(format!("{text:?} is the same place as {:?}", other.text)),
                None => targets.push(Arc::new(target)),
            },
        }
    }
    match settings.upstreams.len() {
        0 if settings.authorize => {}
        0 => note(
            "expected at least one upstream; or `authorize = true`, where another proxy carries the requests".into(),
        ),
        1..=MAX_UPSTREAMS => {}
        more => note(format!("{more} upstreams, at most {MAX_UPSTREAMS}: a DNS name may stand for several")),
    }
    if settings.request.host.as_ref().is_some_and(|host| !is_host(host)) {
        faults.push(FieldFault::at("request.host", A_HOST));
    }
    if settings.websocket_ends_with == WebsocketEnd::Session && settings.session == SessionNeed::None {
        let message = "an app with `session = \"none\"` has no session that could end a WebSocket";
        faults.push(FieldFault::at("websocket_ends_with", message));
    }
    let any_tls = settings.upstreams.iter().any(|text| text.starts_with("https://"));
    without_tls(settings, any_tls, faults);
    numbers(settings, faults);
    targets
}

/// Keys that say something of TLS where there is none: somebody takes the way to the app for a safe one, and it is not.
fn without_tls(settings: &AppSettings, any_tls: bool, faults: &mut Vec<FieldFault>) {
    let mut note = |key: &str, message: &str| faults.push(FieldFault::at(key, message));
    if let Some(name) = &settings.server_name
        && ServerName::try_from(name.as_str()).is_err()
    {
        note("server_name", "expected a host name or an IP address");
    }
    let said = [
        ("ca", settings.ca.is_some()),
        ("server_name", settings.server_name.is_some()),
        ("client_certificate", settings.client_certificate.is_some()),
    ];
    for (key, _) in said.into_iter().filter(|(_, is_set)| *is_set && !any_tls) {
        note(key, "says something of TLS, but no upstream is https://");
    }
}

fn numbers(settings: &AppSettings, faults: &mut Vec<FieldFault>) {
    let mut note = |key: &str, message: &str| faults.push(FieldFault::at(key, message));
    let mut spans = vec![
        ("connect_timeout", settings.connect_timeout),
        ("read_timeout", settings.read_timeout),
        ("idle_timeout", settings.idle_timeout),
        ("websocket_timeout", settings.websocket_timeout),
        ("ejection.pause", settings.ejection.pause),
    ];
    let mut counts = vec![("ejection.failures", settings.ejection.failures)];
    if let Some(health) = &settings.health {
        spans.extend([("health.interval", health.interval), ("health.timeout", health.timeout)]);
        counts.extend([("health.healthy", health.healthy), ("health.unhealthy", health.unhealthy)]);
        question(health, &mut note);
    }
    for (key, _) in spans.iter().filter(|(_, span)| span.0 == Duration::ZERO) {
        note(key, "must be longer than nothing");
    }
    for (key, _) in counts.iter().filter(|(_, count)| *count == 0) {
        note(key, "must be at least 1");
    }
}

fn question(health: &HealthSettings, note: &mut impl FnMut(&'static str, &str)) {
    let path = health.path.as_str();
    let is_path = path.starts_with('/') && !path.contains('#') && path.parse::<PathAndQuery>().is_ok();
    if !is_path {
        note("health.path", "expected a path such as \"/health\"");
    }
    if health.host.as_ref().is_some_and(|host| !is_host(host)) {
        note("health.host", A_HOST);
    }
}

/// Whether `Host` may say this: a name or an IP address, with or without a port (RFC 9110, section 7.2).
fn is_host(text: &str) -> bool {
    let Ok(read) = text.parse::<Authority>() else { return false };
    let port = text.strip_prefix(read.host()).map(|rest| (rest, rest.strip_prefix(':').and_then(number)));
    read_host(read.host()).is_ok() && matches!(port, Some(("", None) | (_, Some(_))))
}

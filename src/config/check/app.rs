//! `[[app]]`.

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;

use super::plugin::path;
use super::{Report, name};
use crate::app::Pool;
use crate::app::settings::AppSettings;
use crate::clock::Clock;
use crate::config::Config;
use crate::config::tree::Place;
use crate::gateway::{is_reserved_field, standing_path};
use crate::telemetry::Metrics;
use crate::units::Bytes;

/// Fields that frame a request or carry credentials, beside those that are ours: a claim must not stand in for them.
const RESERVED_FIELDS: [&str; 8] =
    ["authorization", "connection", "content-type", "cookie", "expect", "te", "trailer", "upgrade"];

pub(super) fn check(config: &Config, report: &mut Report<'_>) {
    let apps = Place::root().key("app");
    let places = || config.apps.iter().enumerate().map(|(i, settings)| (apps.index(i), settings));
    report.unique(places().map(|(p, s)| (p.key("name"), &s.name)), "another app has this name");
    for (place, settings) in places() {
        if let Some(plugin) = config.plugins.iter().position(|plugin| plugin.name == settings.name) {
            let other = report.line(&Place::root().key("plugin").index(plugin).key("name"));
            report.fault(&place.key("name"), format!("a plug-in has this name{other}"));
        }
    }
    let routes = places().filter(|(place, _)| report.sound(&place.key("host")));
    let routes: Vec<_> =
        routes.map(|(p, s)| (p.key("path"), (standing_path(s.path.trim_end_matches('/')), s.host.as_ref()))).collect();
    report.unique(routes, "another app has this path, for the same host");
    for (place, settings) in places() {
        report.note(&place.key("name"), name(&settings.name));
        report.note(&place.key("path"), prefix(&settings.path));
        claims(settings, &place.key("claims"), report);
        if settings.max_body == Bytes(0) {
            report.fault(&place.key("max_body"), "must be more than nothing");
        }
        if settings.authorize {
            authorized(config, &place, report);
        }
        pool(settings, &place, report);
    }
}

/// The start of an app's paths. Requests are compared with it in each way in which an app may read them: what one of these ways changes would never
/// be reached.
fn prefix(text: &str) -> Result<(), String> {
    path(text)?;
    let standing = standing_path(text);
    if standing.contains(';') {
        return Err("an app's path has no `;`: some apps cut a segment there".into());
    }
    let Some(escape) = standing.find('%').and_then(|at| standing.get(at..at + 3)) else { return Ok(()) };
    let meant = percent_decode_str(escape).decode_utf8_lossy();
    Err(if matches!(&*meant, ";" | "?" | "#") {
        format!("an app's path has no `{escape}`: some apps cut a path at `{meant}`")
    } else {
        format!("`{escape}` is another spelling of `{meant}`, which some apps tell apart: write `{meant}`")
    })
}

/// Keys of the way to an app, which is another proxy's where that one only asks.
const CARRYING: [&str; 14] = [
    "upstreams",
    "balance",
    "max_body",
    "connect_timeout",
    "read_timeout",
    "idle_timeout",
    "websocket_timeout",
    "websocket_ends_with",
    "ca",
    "server_name",
    "client_certificate",
    "request",
    "health",
    "ejection",
];

/// An app whose requests another proxy carries.
fn authorized(config: &Config, place: &Place, report: &mut Report<'_>) {
    for key in CARRYING {
        let place = place.key(key);
        if report.written(&place) {
            report.fault(
                &place,
                "with `authorize = true` another proxy carries the requests of this app: leave this out",
            );
        }
    }
    if config.server.trusted_proxies.is_empty() && report.sound(&place.key("authorize")) {
        let line = "app.authorize: nobody may ask about this app: name the proxies that do in server.trusted_proxies";
        if !report.warnings.iter().any(|warning| warning == line) {
            report.warnings.push(line.into());
        }
    }
}

fn claims(settings: &AppSettings, place: &Place, report: &mut Report<'_>) {
    let mut seen = BTreeMap::new();
    for field in settings.claims.keys() {
        let place = place.key(field.as_str());
        // As an app may read it.
        let plain = field.name().as_str().replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        if RESERVED_FIELDS.contains(&plain.as_str()) || is_reserved_field(field.as_str()) {
            report.fault(&place, "this field can't carry a claim");
        } else if let Some(other) = seen.insert(plain, field.as_str()) {
            let message = format!("an app may take this field for `{other}`, which stands in the table too");
            report.fault(&place, message);
        }
    }
}

/// What the pool says of its settings: addresses, certificates, times.
fn pool(settings: &AppSettings, place: &Place, report: &mut Report<'_>) {
    let Ok(metrics) = Metrics::new("", "") else { return };
    if let Err(faults) = Pool::open(settings, report.directory, Clock::system(), &metrics) {
        report.fields(place, faults);
    }
    if let Some(certificate) = &settings.client_certificate {
        report.warnings.extend(super::files::readable_by_others(&report.directory.join(&certificate.key)));
    }
}

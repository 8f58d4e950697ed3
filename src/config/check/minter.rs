//! `[minter]`.

use super::Report;
use super::listener::certificate;
use crate::config::Config;
use crate::config::tree::Place;
use crate::http_client::authorities;
use crate::meant::did_you_mean;
use crate::minter::settings::{EdgeSettings, MinterSettings};
use crate::provider;

/// A name in a certificate is no longer (RFC 5280 sets no bound on URIs; RFC 1035, section 3.1, on DNS names).
const MAX_NAME: usize = 255;

pub(super) fn check(config: &Config, report: &mut Report<'_>) {
    let Some(settings) = &config.minter else { return };
    let place = Place::root().key("minter");
    tls(settings, &place.key("tls"), report);
    if !settings.verify_sessions {
        report.warnings.push("minter.verify_sessions is off: an edge that is taken over mints for anybody".into());
    }
    if config.policies.is_some() && !settings.verify_sessions {
        let message =
            "a minter's policies judge sessions that it has verified itself: verify_sessions = false leaves none";
        report.fault(&Place::root().key("policies"), message);
    }
    if !config.listeners.is_empty() {
        report.warnings.push("[minter] beside [[listener]]: this process faces browsers and holds the API key".into());
    }
    if settings.address.socket_address().ip().is_unspecified() {
        report.warnings.push("minter.address is on every network of this machine; a private one is enough".into());
    }
    if settings.edges.len() > 1 && settings.per_edge.rate >= settings.per_provider.rate {
        report
            .warnings
            .push("minter.per_edge is not below minter.per_provider: one edge can use up what the others need".into());
    }
    for (i, provider) in config.providers.iter().enumerate().filter(|(_, provider)| provider.minter.is_some()) {
        let place = Place::root().key("provider").index(i).key("minter");
        report.fault(&place, format!("a minter holds the key itself: it can't mint {:?} for others", provider.name));
    }
    edges(config, settings, &place.key("edge"), report);
}

fn tls(settings: &MinterSettings, place: &Place, report: &mut Report<'_>) {
    certificate(&settings.tls.identity(), place, &|key| key, report);
    let ca = place.key("client_ca");
    if report.sound(&ca) {
        report.note(&ca, authorities(&report.directory.join(&settings.tls.client_ca)).map(drop));
    }
}

fn edges(config: &Config, settings: &MinterSettings, place: &Place, report: &mut Report<'_>) {
    if settings.edges.is_empty() {
        report.fault(place, "at least one [[minter.edge]] is required: nobody else may ask");
    }
    let places = || settings.edges.iter().enumerate().map(|(i, edge)| (place.index(i), edge));
    let canonical = |name: &str| if name.contains("://") { name.to_owned() } else { name.to_ascii_lowercase() };
    report.unique(places().map(|(p, edge)| (p.key("name"), canonical(&edge.name))), "another edge has this name");
    let providers = Place::root().key("provider");
    let all_known = !report.is_hole(&providers) && report.sound(&Place::root().key("plugin"));
    for (place, edge) in places() {
        report.note(&place.key("name"), name(&edge.name));
        if all_known {
            plugins(config, edge, &place.key("plugins"), report);
        }
    }
}

/// What a certificate can say of an edge.
fn name(text: &str) -> Result<(), &'static str> {
    const EXPECTED: &str =
        "expected a name in the edge's certificate: a DNS name, or a URI such as \"spiffe://example.com/edge\"";
    let dns = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    let good = match text.contains("://") {
        true => text.bytes().all(|b| b.is_ascii_graphic()),
        false => !text.is_empty() && text.bytes().all(dns),
    };
    if good && text.len() <= MAX_NAME { Ok(()) } else { Err(EXPECTED) }
}

fn plugins(config: &Config, edge: &EdgeSettings, place: &Place, report: &mut Report<'_>) {
    if edge.plugins.is_empty() {
        report.fault(place, "at least one plug-in is required");
    }
    report.unique(
        edge.plugins.iter().enumerate().map(|(i, name)| (place.index(i), name)),
        "this plug-in stands in the list already",
    );
    let mints: Vec<String> = config.providers.iter().flat_map(provider::mint_names).collect();
    for (i, wanted) in edge.plugins.iter().enumerate() {
        if config.plugins.iter().any(|plugin| plugin.name == *wanted) {
            continue;
        }
        match mints.iter().filter(|mint| *mint == wanted).count() {
            1 => {}
            0 => {
                let known: Vec<&str> =
                    mints.iter().map(String::as_str).chain(config.plugins.iter().map(|p| p.name.as_str())).collect();
                report.fault(
                    &place.index(i),
                    format!(
                        "no plug-in and no mint has this name; there are: {}{}",
                        known.join(", "),
                        did_you_mean(wanted, &known)
                    ),
                );
            }
            _ => report.fault(
                &place.index(i),
                "two providers have a mint of this name: give each a [[plugin]] with a name of its own",
            ),
        }
    }
}

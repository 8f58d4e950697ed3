//! `[assertion]`, and `assertion` of the apps.

use std::ops::RangeInclusive;

use super::Report;
use crate::app::settings::SessionNeed;
use crate::assertion;
use crate::config::Config;
use crate::config::tree::Place;
use crate::units::Span;

/// Shorter ones end before a slow app reads them; longer ones outlive what was said of the session.
const LIFE: RangeInclusive<Span> = Span::secs(2)..=Span::secs(3600);

/// More keys than that nobody rotates through.
const MAX_KEYS: usize = 8;

pub(super) fn check(config: &Config, report: &mut Report<'_>) {
    let root = Place::root();
    if let Some(settings) = &config.assertion {
        let place = root.key("assertion");
        keys(settings, &place.key("keys"), report);
        if !LIFE.contains(&settings.life) {
            report.fault(&place.key("life"), format!("expected \"{}\" to \"{}\"", LIFE.start(), LIFE.end()));
        }
    }
    for (i, app) in config.apps.iter().enumerate() {
        let Some(told) = &app.assertion else { continue };
        let place = root.key("app").index(i).key("assertion");
        if config.assertion.is_none() && !report.is_hole(&root.key("assertion")) {
            report.fault(&place, "there is no key to sign with: add [assertion]");
        }
        if app.session == SessionNeed::None {
            report.fault(&place, "an app with `session = \"none\"` has no session of which anything could be said");
        }
        if told.audience.is_empty() {
            report.fault(&place.key("audience"), "must not be empty");
        }
        let claims = place.key("claims");
        let each = told.claims.iter().enumerate().map(|(i, claim)| (claims.index(i), claim));
        report.unique(each, "this claim stands in the list already");
    }
}

fn keys(settings: &assertion::settings::AssertionSettings, place: &Place, report: &mut Report<'_>) {
    match settings.keys.len() {
        0 => report.fault(place, "expected at least one key"),
        1..=MAX_KEYS => {}
        more => report.fault(place, format!("{more} keys, at most {MAX_KEYS}")),
    }
    let mut thumbprints = Vec::new();
    for (i, source) in settings.keys.iter().enumerate() {
        let place = place.index(i);
        let Some(key) = report.secret(&place, source) else { continue };
        match assertion::thumbprint(&key) {
            None => report.fault(&place, assertion::BAD_KEY),
            Some(thumbprint) => thumbprints.push((place, thumbprint)),
        }
    }
    report.unique(thumbprints, "this key stands in the list already");
}

//! `[limits]`.

use std::ops::RangeInclusive;

use super::Report;
use super::session::claim_path;
use crate::config::Config;
use crate::config::tree::Place;
use crate::limit::settings::RateSettings;
use crate::units::Span;

/// A node does not serve more requests in a second than this.
const MAX_RATE: u32 = 1_000_000;

/// Refused credentials older than this say nothing of an address: others have it by then.
const INVALID_WITHIN: RangeInclusive<Span> = Span::secs(1)..=Span::secs(86_400);

/// Vendors count by the month at most.
const MINTS_WITHIN: RangeInclusive<Span> = Span::secs(1)..=Span::secs(31 * 86_400);

pub(super) fn check(config: &Config, report: &mut Report<'_>) {
    let (limits, place) = (&config.limits, Place::root().key("limits"));
    for (key, rate) in [("per_subject", limits.per_subject), ("per_address", limits.per_address)] {
        if let Some(rate) = rate {
            check_rate(rate, &place.key(key), report);
        }
    }
    if let Some(invalid) = &limits.invalid_per_address {
        window(invalid.count, invalid.within, &INVALID_WITHIN, &place.key("invalid_per_address"), report);
    }
    if let Some(share) = &limits.mints_per {
        let place = place.key("mints_per");
        report.note(&place.key("claim"), claim_path(&share.claim));
        window(share.count, share.within, &MINTS_WITHIN, &place, report);
    }
    if config.listeners.is_empty() {
        let requests = [
            ("per_subject", limits.per_subject.is_some()),
            ("per_address", limits.per_address.is_some()),
            ("invalid_per_address", limits.invalid_per_address.is_some()),
        ];
        for (key, _) in requests.iter().filter(|(_, set)| *set) {
            report.warnings.push(format!("limits.{key} bounds requests of browsers; a minter alone has none"));
        }
    }
}

fn check_rate(rate: RateSettings, place: &Place, report: &mut Report<'_>) {
    for (key, value) in [("rate", rate.rate), ("burst", rate.burst)] {
        if !(1..=MAX_RATE).contains(&value) {
            report.fault(&place.key(key), "expected a whole number from 1 to 1000000");
        }
    }
}

fn window(count: u32, within: Span, bounds: &RangeInclusive<Span>, place: &Place, report: &mut Report<'_>) {
    if count == 0 {
        report.fault(&place.key("count"), "at least 1");
    }
    if !bounds.contains(&within) {
        report.fault(&place.key("within"), format!("expected \"{}\" to \"{}\"", bounds.start(), bounds.end()));
    }
}

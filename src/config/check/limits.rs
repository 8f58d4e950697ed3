//! `[limits]`.

use super::Report;
use crate::config::Config;
use crate::config::tree::Place;

pub(super) fn check(config: &Config, report: &mut Report<'_>) {
    let (limits, place) = (&config.limits, Place::root().key("limits"));
    report.fields(&place, limits.faults());
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

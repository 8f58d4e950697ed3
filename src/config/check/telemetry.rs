//! `[telemetry]`.

use super::Report;
use crate::config::Config;
use crate::config::tree::Place;

pub(super) fn check(config: &Config, report: &mut Report<'_>) {
    let Some(settings) = &config.telemetry else { return };
    let place = Place::root().key("telemetry");
    report.fields(&place, settings.faults());
}

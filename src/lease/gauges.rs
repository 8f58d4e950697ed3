//! The metrics of the lease book, their labels resolved once.

use prometheus::{IntCounter, IntGauge};

use crate::telemetry::Metrics;

pub(super) struct Gauges {
    pub held: IntGauge,
    pub evicted: IntCounter,
    /// Requests that `mints_per_subject` refused.
    pub limited: IntCounter,
}

impl Gauges {
    pub fn new(metrics: &Metrics) -> Self {
        Self {
            held: metrics.leases_held.clone(),
            evicted: metrics.leases_evicted.clone(),
            limited: metrics.limited.with_label_values(&["mints_per_subject"]),
        }
    }
}

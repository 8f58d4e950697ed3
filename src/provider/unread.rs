//! Says that a configured `expires` finds nothing: by a counter each time, in the log once an hour.

use std::time::Duration;

use parking_lot::Mutex;
use prometheus::IntCounter;
use tracing::warn;

use crate::clock::Tick;
use crate::telemetry::Metrics;

/// From one warning of a provider to the next.
const PAUSE: Duration = Duration::from_secs(3600);

/// Counts the mints of one provider without an end that can be read, and warns of one an hour.
pub(super) struct Unread {
    counter: IntCounter,
    told: Mutex<Option<Tick>>,
}

impl Unread {
    pub fn new(provider: &str, metrics: &Metrics) -> Self {
        Self { counter: metrics.expiry_unreadable.with_label_values(&[provider]), told: Mutex::new(None) }
    }

    /// A mint of this name had no end. Nothing of the URL is told.
    pub fn note(&self, provider: &str, mint: &str, now: Tick) {
        self.counter.inc();
        let mut told = self.told.lock();
        if told.is_none_or(|told| now.since(told) >= PAUSE) {
            *told = Some(now);
            warn!(target: "valet::provider", provider, mint, "`expires` finds no end that can be read: URLs are held for max_age, and programs are told no end");
        }
    }
}

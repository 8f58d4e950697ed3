//! The vendor's clock, by the `Date` of its answers (RFC 9110, section 6.6.1): where it is ahead of ours, URLs end sooner than they say.

use std::time::Duration;

use http::HeaderMap;
use http::header::DATE;
use parking_lot::Mutex;
use prometheus::IntCounter;
use tracing::{info, warn};

use super::http_date::http_date;
use crate::clock::Timestamp;
use crate::telemetry::Metrics;

/// Less is within a second of rounding, the way of an answer, and what clocks that are looked after differ.
const TOLERANCE: Duration = Duration::from_secs(30);

pub(super) struct VendorClock {
    off: IntCounter,
    /// Whether the last answer's clock was off: a change is told once.
    was_off: Mutex<bool>,
}

impl VendorClock {
    pub fn new(provider: &str, metrics: &Metrics) -> Self {
        Self { off: metrics.vendor_clock_off.with_label_values(&[provider]), was_off: Mutex::new(false) }
    }

    /// By how much the vendor's clock is ahead, if it is off by more than is usual. One that is behind shortens nothing: ours is the later one.
    pub fn ahead(&self, headers: &HeaderMap, now: Timestamp, provider: &str) -> Duration {
        let date = headers.get(DATE).and_then(|date| date.to_str().ok());
        let Some(theirs) = date.and_then(http_date) else { return Duration::ZERO };
        let (ahead, behind) = (theirs.since(now), now.since(theirs));
        let off = ahead.max(behind) > TOLERANCE;
        if off {
            self.off.inc();
        }
        if std::mem::replace(&mut *self.was_off.lock(), off) != off {
            let (ahead_s, behind_s) = (ahead.as_secs(), behind.as_secs());
            if off {
                warn!(target: "valet::provider", provider, ahead_s, behind_s, "the provider's clock and ours differ; the later one counts");
            } else {
                info!(target: "valet::provider", provider, "the provider's clock and ours agree again");
            }
        }
        if off { ahead } else { Duration::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_ahead_shortens_and_one_that_is_behind_does_not() {
        let metrics = Metrics::new("0", "test").unwrap();
        let clock = VendorClock::new("vendor", &metrics);
        // Sun, 06 Nov 1994 08:49:37 GMT.
        let now = |more: i64| Timestamp::from_secs(784_111_777 + more);
        let headers = HeaderMap::from_iter([(DATE, "Sun, 06 Nov 1994 08:49:37 GMT".parse().unwrap())]);
        for (ours, ahead, counted) in [(0, 0, 0), (-30, 0, 0), (-31, 31, 1), (30, 0, 1), (31, 0, 2), (-7200, 7200, 3)] {
            assert_eq!(clock.ahead(&headers, now(ours), "vendor"), Duration::from_secs(ahead), "{ours}");
            assert_eq!(clock.off.get(), counted, "{ours}");
        }
        for date in ["Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
            let headers = HeaderMap::from_iter([(DATE, date.parse().unwrap())]);
            assert_eq!(clock.ahead(&headers, now(-7200), "vendor"), Duration::from_secs(7200), "{date}");
        }
        let none = HeaderMap::from_iter([(DATE, "yesterday".parse().unwrap())]);
        assert_eq!(clock.ahead(&none, now(-7200), "vendor"), Duration::ZERO);
        assert_eq!(clock.ahead(&HeaderMap::new(), now(-7200), "vendor"), Duration::ZERO);
    }
}

//! Rate limits of a minter: by edge and by provider.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use prometheus::IntCounter;

use crate::limit::settings::RateSettings;
use crate::provider::{Mint, MintFailure, MintInput, Minted};
use crate::telemetry::Metrics;

/// So many a second in the long run, so many at once.
pub(super) struct Rate {
    limiter: DefaultDirectRateLimiter,
    clock: DefaultClock,
}

impl Rate {
    /// Checked with the configuration; of nothing one is allowed.
    pub fn new(settings: RateSettings) -> Self {
        let at_least_one = |count: u32| NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(at_least_one(settings.rate)).allow_burst(at_least_one(settings.burst));
        Self { limiter: RateLimiter::direct(quota), clock: DefaultClock::default() }
    }

    /// One more, or how long until one is allowed.
    pub fn admit(&self) -> Result<(), Duration> {
        self.limiter.check().map_err(|early| early.wait_time_from(self.clock.now()))
    }
}

/// A mint, not more often than its provider may be asked.
pub struct Bounded {
    mint: Arc<dyn Mint>,
    rate: Arc<Rate>,
    busy: IntCounter,
}

impl Bounded {
    /// The mints of one provider, with one bound for all of them.
    pub fn all(
        mints: Vec<Arc<dyn Mint>>,
        settings: RateSettings,
        provider: &str,
        metrics: &Metrics,
    ) -> Vec<Arc<dyn Mint>> {
        let rate = Arc::new(Rate::new(settings));
        let busy = metrics.mints.with_label_values(&[provider, "busy"]);
        let bounded = |mint| Arc::new(Self { mint, rate: rate.clone(), busy: busy.clone() }) as Arc<dyn Mint>;
        mints.into_iter().map(bounded).collect()
    }
}

#[async_trait]
impl Mint for Bounded {
    async fn mint(&self, input: &MintInput) -> Result<Minted, MintFailure> {
        self.rate.admit().map_err(|wait| {
            self.busy.inc();
            MintFailure::Busy(wait)
        })?;
        self.mint.mint(input).await
    }

    fn inner(&self) -> Option<&dyn Mint> {
        Some(&*self.mint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_the_next_one_waits_for_its_turn() {
        let rate = Rate::new(RateSettings { rate: 1, burst: 3 });
        assert_eq!([(); 3].map(|()| rate.admit()), [Ok(()); 3]);
        let wait = rate.admit().unwrap_err();
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(1), "{wait:?}");
    }
}

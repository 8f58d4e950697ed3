//! Rate limits of a minter: by edge and by provider.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use prometheus::IntCounter;

use crate::clock::Clock;
use crate::limit::settings::RateSettings;
use crate::limit::{TokenBucket, nanos};
use crate::provider::{Mint, MintFailure, MintInput, Minted};
use crate::telemetry::{Metrics, Outcome};

/// So many a second in the long run, so many at once.
pub(super) struct Rate {
    bucket: TokenBucket,
    /// When it is full again, in nanoseconds of the clock.
    full: Mutex<u64>,
    clock: Clock,
}

impl Rate {
    pub fn new(settings: RateSettings) -> Self {
        Self { bucket: TokenBucket::new(settings), full: Mutex::new(0), clock: Clock::system() }
    }

    /// One more, or how long until one is allowed.
    pub fn admit(&self) -> Result<(), Duration> {
        let now = nanos(self.clock.tick());
        let mut full = self.full.lock();
        *full = self.bucket.take(*full, now)?;
        Ok(())
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
        let busy = metrics.mints.with_label_values(&[provider, Outcome::Busy.label()]);
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
    use crate::limit::Tokens;

    #[test]
    fn a_burst_passes_and_the_next_one_waits_for_its_turn() {
        let rate = Rate::new(RateSettings { rate: Tokens::of::<1>(), burst: Tokens::of::<3>() });
        assert_eq!([(); 3].map(|()| rate.admit()), [Ok(()); 3]);
        let wait = rate.admit().unwrap_err();
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(1), "{wait:?}");
    }
}

//! `limits.mints_per`: a tenant's share of the vendor's quota.

use std::sync::Arc;

use async_trait::async_trait;
use prometheus::IntCounter;

use super::settings::{CountSettings, MintShareSettings};
use super::window::WindowLimit;
use crate::clock::Clock;
use crate::provider::{Called, Mint, MintFailure, MintInput, Minted};
use crate::telemetry::Metrics;

/// Moments that are remembered for a tenant: of a day, it may wait up to 23 minutes longer than to the millisecond.
const STEPS: usize = 64;

/// The mints of each tenant, for all plug-ins together.
pub struct MintShares {
    settings: MintShareSettings,
    limit: Arc<WindowLimit<Option<Box<str>>>>,
    /// Where the claim stands in [`MintInput::claims`]: its text, and its JSON.
    claim: [usize; 2],
    refused: IntCounter,
}

impl MintShares {
    /// `claim`: where the claim stands in [`MintInput::claims`], its text and its JSON.
    pub fn new(settings: &MintShareSettings, claim: [usize; 2], clock: &Clock, metrics: &Metrics) -> Arc<Self> {
        let &MintShareSettings { count, within, .. } = settings;
        Arc::new(Self {
            settings: settings.clone(),
            limit: Arc::new(WindowLimit::new(CountSettings { count, within }, STEPS, clock)),
            claim,
            refused: metrics.limited.with_label_values(&["mints_per"]),
        })
    }

    /// The shares of a new configuration: what was minted counts on where the settings are the same, wherever the claim stands now.
    pub fn following(
        before: Option<&Self>,
        settings: &MintShareSettings,
        claim: [usize; 2],
        clock: &Clock,
        metrics: &Metrics,
    ) -> Arc<Self> {
        match before.filter(|before| before.settings == *settings) {
            Some(before) => Arc::new(Self {
                settings: settings.clone(),
                limit: before.limit.clone(),
                claim,
                refused: before.refused.clone(),
            }),
            None => Self::new(settings, claim, clock, metrics),
        }
    }

    /// This mint, when the share of the session's tenant allows one more.
    pub fn bound(self: &Arc<Self>, mint: Arc<dyn Mint>) -> Arc<dyn Mint> {
        Arc::new(WithinShare { shares: Arc::clone(self), mint })
    }
}

struct WithinShare {
    shares: Arc<MintShares>,
    mint: Arc<dyn Mint>,
}

#[async_trait]
impl Mint for WithinShare {
    /// Counts a mint when it begins: what the vendor was asked for is gone from its quota, however it ends. What fails before any call is made is
    /// given back.
    async fn mint(&self, input: &MintInput) -> Result<Minted, MintFailure> {
        // A number has no text: its JSON is its decimal text.
        let tenant = self.shares.claim.iter().find_map(|at| input.claims.get(*at).cloned().flatten());
        let taken = self.shares.limit.take(&tenant).map_err(|wait| {
            self.shares.refused.inc();
            MintFailure::Limited(wait)
        })?;
        let mut input = input.clone();
        let called = Called::watched();
        input.context.called = called.clone();
        let minted = self.mint.mint(&input).await;
        if minted.is_err() && !called.was_made() {
            self.shares.limit.give_back(&tenant, taken);
        }
        minted
    }

    fn inner(&self) -> Option<&dyn Mint> {
        Some(&*self.mint)
    }
}

//! Admission to a provider, whoever mints: concurrency limit, circuit breaker, time-out, metrics.

use std::time::Duration;

use parking_lot::Mutex;
use prometheus::{Histogram, IntCounterVec, IntGauge};
use tokio::sync::Semaphore;
use tracing::{info, warn};

use super::breaker::{Breaker, Change};
use super::diagnosis::{CAUSES, Diagnosis};
use super::outcome::{Counters, Fault};
use super::settings::ProviderSettings;
use super::{MintFailure, Minted, SessionRefusal};
use crate::clock::{Clock, Stopwatch};
use crate::http_client::Cause;
use crate::telemetry::{Metrics, Tracer};

/// What callers are told where nobody knows better.
pub(super) const TRY_AGAIN: Duration = Duration::from_secs(1);

pub(super) struct Admission {
    pub name: String,
    pub clock: Clock,
    pub timeout: Duration,
    pub tracer: Tracer,
    /// Of `max_in_flight`. Tried, never waited for.
    slots: Semaphore,
    breaker: Breaker,
    degraded: IntGauge,
    counters: Counters,
    causes: IntCounterVec,
    duration: Histogram,
    /// How the last mint failed, if it did: a change is told once.
    last_failure: Mutex<Option<(MintFailure, Diagnosis)>>,
}

impl Admission {
    pub fn new(settings: &ProviderSettings, clock: Clock, metrics: &Metrics) -> Self {
        let degraded = metrics.degraded.with_label_values(&[&format!("provider:{}", settings.name)]);
        for cause in Cause::ALL.map(Cause::label).iter().chain(&CAUSES) {
            metrics.mint_failures.with_label_values(&[settings.name.as_str(), cause]);
        }
        Self {
            name: settings.name.clone(),
            clock,
            timeout: settings.timeout.0,
            tracer: metrics.tracer.clone(),
            slots: Semaphore::new(settings.max_in_flight.min(Semaphore::MAX_PERMITS)),
            breaker: Breaker::new(settings.breaker, degraded.clone()),
            degraded,
            counters: Counters::new(metrics, &settings.name),
            causes: metrics.mint_failures.clone(),
            duration: metrics.mint_duration.clone(),
            last_failure: Mutex::new(None),
        }
    }

    /// Lets one mint through, if it may be tried now.
    pub async fn pass(&self, attempt: impl Future<Output = Result<Minted, Fault>>) -> Result<Minted, MintFailure> {
        let _slot = self.slots.try_acquire().map_err(|_| MintFailure::Busy(TRY_AGAIN))?;
        let pass = self.breaker.admit(self.clock.tick()).map_err(MintFailure::Busy)?;
        let start = Stopwatch::start();
        let outcome = tokio::time::timeout(self.timeout, attempt).await;
        let outcome = outcome.unwrap_or(Err(Fault::TimedOut));
        let now = self.clock.tick();
        self.duration.observe(start.elapsed().as_secs_f64());
        if let Err(Fault::Waiting { retry_after: Some(span), .. }) = &outcome {
            self.breaker.pause(*span, now);
        }
        match pass.settle(outcome.as_ref().is_err_and(Fault::counts), now) {
            Change::None => {}
            Change::Opened => warn!(target: "valet::provider", provider = self.name, "provider is down, calls pause"),
            Change::Closed => warn!(target: "valet::provider", provider = self.name, "provider is back"),
        }
        outcome.map_err(|fault| fault.failure(TRY_AGAIN))
    }

    /// Counts and tells how a mint ended; `diagnosis`: what is known of one that failed.
    pub fn note(&self, verdict: &Result<Minted, MintFailure>, diagnosis: Option<Diagnosis>) {
        let failed = verdict.as_ref().err().map(|failure| {
            let diagnosis = diagnosis.unwrap_or_else(|| Diagnosis::of(*failure));
            self.counters.count(*failure);
            self.causes.with_label_values(&[&self.name, diagnosis.cause]).inc();
            (*failure, diagnosis)
        });
        self.tell(failed);
    }

    /// How the last mint failed, if it did.
    pub fn last_failure(&self) -> Option<MintFailure> {
        self.last_failure.lock().as_ref().map(|(failure, _)| *failure)
    }

    /// What was wrong with it.
    pub fn why(&self) -> Option<String> {
        self.last_failure.lock().as_ref().map(|(_, diagnosis)| diagnosis.text.clone()).filter(|text| !text.is_empty())
    }

    /// Whether calls are held back now, or `also` speaks against the provider. Brings `valet_degraded` up to date.
    pub fn is_degraded(&self, also: bool) -> bool {
        let degraded = self.breaker.is_degraded(self.clock.tick()) || also;
        self.degraded.set(i64::from(degraded));
        degraded
    }

    /// One line when mints begin to fail, or fail in another way, or are good again. Never what the vendor said.
    fn tell(&self, failed: Option<(MintFailure, Diagnosis)>) {
        let users = |refusal| matches!(refusal, SessionRefusal::NotPermitted | SessionRefusal::StepUp(_));
        // Whom the minter's policies forbid it says nothing about the minter.
        if failed.as_ref().is_some_and(|(failure, _)| match failure {
            MintFailure::Busy(_) | MintFailure::Limited(_) => true,
            MintFailure::Session(refusal) => users(*refusal),
            _ => false,
        }) {
            return;
        }
        let before = std::mem::replace(&mut *self.last_failure.lock(), failed.clone());
        let kind = |failed: &(MintFailure, Diagnosis)| (failed.0, failed.1.cause);
        let same = failed.as_ref().map(kind) == before.as_ref().map(kind);
        match failed {
            _ if same => {}
            Some((failure, Diagnosis { cause, text })) => {
                warn!(target: "valet::provider", provider = self.name, ?failure, cause, why = text, "mints fail");
            }
            None => info!(target: "valet::provider", provider = self.name, "mints are good again"),
        }
    }
}

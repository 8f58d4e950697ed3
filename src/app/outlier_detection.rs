//! Outlier detection of an upstream: health checks, consecutive failures, ejection, and the half-open probe that ends it.
//!
//! It is read without a lock, for each request. It is written under the pool's lock alone, except for the one trial that a pause ends with: of any
//! number of requests that come then, one wins it.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};

use crate::clock::Tick;

/// The gate lets everybody through.
const OPEN: i64 = i64::MIN;
/// A trial may begin at any time. Any other value but these three is the tick (in ms) from which one may.
const DUE: i64 = i64::MIN + 1;
/// A trial is under way.
const TRIAL: i64 = i64::MAX;

/// How an upstream stands in the choice; the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Availability {
    /// It gets requests; or one may try whether it is back.
    Fit,
    /// It is left alone for its failures.
    Ejected,
    /// It says itself that it is not well, or says nothing.
    Unwell,
}

/// Leave to send one request to an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// There is nothing against it.
    Normal,
    /// The one request that tries whether it is back.
    HalfOpenProbe,
    /// There is no better one.
    LastResort,
}

#[derive(Debug)]
pub(super) struct OutlierDetection {
    well: AtomicBool,
    /// Answers in a row that contradict `well`.
    contrary: AtomicU32,
    failures: AtomicU32,
    gate: AtomicI64,
}

impl OutlierDetection {
    /// Nothing is known against it.
    pub(super) fn new() -> Self {
        Self {
            well: AtomicBool::new(true),
            contrary: AtomicU32::new(0),
            failures: AtomicU32::new(0),
            gate: AtomicI64::new(OPEN),
        }
    }

    pub(super) fn availability(&self, now: Tick) -> Availability {
        match self.gate() {
            _ if !self.is_well() => Availability::Unwell,
            TRIAL => Availability::Ejected,
            gate if gate <= millis(now) => Availability::Fit,
            _ => Availability::Ejected,
        }
    }

    /// Leave for a request that chose it at this standing. `None`: another request has just taken the trial.
    pub(super) fn pass(&self, chosen_at: Availability, now: Tick) -> Option<Admission> {
        let gate = self.gate();
        match chosen_at {
            Availability::Ejected | Availability::Unwell => Some(Admission::LastResort),
            Availability::Fit if gate == OPEN => Some(Admission::Normal),
            Availability::Fit if gate > millis(now) => None,
            Availability::Fit => self.swap_gate(gate, TRIAL).then_some(Admission::HalfOpenProbe),
        }
    }

    /// The trial ended without a verdict: the next request may try.
    pub(super) fn give_probe_back(&self) {
        self.swap_gate(TRIAL, DUE);
    }

    /// Whether health checks say nothing against it, and requests none that counts.
    pub(super) fn is_sound(&self, max_failures: u32) -> bool {
        self.is_well() && self.is_open() && self.failures() < max_failures
    }

    /// Whether it is there for everybody, so that another one may be left alone.
    pub(super) fn is_there(&self) -> bool {
        self.is_well() && self.is_open()
    }

    /// Whether a success would change nothing.
    pub(super) fn is_untroubled(&self) -> bool {
        self.failures() == 0 && self.is_open()
    }

    pub(super) fn is_open(&self) -> bool {
        self.gate() == OPEN
    }

    pub(super) fn is_on_trial(&self) -> bool {
        self.gate() == TRIAL
    }

    pub(super) fn is_well(&self) -> bool {
        self.well.load(Ordering::Acquire)
    }

    pub(super) fn failures(&self) -> u32 {
        self.failures.load(Ordering::Acquire)
    }

    /// One more failure in a row, where `before` is what a success of the same request has wiped out. How many they are now.
    pub(super) fn count_failure(&self, before: u32) -> u32 {
        let failures = self.failures().max(before).saturating_add(1);
        self.failures.store(failures, Ordering::Release);
        failures
    }

    /// Left alone until this tick.
    pub(super) fn shut(&self, until: Tick) {
        self.gate.store(millis(until), Ordering::Release);
    }

    /// There for everybody again, whatever its failures were.
    pub(super) fn open(&self) {
        self.gate.store(OPEN, Ordering::Release);
    }

    /// No failure counts any more. How many did.
    pub(super) fn forgive(&self) -> u32 {
        self.failures.swap(0, Ordering::AcqRel)
    }

    /// An answer to a health check. `enough`: how many in a row turn it. Whether this one has turned it.
    pub(super) fn answered(&self, well: bool, enough: u32) -> bool {
        if well == self.is_well() {
            self.contrary.store(0, Ordering::Release);
            return false;
        }
        let contrary = self.contrary.load(Ordering::Acquire).saturating_add(1);
        let turned = contrary >= enough;
        self.contrary.store(if turned { 0 } else { contrary }, Ordering::Release);
        if turned {
            self.well.store(well, Ordering::Release);
        }
        turned
    }

    fn gate(&self) -> i64 {
        self.gate.load(Ordering::Acquire)
    }

    fn swap_gate(&self, from: i64, to: i64) -> bool {
        self.gate.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

fn millis(tick: Tick) -> i64 {
    i64::try_from(tick.since(Tick::from_millis(0)).as_millis()).unwrap_or(TRIAL - 1)
}

//! The circuit breaker of a provider: open after consecutive failures, half-open for one probe; and the pause that `Retry-After` asks for.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::IntGauge;

use super::settings::BreakerSettings;
use crate::clock::Tick;

/// A vendor that asks for more gets no more.
pub(super) const MAX_PAUSE: Duration = Duration::from_secs(60);

/// How long others are told to wait while one call tries whether the vendor is back.
const PROBING: Duration = Duration::from_secs(1);

/// Closed: calls pass, failures are counted. Open: none passes. After `pause` one call passes, and its outcome closes or opens it.
///
/// Time is the monotonic tick, so a step of the wall clock neither opens nor closes anything.
pub(super) struct Breaker {
    rules: BreakerSettings,
    /// 1 while calls are held back, or until the next success shows that they need not be.
    gauge: IntGauge,
    state: Mutex<State>,
}

struct State {
    mode: Mode,
    /// When the counted failures of `within` happened, at most `failures` of them.
    failures: VecDeque<Tick>,
    paused_until: Option<Tick>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Closed,
    Open {
        until: Tick,
    },
    /// One call tries whether the vendor is back.
    HalfOpen,
}

/// Leave to make one call. Dropped without [`Pass::settle`], a probe leaves its place to the next.
pub(super) struct Pass<'a> {
    breaker: &'a Breaker,
    probe: bool,
}

/// What an outcome did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    None,
    Opened,
    Closed,
}

impl Breaker {
    pub(super) fn new(rules: BreakerSettings, gauge: IntGauge) -> Self {
        gauge.set(0);
        let state = State { mode: Mode::Closed, failures: VecDeque::new(), paused_until: None };
        Self { rules, gauge, state: Mutex::new(state) }
    }

    /// Asks to make one call. Refused: how long until it is worth asking again.
    pub(super) fn admit(&self, now: Tick) -> Result<Pass<'_>, Duration> {
        let mut state = self.state.lock();
        if let Some(until) = state.paused_until {
            if now < until {
                return Err(until.since(now));
            }
            state.paused_until = None;
        }
        let probe = match state.mode {
            Mode::Closed => false,
            Mode::Open { until } if now < until => return Err(until.since(now)),
            Mode::Open { .. } => {
                state.mode = Mode::HalfOpen;
                true
            }
            Mode::HalfOpen => return Err(PROBING),
        };
        self.show(&state, now);
        Ok(Pass { breaker: self, probe })
    }

    /// The vendor asked for a pause.
    pub(super) fn pause(&self, span: Duration, now: Tick) {
        let until = now.plus(span.min(MAX_PAUSE));
        let mut state = self.state.lock();
        if until > now {
            state.paused_until = Some(state.paused_until.map_or(until, |earlier| earlier.max(until)));
        }
        self.show(&state, now);
    }

    /// Whether calls are held back, or the last ones that were not failed. Brings the gauge up to date, for a pause ends by itself.
    pub(super) fn is_degraded(&self, now: Tick) -> bool {
        self.show(&self.state.lock(), now)
    }

    /// Under the lock, so that the gauge never keeps the older of two states.
    fn show(&self, state: &State, now: Tick) -> bool {
        let degraded = state.mode != Mode::Closed || state.paused_until.is_some_and(|until| now < until);
        self.gauge.set(i64::from(degraded));
        degraded
    }
}

impl Pass<'_> {
    /// The call is over. `failed`: unreachable, timed out or 5xx. Late outcomes of calls that began before it opened change nothing.
    pub(super) fn settle(mut self, failed: bool, now: Tick) -> Change {
        let probe = std::mem::take(&mut self.probe);
        let rules = &self.breaker.rules;
        let mut state = self.breaker.state.lock();
        let opened = Mode::Open { until: now.plus(rules.pause.0) };
        let (mode, change) = match (state.mode, probe, failed) {
            (_, true, true) => (opened, Change::Opened),
            (_, true, false) => (Mode::Closed, Change::Closed),
            (Mode::Closed, false, true) => {
                state.failures.retain(|at| now.since(*at) < rules.within.0);
                state.failures.push_back(now);
                let enough = state.failures.len() >= rules.failures as usize;
                if enough { (opened, Change::Opened) } else { (Mode::Closed, Change::None) }
            }
            (mode, false, _) => (mode, Change::None),
        };
        if change != Change::None {
            state.failures.clear();
        }
        state.mode = mode;
        self.breaker.show(&state, now);
        change
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if self.probe {
            self.breaker.state.lock().mode = Mode::Open { until: Tick::from_millis(i64::MIN) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Span;

    fn breaker() -> Breaker {
        let rules = BreakerSettings { failures: 3, within: Span::secs(10), pause: Span::secs(5) };
        Breaker::new(rules, IntGauge::new("degraded", "test").unwrap())
    }

    fn at(millis: i64) -> Tick {
        Tick::from_millis(millis)
    }

    fn fail(breaker: &Breaker, now: Tick) -> Change {
        breaker.admit(now).ok().unwrap().settle(true, now)
    }

    fn open(breaker: &Breaker) {
        assert_eq!([0, 0, 0].map(|millis| fail(breaker, at(millis))), [Change::None, Change::None, Change::Opened]);
    }

    fn waits(breaker: &Breaker, now: Tick) -> Option<Duration> {
        breaker.admit(now).err()
    }

    #[test]
    fn failures_within_the_window_open_it_and_older_ones_do_not_count() {
        let breaker = breaker();
        assert_eq!(fail(&breaker, at(0)), Change::None);
        assert_eq!(fail(&breaker, at(1)), Change::None);
        assert_eq!(fail(&breaker, at(10_000)), Change::None, "the first one is 10 s old");
        assert!(!breaker.is_degraded(at(10_000)));
        assert_eq!(fail(&breaker, at(10_000)), Change::Opened);
        assert!(breaker.is_degraded(at(10_000)));
        assert_eq!(breaker.gauge.get(), 1);
    }

    #[test]
    fn it_stays_open_for_the_pause_and_then_lets_one_call_try() {
        let breaker = breaker();
        open(&breaker);
        assert_eq!(waits(&breaker, at(0)), Some(Duration::from_secs(5)));
        assert_eq!(waits(&breaker, at(4_999)), Some(Duration::from_millis(1)));
        let probe = breaker.admit(at(5_000)).ok().unwrap();
        assert_eq!(waits(&breaker, at(5_000)), Some(PROBING));
        assert_eq!(probe.settle(false, at(5_100)), Change::Closed);
        assert_eq!(waits(&breaker, at(5_100)), None);
        assert!(!breaker.is_degraded(at(5_100)));
    }

    #[test]
    fn a_probe_that_fails_opens_it_again_for_the_whole_pause() {
        let breaker = breaker();
        open(&breaker);
        assert_eq!(fail(&breaker, at(6_000)), Change::Opened);
        assert_eq!(waits(&breaker, at(10_999)), Some(Duration::from_millis(1)));
        assert_eq!(breaker.admit(at(11_000)).ok().unwrap().settle(false, at(11_000)), Change::Closed);
        assert_eq!(fail(&breaker, at(11_000)), Change::None, "the count starts anew");
    }

    #[test]
    fn a_probe_that_is_dropped_leaves_its_place_to_the_next() {
        let breaker = breaker();
        open(&breaker);
        drop(breaker.admit(at(5_000)));
        assert_eq!(waits(&breaker, at(5_000)), None);
    }

    #[test]
    fn late_outcomes_neither_close_it_nor_prolong_it() {
        let breaker = breaker();
        let late: Vec<_> = (0..2).map(|_| breaker.admit(at(0)).ok().unwrap()).collect();
        open(&breaker);
        for (pass, failed) in late.into_iter().zip([true, false]) {
            assert_eq!(pass.settle(failed, at(4_000)), Change::None);
        }
        assert_eq!(waits(&breaker, at(4_999)), Some(Duration::from_millis(1)));
        assert_eq!(waits(&breaker, at(5_000)), None);
    }

    #[test]
    fn a_pause_ends_by_itself_and_lasts_a_minute_at_most() {
        let breaker = breaker();
        breaker.pause(Duration::ZERO, at(0));
        assert_eq!(waits(&breaker, at(0)), None);
        breaker.pause(Duration::from_secs(3600), at(0));
        breaker.pause(Duration::from_secs(1), at(0));
        assert_eq!(waits(&breaker, at(59_999)), Some(Duration::from_millis(1)));
        assert!(breaker.is_degraded(at(59_999)));
        assert!(!breaker.is_degraded(at(60_000)));
        assert_eq!(breaker.gauge.get(), 0);
        assert_eq!(waits(&breaker, at(60_000)), None);
    }
}

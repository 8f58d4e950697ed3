//! How often a vendor is called: at most `rate` times in any second, and with half of that for leases that still serve.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::Tick;

/// In any span of this length there are at most `rate` calls.
const SPAN: Duration = Duration::from_secs(1);

/// The largest `rate`: a moment is remembered for each call of the last second.
pub(super) const MAX_RATE: u32 = 10_000;

/// The calls of the last second. Exact: no burst at the border of two seconds.
pub(crate) struct Pace {
    rate: usize,
    /// Oldest first, at most `rate`.
    calls: Mutex<VecDeque<Tick>>,
}

impl Pace {
    pub(crate) fn new(rate: u32) -> Self {
        Self { rate: rate.clamp(1, MAX_RATE) as usize, calls: Mutex::new(VecDeque::new()) }
    }

    /// Notes one call; or, if there is no room for it, says when to ask again.
    pub(super) fn take(&self, now: Tick) -> Result<(), Duration> {
        self.take_below(self.rate, now)
    }

    /// Takes a call for a mint that nobody waits for: it leaves half of the calls to those that somebody does.
    pub(crate) fn take_ahead(&self, now: Tick) -> Result<(), Duration> {
        self.take_below(self.rate.div_ceil(2), now)
    }

    fn take_below(&self, bound: usize, now: Tick) -> Result<(), Duration> {
        let mut calls = self.calls.lock();
        while calls.front().is_some_and(|at| now.since(*at) >= SPAN) {
            calls.pop_front();
        }
        // The one whose end leaves room.
        match calls.len().checked_sub(bound).and_then(|at| calls.get(at)) {
            Some(at) => Err(SPAN.saturating_sub(now.since(*at))),
            None => {
                calls.push_back(now);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Tick {
        Tick::from_millis(millis)
    }

    #[test]
    fn no_second_has_more_calls_than_the_rate_wherever_it_begins() {
        let pace = Pace::new(3);
        assert!([0, 900, 990].map(|millis| pace.take(at(millis))).iter().all(Result::is_ok));
        assert_eq!(pace.take(at(999)), Err(Duration::from_millis(1)));
        assert_eq!(pace.take(at(1000)), Ok(()));
        assert_eq!(pace.take(at(1000)), Err(Duration::from_millis(900)));
        assert_eq!(pace.take(at(1899)), Err(Duration::from_millis(1)));
        assert_eq!(pace.take(at(1900)), Ok(()));
    }

    #[test]
    fn calls_ahead_leave_half_of_the_rate_to_who_waits() {
        for (rate, ahead) in [(1, 1), (2, 1), (5, 3), (100, 50)] {
            let pace = Pace::new(rate);
            let taken = (0..rate).filter(|_| pace.take_ahead(at(0)).is_ok()).count();
            assert_eq!(taken, ahead);
            assert_eq!((0..rate).filter(|_| pace.take(at(0)).is_ok()).count(), rate as usize - ahead);
            assert_eq!(pace.take_ahead(at(0)), Err(SPAN));
            assert_eq!(pace.take_ahead(at(1000)), Ok(()));
        }
    }
}

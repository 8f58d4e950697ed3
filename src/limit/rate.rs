//! A token bucket for each key, in bounded memory.

use std::hash::Hash;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::Clock as GovernorClock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::{Quota, RateLimiter};
use quick_cache::sync::{Cache, EntryAction, EntryResult};

use super::settings::RateSettings;
use crate::clock::{Clock, Tick};

/// Keys that one limit remembers. Beyond it idle keys go first.
pub(super) const MAX_KEYS: usize = 1_000_000;

/// How many keys there is room for from the start; more is taken as they come.
pub(super) const EXPECTED_KEYS: usize = 4096;

/// A token bucket for each key.
pub(super) struct RateLimit<K: Hash + Eq + Clone> {
    limiter: RateLimiter<K, States<K>, MonotonicClock, NoOpMiddleware<Duration>>,
    clock: MonotonicClock,
    states: States<K>,
    /// What one request takes: the time in which one token comes back.
    interval: Nanos,
}

impl<K: Hash + Eq + Clone> RateLimit<K> {
    /// A rate or burst of 0 counts as 1; the configuration refuses it before.
    pub fn new(settings: RateSettings, clock: &Clock) -> Self {
        let at_least_one = |count: u32| NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(at_least_one(settings.rate)).allow_burst(at_least_one(settings.burst));
        let clock = MonotonicClock(clock.clone());
        let states = States(std::sync::Arc::new(Cache::with_weighter(EXPECTED_KEYS, MAX_KEYS as u64, Unit)));
        let limiter = RateLimiter::new(quota, states.clone(), clock.clone());
        Self { limiter, clock, states, interval: quota.replenish_interval().into() }
    }

    /// Takes one token, or says how long until there is one.
    pub fn take(&self, key: &K) -> Result<(), Duration> {
        self.limiter.check_key(key).map_err(|early| early.wait_time_from(self.clock.now()))
    }

    /// Gives back the token that a request took which another limit has refused.
    pub fn give_back(&self, key: &K) {
        let entry = self.states.0.entry(key, None, |_, arrival| {
            *arrival = arrival.saturating_sub(self.interval);
            EntryAction::Retain(())
        });
        // A key that was forgotten meanwhile has all its tokens.
        drop(entry);
    }

    /// How many keys are remembered.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.states.0.len()
    }
}

/// What governor keeps for each key: its theoretical arrival time. governor's own keyed stores grow with the keys and are swept as a whole; this
/// one is a cache with a bound.
struct States<K>(std::sync::Arc<Cache<K, Nanos, Unit>>);

impl<K> Clone for States<K> {
    fn clone(&self) -> Self {
        Self(std::sync::Arc::clone(&self.0))
    }
}

/// Each key counts as one.
#[derive(Clone)]
pub(super) struct Unit;

impl<K, V> quick_cache::Weighter<K, V> for Unit {
    fn weight(&self, _: &K, _: &V) -> u64 {
        1
    }
}

impl<K: Hash + Eq + Clone> StateStore for States<K> {
    type Key = K;

    fn measure_and_replace<T, F, E>(&self, key: &K, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        // Under the lock of the key's shard: two requests of one key never read the same state.
        let entry = self.0.entry(key, None, |_, arrival| {
            let measured = measure(Some(*arrival)).map(|(out, next)| {
                *arrival = next;
                out
            });
            EntryAction::Retain(measured)
        });
        match entry {
            EntryResult::Retained(measured) => measured,
            EntryResult::Vacant(guard) => {
                let (out, next) = measure(None)?;
                // Refused only where somebody removed the placeholder: nobody does.
                let _ = guard.insert(next);
                Ok(out)
            }
            // Of actions that the closure does not take, and of a time-out that was not asked for.
            EntryResult::Removed(..) | EntryResult::Replaced(..) | EntryResult::Timeout => {
                measure(None).map(|(out, _)| out)
            }
        }
    }
}

/// Our monotonic clock, as governor reads one.
#[derive(Clone)]
struct MonotonicClock(Clock);

impl GovernorClock for MonotonicClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.tick().since(Tick::from_millis(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    fn limit(rate: u32, burst: u32) -> (RateLimit<u64>, std::sync::Arc<crate::clock::ClockControl>) {
        let (clock, clock_control) = Clock::manual(Timestamp::from_secs(0));
        (RateLimit::new(RateSettings { rate, burst }, &clock), clock_control)
    }

    #[test]
    fn a_token_bucket_allows_its_burst_and_then_its_rate() {
        let (limit, clock_control) = limit(20, 3);
        for _ in 0..3 {
            assert_eq!(limit.take(&1), Ok(()));
        }
        assert_eq!(limit.take(&1), Err(Duration::from_millis(50)));
        assert_eq!(limit.take(&2), Ok(()), "another key has tokens of its own");
        clock_control.advance(Duration::from_millis(49));
        assert_eq!(limit.take(&1), Err(Duration::from_millis(1)));
        clock_control.advance(Duration::from_millis(1));
        assert_eq!(limit.take(&1), Ok(()));
        assert!(limit.take(&1).is_err());
    }

    #[test]
    fn a_token_that_is_given_back_can_be_taken_again() {
        let (limit, _hands) = limit(1, 2);
        assert_eq!((limit.take(&1), limit.take(&1)), (Ok(()), Ok(())));
        assert!(limit.take(&1).is_err());
        limit.give_back(&1);
        assert_eq!(limit.take(&1), Ok(()));
        assert!(limit.take(&1).is_err());
        limit.give_back(&7);
        assert_eq!((limit.take(&7), limit.take(&7)), (Ok(()), Ok(())));
        assert!(limit.take(&7).is_err(), "nothing is given to a key that took nothing");
    }

    #[test]
    fn a_wall_clock_that_is_set_back_takes_no_tokens_away() {
        let (limit, clock_control) = limit(1, 1);
        assert_eq!(limit.take(&1), Ok(()));
        clock_control.step_wall(-3_600_000);
        clock_control.advance(Duration::from_secs(1));
        assert_eq!(limit.take(&1), Ok(()));
    }

    #[test]
    fn more_keys_than_the_bound_push_out_idle_ones_and_not_the_one_in_use() {
        let (limit, _hands) = limit(1, 2);
        assert_eq!((limit.take(&u64::MAX), limit.take(&u64::MAX)), (Ok(()), Ok(())));
        for key in 0..1_200_000 {
            let _ = limit.take(&key);
            if key % 1000 == 0 {
                assert!(limit.take(&u64::MAX).is_err(), "forgotten after {key} other keys");
            }
        }
        assert!(limit.len() <= MAX_KEYS, "{}", limit.len());
    }
}

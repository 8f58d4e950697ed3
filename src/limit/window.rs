//! A sliding window for each key, in bounded memory.

use std::hash::Hash;
use std::time::Duration;

use quick_cache::Equivalent;
use quick_cache::sync::{Cache, EntryAction, EntryResult};

use super::rate::MAX_KEYS;
use super::settings::CountSettings;
use crate::clock::{Clock, Tick};

/// How many keys there is room for from the start; more is taken as they come.
const EXPECTED_KEYS: usize = 4096;

/// At most `count` events of one key in any span of `within`.
///
/// Exact for up to `steps` moments. Where events come at more moments than that, neighbours less than `within / (steps - 1)` apart count as the later
/// one: a key may then wait up to that much longer, and never has more than `count`.
pub(super) struct WindowLimit<K> {
    windows: Cache<K, Window, Unit>,
    clock: Clock,
    count: u32,
    within: Duration,
    steps: usize,
}

impl<K: Hash + Eq> WindowLimit<K> {
    /// `steps`: how many moments are remembered for a key; memory a key is 16 bytes for each.
    pub fn new(settings: CountSettings, steps: usize, clock: &Clock) -> Self {
        Self {
            windows: Cache::with_weighter(EXPECTED_KEYS, MAX_KEYS as u64, Unit),
            clock: clock.clone(),
            count: settings.count,
            within: settings.within.0,
            steps,
        }
    }

    /// How long until one more event would be allowed, if it is not now.
    ///
    /// # Errors
    /// How long until there is room.
    pub fn check<Q>(&self, key: &Q) -> Result<(), Duration>
    where
        Q: Hash + Equivalent<K> + ToOwned<Owned = K> + ?Sized,
    {
        let now = self.clock.tick();
        self.windows.peek(key).map_or(Ok(()), |mut window| window.room(now, self))
    }

    /// Notes one event, allowed or not.
    pub fn note<Q>(&self, key: &Q)
    where
        Q: Hash + Equivalent<K> + ToOwned<Owned = K> + ?Sized,
    {
        let now = self.clock.tick();
        self.with(key, |window| window.note(now, self));
    }

    /// Notes one event if it is allowed, and says when, for [`Self::give_back`]; else says how long until one would be.
    ///
    /// # Errors
    /// How long until there is room.
    pub fn take<Q>(&self, key: &Q) -> Result<Tick, Duration>
    where
        Q: Hash + Equivalent<K> + ToOwned<Owned = K> + ?Sized,
    {
        let now = self.clock.tick();
        self.with(key, |window| {
            window.room(now, self)?;
            window.note(now, self);
            Ok(now)
        })
    }

    /// The event that was noted at `taken` has not come about.
    pub fn give_back<Q>(&self, key: &Q, taken: Tick)
    where
        Q: Hash + Equivalent<K> + ToOwned<Owned = K> + ?Sized,
    {
        self.with(key, |window| window.give_back(taken));
    }

    /// Runs `act` on the key's window under the lock of its shard: two events of one key never read the same count.
    fn with<Q, R>(&self, key: &Q, act: impl Fn(&mut Window) -> R) -> R
    where
        Q: Hash + Equivalent<K> + ToOwned<Owned = K> + ?Sized,
    {
        match self.windows.entry(key, None, |_, window| EntryAction::Retain(act(window))) {
            EntryResult::Retained(out) => out,
            EntryResult::Vacant(guard) => {
                let mut window = Window::default();
                let out = act(&mut window);
                // Refused only where somebody removed the placeholder: nobody does.
                let _ = guard.insert(window);
                out
            }
            // Of actions that the closure does not take, and of a time-out that was not asked for.
            EntryResult::Removed(..) | EntryResult::Replaced(..) | EntryResult::Timeout => act(&mut Window::default()),
        }
    }
}

/// Each key counts as one.
#[derive(Clone)]
struct Unit;

impl<K, V> quick_cache::Weighter<K, V> for Unit {
    fn weight(&self, _: &K, _: &V) -> u64 {
        1
    }
}

/// When the events of one key were, oldest first, and how many at each moment.
#[derive(Clone, Default)]
struct Window(Vec<(Tick, u32)>);

impl Window {
    fn room<K>(&mut self, now: Tick, of: &WindowLimit<K>) -> Result<(), Duration> {
        self.0.retain(|(at, _)| now.since(*at) < of.within);
        let mut taken: u64 = self.0.iter().map(|(_, count)| u64::from(*count)).sum();
        if taken < u64::from(of.count) {
            return Ok(());
        }
        // The moment whose end leaves room for one.
        for (at, count) in &self.0 {
            taken -= u64::from(*count);
            if taken < u64::from(of.count) {
                return Err(of.within.saturating_sub(now.since(*at)));
            }
        }
        Err(of.within)
    }

    fn note<K>(&mut self, now: Tick, of: &WindowLimit<K>) {
        self.0.retain(|(at, _)| now.since(*at) < of.within);
        match self.0.last_mut() {
            Some((at, count)) if *at == now => *count = count.saturating_add(1),
            _ => {
                if self.0.len() == of.steps {
                    let apart = u32::try_from(of.steps.saturating_sub(1)).unwrap_or(1).max(1);
                    self.merge(of.within / apart);
                }
                self.0.push((now, 1));
            }
        }
    }

    /// Takes one event away that was noted then; joined with later ones it counts as one of them.
    fn give_back(&mut self, taken: Tick) {
        let Some(place) = self.0.iter().position(|(at, _)| *at >= taken) else { return };
        let (_, count) = &mut self.0[place];
        *count = count.saturating_sub(1);
        if *count == 0 {
            self.0.remove(place);
        }
    }

    /// Joins neighbours that are less than `step` apart to the later one. All moments lie within `steps - 1` such steps, so at least two of `steps` moments do.
    fn merge(&mut self, step: Duration) {
        let mut merged: Vec<(Tick, u32)> = Vec::with_capacity(self.0.len());
        let mut first = None;
        for (at, count) in self.0.drain(..) {
            match (merged.last_mut(), first) {
                (Some(last), Some(begun)) if at.since(begun) < step => *last = (at, last.1.saturating_add(count)),
                _ => {
                    first = Some(at);
                    merged.push((at, count));
                }
            }
        }
        self.0 = merged;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clock::{ClockControl, Timestamp};
    use crate::units::Span;

    const MINUTE: Duration = Duration::from_secs(60);

    fn limit(count: u32, steps: usize) -> (WindowLimit<u64>, std::sync::Arc<ClockControl>) {
        let (clock, clock_control) = Clock::manual(Timestamp::from_secs(0));
        (WindowLimit::new(CountSettings { count, within: Span(MINUTE) }, steps, &clock), clock_control)
    }

    #[test]
    fn a_sliding_window_allows_its_count_and_the_next_when_the_oldest_is_out() {
        let (limit, clock_control) = limit(3, 8);
        for _ in 0..3 {
            assert!(limit.take(&1).is_ok());
            clock_control.advance(Duration::from_secs(10));
        }
        assert_eq!(limit.take(&1), Err(Duration::from_secs(30)));
        assert_eq!(limit.check(&1), Err(Duration::from_secs(30)));
        assert_eq!(limit.check(&2), Ok(()));
        clock_control.advance(Duration::from_millis(29_999));
        assert_eq!(limit.take(&1), Err(Duration::from_millis(1)));
        clock_control.advance(Duration::from_millis(1));
        assert!(limit.take(&1).is_ok());
        assert_eq!(limit.take(&1), Err(Duration::from_secs(10)));
    }

    #[test]
    fn what_is_given_back_leaves_the_others_where_they_were() {
        let (limit, clock_control) = limit(2, 8);
        let first = limit.take(&1).unwrap();
        clock_control.advance(Duration::from_secs(10));
        limit.take(&1).unwrap();
        limit.give_back(&1, first);
        assert_eq!(limit.check(&1), Ok(()));
        clock_control.advance(Duration::from_secs(20));
        limit.take(&1).unwrap();
        assert_eq!(limit.check(&1), Err(Duration::from_secs(40)), "the second is 20 s old");
        limit.give_back(&2, first);
        assert_eq!(limit.check(&2), Ok(()));
    }

    #[test]
    fn what_is_noted_beyond_the_count_does_not_lift_it() {
        let (limit, clock_control) = limit(2, 8);
        for _ in 0..5 {
            limit.note(&1);
        }
        assert_eq!(limit.check(&1), Err(MINUTE));
        clock_control.advance(MINUTE);
        assert_eq!(limit.check(&1), Ok(()));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Never more than `count` in any window, however many moments are merged; and what is refused is allowed after the wait that was told.
        #[test]
        fn no_window_ever_holds_more_than_the_count(
            gaps in prop::collection::vec(0_u64..20_000, 1..200), count in 1_u32..20, steps in 2_usize..9,
        ) {
            let (limit, clock_control) = limit(count, steps);
            let (mut now, mut taken) = (0_u64, Vec::new());
            for gap in gaps {
                clock_control.advance(Duration::from_millis(gap));
                now += gap;
                match limit.take(&1) {
                    Ok(_) => taken.push(now),
                    Err(wait) => {
                        prop_assert!(wait <= MINUTE && !wait.is_zero());
                        clock_control.advance(wait);
                        now += u64::try_from(wait.as_millis()).unwrap();
                        prop_assert!(limit.take(&1).is_ok());
                        taken.push(now);
                    }
                }
                let recent = taken.iter().filter(|at| now - **at < 60_000).count();
                prop_assert!(recent <= count as usize);
                prop_assert!(limit.windows.peek(&1).is_some_and(|window| window.0.len() <= steps));
            }
        }
    }
}

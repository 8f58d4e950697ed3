//! A token bucket for each key, in bounded memory.

use std::hash::{BuildHasher, Hash};
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use parking_lot::Mutex;

use super::settings::RateSettings;
use crate::clock::Tick;

/// Keys that one limit remembers. Beyond it those go first that have taken least.
pub(super) const MAX_KEYS: usize = 1_000_000;

/// Parts of the memory, each behind a lock of its own: so many that all keys of one fit a table of 2^15 places less than half full. One that is
/// fuller grows, for places that were given up are not free at once.
const SHARDS: usize = 71;

/// How many keys are looked at for one that can be forgotten.
const LOOKS: usize = 8;

/// A token bucket, as the generic cell rate algorithm keeps one: all that is remembered of it is when it will be full again.
///
/// Source: ITU-T I.371, "virtual scheduling algorithm".
#[derive(Clone, Copy, Debug)]
pub struct TokenBucket {
    /// In which one token comes back.
    interval: u64,
    /// In which all but one come back.
    tolerance: u64,
}

impl TokenBucket {
    /// A full bucket of this burst, which gets tokens at this rate.
    pub fn new(settings: RateSettings) -> Self {
        let interval = 1_000_000_000 / u64::from(settings.rate.get());
        Self { interval, tolerance: interval * u64::from(settings.burst.get() - 1) }
    }

    /// When the bucket is full again, one token being taken at `now` from one that will be at `full`; or how long until it has a token. Both in
    /// nanoseconds of the monotonic clock.
    ///
    /// # Errors
    /// How long until there is a token.
    pub fn take(self, full: u64, now: u64) -> Result<u64, Duration> {
        let earliest = full.saturating_sub(self.tolerance);
        match earliest.checked_sub(now) {
            Some(wait @ 1..) => Err(Duration::from_nanos(wait)),
            _ => Ok(full.max(now).saturating_add(self.interval)),
        }
    }
}

/// The monotonic clock, as buckets read it.
pub fn nanos(now: Tick) -> u64 {
    u64::try_from(now.since(Tick::from_millis(0)).as_nanos()).unwrap_or(u64::MAX)
}

/// A token bucket for each key.
pub(super) struct RateLimit<K> {
    bucket: TokenBucket,
    hasher: RandomState,
    shards: Box<[Mutex<Shard<K>>]>,
}

/// Keys, each with the time at which its bucket is full again. One that is full says no more than one that is not there.
struct Shard<K> {
    buckets: HashTable<(K, u64)>,
    /// Where it is looked next for a key that can be forgotten.
    hand: usize,
}

impl<K: Hash + Eq + Clone> RateLimit<K> {
    pub fn new(settings: RateSettings) -> Self {
        let shard = || Mutex::new(Shard { buckets: HashTable::new(), hand: 0 });
        Self {
            bucket: TokenBucket::new(settings),
            hasher: RandomState::default(),
            shards: (0..SHARDS).map(|_| shard()).collect(),
        }
    }

    /// Takes one token, or says how long until there is one.
    ///
    /// # Errors
    /// How long until there is a token.
    pub fn take(&self, key: &K, now: Tick) -> Result<(), Duration> {
        let (hash, now) = (self.hasher.hash_one(key), nanos(now));
        // Two requests of one key never read the same bucket: its shard is locked, for one look-up.
        let mut shard = self.shard(hash).lock();
        if let Some((_, full)) = shard.buckets.find_mut(hash, |(held, _)| held == key) {
            *full = self.bucket.take(*full, now)?;
            return Ok(());
        }
        let full = self.bucket.take(0, now)?;
        shard.make_room(now);
        shard.buckets.insert_unique(hash, (key.clone(), full), |(key, _)| self.hasher.hash_one(key));
        Ok(())
    }

    /// Gives back the token that a request took which another limit has refused.
    pub fn give_back(&self, key: &K) {
        let hash = self.hasher.hash_one(key);
        // A key that was forgotten meanwhile has all its tokens.
        if let Some((_, full)) = self.shard(hash).lock().buckets.find_mut(hash, |(held, _)| held == key) {
            *full = full.saturating_sub(self.bucket.interval);
        }
    }

    /// By bits that a shard's own table does not look at first.
    fn shard(&self, hash: u64) -> &Mutex<Shard<K>> {
        &self.shards[(hash >> 48) as usize % SHARDS]
    }

    /// How many keys are remembered.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().buckets.len()).sum()
    }
}

impl<K> Shard<K> {
    /// Forgets a key where there is no room for one more: the first of some whose bucket is full, else the one that is nearest to it.
    fn make_room(&mut self, now: u64) {
        if self.buckets.len() < MAX_KEYS / SHARDS {
            return;
        }
        let (places, mut looked) = (self.buckets.num_buckets(), 0);
        let mut least: Option<(usize, u64)> = None;
        for _ in 0..places {
            self.hand = (self.hand + 1) % places;
            let Some((_, full)) = self.buckets.get_bucket(self.hand) else { continue };
            if least.is_none_or(|(_, known)| *full < known) {
                least = Some((self.hand, *full));
            }
            looked += 1;
            if *full <= now || looked == LOOKS {
                break;
            }
        }
        if let Some((place, _)) = least
            && let Ok(entry) = self.buckets.get_bucket_entry(place)
        {
            entry.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, Timestamp};

    /// A limit with the clock that it is asked by.
    struct Timed(RateLimit<u64>, Clock);

    impl Timed {
        fn take(&self, key: &u64) -> Result<(), Duration> {
            self.0.take(key, self.1.tick())
        }
    }

    fn settings(rate: u32, burst: u32) -> RateSettings {
        RateSettings { rate: rate.try_into().unwrap(), burst: burst.try_into().unwrap() }
    }

    fn limit(rate: u32, burst: u32) -> (Timed, std::sync::Arc<crate::clock::ClockControl>) {
        let (clock, clock_control) = Clock::manual(Timestamp::from_secs(0));
        (Timed(RateLimit::new(settings(rate, burst)), clock), clock_control)
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
        limit.0.give_back(&1);
        assert_eq!(limit.take(&1), Ok(()));
        assert!(limit.take(&1).is_err());
        limit.0.give_back(&7);
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
        assert!(limit.0.len() <= MAX_KEYS, "{}", limit.0.len());
    }

    #[test]
    fn among_more_keys_than_the_bound_full_buckets_are_forgotten_and_others_are_not() {
        let (limit, clock_control) = limit(1, 10);
        for key in 0..MAX_KEYS as u64 {
            let _ = limit.take(&key);
        }
        clock_control.advance(Duration::from_secs(1));
        let busy: Vec<u64> = (MAX_KEYS as u64..).take(2_000).collect();
        for key in &busy {
            for _ in 0..10 {
                assert_eq!(limit.take(key), Ok(()));
            }
        }
        for key in 2 * MAX_KEYS as u64..3 * MAX_KEYS as u64 {
            let _ = limit.take(&key);
        }
        assert!(limit.0.len() <= MAX_KEYS, "{}", limit.0.len());
        assert_eq!(busy.iter().filter(|key| limit.take(key).is_ok()).count(), 0, "a flood gave tokens back");
    }

    #[test]
    fn a_million_addresses_take_the_memory_that_the_documentation_says() {
        let limit = RateLimit::<std::net::IpAddr>::new(settings(1, 2));
        for address in 0..1_200_000_u32 {
            let _ = limit.take(&std::net::Ipv4Addr::from_bits(address).into(), Tick::from_millis(0));
        }
        let bytes: usize = limit.shards.iter().map(|shard| shard.lock().buckets.allocation_size()).sum();
        assert!((990_000..=MAX_KEYS).contains(&limit.len()) && bytes < 78_000_000, "{} in {bytes} bytes", limit.len());
    }

    #[test]
    fn a_rate_that_does_not_divide_a_second_is_not_exceeded() {
        let (limit, clock_control) = limit(3, 1);
        let mut taken = 0;
        for _ in 0..30_000 {
            taken += u32::from(limit.take(&1).is_ok());
            clock_control.advance(Duration::from_millis(1));
        }
        assert!((88..=90).contains(&taken), "{taken}");
    }
}

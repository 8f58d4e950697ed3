//! Which lease ends soonest, and which records to look at again.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::{Tick, Timestamp};

/// How many entries are taken out at once: the lock is given back in between, so that a sweep is no pause.
const CHUNK: usize = 256;

type Name = Arc<[u8]>;

/// A lease that ends later than this from now was minted before the wall clock was set back: no lease lives longer than 6 h. Twice that, so
/// that a small step costs no mint.
const BEYOND: Duration = Duration::from_secs(12 * 3600);

/// Ordered names of leases and records. Its lock is never held together with a record's.
#[derive(Default)]
pub(super) struct Index {
    ends: Mutex<BTreeMap<(Timestamp, u64), Name>>,
    visits: Mutex<BTreeMap<(Tick, u64), Name>>,
}

impl Index {
    pub fn add(&self, end: Timestamp, seq: u64, owner: Name) {
        self.ends.lock().insert((end, seq), owner);
    }

    pub fn remove(&self, end: Timestamp, seq: u64) {
        self.ends.lock().remove(&(end, seq));
    }

    /// Leases behind this one, soonest first, at most `count`.
    pub fn page(&self, after: Option<(Timestamp, u64)>, count: usize) -> Vec<((Timestamp, u64), Name)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let ends = self.ends.lock();
        ends.range((from, Bound::Unbounded)).take(count).map(|(at, owner)| (*at, owner.clone())).collect()
    }

    /// The lease that ends soonest.
    pub fn soonest(&self) -> Option<(u64, Name)> {
        self.ends.lock().pop_first().map(|((_, seq), owner)| (seq, owner))
    }

    /// Some of the leases that have ended, or that a step of the wall clock has left in a far future.
    pub fn ended(&self, now: Timestamp) -> Vec<(u64, Name)> {
        let beyond = now.plus(BEYOND);
        let mut ends = self.ends.lock();
        let mut out = Vec::new();
        while out.len() < CHUNK {
            let ended = ends.first_key_value().is_some_and(|(key, _)| key.0 <= now);
            let stranded = ends.last_key_value().is_some_and(|(key, _)| key.0 > beyond);
            let entry = match (ended, stranded) {
                (true, _) => ends.pop_first(),
                (false, true) => ends.pop_last(),
                (false, false) => None,
            };
            let Some(((_, seq), owner)) = entry else { break };
            out.push((seq, owner));
        }
        out
    }

    /// Asks for the record to be looked at again in this time.
    pub fn visit(&self, now: Tick, after: Duration, seq: u64, owner: Name) {
        self.visits.lock().insert((now.plus(after), seq), owner);
    }

    /// Some of the records to look at now.
    pub fn due(&self, now: Tick) -> Vec<Name> {
        let mut visits = self.visits.lock();
        let mut out = Vec::new();
        while out.len() < CHUNK {
            match visits.first_entry() {
                Some(entry) if entry.key().0 <= now => out.push(entry.remove()),
                _ => break,
            }
        }
        out
    }

    #[cfg(test)]
    pub fn sizes(&self) -> (usize, usize) {
        (self.ends.lock().len(), self.visits.lock().len())
    }
}

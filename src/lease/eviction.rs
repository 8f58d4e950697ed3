//! Eviction: at its capacity the book drops the leases that end soonest; what has ended is swept.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::{Moment, Stopwatch};
use crate::lease::held::Lease;
use crate::lease::leases::Leases;
use crate::lease::record::Record;
use crate::lease::records::Records;

/// Where no more leases have ended, it looks again after this.
const SWEEP: Duration = Duration::from_secs(1);

/// Behind a piece of a sweep it rests so many times as long as that took: requests have nine tenths of the core.
const REST: u32 = 9;

impl<G: Records> Leases<G> {
    /// From the next lease on so many are held at most. Those that are too many then go when others come.
    pub fn set_capacity(&self, capacity: usize) {
        self.capacity.store(capacity, Ordering::Relaxed);
    }

    /// Clears away what has ended.
    pub fn sweep(&self) {
        let now = self.clock.moment();
        while self.sweep_piece(now) {}
    }

    /// Sweeps in pieces until `stop` says so or is gone, and looks again a second after the last one. Requests have the core between the pieces: a hundred
    /// thousand leases that end together are no reason to be late.
    ///
    /// Dropped: what has ended stays in memory, and is still never answered.
    pub async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut rest = Duration::ZERO;
        loop {
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            let began = Stopwatch::start();
            let more = self.sweep_piece(self.clock.moment());
            rest = if more { began.elapsed() * REST } else { SWEEP };
        }
    }

    /// A part of a sweep; whether there may be more.
    fn sweep_piece(&self, now: Moment) -> bool {
        let ended = self.index.ended(now.wall);
        for (seq, owner) in &ended {
            if self.drop_lease(*seq, owner, now) {
                self.count_held(-1);
            }
        }
        let due = self.index.due(now.tick);
        due.iter().for_each(|owner| {
            self.change(owner, now, Record::visited);
        });
        !ended.is_empty() || !due.is_empty()
    }

    /// At the bound those that end soonest go. The place is counted as free before it is: of two mints that land at once none drops one too many.
    pub(super) fn evict(&self, now: Moment) {
        let capacity = i64::try_from(self.capacity.load(Ordering::Relaxed)).unwrap_or(i64::MAX);
        let one_less = |held: i64| (held > capacity).then(|| held - 1);
        while self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok() {
            if !self.drop_soonest(now) {
                // What is too much is just being dropped by others, who count it.
                self.held.fetch_add(1, Ordering::Relaxed);
                return;
            }
            self.gauges.held.dec();
            self.gauges.evicted.inc();
        }
    }

    /// Whether there was one.
    fn drop_soonest(&self, now: Moment) -> bool {
        while let Some((seq, owner)) = self.index.soonest() {
            if self.drop_lease(seq, &owner, now) {
                return true;
            }
        }
        false
    }

    fn drop_lease(&self, seq: u64, owner: &Arc<[u8]>, now: Moment) -> bool {
        self.change(owner, now, |record| record.drop_lease(seq).is_some()).unwrap_or(false)
    }

    /// A lease that has left its record, while its name is still in the index.
    pub(super) fn forgotten(&self, lease: &Lease) {
        self.index.remove(lease.end, lease.seq);
        self.count_held(-1);
    }

    /// Added, not set: two threads that set a gauge may do it in the wrong order.
    pub(super) fn count_held(&self, more: i64) {
        self.held.fetch_add(more, Ordering::Relaxed);
        self.gauges.held.add(more);
    }
}

//! The leases in memory: records with their index, bound and history. They call nobody: who mints stands above.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};

use arc_swap::ArcSwap;

use crate::clock::{Clock, Moment};
use crate::lease::flight::MintResult;
use crate::lease::gauges::Gauges;
use crate::lease::index::Index;
use crate::lease::key::{LeaseKey, Scope};
use crate::lease::mint_history::MintHistory;
use crate::lease::owner_events::{OwnerEvent, Tap};
use crate::lease::record::Record;
use crate::lease::records::{Records, ShardedRecords};
use crate::lease::rules::Rules;
use crate::telemetry::Metrics;

/// The leases of this process, and what is known of their owners.
pub struct Leases<G: Records = ShardedRecords> {
    pub(super) records: G,
    pub(super) index: Index,
    pub(super) clock: Clock,
    pub(super) capacity: AtomicUsize,
    /// Signed: a lease may be forgotten a moment before its landing has counted it.
    pub(super) held: AtomicI64,
    ids: AtomicU64,
    pub(super) gauges: Gauges,
    pub(super) history: MintHistory,
    pub(super) tap: Tap,
    /// Of each scope, since a reload has brought others: what began before it is held by them, too.
    pub(super) rules: ArcSwap<HashMap<Scope, Rules>>,
}

impl<G: Records> Leases<G> {
    /// None, and at most `capacity`.
    pub(super) fn new(records: G, capacity: usize, clock: Clock, metrics: &Metrics) -> Self {
        Self {
            history: MintHistory::default(),
            tap: Tap::default(),
            rules: ArcSwap::default(),
            records,
            index: Index::default(),
            clock,
            capacity: AtomicUsize::new(capacity),
            held: AtomicI64::new(0),
            ids: AtomicU64::new(0),
            gauges: Gauges::new(metrics),
        }
    }

    /// How many leases are held.
    pub fn len(&self) -> usize {
        usize::try_from(self.held.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes a landing into the record and the index; whether its lease is held now.
    pub(super) fn land(&self, key: &LeaseKey, flight: (u64, u64), result: &MintResult, keep: bool) -> bool {
        let now = self.clock.moment();
        let (landed, owner) = self
            .records
            .with(key.owner(), |owner, record| (record.land(key.variant(), flight, result, keep, now), owner.clone()));
        if let Some(replaced) = landed.replaced {
            self.forgotten(&replaced);
        }
        if let (true, Ok(lease)) = (landed.kept, result) {
            self.tap.tell(|| OwnerEvent::Changed(owner.clone()));
            self.index.add(lease.end, lease.seq, owner);
            self.count_held(1);
            self.evict(now);
        } else {
            self.change(&owner, now, |_| ());
        }
        landed.kept
    }

    /// Runs `act` on the record if it exists, and removes the record if nothing is left of it.
    pub(super) fn change<R>(&self, owner: &[u8], now: Moment, act: impl FnOnce(&mut Record) -> R) -> Option<R> {
        let mut out = None;
        let mut visit = None;
        self.records.remove_if(owner, |record| {
            out = Some(act(record));
            let alive = record.tidy(now.tick);
            visit = record.claim_visit(now.tick).filter(|_| alive);
            !alive
        });
        if let Some(after) = visit {
            self.index.visit(now.tick, after, self.next_id(), owner.into());
        }
        out
    }

    /// Runs `act` on the record, which is made if absent.
    pub(super) fn change_or_make<R>(&self, key: &LeaseKey, now: Moment, act: impl FnOnce(&mut Record) -> R) -> R {
        let (out, visit) = self.records.with(key.owner(), |owner, record| {
            let out = act(record);
            (out, record.claim_visit(now.tick).map(|after| (after, owner.clone())))
        });
        if let Some((after, owner)) = visit {
            self.index.visit(now.tick, after, self.next_id(), owner);
        }
        out
    }

    /// Drops an owner's leases from memory, and what is under way is not kept: another node has forgotten them. Whether any was held.
    pub fn forget_here(&self, owner: &[u8]) -> bool {
        self.tap.tell(|| OwnerEvent::Forgotten(owner.into()));
        let (now, number) = (self.clock.moment(), self.next_id());
        let dropped = self.change(owner, now, |record| record.forget(number)).unwrap_or_default();
        dropped.iter().for_each(|lease| self.forgotten(lease));
        !dropped.is_empty()
    }

    pub(super) fn now(&self) -> Moment {
        self.clock.moment()
    }

    pub(super) fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }
}

#[cfg(test)]
impl<G: Records> Leases<G> {
    pub(super) fn records(&self) -> &G {
        &self.records
    }
}

#[cfg(test)]
impl Leases<ShardedRecords> {
    /// What is in memory: records, names of leases, visits to come.
    pub(super) fn sizes(&self) -> (usize, usize, usize) {
        let (ends, visits) = self.index.sizes();
        (self.records.len(), ends, visits)
    }

    /// How many variants of this owner are known.
    pub(super) fn slots(&self, key: &LeaseKey) -> usize {
        self.records.look(key.owner(), Record::len).unwrap_or(0)
    }
}

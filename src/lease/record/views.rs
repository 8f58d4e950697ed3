//! What an administrator sees of one owner's leases, and drops.

use std::sync::Arc;
use std::time::Duration;

use super::Record;
use crate::clock::{Moment, Tick};
use crate::lease::held::Lease;
use crate::lease::rules::Rules;

impl Record {
    /// Whether the lease with this number came from the store; `None`: it is not here any more.
    pub(in crate::lease) fn shared(&self, seq: u64) -> Option<bool> {
        let leases = self.slots.iter().filter_map(|slot| slot.lease.as_ref());
        leases.filter(|lease| lease.seq == seq).map(|lease| lease.version.shared).next()
    }

    /// Which URLs of this person are held.
    pub(in crate::lease) fn variants(&self) -> impl Iterator<Item = &[u8]> {
        self.slots.iter().filter(|slot| slot.lease.is_some()).map(|slot| &*slot.variant)
    }

    /// The leases that are held, with their variants.
    pub(in crate::lease) fn held_leases(&self) -> impl Iterator<Item = (Box<[u8]>, Arc<Lease>)> {
        self.slots.iter().filter_map(|slot| Some((slot.variant.clone(), slot.lease.clone()?)))
    }

    /// When mints succeeded, as far as it counts.
    pub(in crate::lease) fn minted(&self) -> &[Tick] {
        &self.minted
    }

    /// Takes over the mints of a predecessor, which succeeded so many milliseconds ago: all that it counts, in place of what it counted before.
    pub(in crate::lease) fn take_minted(&mut self, now: Tick, millis_ago: &[u64], window: Duration) {
        if millis_ago.is_empty() {
            return;
        }
        self.window = window;
        let own = self.minted.split_off(self.handed.into());
        self.minted = millis_ago.iter().map(|ago| now.minus(Duration::from_millis(*ago))).collect();
        self.handed = u16::try_from(self.minted.len()).unwrap_or(u16::MAX);
        self.minted.extend(own);
    }

    /// Takes over a lease of a predecessor, which counts as begun at `start`, unless a better one is held or a mint of this process is under way.
    /// Whether it is held now, and what it has replaced.
    pub(in crate::lease) fn take(
        &mut self,
        variant: &[u8],
        start: u64,
        lease: Arc<Lease>,
        now: Moment,
    ) -> (bool, Option<Arc<Lease>>) {
        let floor = self.floor;
        let slot = self.slot(variant);
        let held = slot.lease.as_ref().filter(|held| held.serves(now));
        if start < floor || held.is_some_and(|held| held.end >= lease.end) {
            return (false, None);
        }
        slot.started = start;
        (true, slot.lease.replace(lease))
    }

    /// Judges what is held by these rules. Each lease that was held, with what is held in its place.
    pub(in crate::lease) fn tighten(&mut self, rules: &Rules, now: Moment) -> Vec<(Arc<Lease>, Option<Arc<Lease>>)> {
        let judged = self.slots.iter_mut().filter_map(|slot| {
            let before = slot.lease.take()?;
            slot.lease = rules.tighten(&before, now).map(Arc::new);
            Some((before, slot.lease.clone()))
        });
        judged.collect()
    }

    /// Drops the leases of these variants.
    pub(in crate::lease) fn drop_variants(&mut self, these: impl Fn(&[u8]) -> bool) -> Vec<Arc<Lease>> {
        let slots = self.slots.iter_mut().filter(|slot| these(&slot.variant));
        slots.filter_map(|slot| slot.lease.take()).collect()
    }

    /// Forgets how many mints there were.
    pub(in crate::lease) fn forget_mints(&mut self) {
        self.minted.clear();
        self.handed = 0;
    }

    /// Drops the lease with this number, if it is still held.
    pub(in crate::lease) fn drop_lease(&mut self, seq: u64) -> Option<Arc<Lease>> {
        self.slots.iter_mut().find_map(|slot| slot.lease.take_if(|lease| lease.seq == seq))
    }
}

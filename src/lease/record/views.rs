//! What an administrator sees of one owner's leases, and drops.

use std::sync::Arc;

use super::Record;
use crate::lease::held::Lease;

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

    /// Drops the leases of these variants.
    pub(in crate::lease) fn drop_variants(&mut self, these: impl Fn(&[u8]) -> bool) -> Vec<Arc<Lease>> {
        let slots = self.slots.iter_mut().filter(|slot| these(&slot.variant));
        slots.filter_map(|slot| slot.lease.take()).collect()
    }

    /// Forgets how many mints there were.
    pub(in crate::lease) fn forget_mints(&mut self) {
        self.minted.clear();
    }

    /// Drops the lease with this number, if it is still held.
    pub(in crate::lease) fn drop_lease(&mut self, seq: u64) -> Option<Arc<Lease>> {
        self.slots.iter_mut().find_map(|slot| slot.lease.take_if(|lease| lease.seq == seq))
    }
}

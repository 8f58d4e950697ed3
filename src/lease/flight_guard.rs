//! A drop guard for the task of a mint: whatever becomes of the task, its flight leaves the record.

use std::sync::Arc;

use crate::lease::key::LeaseKey;
use crate::lease::leases::Leases;
use crate::lease::records::Records;

/// Whatever becomes of a mint's task, nobody waits for a mint that is gone.
pub(super) struct FlightGuard<G: Records> {
    pub leases: Arc<Leases<G>>,
    pub key: LeaseKey,
    pub id: u64,
    /// Until the landing is written down.
    pub open: bool,
}

impl<G: Records> FlightGuard<G> {
    /// The landing is written down.
    pub fn done(&mut self) {
        self.open = false;
    }
}

impl<G: Records> Drop for FlightGuard<G> {
    fn drop(&mut self) {
        if self.open {
            let now = self.leases.now();
            self.leases.change(self.key.owner(), now, |record| record.abandon(self.key.variant(), self.id));
        }
    }
}

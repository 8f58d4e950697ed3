//! What the store says of other nodes goes to the revoker of the configuration in force.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::lease::store::Listener;
use crate::revocation::Revoker;
use crate::session::{Knowledge, Revocation};

/// The revoker in force.
pub(super) struct RevokerInForce(ArcSwap<Revoker>);

impl RevokerInForce {
    pub fn new(revoker: Arc<Revoker>) -> Arc<Self> {
        Arc::new(Self(ArcSwap::new(revoker)))
    }

    pub fn replace(&self, revoker: Arc<Revoker>) {
        self.0.store(revoker);
    }

    /// Puts in force what the process before had noted before this one served.
    pub fn learn_from_before(&self, what: Revocation) {
        let revoker = self.0.load();
        revoker.learn(&revoker.as_noted_here(what));
    }

    /// Puts in force what the process before notes while it drains.
    pub fn revoke_from_before(&self, what: Revocation) {
        let revoker = self.0.load();
        revoker.revoke(revoker.as_noted_here(what));
    }
}

impl Listener for RevokerInForce {
    fn forget(&self, owner: &[u8]) {
        self.0.load().forget(owner);
    }

    fn revoke(&self, what: Revocation) {
        self.0.load().revoke(what);
    }

    fn known(&self, knowledge: Knowledge) {
        self.0.load().known(knowledge);
    }

    fn revocations(&self) -> Vec<Arc<Revocation>> {
        self.0.load().revocations()
    }
}

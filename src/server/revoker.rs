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

    /// See [`Revoker::learn`].
    pub fn learn(&self, what: &Revocation) {
        self.0.load().learn(what);
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

//! Which gateway answers: the one of the configuration in force.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

use crate::gateway::Gateway;

/// The gateway in force. Each request loads it once, when its head is read, and ends by it, whatever is put in force meanwhile.
pub struct InForce(ArcSwap<Gateway>);

impl InForce {
    /// This one is in force.
    pub fn new(gateway: Arc<Gateway>) -> Arc<Self> {
        Arc::new(Self(ArcSwap::new(gateway)))
    }

    /// The one in force now.
    pub(super) fn load(&self) -> Guard<Arc<Gateway>> {
        self.0.load()
    }

    /// The same, for more than a moment.
    pub(super) fn load_full(&self) -> Arc<Gateway> {
        self.0.load_full()
    }

    /// From the next request on this one answers. The one before lives until its last request has ended.
    pub fn replace(&self, gateway: Arc<Gateway>) {
        self.0.store(gateway);
    }
}

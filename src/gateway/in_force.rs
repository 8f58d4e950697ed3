//! Which gateway answers: the one of the configuration in force.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

use crate::gateway::accept::trusted::Trusted;
use crate::gateway::{Gateway, Limits};
use crate::telemetry::Metrics;

/// The gateway in force. Each request loads it once, when its head is read, and ends by it, whatever is put in force meanwhile.
pub struct InForce(ArcSwap<Gateway>);

impl InForce {
    /// Puts the first gateway in force.
    pub fn new(gateway: Arc<Gateway>) -> Arc<Self> {
        Arc::new(Self(ArcSwap::new(gateway)))
    }

    /// The one in force now.
    pub(super) fn load(&self) -> Guard<Arc<Gateway>> {
        self.0.load()
    }

    /// The gateway in force, to be held for more than a moment.
    pub(super) fn load_full(&self) -> Arc<Gateway> {
        self.0.load_full()
    }

    /// From the next request on this one answers. The one before lives until its last request has ended.
    pub fn replace(&self, gateway: Arc<Gateway>) {
        self.0.store(gateway);
    }
}

impl Gateway {
    /// Whose word on where a request came from is taken.
    pub(super) fn trusted(&self) -> &Trusted {
        &self.trusted
    }

    /// Deadlines and sizes.
    pub(super) fn bounds(&self) -> &Limits {
        &self.bounds
    }

    /// All counters.
    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }
}

//! What becomes of owners, told to a successor while it takes over.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::mpsc::UnboundedSender;

/// What has become of an owner since a successor asked.
#[derive(Debug)]
pub enum OwnerEvent {
    /// A lease of this owner has come.
    Changed(Arc<[u8]>),
    /// This owner's leases were forgotten.
    Forgotten(Arc<[u8]>),
}

/// Where owners' events go, if anybody wants them.
#[derive(Default)]
pub(super) struct Tap(Mutex<Option<UnboundedSender<OwnerEvent>>>);

impl Tap {
    pub(super) fn set(&self, sender: Option<UnboundedSender<OwnerEvent>>) {
        *self.0.lock() = sender;
    }

    pub(super) fn tell(&self, event: impl FnOnce() -> OwnerEvent) {
        if let Some(sender) = &*self.0.lock() {
            // Whoever listened is gone, and will say so itself.
            let _ = sender.send(event());
        }
    }
}

//! What waits for the disk.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio::sync::oneshot;

use super::Place;
use crate::lease::store::Name;
use crate::lease::store::revocations::Kept;
use crate::lease::store::seal::NAME;

/// Where a lease lies.
pub(super) fn place(name: &Name) -> Place {
    let mut place = [0; 2 * NAME];
    let (owner, variant) = place.split_at_mut(NAME);
    owner.copy_from_slice(&name.owner);
    variant.copy_from_slice(&name.variant);
    place
}

/// What is not on disk yet: the newer before the older.
#[derive(Default)]
pub(super) struct Waiting {
    pub next: Batch,
    /// Being written.
    pub now: Arc<Batch>,
    pub flushed: Vec<oneshot::Sender<()>>,
    /// Another process is to have the file: no time to sleep.
    pub stirred: bool,
}

impl Waiting {
    /// Nothing is to be written, and nobody waits for what was.
    pub fn is_idle(&self) -> bool {
        self.next.is_empty() && self.flushed.is_empty() && !self.stirred
    }
}

/// Written together.
#[derive(Default)]
pub(super) struct Batch {
    /// Before the leases are written.
    pub forgotten: HashSet<[u8; NAME]>,
    pub leases: HashMap<Place, (i64, Vec<u8>)>,
    pub revocations: Vec<Kept>,
}

impl Batch {
    pub fn is_empty(&self) -> bool {
        self.forgotten.is_empty() && self.leases.is_empty() && self.revocations.is_empty()
    }

    /// `Some`: here is the last word on this lease.
    pub fn find(&self, place: &Place) -> Option<Option<(i64, Vec<u8>)>> {
        let held = self.leases.get(place).cloned();
        let forgotten = || place.first_chunk::<NAME>().is_some_and(|owner| self.forgotten.contains(owner));
        held.map(Some).or_else(|| forgotten().then_some(None))
    }
}

//! Storage of the book's records behind a trait: a concurrent map and tasks, or a model checker's in tests.

use std::future::Future;
use std::sync::Arc;

use dashmap::DashMap;
use foldhash::quality::RandomState;

use crate::lease::record::Record;

/// The map and the tasks. No method may be called inside the closure of another: a shard is locked.
pub trait Records: Send + Sync + 'static {
    /// Runs `act` on the owner's record, which is made if absent.
    fn with<R>(&self, owner: &[u8], act: impl FnOnce(&Arc<[u8]>, &mut Record) -> R) -> R;

    /// Runs `look` on the owner's record, if there is one.
    fn look<R>(&self, owner: &[u8], look: impl FnOnce(&Record) -> R) -> Option<R>;

    /// Removes the owner's record if `spent` says so.
    fn remove_if(&self, owner: &[u8], spent: impl FnOnce(&mut Record) -> bool);

    /// Starts a task that belongs to nobody.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static);
}

/// The real ground: DashMap and tokio. Seeded at random: nobody outside knows which owners share a shard. Shard locks are held for the closure only, never across an `.await`.
#[derive(Default)]
pub struct ShardedRecords(DashMap<Arc<[u8]>, Record, RandomState>);

impl Records for ShardedRecords {
    fn with<R>(&self, owner: &[u8], act: impl FnOnce(&Arc<[u8]>, &mut Record) -> R) -> R {
        let mut entry = match self.0.get_mut(owner) {
            Some(entry) => entry,
            None => self.0.entry(owner.into()).or_default(),
        };
        let (name, record) = entry.pair_mut();
        act(name, record)
    }

    fn look<R>(&self, owner: &[u8], look: impl FnOnce(&Record) -> R) -> Option<R> {
        self.0.get(owner).map(|entry| look(entry.value()))
    }

    fn remove_if(&self, owner: &[u8], spent: impl FnOnce(&mut Record) -> bool) {
        self.0.remove_if_mut(owner, |_, record| spent(record));
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(task);
    }
}

impl ShardedRecords {
    /// Everybody who is known. A shard is locked while its names are read.
    pub(super) fn owners(&self) -> Vec<Arc<[u8]>> {
        self.0.iter().map(|entry| entry.key().clone()).collect()
    }

    /// How many owners are known.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nobody is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

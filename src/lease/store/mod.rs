//! Behind the book's memory: a store that other nodes share, or that outlives the process (docs/leases.md).
//!
//! [`SealedStore`] seals and judges; a [`Backend`] keeps bytes under names and says whose turn it is to mint.

mod file;
mod redis;
mod revocations;
mod seal;
mod sealed_store;
pub mod settings;

use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::session::Knowledge;

pub use file::{FileStore, Heir, OpenFault, Written};
pub use redis::{RedisStore, Way};
pub use revocations::{Kept, Listener, News};
pub use seal::{Name, SealingKeys, check_key};
pub use sealed_store::SealedStore;
pub(super) use sealed_store::{AcquireResult, Entry, RENEW};

/// The store can't be asked now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost;

/// The right to mint for one key, for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Counts the turns of this key: a result of an older turn is not kept.
    pub fence: u64,
    /// Counts the owner's times of forgetting: what began before the last of them is not kept.
    pub generation: u64,
}

/// What a node knows of an owner.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// The generation of what it holds; 0: it holds nothing.
    pub generation: u64,
    /// Where the store has to be told of it, so must be the other nodes.
    pub notice: Vec<u8>,
}

/// What a store says to a caller that needs a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acquired {
    /// Sealed, of this generation, and with so much life by the store's clock: those of nodes may differ.
    Held(Vec<u8>, u64, Duration),
    /// Nobody mints: you do.
    Claim(Claim),
    /// Somebody mints; after this long at the latest ask again.
    Wait(Duration),
    /// Somebody's mint failed a moment ago, in this way; and the owner's generation.
    Failed(u8, u64),
}

/// What happens at the other nodes.
pub enum Notification {
    /// An owner's leases are forgotten: sealed for the place `drop`.
    Drop(Vec<u8>),
    /// A revocation: sealed.
    Revoked(Vec<u8>),
    /// Whether all revocations of the store are known now.
    Known(Knowledge),
}

/// Keeps bytes under names. Every wait is bounded.
#[async_trait]
pub trait Backend: Send + Sync {
    /// One round trip: what is held with more than `life`, or what to do; `None`: nothing that is held will do. Dropped: a turn may be taken, and ends by itself.
    async fn begin(&self, name: &Name, life: Option<Duration>, known: &Known) -> Result<Acquired, Lost>;

    /// The turn goes on; `false`: it is over.
    async fn renew(&self, name: &Name, claim: Claim) -> Result<bool, Lost>;

    /// Keeps the result of a turn for so long, and wakes who waits; `false`: the turn was over, or the owner's leases were forgotten meanwhile.
    async fn keep(&self, name: &Name, claim: Claim, life: Duration, sealed: Vec<u8>) -> Result<bool, Lost>;

    /// Keeps what was made while the store could not be asked, once it can be; a store of several nodes does not, for another node may have made
    /// one, too.
    fn keep_later(&self, _: &Name, _: Duration, _: Vec<u8>) {}

    /// Ends a turn without a result, and wakes who waits.
    async fn give_up(&self, name: &Name, claim: Claim, failure: Option<u8>) -> Result<(), Lost>;

    /// The number of a scan that begins: above those of all scans and times of forgetting of this owner before. Changes nothing that is held.
    async fn announce(&self, owner: &[u8; seal::NAME]) -> Result<u64, Lost>;

    /// Keeps the result of a scan for so long in the place of all leases of the owner, tells the other nodes, and wakes who waits; `false`: a later
    /// scan has been kept, or the owner's leases were forgotten since it began. Done twice it is done once.
    async fn replace(
        &self,
        name: &Name,
        scan: u64,
        life: Duration,
        sealed: Vec<u8>,
        notice: Vec<u8>,
    ) -> Result<bool, Lost>;

    /// Forgets all leases of an owner, and tells the other nodes; the owner's generation from now on, 0 where there are none.
    async fn forget(&self, owner: &[u8; seal::NAME], notice: Vec<u8>) -> Result<u64, Lost>;

    /// Changes when somebody's mint for this name has ended.
    fn subscription(&self, name: &Name) -> watch::Receiver<u64>;

    /// Counts the times at which news may have been missed: what was held before the last of them is asked for again.
    fn epoch(&self) -> u32;

    /// Whether the store answers.
    fn is_well(&self) -> bool;

    /// Whether what it did not take is worth another try.
    fn may_take(&self) -> bool {
        self.is_well()
    }

    /// Whether it has answered once.
    fn was_well(&self) -> bool;

    /// Keeps a revocation to its end, and tells the other nodes. When it returns it is on disk, or in the shared store. Done twice it is done once.
    async fn revoke(&self, kept: Kept) -> Result<(), Lost>;

    /// Revocations of before this process, sealed, where they are read at the start.
    ///
    /// # Errors
    /// The store can't be read.
    fn kept_revocations(&self) -> Result<Vec<Vec<u8>>, Lost> {
        Ok(Vec::new())
    }

    /// Reaches it once, for a check, and takes nothing from it.
    ///
    /// # Errors
    /// Why it can't be used, in the operator's words.
    async fn try_out(&self) -> Result<(), String> {
        Ok(())
    }

    /// Looks after the store, and passes on what happens at other nodes, until `stop`.
    async fn run(&self, news: &News<'_>, stop: watch::Receiver<bool>);
}

//! The sealed store as the book sees it: leases are encrypted and named on the way in, and judged again on the way out.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use prometheus::IntCounterVec;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::seal::{NAME, SealingKeys, place};
use super::settings::OnStoreLoss;
use super::{Acquired, Backend, Claim, Known, Lost, Name};
use crate::lease::key::LeaseKey;
use crate::provider::MintFailure;
use crate::session::Revocation;
use crate::telemetry::{Metrics, Outcome};

/// For whom a notice is sealed.
const DROP: &[u8] = b"valet drop 1";

/// A mint is renewed this often; three of these and nobody waits for it any longer.
pub(crate) const RENEW: Duration = Duration::from_millis(500);

/// A lease as it goes into a store.
#[derive(Serialize, Deserialize)]
pub(crate) struct Entry {
    /// The URL, byte for byte.
    #[serde(rename = "u")]
    pub url: Zeroizing<String>,
    /// It is a token, and no URL.
    #[serde(rename = "t", default, skip_serializing_if = "std::ops::Not::not")]
    pub is_token: bool,
    /// The URL's own end, Unix time in milliseconds.
    #[serde(rename = "o")]
    pub own_end_ms: i64,
    /// It could not be read; absent in what older nodes write.
    #[serde(rename = "n", default, skip_serializing_if = "std::ops::Not::not")]
    pub end_unread: bool,
    /// The end of the lease.
    #[serde(rename = "e")]
    pub end_ms: i64,
    /// When its mint began.
    #[serde(rename = "b")]
    pub began_ms: i64,
}

/// What the store says to a caller that needs a lease: held, failed, wait, or claimed (a turn to mint, with its fencing token).
pub(crate) enum AcquireResult {
    /// The store holds a lease: the entry, its generation, and how long it is still held.
    Held(Entry, u64, Duration),
    /// You mint.
    Claim(Claim),
    /// Somebody mints.
    Wait(Duration),
    /// Somebody's mint has failed; and the owner's generation.
    Failed(MintFailure, u64),
}

/// Revocations that are to be written, and how many rounds each waits.
pub(super) type Unwritten = Mutex<HashMap<[u8; NAME], (u8, Arc<Revocation>)>>;

/// The way to a store.
pub struct SealedStore {
    pub(super) sealing_keys: ArcSwap<SealingKeys>,
    pub(super) backend: Arc<dyn Backend>,
    on_loss: ArcSwap<OnStoreLoss>,
    pub(super) operations: IntCounterVec,
    /// Owners whose forgetting the store has not heard of, and the number of the last: one that comes while another is told is told, too.
    pending_invalidations: Mutex<HashMap<Box<[u8]>, u64>>,
    pub(super) unwritten: Unwritten,
    debts: AtomicU64,
}

impl SealedStore {
    /// Over this backend.
    pub fn new(
        sealing_keys: SealingKeys,
        backend: Arc<dyn Backend>,
        on_loss: OnStoreLoss,
        metrics: &Metrics,
    ) -> Arc<Self> {
        Arc::new(Self {
            sealing_keys: ArcSwap::from_pointee(sealing_keys),
            backend,
            on_loss: ArcSwap::from_pointee(on_loss),
            operations: metrics.store_operations.clone(),
            pending_invalidations: Mutex::default(),
            unwritten: Mutex::default(),
            debts: AtomicU64::new(0),
        })
    }

    /// What is done while the store can't be asked.
    pub fn on_loss(&self) -> OnStoreLoss {
        **self.on_loss.load()
    }

    /// From now on these keys seal and open, and this is done while the store can't be asked. What was sealed by a key that is not among them is nobody's.
    pub fn change(&self, sealing_keys: SealingKeys, on_loss: OnStoreLoss) {
        self.sealing_keys.store(Arc::new(sealing_keys));
        self.on_loss.store(Arc::new(on_loss));
    }

    /// See [`Backend::epoch`].
    pub fn epoch(&self) -> u32 {
        self.backend.epoch()
    }

    /// Whether the store answers.
    pub fn is_well(&self) -> bool {
        self.backend.is_well()
    }

    /// See [`Backend::try_out`].
    ///
    /// # Errors
    /// Why it can't be used, in the operator's words.
    pub async fn try_out(&self) -> Result<(), String> {
        self.backend.try_out().await
    }

    /// Whether it has answered once.
    pub fn was_well(&self) -> bool {
        self.backend.was_well()
    }

    pub(crate) fn name(&self, key: &LeaseKey) -> Result<Name, Lost> {
        self.sealing_keys.load().name(key).ok_or(Lost)
    }

    pub(crate) fn subscription(&self, name: &Name) -> watch::Receiver<u64> {
        self.backend.subscription(name)
    }

    /// `life`: what a lease must have more of; `None`: whatever is held, a turn, or somebody else's. `known`: the owner's generation as this node
    /// knows it, 0 if it does not.
    pub(crate) async fn begin(
        &self,
        key: &LeaseKey,
        name: &Name,
        life: Option<Duration>,
        known: u64,
    ) -> Result<AcquireResult, Lost> {
        let known = self.known(key, known);
        let begun = self.counted("begin", self.backend.begin(name, life, &known).await)?;
        match begun {
            Acquired::Held(sealed, generation, left) if life.is_some() => match self.open(key, &sealed) {
                Some(entry) => Ok(AcquireResult::Held(entry, generation, left)),
                // Moved, bent, or of a key that is gone: nobody's.
                None => {
                    self.operations.with_label_values(&["open", Outcome::Refused.label()]).inc();
                    self.counted("begin", self.backend.begin(name, None, &known).await).map(turned)
                }
            },
            begun => Ok(turned(begun)),
        }
    }

    fn known(&self, key: &LeaseKey, generation: u64) -> Known {
        let notice = if generation == 0 { None } else { self.sealing_keys.load().seal(DROP, key.owner()) };
        Known { generation, notice: notice.unwrap_or_default() }
    }

    pub(crate) async fn renew(&self, name: &Name, claim: Claim) -> Result<bool, Lost> {
        self.counted("renew", self.backend.renew(name, claim).await)
    }

    pub(crate) async fn keep(
        &self,
        key: &LeaseKey,
        name: &Name,
        claim: Claim,
        life: Duration,
        entry: &Entry,
    ) -> Result<bool, Lost> {
        let sealed = self.sealed(key, entry).ok_or(Lost)?;
        self.counted("keep", self.backend.keep(name, claim, life, sealed).await)
    }

    /// See [`Backend::keep_later`].
    pub(crate) fn keep_later(&self, key: &LeaseKey, life: Duration, entry: &Entry) {
        if let (Some(name), Some(sealed)) = (self.sealing_keys.load().name(key), self.sealed(key, entry)) {
            self.backend.keep_later(&name, life, sealed);
        }
    }

    pub(crate) async fn give_up(&self, name: &Name, claim: Claim, failure: Option<MintFailure>) {
        // Its turn ends by itself all the same.
        let _ = self.counted("give_up", self.backend.give_up(name, claim, failure.and_then(code)).await);
    }

    /// Forgets an owner's leases; while the store can't be asked, as soon as it can. The owner's generation from now on.
    pub(crate) async fn forget(&self, owner: &[u8]) -> Result<u64, Lost> {
        self.invalidate_later(owner);
        self.settle(owner).await
    }

    /// The store will be told to forget this owner's leases: before anything else is asked of it for this owner, or as soon as it can be.
    pub(crate) fn invalidate_later(&self, owner: &[u8]) {
        self.pending_invalidations.lock().insert(owner.into(), self.debts.fetch_add(1, Ordering::Relaxed));
    }

    /// See [`Backend::announce`].
    pub(crate) async fn announce(&self, owner: &[u8]) -> Result<u64, Lost> {
        let name = self.sealing_keys.load().owner(owner).ok_or(Lost)?;
        self.counted("announce", self.backend.announce(&name).await)
    }

    /// See [`Backend::replace`].
    pub(crate) async fn replace(&self, key: &LeaseKey, scan: u64, life: Duration, entry: &Entry) -> Result<bool, Lost> {
        let (name, sealed) = (self.name(key)?, self.sealed(key, entry).ok_or(Lost)?);
        let notice = self.sealing_keys.load().seal(DROP, key.owner()).ok_or(Lost)?;
        self.counted("replace", self.backend.replace(&name, scan, life, sealed, notice).await)
    }

    /// Tells the store of a forgetting that it has not heard of: before anything else is asked of it for this owner. The
    /// owner's generation from now on; 0: nothing was owed.
    pub(crate) async fn settle(&self, owner: &[u8]) -> Result<u64, Lost> {
        let Some(last) = self.pending_invalidations.lock().get(owner).copied() else { return Ok(0) };
        let name = self.sealing_keys.load().owner(owner).ok_or(Lost)?;
        let notice = self.sealing_keys.load().seal(DROP, owner).ok_or(Lost)?;
        let generation = self.counted("forget", self.backend.forget(&name, notice).await)?;
        let mut pending_invalidations = self.pending_invalidations.lock();
        if pending_invalidations.get(owner) == Some(&last) {
            pending_invalidations.remove(owner);
        }
        Ok(generation)
    }

    /// Tells the store of every forgetting that it has not heard of.
    pub(super) async fn settle_all(&self) {
        let pending_invalidations: Vec<Box<[u8]>> = self.pending_invalidations.lock().keys().cloned().collect();
        for owner in pending_invalidations.iter().filter(|_| self.backend.may_take()) {
            // The next round tries again.
            let _ = self.settle(owner).await;
        }
    }

    /// The owner of whom a notice tells.
    pub(super) fn open_drop(&self, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        self.sealing_keys.load().open(DROP, sealed)
    }

    fn sealed(&self, key: &LeaseKey, entry: &Entry) -> Option<Vec<u8>> {
        let plain = Zeroizing::new(serde_json::to_vec(entry).ok()?);
        self.sealing_keys.load().seal(&place(key), &plain)
    }

    fn open(&self, key: &LeaseKey, sealed: &[u8]) -> Option<Entry> {
        serde_json::from_slice(&self.sealing_keys.load().open(&place(key), sealed)?).ok()
    }

    pub(super) fn counted<T>(&self, operation: &str, outcome: Result<T, Lost>) -> Result<T, Lost> {
        let counted = if outcome.is_ok() { Outcome::Ok } else { Outcome::Lost };
        self.operations.with_label_values(&[operation, counted.label()]).inc();
        outcome
    }
}

fn turned(begun: Acquired) -> AcquireResult {
    match begun {
        // What will not do is not given.
        Acquired::Held(..) => AcquireResult::Wait(RENEW),
        Acquired::Claim(claim) => AcquireResult::Claim(claim),
        Acquired::Wait(wait) => AcquireResult::Wait(wait),
        Acquired::Failed(code, generation) => AcquireResult::Failed(failure(code), generation),
    }
}

/// How a failure is written for others. Waits are each node's own business.
fn code(failure: MintFailure) -> Option<u8> {
    match failure {
        MintFailure::Refused => Some(1),
        MintFailure::Unreachable => Some(2),
        MintFailure::TimedOut => Some(3),
        MintFailure::Nonsense => Some(4),
        MintFailure::ForbiddenHost => Some(5),
        MintFailure::Busy(_) | MintFailure::Limited(_) | MintFailure::Session(_) | MintFailure::StoreLost => None,
    }
}

fn failure(code: u8) -> MintFailure {
    match code {
        1 => MintFailure::Refused,
        3 => MintFailure::TimedOut,
        4 => MintFailure::Nonsense,
        5 => MintFailure::ForbiddenHost,
        _ => MintFailure::Unreachable,
    }
}

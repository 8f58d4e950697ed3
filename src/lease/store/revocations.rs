//! Revocations in a store: sealed like leases, under names that say nothing.

use std::sync::Arc;

use tokio::sync::watch;

use super::seal::{NAME, SealingKeys};
use super::{Lost, Notification, RENEW, SealedStore};
use crate::session::{Knowledge, Revocation};
use crate::telemetry::Outcome;

/// For whom a revocation is sealed.
const REVOCATION: &[u8] = b"valet revocation 1";

/// A revocation is written a second time after so many rounds of [`RENEW`]: a fail-over may have lost the first writing.
const ROUNDS: u8 = 10;

/// So many revocations are compared with the store at once.
const PIECE: usize = 512;

/// What a node does with what the store says of other nodes.
pub trait Listener: Send + Sync {
    /// Another node has forgotten this owner's leases.
    fn forget(&self, owner: &[u8]);

    /// This revocation is in the store.
    fn revoke(&self, what: Revocation);

    /// Whether all revocations of the store are known now.
    fn known(&self, knowledge: Knowledge);

    /// The revocations that this node has, for a store that may have lost some.
    fn revocations(&self) -> Vec<Arc<Revocation>>;
}

/// A revocation as a store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// A keyed hash of it: it is kept once, however often it is told.
    pub id: [u8; NAME],
    /// When it ends, Unix time in seconds.
    pub expires: i64,
    /// The revocation, sealed.
    pub sealed: Vec<u8>,
}

impl SealedStore {
    /// Writes a revocation. While the store can't be asked, it is written as soon as it can be.
    ///
    /// Dropped: it may be written or not.
    ///
    /// # Errors
    /// The store could not be asked.
    pub async fn revoke(&self, what: &Arc<Revocation>) -> Result<(), Lost> {
        let id = id(&self.sealing_keys.load(), what).ok_or(Lost)?;
        // Before the first await: whatever becomes of this call, it is written.
        self.unwritten.lock().insert(id, (0, Arc::clone(what)));
        self.write(id, what).await?;
        if let Some((rounds, _)) = self.unwritten.lock().get_mut(&id) {
            *rounds = ROUNDS;
        }
        Ok(())
    }

    /// Whether the store has not heard of some.
    pub fn owes_revocations(&self) -> bool {
        self.unwritten.lock().values().any(|(rounds, _)| *rounds == 0)
    }

    /// The revocations of a store that is read at the start; one of several nodes is read in [`SealedStore::run`].
    ///
    /// # Errors
    /// The store can't be read.
    pub fn kept_revocations(&self) -> Result<Vec<Revocation>, Lost> {
        let kept = self.backend.kept_revocations()?;
        Ok(kept.iter().filter_map(|sealed| self.revocation(sealed)).collect())
    }

    /// What a notice of a revocation holds. One that does not open is counted, and of no effect.
    pub(super) fn revocation(&self, sealed: &[u8]) -> Option<Revocation> {
        let plain = self.sealing_keys.load().open(REVOCATION, sealed);
        let what = plain.and_then(|plain| serde_json::from_slice(&plain).ok());
        if what.is_none() {
            self.operations.with_label_values(&["open", Outcome::Refused.label()]).inc();
            tracing::warn!(target: "valet::store", "a revocation in the store does not open: it was sealed by a key that is gone");
        }
        what
    }

    /// Writes what is waiting to be written.
    pub(super) async fn write_owed(&self) {
        let due = {
            let mut unwritten = self.unwritten.lock();
            let due = unwritten.iter_mut().filter_map(|(id, (rounds, what))| {
                let is_first = *rounds == 0;
                *rounds = rounds.saturating_sub(1);
                (*rounds == 0).then(|| (*id, Arc::clone(what), is_first))
            });
            due.collect::<Vec<_>>()
        };
        for (id, what, is_first) in due {
            // The next round tries again.
            if self.write(id, &what).await.is_err() {
                continue;
            }
            let mut unwritten = self.unwritten.lock();
            match unwritten.get_mut(&id) {
                Some((rounds, _)) if is_first => *rounds = ROUNDS,
                _ => drop(unwritten.remove(&id)),
            }
        }
    }

    async fn write(&self, id: [u8; NAME], what: &Revocation) -> Result<(), Lost> {
        let kept = self.kept(id, what).ok_or(Lost)?;
        self.counted("revoke", self.backend.revoke(kept).await)
    }

    fn kept(&self, id: [u8; NAME], what: &Revocation) -> Option<Kept> {
        let plain = zeroize::Zeroizing::new(serde_json::to_vec(what).ok()?);
        Some(Kept { id, expires: what.expires, sealed: self.sealing_keys.load().seal(REVOCATION, &plain)? })
    }
}

fn id(sealing_keys: &SealingKeys, what: &Revocation) -> Option<[u8; NAME]> {
    sealing_keys.revocation(&serde_json::to_vec(what).ok()?)
}

/// What a backend tells, and what it asks of its node.
pub struct News<'a> {
    pub(super) vault: &'a SealedStore,
    pub(super) listener: &'a dyn Listener,
}

impl News<'_> {
    /// Something has happened at another node.
    pub fn tell(&self, notice: Notification) {
        match notice {
            Notification::Drop(sealed) => {
                if let Some(owner) = self.vault.open_drop(&sealed) {
                    self.listener.forget(&owner);
                }
            }
            Notification::Revoked(sealed) => {
                if let Some(what) = self.vault.revocation(&sealed) {
                    self.listener.revoke(what);
                }
            }
            Notification::Known(knowledge) => self.listener.known(knowledge),
        }
    }

    /// What this node has, for a store that may have lost some: a piece at a time, under the names that the store knows.
    pub(super) fn pieces(&self) -> impl Iterator<Item = Vec<([u8; NAME], Arc<Revocation>)>> + use<'_> {
        let mut rest = self.listener.revocations().into_iter();
        std::iter::from_fn(move || {
            let piece = rest.by_ref().take(PIECE);
            let named = piece.filter_map(|what| Some((id(&self.vault.sealing_keys.load(), &what)?, what)));
            Some(named.collect::<Vec<_>>()).filter(|piece| !piece.is_empty())
        })
    }

    /// A revocation as the store keeps it: sealed, under its name.
    pub(super) fn kept(&self, id: [u8; NAME], what: &Revocation) -> Option<Kept> {
        self.vault.kept(id, what)
    }
}

impl SealedStore {
    /// Looks after the store until `stop`; `listener` hears what happens at other nodes.
    ///
    /// Dropped: the store is not looked after, and news don't arrive.
    pub async fn run(&self, listener: &dyn Listener, stop: watch::Receiver<bool>) {
        let news = News { vault: self, listener };
        let debts = async {
            loop {
                tokio::time::sleep(RENEW).await;
                if self.backend.may_take() {
                    self.settle_all().await;
                    self.write_owed().await;
                }
            }
        };
        tokio::select! {
            () = self.backend.run(&news, stop) => {}
            () = debts => {}
        }
    }
}

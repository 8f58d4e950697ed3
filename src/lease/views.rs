//! Views of the leases in memory for administrators: listing and dropping.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::lease::book::Book;
use crate::lease::flight::MintResult;
use crate::lease::key::{LeaseKey, external_id_of, session_of};
use crate::lease::lease_policy::LeasePolicy;
use crate::lease::mint_history::MintRecord;
use crate::lease::record::Record;
use crate::lease::records::Records;
use crate::lease::store::Lost;
use crate::provider::MintInput;

/// A place in the list: the end of a lease and its number.
pub type Cursor = (Timestamp, u64);

/// One lease, without its URL.
pub struct Listed {
    /// Where it stands.
    pub at: Cursor,
    /// One person at one plug-in ([`LeaseKey::owner`](crate::lease::LeaseKey::owner)).
    pub owner: Arc<[u8]>,
    /// It came from the store.
    pub shared: bool,
}

impl<G: Records> Book<G> {
    /// The leases that end later than `after`, soonest first, at most `count`.
    pub fn list(&self, after: Option<Cursor>, count: usize) -> Vec<Listed> {
        let names = self.index.page(after, count);
        let listed = names.into_iter().filter_map(|(at, owner)| {
            let shared = self.records.look(&owner, |record| record.shared(at.1)).flatten()?;
            Some(Listed { at, owner, shared })
        });
        listed.collect()
    }

    /// The last mints of this process, the newest first.
    pub fn mints(&self, count: usize) -> Vec<MintRecord> {
        self.history.last(count)
    }

    /// The mints that this request began, by its id.
    pub fn mints_of(&self, request_id: &str) -> Vec<MintRecord> {
        self.history.of_request(request_id)
    }

    /// Forgets an owner's leases, here and in the store, and so at the other nodes. `Err`: here alone, for the store can't be asked.
    pub async fn drop_owner(&self, owner: &[u8]) -> Result<(), Lost> {
        self.forget_here(owner);
        match self.store() {
            Some(store) => store.forget(owner).await.map(drop),
            None => Ok(()),
        }
    }

    /// Drops from memory the leases of an owner of whom another node says that the session has ended. Where any was held, the store will be told to
    /// forget too: this node may have kept it there after the other one told it to, for it had not heard yet.
    pub fn forget_ended(&self, owner: &[u8]) {
        if let (true, Some(store)) = (self.forget_here(owner), self.store()) {
            store.invalidate_later(owner);
        }
    }

    /// The names at vendors under which this owner's leases in memory were minted.
    pub fn external_ids(&self, owner: &[u8]) -> Vec<Box<str>> {
        let names = |record: &Record| record.variants().filter_map(external_id_of).map(Into::into).collect::<Vec<_>>();
        self.records.look(owner, names).unwrap_or_default()
    }

    /// Forgets a person's mints: those that were counted, and those in the history. The leases are forgotten elsewhere.
    pub fn forget_mints(&self, issuer: &str, subject: &str, owners: impl Iterator<Item = Vec<u8>>) {
        for owner in owners {
            self.change(&owner, self.now(), Record::forget_mints);
        }
        self.history.forget(issuer, subject);
    }

    /// Drops the leases of one session from memory: those with `reuse = "session"`. `is_issuers`: whether an owner is one of the session's issuer.
    pub fn forget_session(&self, session: &str, is_issuers: impl Fn(&[u8]) -> bool) {
        for owner in self.owners_of_session(session, is_issuers) {
            let theirs = |variant: &[u8]| session_of(variant) == Some(session);
            let dropped = self.change(&owner, self.now(), |record| record.drop_variants(theirs));
            dropped.iter().flatten().for_each(|lease| self.forgotten(lease));
        }
    }

    /// Drops a lease that was just held if the session that it was minted for has ended: whoever ended it may have looked before it was there.
    pub(super) fn is_void(
        &self,
        policy: &LeasePolicy,
        key: &LeaseKey,
        input: &MintInput,
        landing: &MintResult,
    ) -> bool {
        let void = policy.mint.is_void(input);
        if let (true, Ok(lease)) = (void, landing) {
            let dropped = self.change(key.owner(), self.now(), |record| record.drop_lease(lease.seq));
            dropped.iter().flatten().for_each(|lease| self.forgotten(lease));
            if let Some(store) = self.store() {
                // It may have it too, of a generation that began after the session's end.
                store.invalidate_later(key.owner());
            }
        }
        void
    }

    /// The owners of the leases that belong to this session of the issuer: those with `reuse = "session"` in this process's memory.
    /// `is_issuers`: whether an owner is one of the issuer's.
    pub fn owners_of_session(&self, session: &str, is_issuers: impl Fn(&[u8]) -> bool) -> Vec<Arc<[u8]>> {
        /// Looked at in one go: the index is locked meanwhile.
        const PIECE: usize = 1024;
        let (mut found, mut after) = (Vec::<Arc<[u8]>>::new(), None);
        loop {
            let page = self.index.page(after, PIECE);
            for (at, owner) in &page {
                after = Some(*at);
                let theirs = |record: &Record| record.variants().any(|variant| session_of(variant) == Some(session));
                if is_issuers(owner) && self.records.look(owner, theirs) == Some(true) && !found.contains(owner) {
                    found.push(owner.clone());
                }
            }
            if page.len() < PIECE {
                return found;
            }
        }
    }
}

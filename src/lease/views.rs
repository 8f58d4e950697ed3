//! Views of the leases in memory for administrators: listing and dropping.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::lease::key::{external_id_of, session_of};
use crate::lease::leases::Leases;
use crate::lease::mint_history::MintRecord;
use crate::lease::record::Record;
use crate::lease::records::Records;

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

impl<G: Records> Leases<G> {
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

    /// Drops the leases of an owner that belong to no session with a name from memory.
    pub fn forget_unnamed(&self, owner: &[u8]) {
        let dropped =
            self.change(owner, self.now(), |record| record.drop_variants(|variant| session_of(variant).is_none()));
        dropped.iter().flatten().for_each(|lease| self.forgotten(lease));
    }

    /// The owners of the leases that belong to this session of the issuer: those with `reuse = "session"` in this process's memory.
    /// `is_issuers`: whether an owner is one of the issuer's.
    pub fn owners_of_session(&self, session: &str, is_issuers: impl Fn(&[u8]) -> bool) -> Vec<Arc<[u8]>> {
        let mut found = Vec::<Arc<[u8]>>::new();
        self.each_lease(|owner| {
            let theirs = |record: &Record| record.variants().any(|variant| session_of(variant) == Some(session));
            if is_issuers(owner) && self.records.look(owner, theirs) == Some(true) && !found.contains(owner) {
                found.push(owner.clone());
            }
        });
        found
    }

    /// Shows the owner of each lease, in pieces: requests go on between them.
    pub(super) fn each_lease(&self, mut show: impl FnMut(&Arc<[u8]>)) {
        /// Looked at in one go: the index is locked meanwhile.
        const PIECE: usize = 1024;
        let mut after = None;
        loop {
            let page = self.index.page(after, PIECE);
            for (at, owner) in &page {
                after = Some(*at);
                show(owner);
            }
            if page.len() < PIECE {
                return;
            }
        }
    }
}

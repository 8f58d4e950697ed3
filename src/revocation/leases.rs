//! Which leases go with a session.

use std::collections::{BTreeSet, HashSet};

use futures_util::future::join_all;

use super::{Ended, PluginScope, Revoker};
use crate::provider::Person;
use crate::session::Revocation;

/// What an administrator has dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// Of so many persons at so many plug-ins together.
    pub owners: usize,
    /// The store of leases has been told, if there is one.
    pub told: bool,
}

impl Revoker {
    /// Drops the leases that go with these sessions, which go on: the bodies that end sessions are good here too. A session's are found in memory, and
    /// with each all of that subject's for that plug-in are dropped, for a store forgets no less. `None`: no such issuer is configured, or no name that
    /// a token could have is given.
    ///
    /// Dropped: some are dropped, and others not.
    pub async fn drop_only(&self, whose: &Ended) -> Option<Dropped> {
        let what = self.revocation(whose)?;
        let mut owners: BTreeSet<Vec<u8>> = self.whole_owners(&what).collect();
        if let Some(session) = &what.session {
            let scopes: Vec<_> = self.scopes_of(&what).collect();
            let is_its = |owner: &[u8]| {
                let subject = scopes.iter().find_map(|of| of.scope.subject_of(owner));
                subject.is_some() && (what.subject.is_none() || subject == what.subject.as_deref())
            };
            let of_session = self.book.leases().owners_of_session(session, is_its);
            owners.extend(of_session.iter().map(|owner| owner.to_vec()));
        }
        let mut told = true;
        for owner in &owners {
            told &= self.book.drop_owner(owner).await.is_ok();
        }
        Some(Dropped { owners: owners.len(), told })
    }

    /// Drops what is held for the ended, after the list refuses them: a mint that lands later finds that it was forgotten. `false`: the store of
    /// leases could not be told.
    pub(super) async fn drop_leases(&self, what: &Revocation) -> bool {
        self.forget_session(what);
        let dropped = self.whole_owners(what).map(async |owner| self.book.drop_owner(&owner).await.is_ok());
        join_all(dropped).await.into_iter().all(|told| told)
    }

    /// Drops the leases that one session has for itself, from memory: nobody else is given them, and in a store they end by themselves.
    pub(super) fn forget_session(&self, what: &Revocation) {
        let Some(session) = &what.session else { return };
        let scopes: Vec<_> = self.scopes_of(what).collect();
        let is_issuers = |owner: &[u8]| scopes.iter().any(|of| of.scope.subject_of(owner).is_some());
        self.book.leases().forget_session(session, is_issuers);
        // The subject's tokens without a session claim end with it.
        if let Some(subject) = &what.subject {
            let owners = scopes.iter().filter(|of| of.by_session).map(|of| of.scope.owner(subject));
            owners.for_each(|owner| self.book.leases().forget_unnamed(&owner));
        }
    }

    fn scopes_of<'a>(&'a self, what: &'a Revocation) -> impl Iterator<Item = &'a PluginScope> {
        // A node with another configuration may have noted it under a name that is not a namespace here. Looked up once: each plug-in has a scope
        // with each issuer, and a start hears of every revocation that a store has kept.
        let namespaces = what.issuers().filter_map(|name| self.sessions.namespace_of(name));
        let its: HashSet<&str> = what.issuers().chain(namespaces).collect();
        self.scopes.iter().chain(&self.former_scopes).filter(move |scope| its.contains(&*scope.issuer))
    }

    /// Under which names vendors know the subject: as the issuer gives it, and as its leases in memory were minted.
    pub(super) fn persons(&self, what: &Revocation) -> Vec<Person> {
        let Some(subject) = &what.subject else { return Vec::new() };
        let mut names: Vec<Box<str>> =
            self.owners(what).flat_map(|owner| self.book.leases().external_ids(&owner)).collect();
        names.extend(self.sessions.external_id_of(&what.namespace, subject));
        names.sort_unstable();
        names.dedup();
        let person = |external_id| Person {
            external_id,
            issuer: what.namespace.as_str().into(),
            subject: subject.as_str().into(),
        };
        names.into_iter().map(person).collect()
    }

    /// The owners of the subject's leases, if the revocation names a subject.
    pub(super) fn owners<'a>(&'a self, what: &'a Revocation) -> impl Iterator<Item = Vec<u8>> + 'a {
        self.owners_where(what, |_| true)
    }

    /// Those of them whose leases all go. Where one session is named, not those of plug-ins at which each session has its own: the subject's other
    /// sessions live on.
    pub(super) fn whole_owners<'a>(&'a self, what: &'a Revocation) -> impl Iterator<Item = Vec<u8>> + 'a {
        self.owners_where(what, move |of| what.session.is_none() || !of.by_session)
    }

    fn owners_where<'a>(
        &'a self,
        what: &'a Revocation,
        these: impl Fn(&PluginScope) -> bool + 'a,
    ) -> impl Iterator<Item = Vec<u8>> + 'a {
        let named = what.subject.as_deref().map(|subject| (subject, self.scopes_of(what)));
        named
            .into_iter()
            .flat_map(|(subject, scopes)| scopes.map(move |of| (of, subject)))
            .filter(move |(of, _)| these(of))
            .map(|(of, subject)| of.scope.owner(subject))
    }
}

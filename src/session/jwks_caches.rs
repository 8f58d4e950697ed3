//! All JWKS caches of one issuer: the entries of its `keys`, each with the algorithms that it names.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use super::jwks_cache::{JwksCache, Trouble};
use super::key_set::Candidates;
use super::keys::Key;
use super::remote::KeyClient;
use super::settings::{IssuerSettings, SignatureAlgorithm};
use super::{Reason, SessionFault};
use crate::clock::Clock;
use crate::telemetry::Metrics;

/// How long a request waits for a fetch that may bring its key. Longer than any healthy provider takes, shorter than a browser's patience.
const MAX_WAIT: Duration = Duration::from_secs(2);

/// The entries, in their order.
pub(super) struct JwksCaches(Box<[Arc<JwksCache>]>);

/// The keys that a token may mean, of all entries that name its algorithm.
pub(super) struct Meant {
    /// Each with its entry, to be tried in order.
    pub(super) keys: SmallVec<[(Arc<Key>, Arc<JwksCache>); 2]>,
    /// An entry has no such key; a newer set may have it.
    pub(super) may_be_newer: bool,
}

impl JwksCaches {
    /// Reads local keys now; remote ones stay unknown until the first fetch. Every fault, in the operator's words.
    pub(super) fn open(
        settings: &IssuerSettings,
        directory: &Path,
        client: &Arc<dyn KeyClient>,
        clock: &Clock,
        metrics: &Metrics,
    ) -> Result<Self, Vec<String>> {
        let trouble = Trouble::of(&settings.issuer, metrics);
        let (mut jwks_caches, mut faults) = (Vec::new(), Vec::new());
        for entry in settings.key_entries() {
            match JwksCache::open(settings, entry, directory, Arc::clone(client), clock.clone(), (&trouble, metrics)) {
                Ok(jwks) => jwks_caches.push(Arc::new(jwks)),
                Err(more) => faults.extend(more),
            }
        }
        if jwks_caches.is_empty() && faults.is_empty() {
            faults.push("keys: the list is empty".to_owned());
        }
        if faults.is_empty() { Ok(Self(jwks_caches.into())) } else { Err(faults) }
    }

    /// The entries, in their order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<JwksCache>> {
        self.0.iter()
    }

    fn naming(&self, algorithm: SignatureAlgorithm) -> impl Iterator<Item = &Arc<JwksCache>> {
        self.0.iter().filter(move |jwks| jwks.names(algorithm))
    }

    /// Whether an entry names the algorithm.
    pub(super) fn names(&self, algorithm: SignatureAlgorithm) -> bool {
        self.naming(algorithm).next().is_some()
    }

    /// The keys that a token may mean. An entry that does not name the algorithm has none.
    pub(super) fn meant(&self, kid: Option<&str>, algorithm: SignatureAlgorithm) -> Meant {
        let mut meant = Meant { keys: SmallVec::new(), may_be_newer: false };
        for jwks in self.naming(algorithm) {
            match jwks.candidates(kid, algorithm) {
                Candidates::Fit(keys) => meant.keys.extend(keys.into_iter().map(|key| (key, Arc::clone(jwks)))),
                Candidates::Misfit => {}
                Candidates::Unknown => meant.may_be_newer = true,
            }
        }
        meant
    }

    /// For a request whose key is unknown: waits for the fetches that may bring it, at most [`MAX_WAIT`]. Each starts unless its last
    /// attempt was less than a cool-down ago. Dropped, the fetches go on.
    pub(super) async fn wait_for_unknown(&self, algorithm: SignatureAlgorithm) {
        let under_way: SmallVec<[_; 2]> = self.naming(algorithm).filter_map(JwksCache::ask_for_unknown).collect();
        let all = async {
            for mut fetch in under_way {
                // The sender says nothing; it is dropped when the fetch has ended. What came of it the next look shows.
                let _ = fetch.changed().await;
            }
        };
        let _ = tokio::time::timeout(MAX_WAIT, all).await;
    }

    /// Why a token whose key is unknown opens no session.
    pub(super) fn without_key(&self, algorithm: SignatureAlgorithm) -> SessionFault {
        let stale = self.naming(algorithm).filter(|jwks| !jwks.is_usable());
        match stale.map(|jwks| jwks.retry_after()).min() {
            Some(wait) => SessionFault::KeysUnavailable(wait),
            None => SessionFault::Invalid(Reason::UnknownKey),
        }
    }

    /// Takes the place of those before where it can: an entry that is like one of theirs is theirs from now on. What is left to do when this is in
    /// force: keys that were read for it are put in force there.
    pub(super) fn take_over(&mut self, before: &Self) -> Vec<(Arc<JwksCache>, Arc<JwksCache>)> {
        let mut taken = Vec::new();
        for jwks in &mut self.0 {
            if let Some(old) = before.iter().find(|old| old.is_like(jwks)) {
                let fresh = std::mem::replace(jwks, Arc::clone(old));
                taken.push((Arc::clone(old), fresh));
            }
        }
        taken
    }

    /// Whether this ring is one of them.
    pub(super) fn has(&self, jwks: &Arc<JwksCache>) -> bool {
        self.0.iter().any(|own| Arc::ptr_eq(own, jwks))
    }

    /// Reads local keys again. A reading that fails keeps those before; the lines say why.
    pub(super) fn reread(&self) -> Vec<String> {
        self.0.iter().filter_map(|jwks| jwks.reread().err()).collect()
    }
}

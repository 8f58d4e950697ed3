//! A new configuration's sessions take over from those before: key sets, verified tokens that mean the same, and the list of revocations.

use std::sync::Arc;
use std::time::Duration;

use super::issuer::Issuer;
use super::jwks_cache::JwksCache;
use super::revocation::LookedUp;
use super::verifier::{Sessions, Verdict};
use crate::clock::Timestamp;

/// What is left to do when the new sessions are in force.
#[must_use]
pub struct TakenOver {
    jwks_caches: Vec<(Arc<JwksCache>, Arc<JwksCache>)>,
    /// By how much longer than before revocations are remembered, where they are.
    longer: Option<(Arc<Sessions>, Duration)>,
}

impl TakenOver {
    /// Puts the keys in force that were read from files for the new sessions. What keys that have left had verified ends here. What is revoked
    /// stays so for as long as the new configuration says.
    pub fn install(self, now: Timestamp) {
        self.jwks_caches.into_iter().for_each(|(jwks, fresh)| jwks.take_keys_of(&fresh));
        if let Some((own, by)) = self.longer {
            own.revocations.prolong(by, own.remembered, now);
        }
    }
}

impl Sessions {
    /// Takes over what is the same: an entry of `keys` with the same settings keeps its key set, and what is known of fetching it; a verified token
    /// stays verified where its key stays and everything that is made of it does; the list of revocations is the same one, so that what began
    /// by `before` hears of each that comes. `keep_subject_key`: the key of [`Self::log_id`] is that of before, for none is configured. Nothing of
    /// `before` changes.
    pub fn take_over(self: Arc<Self>, before: &Arc<Self>, keep_subject_key: bool) -> (Arc<Self>, TakenOver) {
        let mut own = match Arc::try_unwrap(self) {
            Ok(own) => own,
            Err(shared) => return (shared, TakenOver { jwks_caches: Vec::new(), longer: None }),
        };
        if keep_subject_key {
            own.subject_key = before.subject_key.clone();
        }
        own.known = Arc::clone(&before.known);
        own.revocations = Arc::clone(&before.revocations);
        let mut taken = Vec::new();
        for issuer in &mut own.issuers {
            let old = before.issuers.iter().find(|old| old.name == issuer.name);
            if let (Some(old), Some(issuer)) = (old, Arc::get_mut(issuer)) {
                taken.extend(issuer.jwks_caches.take_over(&old.jwks_caches));
            }
        }
        for transmitter in &mut own.transmitters {
            if let Some(old) = before.transmitters.iter().find(|old| old.name == transmitter.name) {
                taken.extend(transmitter.jwks_caches.take_over(&old.jwks_caches));
            }
        }
        if own.hashes_like(before) && own.reads == before.reads {
            for (token, verdict) in before.cache.iter() {
                let Some(issuer) = own.issuers.iter().find(|issuer| issuer.name == verdict.issuer.name) else {
                    continue;
                };
                if issuer.is_like(&verdict.issuer) && issuer.jwks_caches.has(&verdict.jwks) {
                    own.cache.insert(token, Arc::new(verdict.of_issuer(Arc::clone(issuer))));
                }
            }
        }
        let own = Arc::new(own);
        let by = own.remembered.saturating_sub(before.remembered);
        let longer = (!by.is_zero()).then(|| (Arc::clone(&own), by));
        (own, TakenOver { jwks_caches: taken, longer })
    }

    /// Whether the two hash names alike.
    fn hashes_like(&self, before: &Self) -> bool {
        let hash = |sessions: &Self| sessions.subject_hash("", "").as_ref().to_vec();
        hash(self) == hash(before)
    }

    /// Says again which issuers' and transmitters' keys are in trouble.
    pub fn show_trouble(&self) {
        self.jwks_caches().for_each(|jwks| jwks.show_trouble());
    }
}

impl Verdict {
    /// The verdict, of an issuer of another configuration that is like its own. It is looked up among the revocations again.
    pub(super) fn of_issuer(&self, issuer: Arc<Issuer>) -> Self {
        Self {
            session: Arc::clone(&self.session),
            life: self.life,
            key: Arc::clone(&self.key),
            jwks: Arc::clone(&self.jwks),
            issuer,
            looked_up: LookedUp::default(),
        }
    }
}

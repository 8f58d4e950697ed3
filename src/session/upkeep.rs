//! What is done for the keys while the process runs: fetching, reading again, telling whether there are any.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Sessions;
use super::issuer::Issuer;
use super::jwks_cache::JwksCache;
use super::readiness::{IssuerReadiness, Readiness};

impl Sessions {
    /// Keeps remote keys fresh until `stop` turns true or its sender is gone. Dropped, no more is fetched in the background.
    pub async fn run(self: Arc<Self>, stop: watch::Receiver<bool>) {
        let mut jwks_caches = JoinSet::new();
        for jwks in self.jwks_caches().filter(|jwks| jwks.is_remote()) {
            jwks_caches.spawn(Arc::clone(jwks).keep_fresh(stop.clone()));
        }
        while jwks_caches.join_next().await.is_some() {}
    }

    /// Whether there are keys to judge by.
    pub fn ready(&self) -> Readiness {
        let state = |issuer: &Arc<Issuer>| IssuerReadiness {
            issuer: Arc::clone(&issuer.name),
            had_once: issuer.jwks_caches.iter().all(|jwks| jwks.had_once()),
            had_any: issuer.jwks_caches.iter().any(|jwks| jwks.had_once()),
            usable: issuer.jwks_caches.iter().all(|jwks| jwks.is_usable()),
            failing: issuer.jwks_caches.iter().any(|jwks| jwks.is_failing()),
        };
        Readiness { issuers: self.issuers.iter().map(state).collect() }
    }

    /// Reads key files and secrets again. A file that can't be read keeps the keys before; the lines say which and why.
    pub fn reread_files(&self) -> Vec<String> {
        let reread = |issuer: &Arc<Issuer>| {
            let place = format!("session.issuer {:?}", issuer.name);
            issuer.jwks_caches.reread().into_iter().map(move |fault| format!("{place}: {fault}"))
        };
        let transmitters = self.transmitters.iter().flat_map(|one| one.jwks_caches.reread());
        self.issuers.iter().flat_map(reread).chain(transmitters).collect()
    }

    /// The files whose change calls for [`Self::reread_files`].
    pub fn watched_files(&self) -> Vec<PathBuf> {
        self.jwks_caches().filter_map(|jwks| jwks.path()).collect()
    }

    /// Fetches every remote key set now, one after the other. The faults, in the operator's words. Dropped, the rest is not fetched.
    pub async fn fetch_all(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for issuer in &self.issuers {
            for jwks in issuer.jwks_caches.iter() {
                if let Err(fault) = jwks.fetch().await {
                    faults.push(format!("session.issuer {:?}: keys: {fault}", issuer.name));
                }
            }
        }
        faults
    }

    /// The keys of issuers and transmitters.
    pub(super) fn jwks_caches(&self) -> impl Iterator<Item = &Arc<JwksCache>> {
        let issuers = self.issuers.iter().flat_map(|issuer| issuer.jwks_caches.iter());
        issuers.chain(self.transmitters.iter().flat_map(|one| one.jwks_caches.iter()))
    }
}

//! Files of keys, secrets and certificates, read again while the process runs.

use std::collections::HashSet;
use std::path::PathBuf;

use tracing::{info, warn};

use crate::secret::SecretFault;
use crate::server::build::{Components, ReloadableSecret};
use crate::server::minter::{MinterComponents, identity_fault};
use crate::server::tls::ListenerTls;

impl Components {
    /// Reads keys, secrets and certificates again; what can't be read keeps its last value.
    pub(super) fn reread(&self) {
        self.note_secrets(|ReloadableSecret { name, cell, accept, .. }| match cell.reread(accept) {
            Ok(changed) => {
                if changed {
                    info!(target: "valet", secret = name, "read again: it has changed");
                }
                Ok(())
            }
            Err(fault) => Err(fault),
        });
        let listeners = self.listener_tls.iter().flatten().flat_map(ListenerTls::reread);
        let identities = self.identities.iter().flat_map(|(name, identity)| {
            let faults = identity.reread().err().unwrap_or_default();
            faults.into_iter().map(move |fault| format!("{name}.{}", identity_fault(&fault)))
        });
        let minter = self.minter.iter().flat_map(MinterComponents::reread);
        let certificates: Vec<String> = listeners.chain(identities).chain(minter).collect();
        self.certificates_trouble.set(i64::from(!certificates.is_empty()));
        for fault in self.sessions.reread_files().into_iter().chain(certificates) {
            warn!(target: "valet", fault, "can't be read again; the last one stays");
        }
    }

    /// Tells which secrets can't be read any more, and takes no new value.
    pub(super) fn try_secrets(&self) {
        self.note_secrets(|ReloadableSecret { cell, accept, .. }| cell.try_reread(accept));
    }

    fn note_secrets(&self, read: impl Fn(&ReloadableSecret) -> Result<(), SecretFault>) {
        let mut failed = HashSet::new();
        for watched in &*self.secrets {
            let name = watched.name.as_str();
            if let Err(SecretFault(fault)) = read(watched) {
                warn!(target: "valet", secret = name, fault, "can't be read again; the last one stays");
                failed.insert(name);
            }
        }
        // Two may have one name: an API key and its successor.
        for ReloadableSecret { name, trouble, .. } in &*self.secrets {
            trouble.set(i64::from(failed.contains(name.as_str())));
        }
    }

    pub(super) fn watched_files(&self) -> Vec<PathBuf> {
        let secrets = self.secrets.iter().filter_map(|watched| watched.cell.path());
        let listeners = self.listener_tls.iter().flatten().flat_map(ListenerTls::files);
        let identities = self.identities.iter().flat_map(|(_, identity)| identity.files());
        let minter = self.minter.iter().flat_map(MinterComponents::files);
        let all = secrets.chain(self.sessions.watched_files()).chain(listeners);
        all.chain(identities).chain(minter).collect()
    }
}

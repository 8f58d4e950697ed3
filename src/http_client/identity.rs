//! Our client certificate for a system of our own, which is read again.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::sign::CertifiedKey;

use crate::certificate::{Certificate, CertificateFiles};
use crate::setting::FieldFault;

/// Shown in each handshake that asks for it. A reading that fails keeps the one before.
#[derive(Debug)]
pub struct Identity {
    files: CertificateFiles,
    directory: PathBuf,
    current: ArcSwap<CertifiedKey>,
}

impl Identity {
    /// Reads both files. Every fault at once.
    ///
    /// # Errors
    /// The certificate or its key can't be read, or they don't fit; at the keys `certificate` and `key`.
    pub fn open(files: CertificateFiles, directory: &Path) -> Result<Self, Vec<FieldFault>> {
        let current = ArcSwap::new(Certificate::read(&files, directory)?.served);
        Ok(Self { files, directory: directory.to_owned(), current })
    }

    /// Reads them again; connections that stand are not touched.
    ///
    /// # Errors
    /// As those of [`Self::open`]; the identity before stays.
    pub fn reread(&self) -> Result<(), Vec<FieldFault>> {
        let fresh = Certificate::read(&self.files, &self.directory)?;
        if fresh.served.cert != self.current.load().cert {
            let (chain, ends) = (self.files.chain.display().to_string(), fresh.ends.rfc3339());
            tracing::info!(target: "valet", chain, ends, "read again: it has changed");
            self.current.store(fresh.served);
        }
        Ok(())
    }

    /// The files behind it.
    pub fn files(&self) -> [PathBuf; 2] {
        [&self.files.chain, &self.files.key].map(|path| self.directory.join(path))
    }
}

impl ResolvesClientCert for Identity {
    fn resolve(&self, _: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let current = self.current.load_full();
        current.key.choose_scheme(schemes).is_some().then_some(current)
    }

    fn has_certs(&self) -> bool {
        true
    }
}

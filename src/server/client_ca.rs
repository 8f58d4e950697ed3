//! The authorities that sign the certificates of clients: of a listener's clients, and of a minter's edges.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};

use crate::http_client::authorities;

/// Whether a client has to show a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// One without is refused in the handshake.
    Required,
    /// One without is let in. A certificate that does not hold ends the handshake all the same.
    Optional,
}

/// The authorities that sign the certificates of clients. Read again when the file changes.
#[derive(Debug)]
pub(super) struct ClientCa {
    path: PathBuf,
    asked: Asked,
    current: ArcSwap<Verifier>,
}

#[derive(Debug)]
struct Verifier(Arc<dyn ClientCertVerifier>);

impl ClientCa {
    /// Reads the authorities. A fault is in the operator's words.
    pub fn open(path: &Path, directory: &Path, asked: Asked) -> Result<Arc<Self>, String> {
        let path = directory.join(path);
        let current = ArcSwap::from_pointee(verifier(&path)?);
        Ok(Arc::new(Self { path, asked, current }))
    }

    /// Reads them again; connections that stand are not touched.
    pub fn reread(&self) -> Result<(), String> {
        self.current.store(Arc::new(verifier(&self.path)?));
        Ok(())
    }

    /// The file.
    pub fn path(&self) -> PathBuf {
        self.path.clone()
    }
}

fn verifier(path: &Path) -> Result<Verifier, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(authorities(path)?);
    // The provider is named, not taken from the process: which one is installed there depends on who came first.
    let provider = Arc::new(aws_lc_rs::default_provider());
    let built = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
    built
        .map(|verifier| Verifier(verifier as Arc<dyn ClientCertVerifier>))
        .map_err(|fault| format!("{}: {fault}", path.display()))
}

impl ClientCertVerifier for ClientCa {
    fn client_auth_mandatory(&self) -> bool {
        self.asked == Asked::Required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // An edge has one certificate and needs no hint; to a browser one of authorities that were replaced since would be worse than none.
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.current.load().0.verify_client_cert(leaf, between, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.current.load().0.verify_tls12_signature(message, leaf, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.current.load().0.verify_tls13_signature(message, leaf, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.current.load().0.supported_verify_schemes()
    }
}

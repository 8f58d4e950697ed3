//! Certificates on the way to an app, in the form that Pingora takes, looked through before it does: it panics on odd ones.

use std::path::Path;
use std::sync::Arc;

use pingora::protocols::tls::CaType;
use pingora::tls::load_platform_certs_incl_env_into_store;
use pingora::utils::tls::{CertKey, WrappedX509};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::settings::{AppSettings, ClientCertificateSettings};
use crate::files::{self, Wanted};
use crate::http_client::authorities;
use crate::secret::SecretSource;
use crate::setting::FieldFault;

/// Ten certificates are a long chain, and none of them needs more than a few KiB.
const MAX_CHAIN_KIB: u64 = 64;

/// Whom an app is believed by, and who we are to it.
#[derive(Default)]
pub(super) struct Tls {
    /// The authorities that are believed instead of the machine's own.
    pub(super) ca: Option<Arc<CaType>>,
    pub(super) client: Option<Arc<CertKey>>,
}

impl Tls {
    /// Reads the files now; relative paths start in `directory`.
    pub(super) fn open(settings: &AppSettings, directory: &Path, faults: &mut Vec<FieldFault>) -> Self {
        let mut note = |key: &str, message: String| faults.push(FieldFault::at(key, message));
        let ca = settings.ca.as_ref().map(|path| ca(&directory.join(path)).map_err(|message| note("ca", message)));
        let client = settings.client_certificate.as_ref().map(|settings| client(settings, directory, &mut note));
        Self { ca: ca.and_then(Result::ok), client: client.flatten() }
    }
}

/// Whether Pingora will be able to read the machine's own authorities: its connector panics where it can't. A machine that has none is in order,
/// only that no app at https:// is believed then.
pub(super) fn try_roots_of_the_machine() -> Result<(), String> {
    load_platform_certs_incl_env_into_store(&mut RootCertStore::empty())
        .map_err(|_| "this machine's own root certificates can't be read: name a file of authorities".into())
}

fn ca(path: &Path) -> Result<Arc<CaType>, String> {
    let wrapped: Option<Vec<_>> = authorities(path)?.iter().map(wrap).collect();
    wrapped.map(Arc::from).ok_or_else(|| format!("{} holds a certificate that can't be read", path.display()))
}

fn wrap(certificate: &CertificateDer) -> Option<WrappedX509> {
    WrappedX509::try_new(certificate.to_vec(), |der| X509Certificate::from_der(der).map(|(_, read)| read)).ok()
}

fn client(
    settings: &ClientCertificateSettings,
    directory: &Path,
    note: &mut impl FnMut(&'static str, String),
) -> Option<Arc<CertKey>> {
    const CHAIN: &str = "client_certificate.chain";
    const KEY: &str = "client_certificate.key";
    let chain = chain(&directory.join(&settings.chain)).map_err(|message| note(CHAIN, message)).ok();
    let key = key(settings, directory).map_err(|message| note(KEY, message)).ok();
    let (chain, key) = (chain?, key?);
    match try_out(chain.clone(), key.clone_key()) {
        Ok(()) => {}
        Err(rustls::Error::InconsistentKeys(_)) => {
            note(KEY, "does not belong to the certificate in `client_certificate.chain`".into());
            return None;
        }
        Err(rustls::Error::InvalidCertificate(_)) => {
            note(CHAIN, format!("{}: the first certificate can't be used", directory.join(&settings.chain).display()));
            return None;
        }
        Err(_) => {
            note(KEY, format!("{} holds a key that can't be used", directory.join(&settings.key).display()));
            return None;
        }
    }
    // The key goes to Pingora, which signs with it.
    let key = key.secret_der().to_vec();
    Some(Arc::new(CertKey::new(chain.iter().map(|certificate| certificate.to_vec()).collect(), key)))
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let shown = path.display();
    let bytes = files::read_bounded(path, MAX_CHAIN_KIB, "chain of certificates")?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let chain = chain.map_err(|_| format!("{shown} is no PEM"))?;
    if chain.is_empty() {
        return Err(format!(
            "{shown} holds no certificate in PEM{}",
            files::instead_of_pem(&bytes, Wanted::Certificate)
        ));
    }
    match chain.iter().position(|certificate| wrap(certificate).is_none()) {
        Some(place) => Err(format!("{shown}: certificate {} can't be read", place + 1)),
        None => Ok(chain),
    }
}

fn key(settings: &ClientCertificateSettings, directory: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let pem = SecretSource::File(settings.key.clone()).read(directory).map_err(|fault| fault.0)?;
    // Goes into the key's binary form, and from there to Pingora.
    let key = PrivateKeyDer::from_pem_slice(pem.expose());
    let shown = directory.join(&settings.key);
    let instead = files::instead_of_pem(pem.expose(), Wanted::Key);
    let key =
        key.map_err(|_| format!("{} holds no private key in PEM that is not encrypted{instead}", shown.display()))?;
    // Pingora gets the bytes alone and guesses their kind again; one that it can't guess makes it panic.
    match PrivateKeyDer::try_from(key.secret_der()) {
        Ok(_) => Ok(key),
        Err(_) => Err(format!("{} holds a key that can't be used", shown.display())),
    }
}

/// Does with them what Pingora will do for each connection.
fn try_out(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<(), rustls::Error> {
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(RootCertStore::empty())
        .with_client_auth_cert(chain, key)
        .map(drop)
}

//! The way to one outside system: whom its certificate is believed from, and through which proxy.

use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Uri};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::identity::Identity;
use super::settings::ProxySettings;
use crate::files::{self, Wanted};
use crate::secret::Secret;
use crate::setting::FieldFault;

/// A bundle of all public authorities is a fifth of it; a bound so that a wrong path (a log, a device) is refused.
const MAX_BUNDLE_KIB: u64 = 1024;

/// The way to one outside system.
#[derive(Default)]
pub struct Route {
    /// The authorities that are believed instead of the machine's own.
    pub(super) roots: Option<RootCertStore>,
    pub(super) proxy: Option<Proxy>,
    /// Our client certificate; with one, only HTTP/2 over TLS 1.3 is spoken.
    pub(super) identity: Option<Arc<Identity>>,
}

pub(super) struct Proxy {
    pub(super) address: Uri,
    pub(super) authorization: Option<HeaderValue>,
}

impl Route {
    /// Reads `ca` and `proxy` now; relative paths start in `directory`. Touches no network.
    ///
    /// # Errors
    /// Every fault at once, at `ca`, `proxy` or `proxy.credentials` of the issuer or provider. They name places, never a secret.
    pub fn open(ca: Option<&Path>, proxy: Option<&ProxySettings>, directory: &Path) -> Result<Self, Vec<FieldFault>> {
        let mut faults = Vec::new();
        let mut note = |key: &str, message: String| faults.push(FieldFault::at(key, message));
        let roots = ca.and_then(|path| roots(&directory.join(path)).map_err(|message| note("ca", message)).ok());
        let proxy = proxy.and_then(|settings| {
            let address = proxy_address(settings.url()).map_err(|message| note("proxy", message.into())).ok();
            let authorization = settings.credentials().map(|source| {
                let credentials = source.read(directory).map_err(|fault| fault.0);
                credentials.and_then(|credentials| basic(&credentials).map_err(str::to_owned))
            });
            let authorization = authorization.transpose().map_err(|message| note("proxy.credentials", message)).ok();
            Some(Proxy { address: address?, authorization: authorization? })
        });
        if faults.is_empty() { Ok(Self { roots, proxy, identity: None }) } else { Err(faults) }
    }

    /// The way to a system of our own: these authorities alone, this certificate, HTTP/2.
    ///
    /// # Errors
    /// The file of authorities can't be read; at the key `ca`.
    pub fn to_our_own(ca: &Path, identity: Arc<Identity>, directory: &Path) -> Result<Self, FieldFault> {
        let roots = roots(&directory.join(ca)).map_err(|message| FieldFault::at("ca", message))?;
        Ok(Self { roots: Some(roots), proxy: None, identity: Some(identity) })
    }

    /// Whether it is the plain way: the machine's own authorities, no proxy.
    pub fn is_plain(&self) -> bool {
        self.roots.is_none() && self.proxy.is_none() && self.identity.is_none()
    }
}

/// Every certificate of a PEM file of authorities. One that can't be used is a fault: a bundle with a hole fails at the worst time. Faults are in
/// the operator's words.
///
/// # Errors
/// In an operator's words: the file can't be read, or holds no certificate.
pub fn authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let shown = path.display();
    let bytes = files::read_bounded(path, MAX_BUNDLE_KIB, "bundle of certificates")?;
    let mut roots = RootCertStore::empty();
    let mut certificates = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(&bytes) {
        let certificate: CertificateDer<'static> = certificate.map_err(|_| format!("{shown} is no PEM"))?;
        let place = certificates.len() + 1;
        let added = roots.add(certificate.clone());
        added.map_err(|_| format!("{shown}: certificate {place} can't be used as an authority"))?;
        certificates.push(certificate);
    }
    if certificates.is_empty() {
        return Err(format!(
            "{shown} holds no certificate in PEM{}",
            files::instead_of_pem(&bytes, Wanted::Certificate)
        ));
    }
    Ok(certificates)
}

fn roots(path: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(authorities(path)?);
    Ok(roots)
}

/// `http://host:port`, nothing else: what is behind the proxy is TLS, end to end.
fn proxy_address(text: &str) -> Result<Uri, &'static str> {
    const EXPECTED: &str = "expected the address of an HTTP proxy, such as \"http://proxy.internal:3128\"";
    let url = url::Url::parse(text).map_err(|_| EXPECTED)?;
    if !url.username().is_empty() || url.password().is_some() || text.contains('@') {
        return Err("an address holds no user name or password: give them as `credentials`");
    }
    if url.scheme() == "https" {
        return Err(
            "only proxies at http:// are supported; what goes through them is TLS from end to end all the same",
        );
    }
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    if url.scheme() != "http" || url.port_or_known_default().is_none() || !bare {
        return Err(EXPECTED);
    }
    url.as_str().parse().map_err(|_| EXPECTED)
}

/// RFC 7617, section 2.
fn basic(credentials: &Secret) -> Result<HeaderValue, &'static str> {
    // Goes to the proxy, in the CONNECT request alone.
    let text = std::str::from_utf8(credentials.expose()).map_err(|_| "the credentials are not UTF-8")?;
    if !text.contains(':') || text.chars().any(char::is_control) {
        return Err("expected `user:password` on one line");
    }
    let mut value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(text)))
        .map_err(|_| "expected `user:password` on one line")?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_an_http_address_and_nothing_more() {
        for good in ["http://proxy.internal:3128", "http://proxy.internal", "http://127.0.0.1:8080/", "http://[::1]:1"]
        {
            assert!(proxy_address(good).is_ok(), "{good}");
        }
        for wrong in [
            "",
            "proxy:3128",
            "https://proxy:3128",
            "socks5://proxy:1080",
            "http://user:password@proxy:3128",
            "http://@proxy:3128",
            "http://proxy/path",
            "http://proxy?q",
            "http://proxy#f",
            "http://",
        ] {
            assert!(proxy_address(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn credentials_are_a_name_and_a_password() {
        let basic = |text: &str| basic(&Secret::new(text.into()));
        // RFC 7617, section 2.
        assert_eq!(basic("Aladdin:open sesame").unwrap(), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert!(basic("Aladdin:open sesame").unwrap().is_sensitive());
        assert!(basic("Aladdin:").is_ok());
        for wrong in ["Aladdin", "a:b\nc"] {
            assert!(basic(wrong).is_err(), "{wrong:?}");
        }
    }
}

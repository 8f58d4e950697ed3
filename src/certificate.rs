//! A certificate with its key, as one side of a connection presents it ([RFC 5280](https://www.rfc-editor.org/rfc/rfc5280); [RFC 8446, section 4.4.2](https://www.rfc-editor.org/rfc/rfc8446#section-4.4.2)).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use schemars::JsonSchema;
use serde::Deserialize;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::files::{self, Wanted};
use crate::setting::FieldFault;

/// Larger than any chain or key; a bound so that a wrong path is refused and not read whole.
const MAX_KIB: u64 = 1024;

/// A certificate and its key, as a configuration names them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CertificateFiles {
    /// The certificate and those between it and the authority, in PEM, its own first.
    pub chain: PathBuf,
    /// The key of the first certificate, in PEM.
    pub key: PathBuf,
}

/// A chain and the key of its first certificate.
#[derive(Debug)]
pub struct Certificate {
    /// What a handshake needs.
    pub served: Arc<CertifiedKey>,
    /// The names for which it is good (subjectAltName, [RFC 5280, section 4.2.1.6](https://www.rfc-editor.org/rfc/rfc5280#section-4.2.1.6)), lower case; some may begin with `*.`.
    pub names: Vec<Box<str>>,
    /// It is good from here on.
    pub begins: Timestamp,
    /// It is good up to here.
    pub ends: Timestamp,
}

impl Certificate {
    /// Reads both files. `directory` is where relative paths start.
    ///
    /// # Errors
    /// Every fault at once, at `chain` or `key`: one can't be used, or the key belongs to another certificate. They name files, never their content.
    pub fn read(pair: &CertificateFiles, directory: &Path) -> Result<Self, Vec<FieldFault>> {
        let (chain_path, key_path) = (directory.join(&pair.chain), directory.join(&pair.key));
        let (chain, key) = match (chain(&chain_path), key(&key_path)) {
            (Ok(chain), Ok(key)) => (chain, key),
            (chain, key) => {
                let (chain, key) = (
                    chain.err().map(|fault| FieldFault::at("chain", fault)),
                    key.err().map(|fault| FieldFault::at("key", fault)),
                );
                return Err(chain.into_iter().chain(key).collect());
            }
        };
        let shown = chain_path.display();
        let leaf = chain.first().and_then(|leaf| X509Certificate::from_der(leaf).ok());
        let Some((_, leaf)) = leaf else {
            return Err(vec![FieldFault::at("chain", format!("{shown}: the first certificate can't be read"))]);
        };
        let (names, validity) = (names(&leaf), leaf.validity());
        let (begins, ends) = (validity.not_before.timestamp(), validity.not_after.timestamp());
        let served = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(|fault| {
            let key = key_path.display();
            vec![FieldFault::at(
                "key",
                match fault {
                    Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                        format!("{key} does not belong to the first certificate of {shown}")
                    }
                    _ => format!("{key}: this kind of key is not known"),
                },
            )]
        })?;
        let (begins, ends) = (Timestamp::from_secs(begins), Timestamp::from_secs(ends));
        Ok(Self { served: Arc::new(served), names, begins, ends })
    }
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let shown = path.display();
    let bytes = files::read_bounded(path, MAX_KIB, "certificate")?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        _ => Err(format!("{shown} holds no certificate in PEM{}", files::instead_of_pem(&bytes, Wanted::Certificate))),
    }
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let shown = path.display();
    let bytes = Zeroizing::new(files::read_bounded(path, MAX_KIB, "key")?);
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| {
        if memchr::memmem::find(&bytes, b"ENCRYPTED").is_some() {
            format!("{shown} is encrypted, and there is nowhere to give its password: decrypt it")
        } else {
            format!("{shown} holds no private key in PEM{}", files::instead_of_pem(&bytes, Wanted::Key))
        }
    })
}

fn names(leaf: &X509Certificate<'_>) -> Vec<Box<str>> {
    let Ok(Some(extension)) = leaf.subject_alternative_name() else { return Vec::new() };
    let names = extension.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase().into()),
        _ => None,
    });
    names.collect()
}

/// Who the other side of a connection is: the names in its certificate (subjectAltName: DNS names in lower case, URIs as they are), and when
/// the certificate ends. `None`: it can't be read.
pub fn identities(certificate: &CertificateDer<'_>) -> Option<(Vec<Box<str>>, Timestamp)> {
    let (_, leaf) = X509Certificate::from_der(certificate).ok()?;
    let mut all = names(&leaf);
    all.retain(|name| !name.contains("://"));
    if let Ok(Some(extension)) = leaf.subject_alternative_name() {
        all.extend(extension.value.general_names.iter().filter_map(|name| match name {
            // A URI that could pass for a host name is not ours.
            GeneralName::URI(uri) if uri.contains("://") => Some((*uri).into()),
            _ => None,
        }));
    }
    Some((all, Timestamp::from_secs(leaf.validity().not_after.timestamp())))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn pair() -> CertificateFiles {
        CertificateFiles { chain: "site.pem".into(), key: "site.key".into() }
    }

    /// A folder with a chain for these names and its key.
    fn folder(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params =
            CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        params.not_before = rcgen::date_time_ymd(2027, 1, 1);
        params.not_after = rcgen::date_time_ymd(2027, 4, 1);
        std::fs::write(folder.path().join("site.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        std::fs::write(folder.path().join("site.key"), key.serialize_pem()).unwrap();
        folder
    }

    fn fault(folder: &tempfile::TempDir) -> FieldFault {
        let faults = Certificate::read(&pair(), folder.path()).unwrap_err();
        let [fault] = faults.as_slice() else { panic!("{faults:?}") };
        FieldFault::at(&fault.path, fault.message.replace(folder.path().to_str().unwrap(), "DIR"))
    }

    #[test]
    fn names_and_dates_are_those_of_the_leaf() {
        let folder = folder(&["App.example.com", "*.example.com", "192.0.2.1"]);
        let certificate = Certificate::read(&pair(), folder.path()).unwrap();
        assert_eq!(certificate.names, ["app.example.com", "*.example.com"].map(Box::<str>::from));
        assert_eq!(certificate.begins.rfc3339(), "2027-01-01T00:00:00.000Z");
        assert_eq!(certificate.ends.rfc3339(), "2027-04-01T00:00:00.000Z");
    }

    #[test]
    fn a_key_of_another_certificate_is_told_apart_from_no_key() {
        let folder = folder(&["a.example"]);
        let key = folder.path().join("site.key");
        std::fs::write(&key, KeyPair::generate().unwrap().serialize_pem()).unwrap();
        assert_eq!(
            fault(&folder),
            FieldFault::at("key", "DIR/site.key does not belong to the first certificate of DIR/site.pem")
        );
        std::fs::write(&key, "no key").unwrap();
        assert_eq!(fault(&folder), FieldFault::at("key", "DIR/site.key holds no private key in PEM"));
        let locked = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA==\n-----END ENCRYPTED PRIVATE KEY-----\n";
        std::fs::write(&key, locked).unwrap();
        assert!(fault(&folder).message.contains("is encrypted"));
        std::fs::write(&key, "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n").unwrap();
        assert_eq!(fault(&folder), FieldFault::at("key", "DIR/site.key: this kind of key is not known"));
    }

    #[test]
    fn a_chain_that_is_none_is_named() {
        let folder = folder(&["a.example"]);
        let chain = folder.path().join("site.pem");
        std::fs::write(&chain, "text").unwrap();
        assert_eq!(fault(&folder), FieldFault::at("chain", "DIR/site.pem holds no certificate in PEM"));
        std::fs::write(&chain, "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n").unwrap();
        assert_eq!(fault(&folder), FieldFault::at("chain", "DIR/site.pem: the first certificate can't be read"));
        std::fs::remove_file(&chain).unwrap();
        assert_eq!(fault(&folder).path, "chain");
    }

    #[test]
    fn both_files_are_judged_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let faults = Certificate::read(&pair(), folder.path()).unwrap_err();
        assert_eq!(faults.iter().map(|fault| &*fault.path).collect::<Vec<_>>(), ["chain", "key"]);
    }
}

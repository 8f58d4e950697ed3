//! Which keys an entry of `keys` means, as a number.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use super::settings::{IssuerSettings, KeysSettings, SignatureAlgorithm};
use crate::files;
use crate::secret::SecretSource;

/// Of everything that decides which keys these are, and how they are had. The file of authorities counts with its content.
pub(super) fn fingerprint(
    issuer: &IssuerSettings,
    (keys, algorithms): (&KeysSettings, &[SignatureAlgorithm]),
    directory: &Path,
) -> u64 {
    let ca = issuer.ca.as_ref().and_then(|path| files::fingerprint(&directory.join(path)));
    let credentials = issuer.proxy.as_ref().and_then(|proxy| proxy.credentials()).and_then(|source| match source {
        SecretSource::File(path) => files::fingerprint(&directory.join(path)),
        SecretSource::Env(_) => None,
    });
    let text = format!("{:?} {keys:?} {algorithms:?} {:?} {:?}", issuer.issuer, issuer.ca, issuer.proxy);
    let mut hasher = DefaultHasher::new();
    (text, directory, ca, credentials).hash(&mut hasher);
    hasher.finish()
}

//! Keys that stand beside the configuration: a key set, a PEM file, a shared secret.

use std::path::PathBuf;

use super::key_set::{self, Reading};
use super::keys::{Key, KeyFault};
use super::pem;
use super::settings::SignatureAlgorithm;
use crate::files::{self, Wanted};
use crate::secret::{Secret, SecretSource};

/// Larger than any key file by two orders of magnitude; a bound so that a wrong path (a log, a device) is refused.
const MAX_FILE_KIB: u64 = 1024;

/// Where local keys stand. Paths are whole.
pub(super) enum Local {
    /// A JWK set.
    Set(PathBuf),
    /// A public key or certificate.
    Pem(PathBuf),
    /// A shared secret; relative paths start in the folder beside it.
    Secret(SecretSource, PathBuf),
}

impl Local {
    /// Reads the keys now. The fault names the setting and the place, never the content.
    pub(super) fn read(&self, algorithms: &[SignatureAlgorithm]) -> Result<Reading, String> {
        self.keys(algorithms).map_err(|fault| format!("keys.{}: {fault}", self.setting()))
    }

    /// A line for each key that is left out; or why there would be no key at all, without the name of the setting.
    pub(super) fn try_out(&self, algorithms: &[SignatureAlgorithm]) -> Result<Vec<String>, String> {
        self.keys(algorithms).map(|reading| reading.remarks)
    }

    fn setting(&self) -> &'static str {
        match self {
            Self::Set(_) => "jwks_file",
            Self::Pem(_) => "pem_file",
            Self::Secret(..) => "secret",
        }
    }

    fn keys(&self, algorithms: &[SignatureAlgorithm]) -> Result<Reading, String> {
        let one = |key| Reading { keys: vec![key], remarks: Vec::new(), foreign: Vec::new() };
        match self {
            Self::Set(path) => {
                let fault = |fault: &str| format!("{}: {fault}", path.display());
                let body = files::read_bounded(path, MAX_FILE_KIB, "key")?;
                let shown = path.display();
                is_key_set(&body).map_err(|wrong| format!("{shown} {wrong}{}", instead_of_set(&body)))?;
                let set = key_set::read_jwk_set(&body, algorithms)
                    .ok_or_else(|| fault(&format!("is no key set (RFC 7517){}", instead_of_set(&body))))?;
                // In a file of one's own each key is meant.
                let remarks: Vec<String> = set.remarks.into_iter().chain(set.foreign).collect();
                if set.keys.is_empty() {
                    let reasons = remarks.join("; ");
                    return Err(fault(format!("holds no key that can be used. {reasons}").trim_end()));
                }
                let remarks = remarks.iter().map(|line| fault(line)).collect();
                Ok(Reading { remarks, keys: set.keys, foreign: Vec::new() })
            }
            Self::Pem(path) => {
                let fault = |fault: &str| format!("{}: {fault}", path.display());
                let bytes = files::read_bounded(path, MAX_FILE_KIB, "key")?;
                let instead = files::instead_of_pem(&bytes, Wanted::PublicKey);
                let shown = path.display();
                if memchr::memmem::find(&bytes, b"-----BEGIN ").is_none() {
                    return Err(format!("{shown} is not PEM: it has no line `-----BEGIN …`{instead}"));
                }
                if memchr::memmem::find(&bytes, b"PRIVATE KEY-----").is_some() {
                    return Err(format!("{shown} holds a private key; only the public one belongs here"));
                }
                let key = pem::read(&bytes).map_err(|e| fault(&format!("{e}{instead}")))?;
                if !algorithms.iter().any(|algorithm| key.fits(*algorithm)) {
                    return Err(fault("the key serves none of the configured algorithms"));
                }
                Ok(one(key))
            }
            Self::Secret(source, directory) => {
                let secret = source.read(directory).map_err(|fault| fault.0)?;
                // Goes into the verifier of this issuer's tokens.
                Key::secret(secret.expose(), algorithms).map(one).map_err(|fault| secret_fault(fault, algorithms))
            }
        }
    }

    /// The file to watch, if it is one.
    pub(super) fn path(&self) -> Option<PathBuf> {
        match self {
            Self::Set(path) | Self::Pem(path) => Some(path.clone()),
            Self::Secret(SecretSource::File(path), directory) => Some(directory.join(path)),
            Self::Secret(SecretSource::Env(_), _) => None,
        }
    }
}

/// Why this secret can't serve the algorithms, in the operator's words.
pub(super) fn try_secret(secret: &Secret, algorithms: &[SignatureAlgorithm]) -> Result<(), String> {
    // Measured here, goes nowhere.
    Key::secret(secret.expose(), algorithms).map(drop).map_err(|fault| secret_fault(fault, algorithms))
}

fn secret_fault(fault: KeyFault, algorithms: &[SignatureAlgorithm]) -> String {
    let least = algorithms.iter().map(|algorithm| algorithm.min_secret_bytes()).max().unwrap_or(0);
    match fault {
        KeyFault::ShortSecret => format!("for these algorithms a secret has at least {least} bytes (RFC 7518)"),
        other => other.to_string(),
    }
}

/// A key set (RFC 7517, section 5) is a JSON object with a list `keys`.
fn is_key_set(body: &[u8]) -> Result<(), &'static str> {
    let set: serde_json::Value = serde_json::from_slice(body).map_err(|_| "is not JSON")?;
    match set.get("keys") {
        Some(serde_json::Value::Array(_)) => Ok(()),
        _ => Err("is no key set: it has no list `keys`"),
    }
}

/// To be said behind "is no key set": what it is instead, as far as it can be told.
fn instead_of_set(body: &[u8]) -> &'static str {
    if memchr::memmem::find(body, b"-----BEGIN ").is_some() {
        ": it is PEM; name it by `pem_file`"
    } else if serde_json::from_slice::<serde_json::Value>(body).is_ok_and(|key| key.get("kty").is_some()) {
        ": it is one key; put it into {\"keys\": […]}"
    } else if files::instead_of_pem(body, Wanted::PublicKey).contains("DER") {
        ": it is DER, and JSON is expected"
    } else {
        ""
    }
}

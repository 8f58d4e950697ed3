//! Files that the configuration names.

use std::path::Path;

use crate::files::{self, Wanted};
use crate::session::instead_of_set;

/// Larger than any key set or certificate; a bound so that a wrong path is refused and not read whole.
const MAX_KEY_FILE_KIB: u64 = 1024;

/// A line for operators if a secret's file can be read by more than its owner.
#[cfg(unix)]
pub(super) fn readable_by_others(path: &Path) -> Option<String> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(path).ok()?.permissions().mode();
    let shown = path.display();
    (mode & 0o044 != 0).then(|| format!("{shown}: this secret can be read by its group or by everyone; chmod 600 it"))
}

/// Elsewhere there are no such bits.
#[cfg(not(unix))]
pub(super) fn readable_by_others(_: &Path) -> Option<String> {
    None
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    files::read_bounded(path, MAX_KEY_FILE_KIB, "key file")
}

/// The file is a key set (RFC 7517, section 5): a JSON object with a list `keys`.
pub(super) fn key_set(path: &Path) -> Result<(), String> {
    let body = read(path)?;
    let instead = instead_of_set(&body);
    let set: serde_json::Value =
        serde_json::from_slice(&body).map_err(|_| format!("{} is not JSON{instead}", path.display()))?;
    match set.get("keys") {
        Some(serde_json::Value::Array(_)) => Ok(()),
        _ => Err(format!("{} is no key set: it has no list `keys`{instead}", path.display())),
    }
}

/// The file is PEM (RFC 7468).
pub(super) fn pem(path: &Path) -> Result<(), String> {
    let bytes = read(path)?;
    if memchr::memmem::find(&bytes, b"-----BEGIN ").is_none() {
        let instead = files::instead_of_pem(&bytes, Wanted::PublicKey);
        return Err(format!("{} is not PEM: it has no line `-----BEGIN …`{instead}", path.display()));
    }
    if memchr::memmem::find(&bytes, b"PRIVATE KEY-----").is_some() {
        return Err(format!("{} holds a private key; only the public one belongs here", path.display()));
    }
    Ok(())
}

//! Files that the configuration names.

use std::path::Path;

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

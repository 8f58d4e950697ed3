//! Files that are read again when they change: by looking at them, for a renamed or remounted file tells no watcher.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What tells one version of a file from the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Version {
    modified: Option<SystemTime>,
    length: u64,
    inode: u64,
}

/// The files that are looked at.
#[derive(Debug)]
pub struct Watch {
    files: Vec<(PathBuf, Option<Version>)>,
}

impl Watch {
    /// Takes note of the files as they are now.
    pub fn new(files: impl IntoIterator<Item = PathBuf>) -> Self {
        Self {
            files: files
                .into_iter()
                .map(|path| (version(&path), path))
                .map(|(version, path)| (path, version))
                .collect(),
        }
    }

    /// Whether any file is another one than when last asked. A file that is gone for a moment has not changed: it is being replaced.
    pub fn changed(&mut self) -> bool {
        let mut changed = false;
        for (path, known) in &mut self.files {
            let now = version(path);
            if now.is_some() && now != *known {
                *known = now;
                changed = true;
            }
        }
        changed
    }
}

/// Reads a whole file of at most `max_kib` KiB. A fault names the path, never the content; `kind` is what the file should have been.
pub fn read_bounded(path: &Path, max_kib: u64, kind: &str) -> Result<Vec<u8>, String> {
    let shown = path.display();
    let meta = std::fs::metadata(path).map_err(|fault| format!("{shown}: {fault}"))?;
    if !meta.is_file() {
        return Err(format!("{shown} is not a file"));
    }
    if meta.len() > max_kib * 1024 {
        let bound =
            if max_kib.is_multiple_of(1024) { format!("{} MiB", max_kib / 1024) } else { format!("{max_kib} KiB") };
        return Err(format!("{shown} is larger than {bound}; that is no {kind}"));
    }
    std::fs::read(path).map_err(|fault| format!("{shown}: {fault}"))
}

/// Removes a file that nobody uses any more.
pub fn remove(path: &Path) -> std::io::Result<()> {
    std::fs::remove_file(path)
}

fn version(path: &Path) -> Option<Version> {
    use std::os::unix::fs::MetadataExt;
    let meta = std::fs::metadata(path).ok()?;
    Some(Version { modified: meta.modified().ok(), length: meta.len(), inode: meta.ino() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_up_to_its_bound_and_a_fault_names_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let read = || read_bounded(&path, 1, "key").map_err(|fault| fault.replace(path.to_str().unwrap(), "PATH"));
        assert!(read().unwrap_err().starts_with("PATH: "));
        std::fs::write(&path, [0; 1024]).unwrap();
        assert_eq!(read().unwrap().len(), 1024);
        std::fs::write(&path, [0; 1025]).unwrap();
        assert_eq!(read(), Err("PATH is larger than 1 KiB; that is no key".into()));
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert_eq!(read(), Err("PATH is not a file".into()));
    }

    #[test]
    fn a_file_that_is_replaced_has_changed_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        std::fs::write(&path, "one").unwrap();
        let mut watch = Watch::new([path.clone()]);
        assert!(!watch.changed());
        std::fs::remove_file(&path).unwrap();
        assert!(!watch.changed());
        std::fs::write(&path, "two and more").unwrap();
        assert!(watch.changed());
        assert!(!watch.changed());
    }
}

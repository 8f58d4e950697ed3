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

/// Reads a whole file of at most `max_kib` KiB. A fault names the path, never the content; `kind` is what the file should have been. A text with
/// a mark of an editor before it is refused: the first line would be another than one sees.
///
/// # Errors
/// In an operator's words: the file can't be read, or is larger.
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
    let bytes = std::fs::read(path).map_err(|fault| format!("{shown}: {fault}"))?;
    match mark(&bytes) {
        Some(mark) => Err(format!("{shown} {mark}")),
        None => Ok(bytes),
    }
}

/// What an editor has put before a text, or made of all of it, in the operator's words.
pub fn mark(bytes: &[u8]) -> Option<&'static str> {
    if bytes.starts_with(b"\xef\xbb\xbf") {
        return Some("begins with a byte order mark: save it as UTF-8 without one");
    }
    // Two random bytes are no mark; with every other byte zero they are.
    let wide = |text: &[u8], at: usize| text.len() > 2 && text[2..].iter().skip(at).step_by(2).take(8).all(|b| *b == 0);
    let utf_16 =
        (bytes.starts_with(b"\xff\xfe") && wide(bytes, 1)) || (bytes.starts_with(b"\xfe\xff") && wide(bytes, 0));
    utf_16.then_some("is UTF-16: save it as UTF-8")
}

/// What a PEM file should hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Certificates.
    Certificate,
    /// A private key.
    Key,
    /// A public key, or a certificate with one.
    PublicKey,
}

/// To be said behind "holds no … in PEM": what it is instead, as far as can be told.
pub fn instead_of_pem(bytes: &[u8], wanted: Wanted) -> &'static str {
    let holds = |text: &str| memchr::memmem::find(bytes, text.as_bytes()).is_some();
    match (wanted, holds("-----BEGIN CERTIFICATE-----"), holds("PRIVATE KEY-----")) {
        (Wanted::Certificate, false, true) => return ": it holds a private key",
        (Wanted::Key, true, false) => return ": it holds a certificate",
        _ => {}
    }
    // ITU-T X.690: a sequence, whose length follows in one to three bytes.
    let inside = match bytes {
        [0x30, 0x82, high, low, inside @ ..] if usize::from(*high) * 256 + usize::from(*low) == inside.len() => inside,
        [0x30, 0x81, length, inside @ ..] if usize::from(*length) == inside.len() => inside,
        [0x30, length, inside @ ..] if *length < 0x80 && usize::from(*length) == inside.len() => inside,
        _ if bytes.starts_with(b"ssh-") || bytes.starts_with(b"ecdsa-sha2-") => {
            return ": it is a key of SSH; write it with `ssh-keygen -e -m PKCS8`";
        }
        _ if bytes.trim_ascii_start().starts_with(b"{") => return ": it is JSON",
        _ => return "",
    };
    // RFC 7292, section 4: version 3, then what is inside.
    if inside.starts_with(&[2, 1, 3, 0x30]) {
        return ": it is PKCS #12; take certificate and key out of it with `openssl pkcs12 -nodes`";
    }
    ": it is DER; write it as PEM with `openssl x509 -inform der` (a certificate) or `openssl pkey -inform der` (a key)"
}

/// Tells whether a file is another one: a hash of its content, `None` where it can't be read.
pub fn fingerprint(path: &Path) -> Option<u64> {
    std::fs::read(path).ok().map(|content| fingerprint_of(&content))
}

/// The fingerprint of a content that was read already.
pub fn fingerprint_of(content: &[u8]) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    hasher.finish()
}

/// Lets everybody connect to a socket, as far as its folder lets them: mode 0666.
///
/// # Errors
/// The mode can't be set.
pub fn let_everybody_connect(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))
}

/// Lets this user alone connect to a socket: mode 0600.
///
/// # Errors
/// The mode can't be set.
pub fn let_nobody_else_connect(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
}

/// Checks that nobody but this user and root can put anything in this file's folder, or something else in its place.
///
/// # Errors
/// Others can write into the folder, or it can't be looked at.
pub fn check_private_folder(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let meta = std::fs::metadata(folder)?;
    let (shown, own) = (folder.display(), rustix::process::geteuid().as_raw());
    if meta.uid() != own && meta.uid() != 0 {
        return Err(std::io::Error::other(format!("the folder {shown} is another user's")));
    }
    if meta.mode() & 0o022 != 0 {
        return Err(std::io::Error::other(format!("others can write into the folder {shown}: make it 0700")));
    }
    Ok(())
}

/// The user whose socket it is; `None`: it is no socket, which may be a link.
///
/// # Errors
/// The path can't be looked at.
pub fn socket_owner(path: &Path) -> std::io::Result<Option<u32>> {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let meta = std::fs::symlink_metadata(path)?;
    Ok(meta.file_type().is_socket().then(|| meta.uid()))
}

/// Removes a file that nobody uses any more.
///
/// # Errors
/// It can't be removed.
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
    fn a_mark_of_an_editor_is_named_and_a_random_key_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let read = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            read_bounded(&path, 1, "key").map(drop).map_err(|fault| fault.replace(path.to_str().unwrap(), "PATH"))
        };
        let marked = Err("PATH begins with a byte order mark: save it as UTF-8 without one".to_owned());
        assert_eq!(read(b"\xef\xbb\xbfsecret"), marked);
        assert_eq!(read(b"\xff\xfes\0e\0c\0"), Err("PATH is UTF-16: save it as UTF-8".into()));
        assert_eq!(read(b"\xfe\xff\0s\0e\0c"), Err("PATH is UTF-16: save it as UTF-8".into()));
        assert_eq!(read(b"\xff\xfe\x07\x92\x11\x13"), Ok(()));
        assert_eq!(read(b"\xff\xfe"), Ok(()));
    }

    #[test]
    fn what_stands_in_place_of_pem_is_named() {
        let der = |inside: &[u8]| [&[0x30, u8::try_from(inside.len()).unwrap()], inside].concat();
        for (bytes, part) in [
            (der(&[2, 1, 0, 4, 1, 7]), "it is DER"),
            ([&[0x30, 0x82, 1, 0][..], &[5; 256]].concat(), "it is DER"),
            (der(&[2, 1, 3, 0x30, 0]), "PKCS #12"),
            (b"ssh-ed25519 AAAA ada@host".to_vec(), "SSH"),
            (b" {\"keys\": []}".to_vec(), "JSON"),
        ] {
            assert!(instead_of_pem(&bytes, Wanted::PublicKey).contains(part), "{part}");
        }
        for bytes in [&b"text"[..], b"", b"0", &[0x30, 5, 1]] {
            assert_eq!(instead_of_pem(bytes, Wanted::Certificate), "", "{bytes:?}");
        }
        let (key, chain) =
            (b"-----BEGIN EC PRIVATE KEY-----\n".as_slice(), b"-----BEGIN CERTIFICATE-----\n".as_slice());
        assert_eq!(instead_of_pem(key, Wanted::Certificate), ": it holds a private key");
        assert_eq!(instead_of_pem(chain, Wanted::Key), ": it holds a certificate");
        for (bytes, wanted) in [(key, Wanted::Key), (chain, Wanted::Certificate), (key, Wanted::PublicKey)] {
            assert_eq!(instead_of_pem(bytes, wanted), "", "what is wanted is there, and can't be read");
        }
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

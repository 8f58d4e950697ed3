//! The one type of what must not be seen, and where secrets come from.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretSlice};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::{Deserialize, Deserializer, de};
use zeroize::Zeroize;

use crate::files;

/// Larger than any key one would keep in a file; a bound so that a wrong path (a log, a device) is refused.
const MAX_SECRET_KIB: u64 = 64;

/// Bytes that must not be seen: an API key, a signing secret. No `Display`, `Deref`, `Serialize`, and its `Debug` says nothing. Zeroed on drop.
pub struct Secret(SecretSlice<u8>);

impl Secret {
    /// Takes the bytes as they are. Whatever they were in is zeroed.
    pub fn new(mut bytes: Vec<u8>) -> Self {
        // Of exact size: a vector with room to spare would be moved, and what it was moved from not zeroed.
        let exact = SecretSlice::from(bytes.as_slice().to_vec());
        bytes.zeroize();
        Self(exact)
    }

    /// The only way out. Each caller says where the value goes.
    pub fn expose(&self) -> &[u8] {
        self.0.expose_secret()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Where a secret stands: a file (one line end at its end is not part of it) or an environment variable.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SecretSource {
    /// Path of a file, relative to the configuration.
    File(PathBuf),
    /// Name of an environment variable.
    Env(String),
}

/// One secret, or the current one and its successor.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(untagged)]
pub enum SecretSources {
    /// One.
    One(SecretSource),
    /// Two, in the order in which they are tried.
    List(Vec<SecretSource>),
}

impl SecretSources {
    /// The sources in the order in which they are tried.
    pub fn as_slice(&self) -> &[SecretSource] {
        match self {
            Self::One(source) => std::slice::from_ref(source),
            Self::List(list) => list,
        }
    }
}

/// By hand, so that a fault names the key and not the Rust enum, and so that a key written in place of its source is never repeated.
impl<'de> Deserialize<'de> for SecretSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Raw {
            file: Option<PathBuf>,
            env: Option<String>,
        }
        match Raw::deserialize(deserializer)? {
            Raw { file: Some(path), env: None } => Ok(Self::File(path)),
            Raw { file: None, env: Some(name) } => Ok(Self::Env(name)),
            _ => Err(de::Error::custom("expected exactly one of `file` and `env`")),
        }
    }
}

impl<'de> Deserialize<'de> for SecretSources {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = SecretSources;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(r#"{ file = "…" } or { env = "NAME" }, or a list of two"#)
            }
            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<SecretSources, A::Error> {
                SecretSource::deserialize(MapAccessDeserializer::new(map)).map(SecretSources::One)
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, list: A) -> Result<SecretSources, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(SecretSources::List)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// Why a secret can't be had, in the operator's words. Names the place, never the content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretFault(pub String);

impl SecretSource {
    /// Reads it now. `directory` is where relative paths start.
    ///
    /// # Errors
    /// The place can't be read, or holds no secret. The secret is never in it.
    pub fn read(&self, directory: &Path) -> Result<Secret, SecretFault> {
        let mut bytes = match self {
            Self::File(path) => {
                files::read_bounded(&directory.join(path), MAX_SECRET_KIB, "secret").map_err(SecretFault)?
            }
            #[allow(clippy::disallowed_methods, reason = "the door: a secret's source may be the environment")]
            Self::Env(name) => match std::env::var(name) {
                Ok(value) if value.starts_with('\u{feff}') => {
                    return Err(SecretFault(format!("the environment variable {name} begins with a byte order mark")));
                }
                Ok(value) => value.into_bytes(),
                Err(std::env::VarError::NotPresent) => {
                    return Err(SecretFault(format!("the environment variable {name} is not set")));
                }
                Err(std::env::VarError::NotUnicode(_)) => {
                    return Err(SecretFault(format!("the environment variable {name} is not UTF-8")));
                }
            },
        };
        if bytes.ends_with(b"\n") {
            bytes.pop();
            if bytes.ends_with(b"\r") {
                bytes.pop();
            }
        }
        if bytes.is_empty() {
            bytes.zeroize();
            return Err(SecretFault(match self {
                Self::File(path) => format!("{} is empty", directory.join(path).display()),
                Self::Env(name) => format!("the environment variable {name} is empty"),
            }));
        }
        Ok(Secret::new(bytes))
    }
}

/// A secret that is read again when its file changes or on SIGHUP. A reading that fails keeps the one before.
#[derive(Debug)]
pub struct SecretCell {
    source: SecretSource,
    directory: PathBuf,
    current: ArcSwap<Secret>,
}

impl SecretCell {
    /// Reads the secret for the first time.
    ///
    /// # Errors
    /// As those of [`SecretSource::read`].
    pub fn open(source: SecretSource, directory: &Path) -> Result<Self, SecretFault> {
        let current = ArcSwap::from_pointee(source.read(directory)?);
        Ok(Self { source, directory: directory.to_owned(), current })
    }

    /// The secret as last read.
    pub fn current(&self) -> Arc<Secret> {
        self.current.load_full()
    }

    /// Reads it again: `Ok(true)` if it has changed. `accept` looks at the new one before it takes the old one's place.
    ///
    /// # Errors
    /// The place can't be read, or `check` refuses what is there; the secret before stays.
    pub fn reread(&self, accept: impl Fn(&Secret) -> Result<(), &'static str>) -> Result<bool, SecretFault> {
        let fresh = self.source.read(&self.directory)?;
        accept(&fresh).map_err(|fault| SecretFault(fault.to_owned()))?;
        // Compared here, goes nowhere.
        if fresh.expose() == self.current.load().expose() {
            return Ok(false);
        }
        self.current.store(Arc::new(fresh));
        Ok(true)
    }

    /// Reads it, and keeps the value that it has. What [`Self::reread`] would say.
    ///
    /// # Errors
    /// As those of [`Self::reread`].
    pub fn try_reread(&self, accept: impl Fn(&Secret) -> Result<(), &'static str>) -> Result<(), SecretFault> {
        accept(&self.source.read(&self.directory)?).map_err(|fault| SecretFault(fault.to_owned()))
    }

    /// Whether it stands in the same place as that of the other cell.
    pub fn is_like(&self, other: &Self) -> bool {
        self.source == other.source && self.directory == other.directory
    }

    /// Takes the value of a cell that was read later; `true` if it is another one.
    pub fn take(&self, fresh: &Self) -> bool {
        // Compared here, goes nowhere.
        let changed = fresh.current.load().expose() != self.current.load().expose();
        if changed {
            self.current.store(fresh.current());
        }
        changed
    }

    /// The file behind it, if it is one.
    pub fn path(&self) -> Option<PathBuf> {
        match &self.source {
            SecretSource::File(path) => Some(self.directory.join(path)),
            SecretSource::Env(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(content: &str) -> (tempfile::TempDir, SecretSource) {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("key"), content).unwrap();
        (directory, SecretSource::File("key".into()))
    }

    #[test]
    fn one_line_end_is_not_part_of_the_secret() {
        for (content, secret) in [("abc\n", "abc"), ("abc\r\n", "abc"), ("abc\n\n", "abc\n"), (" abc ", " abc ")] {
            let (directory, source) = written(content);
            assert_eq!(source.read(directory.path()).unwrap().expose(), secret.as_bytes());
        }
    }

    #[test]
    fn an_empty_or_absent_secret_is_a_fault_that_names_the_file() {
        let (directory, source) = written("\n");
        assert!(source.read(directory.path()).unwrap_err().0.ends_with("key is empty"));
        let absent = SecretSource::File("absent".into());
        assert!(absent.read(directory.path()).unwrap_err().0.contains("absent"));
    }

    #[test]
    fn debug_says_nothing() {
        assert_eq!(format!("{:?}", Secret::new(b"canary".to_vec())), "Secret(…)");
    }

    #[test]
    fn a_secret_is_reread_and_a_failing_read_keeps_the_old_one() {
        let (directory, source) = written("one");
        let cell = SecretCell::open(source, directory.path()).unwrap();
        let any = |_: &Secret| Ok(());
        assert!(!cell.reread(any).unwrap());
        std::fs::write(directory.path().join("key"), "two").unwrap();
        assert!(cell.reread(any).unwrap());
        std::fs::write(directory.path().join("key"), "three").unwrap();
        assert!(cell.reread(|_| Err("no such key")).is_err());
        std::fs::remove_file(directory.path().join("key")).unwrap();
        assert!(cell.reread(any).is_err());
        assert_eq!(cell.current().expose(), b"two");
    }
}

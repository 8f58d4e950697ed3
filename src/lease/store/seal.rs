//! Seals what leaves the process (authenticated encryption), under names that say nothing.

use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::{digest, hmac};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use crate::lease::key::LeaseKey;
use crate::secret::{Secret, SecretCell};

/// The form of what is sealed; another form has another first byte.
const FORM: u8 = 1;

/// Bytes that tell which key sealed.
const ID: usize = 4;

/// Bytes of a keyed hash that make a name: enough that no two names meet.
pub(super) const NAME: usize = 24;

/// A seal key as it stands in its file: 32 bytes in base64.
///
/// # Errors
/// In an operator's words: no key of the length that is expected.
pub fn check_key(secret: &Secret) -> Result<(), &'static str> {
    bytes(secret).map(drop).ok_or("expected 32 random bytes in base64, such as `openssl rand -base64 32` prints")
}

fn bytes(secret: &Secret) -> Option<Zeroizing<[u8; 32]>> {
    // Goes into the cipher and the keyed hash.
    let text = secret.expose();
    let mut key = Zeroizing::new([0; 32]);
    let decoded = Zeroizing::new(STANDARD.decode(text.trim_ascii()).ok()?);
    (decoded.len() == key.len()).then(|| key.copy_from_slice(&decoded))?;
    Some(key)
}

/// The keys: the first seals, all open. Read again while the process runs.
pub struct SealingKeys {
    cells: Vec<Arc<SecretCell>>,
    /// Under which names are made, if it is one of its own; else the last seal key, which a rotation leaves in its place.
    names: Option<Arc<SecretCell>>,
}

/// The names of a lease in a store: keyed hashes, for people who must not learn whose they are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Name {
    /// Names one person at one plug-in.
    pub owner: [u8; NAME],
    /// Names one of this person's URLs.
    pub variant: [u8; NAME],
}

impl Name {
    /// As text.
    pub fn owner_text(&self) -> String {
        text(&self.owner)
    }

    /// As text.
    pub fn variant_text(&self) -> String {
        text(&self.variant)
    }
}

/// One part of a name as text.
pub(super) fn text(part: &[u8; NAME]) -> String {
    URL_SAFE_NO_PAD.encode(part)
}

impl SealingKeys {
    /// At least one key; each has passed [`check_key`].
    pub fn new(cells: Vec<Arc<SecretCell>>, names: Option<Arc<SecretCell>>) -> Self {
        Self { cells, names }
    }

    /// The name of a lease.
    pub fn name(&self, key: &LeaseKey) -> Option<Name> {
        Some(Name {
            owner: self.hash("owner", &[key.owner()])?,
            variant: self.hash("variant", &[key.owner(), key.variant()])?,
        })
    }

    /// The name of an owner.
    pub fn owner(&self, owner: &[u8]) -> Option<[u8; NAME]> {
        self.hash("owner", &[owner])
    }

    /// The name of a revocation.
    pub(super) fn revocation(&self, whole: &[u8]) -> Option<[u8; NAME]> {
        self.hash("revocation", &[whole])
    }

    fn hash(&self, what: &str, parts: &[&[u8]]) -> Option<[u8; NAME]> {
        let cell = self.names.as_ref().or(self.cells.last())?;
        let key = bytes(&cell.current())?;
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &*key));
        for part in [b"valet name 1".as_slice(), what.as_bytes()].iter().chain(parts) {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut name = [0; NAME];
        name.copy_from_slice(context.sign().as_ref().get(..NAME)?);
        Some(name)
    }

    /// Seals `plain`; it opens for the same `place` only.
    pub fn seal(&self, place: &[u8], plain: &[u8]) -> Option<Vec<u8>> {
        let key = bytes(&self.cells.first()?.current())?;
        let cipher = RandomizedNonceKey::new(&AES_256_GCM, &*key).ok()?;
        let mut sealed = Zeroizing::new(plain.to_vec());
        let nonce = cipher.seal_in_place_append_tag(Aad::from(place), &mut *sealed).ok()?;
        let mut out = Vec::with_capacity(1 + ID + NONCE_LEN + sealed.len());
        out.push(FORM);
        out.extend_from_slice(&id(&key));
        out.extend_from_slice(nonce.as_ref());
        out.extend_from_slice(&sealed);
        Some(out)
    }

    /// Opens what was sealed for this place, by whichever key; `None`: it was not, or the key is gone.
    pub fn open(&self, place: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (form, rest) = sealed.split_first()?;
        let (requirement, rest) = rest.split_at_checked(ID)?;
        let (nonce, body) = rest.split_at_checked(NONCE_LEN)?;
        if *form != FORM {
            return None;
        }
        let keys = self.cells.iter().filter_map(|cell| bytes(&cell.current()));
        keys.filter(|key| id(key) == requirement).find_map(|key| {
            let cipher = RandomizedNonceKey::new(&AES_256_GCM, &*key).ok()?;
            let mut plain = Zeroizing::new(body.to_vec());
            let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
            let length = cipher.open_in_place(nonce, Aad::from(place), &mut plain).ok()?.len();
            plain.truncate(length);
            Some(plain)
        })
    }
}

/// Tells a holder of the key which key it is, and others nothing.
fn id(key: &[u8; 32]) -> [u8; ID] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(b"valet seal key 1");
    context.update(key);
    let mut id = [0; ID];
    id.copy_from_slice(&context.finish().as_ref()[..ID]);
    id
}

/// Where a lease is at home: what is sealed for it opens for it only.
pub(super) fn place(key: &LeaseKey) -> Vec<u8> {
    let mut place = b"valet lease 1".to_vec();
    for part in [key.owner(), key.variant()] {
        place.extend_from_slice(&(part.len() as u64).to_be_bytes());
        place.extend_from_slice(part);
    }
    place
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::SecretSource;

    fn cell(folder: &tempfile::TempDir, name: &str, byte: u8) -> Arc<SecretCell> {
        std::fs::write(folder.path().join(name), STANDARD.encode([byte; 32])).unwrap();
        Arc::new(SecretCell::open(SecretSource::File(name.into()), folder.path()).unwrap())
    }

    #[test]
    fn what_is_sealed_opens_in_its_own_place_and_in_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let sealing_keys = SealingKeys::new(vec![cell(&folder, "a", 1)], None);
        let (ada, bob) = (LeaseKey::raw("ada", "en"), LeaseKey::raw("bob", "en"));
        let sealed = sealing_keys.seal(&place(&ada), b"https://x/").unwrap();
        assert_eq!(&**sealing_keys.open(&place(&ada), &sealed).unwrap(), b"https://x/");
        assert!(sealing_keys.open(&place(&bob), &sealed).is_none());
        assert!(sealing_keys.open(&place(&LeaseKey::raw("adae", "n")), &sealed).is_none());
        for at in 0..sealed.len() {
            let mut bent = sealed.clone();
            bent[at] ^= 1;
            assert!(sealing_keys.open(&place(&ada), &bent).is_none(), "byte {at}");
            assert!(sealing_keys.open(&place(&ada), &sealed[..at]).is_none(), "the first {at} bytes");
        }
        assert_ne!(sealed, sealing_keys.seal(&place(&ada), b"https://x/").unwrap(), "each has a nonce of its own");
    }

    #[test]
    fn a_rotation_loses_neither_names_nor_leases() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (cell(&folder, "old", 1), cell(&folder, "new", 2));
        let key = LeaseKey::raw("ada", "en");
        let before = SealingKeys::new(vec![old.clone()], None);
        let during = SealingKeys::new(vec![new.clone(), old.clone()], None);
        let sealed = before.seal(&place(&key), b"x").unwrap();
        assert_eq!(before.name(&key), during.name(&key));
        assert!(during.open(&place(&key), &sealed).is_some());
        let fresh = during.seal(&place(&key), b"x").unwrap();
        assert!(before.open(&place(&key), &fresh).is_none(), "the first key seals");
        // With a key of their own names outlive the old seal key, too.
        let named = SealingKeys::new(vec![new.clone(), old], Some(new.clone()));
        assert_eq!(named.name(&key), SealingKeys::new(vec![new.clone()], Some(new)).name(&key));
        assert!(named.open(&place(&key), &fresh).is_some());
    }

    #[test]
    fn names_differ_as_keys_do_and_say_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let sealing_keys = SealingKeys::new(vec![cell(&folder, "a", 1)], None);
        let name = |owner, variant| sealing_keys.name(&LeaseKey::raw(owner, variant)).unwrap();
        assert_eq!(name("ada", "en").owner, name("ada", "nl").owner);
        assert_ne!(name("ada", "en").variant, name("ada", "nl").variant);
        assert_ne!(name("ada", "en").owner, name("bob", "en").owner);
        assert_ne!(name("ab", "c").variant, name("a", "bc").variant);
        // With letters that no hash has: a short one such as `ada` comes by chance.
        let canary = "canary-owner!@example.com";
        assert!(!name(canary, "en").owner_text().contains(canary));
    }

    #[test]
    fn a_key_is_32_bytes_in_base64() {
        assert_eq!(check_key(&Secret::new(STANDARD.encode([7; 32]).into())), Ok(()));
        for wrong in [STANDARD.encode([7; 31]), STANDARD.encode([7; 33]), "a-key".into(), "x".repeat(32)] {
            assert!(check_key(&Secret::new(wrong.clone().into())).is_err(), "{wrong}");
        }
    }
}

//! Keyed hashes of names: for eyes that must not learn them, and as keys of look-ups.

use aws_lc_rs::{digest, hmac};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::Sessions;
use super::json::Object;

impl Sessions {
    /// The keyed hash that stands for a subject where people look. `issuer` is the namespace.
    pub fn log_id(&self, issuer: &str, subject: &str) -> Box<str> {
        self.names_of(issuer, subject).0
    }

    /// The beginning of the same hash, as a key of look-ups. `issuer` is the namespace.
    pub(crate) fn person(&self, issuer: &str, subject: &str) -> [u8; 16] {
        short(&self.subject_hash(issuer, subject))
    }

    /// [`Self::log_id`] and [`Self::person`], of one hash.
    pub(super) fn names_of(&self, issuer: &str, subject: &str) -> (Box<str>, [u8; 16]) {
        let hash = self.subject_hash(issuer, subject);
        (URL_SAFE_NO_PAD.encode(hash).into(), short(&hash))
    }

    pub(super) fn subject_hash(&self, issuer: &str, subject: &str) -> hmac::Tag {
        keyed(&self.subject_key, issuer, 0, subject)
    }

    /// The name at vendors of a subject, as far as it is known without a token; `None`: it needs a claim, or could be another person's.
    pub fn external_id_of(&self, namespace: &str, subject: &str) -> Option<Box<str>> {
        let issuer = self.issuers.iter().find(|known| *known.name == *namespace)?;
        let name = issuer.name(subject, &Object::default())?;
        name.fault.is_none().then_some(name.text)
    }

    /// Forgets a person's verified tokens.
    pub fn forget_tokens(&self, namespace: &str, subject: &str) {
        let person = self.person(namespace, subject);
        self.retain_cached(|session| *session.person() != person);
    }
}

/// The keyed hash of a name. `kind` 0 is a person's; others are told apart by their number.
pub(super) fn keyed(key: &hmac::Key, issuer: &str, kind: u8, name: &str) -> hmac::Tag {
    let mut context = hmac::Context::with_key(key);
    context.update(issuer.as_bytes());
    context.update(&[kind]);
    context.update(name.as_bytes());
    context.sign()
}

/// SHA-256 of a token.
pub(super) fn sha256(token: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, token).as_ref());
    hash
}

/// The beginning of a hash.
pub(super) fn short(hash: &hmac::Tag) -> [u8; 16] {
    let mut key = [0; 16];
    let length = key.len();
    key.copy_from_slice(&hash.as_ref()[..length]);
    key
}

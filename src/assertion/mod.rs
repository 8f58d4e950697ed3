//! A signed word on a session, for apps that must not trust the network: a JWT that says who a request is from ([RFC 7519](https://www.rfc-editor.org/rfc/rfc7519)), and the keys that it is
//! verified by ([RFC 7517](https://www.rfc-editor.org/rfc/rfc7517)).

pub mod settings;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prometheus::IntCounter;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::secret::Secret;
use crate::session::Session;

/// No signer has the number of another, also of one before a reload: what it signed is not taken for this one's.
static SIGNERS: AtomicU64 = AtomicU64::new(1);

/// Why a key can't sign, in the operator's words.
pub const BAD_KEY: &str = "expected a private key of the curve P-256 in PEM, not encrypted, as `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256` writes it (PKCS #8)";

/// Signs assertions with the first key; publishes all.
pub struct Signer {
    number: u64,
    issuer: Box<str>,
    life: Duration,
    key: Key,
    key_set: Box<str>,
}

/// One private key, and its public half as it is published.
struct Key {
    pair: EcdsaKeyPair,
    /// Its thumbprint (RFC 7638).
    id: Box<str>,
    public: Value,
}

/// What one app is told.
pub struct Audience {
    /// Its number among the apps.
    pub number: u32,
    /// `aud`.
    pub name: Box<str>,
    /// Names of claims, and their places in [`Session::assertable`].
    pub claims: Vec<(Box<str>, usize)>,
    /// `valet_assertions_signed_total`.
    pub signed: IntCounter,
}

impl Signer {
    /// `issuer`: `server.public_url`. `keys`: in the order of the configuration, at least one.
    ///
    /// # Errors
    ///
    /// The place of the first key that can't sign ES256; 0 where there is none.
    pub fn new(issuer: &str, life: Duration, keys: &[Secret]) -> Result<Self, usize> {
        let keys = keys.iter().enumerate().map(|(place, key)| Key::read(key).ok_or(place));
        let mut keys = keys.collect::<Result<Vec<Key>, usize>>()?;
        let public: Vec<Value> = keys.iter().map(|key| key.public.clone()).collect();
        if keys.is_empty() {
            return Err(0);
        }
        Ok(Self {
            number: SIGNERS.fetch_add(1, Ordering::Relaxed),
            issuer: issuer.into(),
            life,
            key: keys.swap_remove(0),
            key_set: json!({ "keys": public }).to_string().into(),
        })
    }

    /// The public halves of all keys, as a JWK set ([RFC 7517, section 5](https://www.rfc-editor.org/rfc/rfc7517#section-5)).
    pub fn key_set(&self) -> &str {
        &self.key_set
    }

    /// A word on this session for this audience: the kept one while half of its life is left, else a new one. `None`: the session is about to end, or
    /// the machine has no randomness.
    pub fn assertion(&self, session: &Session, audience: &Audience, now: Timestamp) -> Option<Arc<str>> {
        if let Some(kept) = session.signed().get(self.number, audience.number, now) {
            return Some(kept);
        }
        let ends = now.plus(self.life).min(session.ends());
        let signed: Arc<str> = self.sign(session, audience, now, ends)?.into();
        audience.signed.inc();
        // With less than half of its life an app whose clock is behind, or that is slow, would find it ended.
        let until = now.plus(ends.since(now) / 2);
        session.signed().put(self.number, audience.number, (now, until), signed.clone());
        Some(signed)
    }

    fn sign(&self, session: &Session, audience: &Audience, now: Timestamp, ends: Timestamp) -> Option<String> {
        let (issued, expires) = (now.as_secs(), ends.as_secs());
        if expires <= issued {
            return None;
        }
        let told = audience.claims.iter().filter_map(|(name, place)| {
            let value = session.assertable().get(*place)?.as_deref()?;
            Some((name.to_string(), serde_json::from_str(value).ok()?))
        });
        let mut claims = json!({
            "iss": self.issuer,
            "aud": audience.name,
            "sub": session.subject(),
            "idp": session.issuer(),
            "iat": issued,
            "exp": expires,
            "jti": Uuid::new_v4().to_string(),
            "claims": told.collect::<Map<String, Value>>(),
        });
        if let Some(id) = session.session_id() {
            claims["sid"] = id.into();
        }
        let header = json!({ "alg": "ES256", "typ": "valet+jwt", "kid": self.key.id });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let mut token = format!("{}.{}", part(&header), part(&claims));
        let signature = self.key.pair.sign(&SystemRandom::new(), token.as_bytes()).ok()?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Some(token)
    }
}

/// Whether this key can sign.
///
/// # Errors
/// In an operator's words: what is expected of a key.
pub fn try_key(key: &Secret) -> Result<(), &'static str> {
    Key::read(key).map(drop).ok_or(BAD_KEY)
}

/// The thumbprint of a key: two of one would be published twice.
pub fn thumbprint(key: &Secret) -> Option<Box<str>> {
    Key::read(key).map(|key| key.id)
}

impl Key {
    fn read(secret: &Secret) -> Option<Self> {
        // Into the signer's own form.
        let der = PrivatePkcs8KeyDer::from_pem_slice(secret.expose()).ok()?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.secret_pkcs8_der()).ok()?;
        // An uncompressed point (SEC 1, section 2.3.3).
        let (x, y) = match pair.public_key().as_ref() {
            [4, point @ ..] if point.len() == 64 => point.split_at(32),
            _ => return None,
        };
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        // RFC 7638, section 3: the required members in the order of their names, without blanks.
        let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        let id = URL_SAFE_NO_PAD.encode(digest(&SHA256, canonical.as_bytes()));
        let public = json!({ "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": id, "x": x, "y": y });
        Some(Self { pair, id: id.into(), public })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Secret {
        let pem = rcgen::KeyPair::generate().unwrap().serialize_pem();
        Secret::new(pem.into_bytes())
    }

    #[test]
    fn a_key_is_es256_in_pkcs_8_or_a_fault() {
        assert_eq!(try_key(&key()), Ok(()));
        for wrong in ["", "secret", "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\n-----END EC PRIVATE KEY-----\n"] {
            assert_eq!(try_key(&Secret::new(wrong.into())), Err(BAD_KEY), "{wrong}");
        }
        let bad = Secret::new(b"secret".to_vec());
        assert_eq!(Signer::new("", Duration::ZERO, &[key(), bad]).err(), Some(1));
        assert_eq!(Signer::new("", Duration::ZERO, &[]).err(), Some(0));
    }

    #[test]
    fn the_key_set_has_public_halves_and_thumbprints_only() {
        let keys = [key()];
        let signer = Signer::new("https://app.example.com", Duration::from_secs(60), &keys).unwrap();
        let set: Value = serde_json::from_str(signer.key_set()).unwrap();
        let published = set["keys"][0].as_object().unwrap();
        let mut members: Vec<&str> = published.keys().map(String::as_str).collect();
        members.sort_unstable();
        assert_eq!(members, ["alg", "crv", "kid", "kty", "use", "x", "y"]);
        assert_eq!(published["kid"], *thumbprint(&keys[0]).unwrap());
    }
}

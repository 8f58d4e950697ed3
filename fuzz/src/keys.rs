//! The keys of the issuers, and tokens signed with them. They are fixed, so that an input does the same in every process.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use aws_lc_rs::{agreement, hmac, rand::SystemRandom};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::issuers::{SECRETS, Signer};

/// The bytes between the dots.
pub fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A compact JWS of exactly these bytes.
pub fn compact(header: &[u8], payload: &[u8], sign: impl FnOnce(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let signed = format!("{}.{}", base64url(header), base64url(payload));
    let signature = base64url(&sign(signed.as_bytes()));
    format!("{signed}.{signature}").into_bytes()
}

pub struct Keys {
    p256: EcdsaKeyPair,
    ed25519: Ed25519KeyPair,
    random: SystemRandom,
}

impl Keys {
    /// The keys that follow from one byte.
    pub fn of(seed: u8) -> Self {
        Self {
            p256: p256(&[seed; 32]),
            ed25519: Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).expect("any 32 bytes are a seed"),
            random: SystemRandom::new(),
        }
    }

    /// The signature that the holder of this key makes.
    pub fn sign(&self, signer: Signer, signed: &[u8]) -> Vec<u8> {
        match signer {
            Signer::Es256 => self.p256.sign(&self.random, signed).expect("signing works").as_ref().to_vec(),
            Signer::EdDsa => self.ed25519.sign(signed).as_ref().to_vec(),
            Signer::Hs256 => mac(hmac::HMAC_SHA256, SECRETS[0].1.as_bytes(), signed),
            Signer::Access256 => mac(hmac::HMAC_SHA256, SECRETS[1].1.as_bytes(), signed),
            Signer::Access512 => mac(hmac::HMAC_SHA512, SECRETS[1].1.as_bytes(), signed),
            Signer::Tenant => mac(hmac::HMAC_SHA256, SECRETS[2].1.as_bytes(), signed),
        }
    }

    /// The public point of the P-256 key, uncompressed.
    pub fn point(&self) -> &[u8] {
        self.p256.public_key().as_ref()
    }

    /// The public keys as their issuer publishes them.
    pub fn published(&self) -> Value {
        let (x, y) = self.point()[1..].split_at(32);
        let ed25519 = base64url(self.ed25519.public_key().as_ref());
        json!({ "keys": [
            { "kty": "EC", "crv": "P-256", "kid": "k1", "x": base64url(x), "y": base64url(y) },
            { "kty": "OKP", "crv": "Ed25519", "kid": "k2", "alg": "EdDSA", "use": "sig", "x": ed25519 },
        ] })
    }
}

pub fn mac(algorithm: hmac::Algorithm, secret: &[u8], signed: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(algorithm, secret), signed).as_ref().to_vec()
}

fn p256(scalar: &[u8; 32]) -> EcdsaKeyPair {
    let private =
        agreement::PrivateKey::from_private_key(&agreement::ECDH_P256, scalar).expect("a scalar of the curve");
    let point = private.compute_public_key().expect("a point of the curve");
    EcdsaKeyPair::from_private_key_and_public_key(&ECDSA_P256_SHA256_FIXED_SIGNING, scalar, point.as_ref())
        .expect("two halves of one key")
}

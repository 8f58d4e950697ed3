//! Signing keys, made at start: they live in this process and nowhere else.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::jwk::{Jwk, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Map, Value};

use crate::demo::serve::SimFault;

/// How tokens are signed ([RFC 7518, section 3.1](https://www.rfc-editor.org/rfc/rfc7518#section-3.1); EdDSA: [RFC 8037](https://www.rfc-editor.org/rfc/rfc8037)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum SigningAlgorithm {
    /// ECDSA, P-256, SHA-256.
    #[default]
    #[value(name = "ES256")]
    Es256,
    /// ECDSA, P-384, SHA-384.
    #[value(name = "ES384")]
    Es384,
    /// RSA 2048, PKCS #1 v1.5, SHA-256.
    #[value(name = "RS256")]
    Rs256,
    /// RSA 2048, PSS, SHA-256.
    #[value(name = "PS256")]
    Ps256,
    /// Ed25519.
    #[value(name = "EdDSA")]
    EdDsa,
}

impl SigningAlgorithm {
    /// The name in `alg`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Rs256 => "RS256",
            Self::Ps256 => "PS256",
            Self::EdDsa => "EdDSA",
        }
    }

    fn id(self) -> Algorithm {
        match self {
            Self::Es256 => Algorithm::ES256,
            Self::Es384 => Algorithm::ES384,
            Self::Rs256 => Algorithm::RS256,
            Self::Ps256 => Algorithm::PS256,
            Self::EdDsa => Algorithm::EdDSA,
        }
    }

    fn generate(self) -> Option<EncodingKey> {
        let random = SystemRandom::new();
        Some(match self {
            Self::Es256 => {
                let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).ok()?;
                EncodingKey::from_ec_der(der.as_ref())
            }
            Self::Es384 => {
                let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &random).ok()?;
                EncodingKey::from_ec_der(der.as_ref())
            }
            Self::Rs256 | Self::Ps256 => {
                let pair = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).ok()?;
                let der: Pkcs8V1Der<'_> = AsDer::as_der(&pair).ok()?;
                // Its DER way in takes PKCS #1 alone; its PEM way in takes PKCS #8 too.
                let pem = format!(
                    "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
                    STANDARD.encode(der.as_ref())
                );
                EncodingKey::from_rsa_pem(pem.as_bytes()).ok()?
            }
            // Version 1 of PKCS #8: jsonwebtoken finds no public key in version 2.
            Self::EdDsa => EncodingKey::from_ed_der(Ed25519KeyPair::generate_pkcs8v1(&random).ok()?.as_ref()),
        })
    }
}

/// One key pair, under the name of its RFC 7638 thumbprint.
pub(super) struct SigningKey {
    pub(super) kid: String,
    /// The public half as it stands in the key set.
    pub(super) jwk: Jwk,
    algorithm: Algorithm,
    private: EncodingKey,
}

impl SigningKey {
    /// Makes a pair and signs once with it, so that signing later can't fail. RSA takes a part of a second.
    pub(super) fn generate(algorithm: SigningAlgorithm) -> Result<Self, SimFault> {
        let private = algorithm.generate().ok_or(SimFault::NoKey)?;
        let mut jwk = Jwk::from_encoding_key(&private, algorithm.id()).map_err(|_| SimFault::NoKey)?;
        let kid = jwk.thumbprint(ThumbprintHash::SHA256).map_err(|_| SimFault::NoKey)?;
        jwk.common.key_id = Some(kid.clone());
        jwk.common.public_key_use = Some(PublicKeyUse::Signature);
        let key = Self { kid, jwk, algorithm: algorithm.id(), private };
        match key.sign(None, &Map::new()) {
            Some(_) => Ok(key),
            None => Err(SimFault::NoKey),
        }
    }

    /// A JWT with these claims; `typ` in place of `JWT`.
    pub(super) fn sign(&self, typ: Option<&str>, claims: &Map<String, Value>) -> Option<String> {
        let mut header = Header::new(self.algorithm);
        header.kid = Some(self.kid.clone());
        if let Some(typ) = typ {
            header.typ = Some(typ.to_owned());
        }
        jsonwebtoken::encode(&header, claims, &self.private).ok()
    }
}

//! Signature algorithms, and which kind of key each needs (RFC 7518, section 3.1; RFC 8037, section 3.1).

use jsonwebtoken::Algorithm;

use super::settings::SignatureAlgorithm;

/// What a key is. A key serves the algorithms of its own kind alone, so that no public key is ever taken for a shared secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Rsa,
    P256,
    P384,
    Ed25519,
    Secret,
}

impl SignatureAlgorithm {
    /// The algorithm of this name, exactly as registered.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "RS256" => Self::RS256,
            "RS384" => Self::RS384,
            "RS512" => Self::RS512,
            "PS256" => Self::PS256,
            "PS384" => Self::PS384,
            "PS512" => Self::PS512,
            "ES256" => Self::ES256,
            "ES384" => Self::ES384,
            // RFC 9864, section 2.2: the same algorithm, named with the only curve that we have for it.
            "EdDSA" | "Ed25519" => Self::EdDSA,
            "HS256" => Self::HS256,
            "HS384" => Self::HS384,
            "HS512" => Self::HS512,
            _ => return None,
        })
    }

    /// The only kind of key that may verify it.
    pub(super) fn kind(self) -> Kind {
        match self {
            Self::RS256 | Self::RS384 | Self::RS512 | Self::PS256 | Self::PS384 | Self::PS512 => Kind::Rsa,
            Self::ES256 => Kind::P256,
            Self::ES384 => Kind::P384,
            Self::EdDSA => Kind::Ed25519,
            Self::HS256 | Self::HS384 | Self::HS512 => Kind::Secret,
        }
    }

    /// Whether it verifies by a shared secret (HMAC), and not by a public key.
    pub(crate) fn is_symmetric(self) -> bool {
        self.kind() == Kind::Secret
    }

    /// The fewest bytes of a shared secret: those of the hash (RFC 7518, section 3.2). Zero for the others.
    pub(super) fn min_secret_bytes(self) -> usize {
        match self {
            Self::HS256 => 32,
            Self::HS384 => 48,
            Self::HS512 => 64,
            Self::RS256 | Self::RS384 | Self::RS512 | Self::PS256 | Self::PS384 | Self::PS512 => 0,
            Self::ES256 | Self::ES384 | Self::EdDSA => 0,
        }
    }

    pub(super) fn library(self) -> Algorithm {
        match self {
            Self::RS256 => Algorithm::RS256,
            Self::RS384 => Algorithm::RS384,
            Self::RS512 => Algorithm::RS512,
            Self::PS256 => Algorithm::PS256,
            Self::PS384 => Algorithm::PS384,
            Self::PS512 => Algorithm::PS512,
            Self::ES256 => Algorithm::ES256,
            Self::ES384 => Algorithm::ES384,
            Self::EdDSA => Algorithm::EdDSA,
            Self::HS256 => Algorithm::HS256,
            Self::HS384 => Algorithm::HS384,
            Self::HS512 => Algorithm::HS512,
        }
    }
}

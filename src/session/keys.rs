//! One verification key: what is checked when it is loaded, and the only place where a signature is verified.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_lc_rs::digest;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384,
    RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents, VerificationAlgorithm,
};
use jsonwebtoken::DecodingKey;
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;

use super::algorithm::Kind;
use super::settings::SignatureAlgorithm;
use super::token::Signature;

/// NIST SP 800-131A: shorter moduli have been forbidden for signatures since 2014.
const MIN_RSA_BITS: usize = 2048;

/// The most that the library verifies; a longer one only costs us time.
const MAX_RSA_BITS: usize = 8192;

/// How each algorithm of an RSA key is verified.
const RSA: [(SignatureAlgorithm, &RsaParameters); 6] = [
    (SignatureAlgorithm::RS256, &RSA_PKCS1_2048_8192_SHA256),
    (SignatureAlgorithm::RS384, &RSA_PKCS1_2048_8192_SHA384),
    (SignatureAlgorithm::RS512, &RSA_PKCS1_2048_8192_SHA512),
    (SignatureAlgorithm::PS256, &RSA_PSS_2048_8192_SHA256),
    (SignatureAlgorithm::PS384, &RSA_PSS_2048_8192_SHA384),
    (SignatureAlgorithm::PS512, &RSA_PSS_2048_8192_SHA512),
];

/// A key that may verify tokens of one issuer. Knows whether it still may.
pub(super) struct Key {
    label: Label,
    kind: Kind,
    only: Option<SignatureAlgorithm>,
    material: Material,
    identity: [u8; 32],
    retired: AtomicBool,
}

/// What a signature is verified by.
enum Material {
    /// A public key, read once for each algorithm that it may verify: a point is looked for on its curve, and a modulus made ready, when the key is
    /// loaded and not for each token.
    Public(Box<[(SignatureAlgorithm, ParsedPublicKey)]>),
    Secret(DecodingKey),
}

/// By which `kid` a key is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Label {
    /// The one key of its issuer, whatever the token calls it: a PEM file or a secret has no place for a name.
    Any,
    /// A key of a set without a name: found only by tokens without one.
    Unnamed,
    /// A key of a set.
    Named(Box<str>),
}

/// Why a key is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyFault {
    NotBase64,
    Incomplete,
    UnknownType,
    WeakRsa,
    LongRsa,
    WeakExponent,
    Roca,
    NotOnCurve,
    Private,
    Symmetric,
    OtherUse,
    ShortSecret,
    SecretIsPem,
    NotAPublicKey,
}

impl fmt::Display for KeyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotBase64 => "a member is not base64url",
            Self::Incomplete => "a member is missing or of a wrong length",
            Self::UnknownType => "its type or curve is none of RSA, P-256, P-384, Ed25519",
            Self::WeakRsa => "an RSA modulus below 2048 bits is weak",
            Self::LongRsa => "an RSA modulus above 8192 bits is not supported",
            Self::WeakExponent => "an RSA exponent must be odd, at least 3 and at most 64 bits long",
            Self::Roca => {
                "its modulus has the fingerprint of CVE-2017-15361 (ROCA): the private key can be computed from it"
            }
            Self::NotOnCurve => "it is no point of its curve",
            Self::Private => "it holds a private key; give the public one",
            Self::Symmetric => "a key set may hold no shared secret",
            Self::OtherUse => "it is not meant for verifying signatures of the configured algorithms",
            Self::ShortSecret => {
                "a shared secret must be at least as long as the hash of its algorithm (RFC 7518, section 3.2)"
            }
            Self::SecretIsPem => "it holds a PEM; a public key is no shared secret",
            Self::NotAPublicKey => "it holds no public key or certificate in PEM",
        })
    }
}

impl Key {
    /// An RSA key from modulus and exponent, big-endian; leading zeros don't count.
    pub(super) fn rsa(label: Label, only: Option<SignatureAlgorithm>, n: &[u8], e: &[u8]) -> Result<Self, KeyFault> {
        let (n, e) = (without_zeros(n), without_zeros(e));
        let bits = n.len() * 8 - n.first().map_or(0, |b| b.leading_zeros() as usize);
        if bits < MIN_RSA_BITS {
            return Err(KeyFault::WeakRsa);
        }
        if bits > MAX_RSA_BITS {
            return Err(KeyFault::LongRsa);
        }
        let odd = |number: &[u8]| number.last().is_some_and(|b| b % 2 == 1);
        if e.len() > 8 || !odd(e) || e == [1] {
            return Err(KeyFault::WeakExponent);
        }
        if !odd(n) {
            return Err(KeyFault::Incomplete);
        }
        let used = RSA.iter().filter(|(algorithm, _)| only.is_none_or(|only| only == *algorithm));
        let parsed = used.map(|(algorithm, parameters)| {
            let key = RsaPublicKeyComponents { n, e }.to_parsed_public_key(parameters);
            key.map(|key| (*algorithm, key)).map_err(|_| KeyFault::Incomplete)
        });
        let parsed = parsed.collect::<Result<_, _>>()?;
        if has_roca_fingerprint(n) {
            return Err(KeyFault::Roca);
        }
        Ok(Self::new(label, Kind::Rsa, only, Material::Public(parsed), &[n, e]))
    }

    /// A key of another public kind from its bytes: an uncompressed point (SEC 1, section 2.3.3), or the 32 bytes of RFC 8032.
    pub(super) fn point(
        label: Label,
        only: Option<SignatureAlgorithm>,
        kind: Kind,
        bytes: &[u8],
    ) -> Result<Self, KeyFault> {
        let (length, algorithm, verifies): (usize, &'static dyn VerificationAlgorithm, _) = match kind {
            Kind::P256 => (65, &ECDSA_P256_SHA256_FIXED, SignatureAlgorithm::ES256),
            Kind::P384 => (97, &ECDSA_P384_SHA384_FIXED, SignatureAlgorithm::ES384),
            Kind::Ed25519 => (32, &ED25519, SignatureAlgorithm::EdDSA),
            Kind::Rsa | Kind::Secret => return Err(KeyFault::UnknownType),
        };
        if bytes.len() != length {
            return Err(KeyFault::Incomplete);
        }
        let parsed = ParsedPublicKey::new(algorithm, bytes).map_err(|_| KeyFault::NotOnCurve)?;
        Ok(Self::new(label, kind, only, Material::Public([(verifies, parsed)].into()), &[bytes]))
    }

    /// A shared secret, long enough for each of `algorithms`.
    pub(super) fn secret(bytes: &[u8], algorithms: &[SignatureAlgorithm]) -> Result<Self, KeyFault> {
        // An issuer that was asymmetric once has its public key lying about; as a secret anyone could sign with it.
        if memchr::memmem::find(bytes, b"-----BEGIN").is_some() {
            return Err(KeyFault::SecretIsPem);
        }
        if algorithms.iter().any(|a| bytes.len() < a.min_secret_bytes()) {
            return Err(KeyFault::ShortSecret);
        }
        let material = Material::Secret(DecodingKey::from_secret(bytes));
        Ok(Self::new(Label::Any, Kind::Secret, None, material, &[bytes]))
    }

    fn new(label: Label, kind: Kind, only: Option<SignatureAlgorithm>, material: Material, parts: &[&[u8]]) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(format!("{kind:?}|{only:?}|{label:?}|").as_bytes());
        for part in parts {
            context.update(&part.len().to_be_bytes());
            context.update(part);
        }
        let mut identity = [0; 32];
        identity.copy_from_slice(context.finish().as_ref());
        Self { label, kind, only, material, identity, retired: AtomicBool::new(false) }
    }

    /// Equal for the same key under the same name and restrictions, and only then.
    pub(super) fn identity(&self) -> &[u8; 32] {
        &self.identity
    }

    /// Its name, if it has one.
    pub(super) fn kid(&self) -> Option<&str> {
        match &self.label {
            Label::Named(name) => Some(name),
            Label::Any | Label::Unnamed => None,
        }
    }

    /// Whether a token with this `kid` may mean this key.
    pub(super) fn answers_to(&self, kid: Option<&str>) -> bool {
        match (&self.label, kid) {
            (Label::Any, _) | (_, None) => true,
            (Label::Unnamed, Some(_)) => false,
            (Label::Named(name), Some(kid)) => **name == *kid,
        }
    }

    /// Whether this key may verify this algorithm.
    pub(super) fn fits(&self, algorithm: SignatureAlgorithm) -> bool {
        self.kind == algorithm.kind() && self.only.is_none_or(|only| only == algorithm)
    }

    /// Whether `signature` over `signed` is this key's, by an algorithm that it fits.
    pub(super) fn verifies(&self, algorithm: SignatureAlgorithm, signed: &[u8], signature: &Signature) -> bool {
        self.fits(algorithm)
            && match &self.material {
                Material::Public(parsed) => {
                    let key = parsed.iter().find(|(verifies, _)| *verifies == algorithm);
                    key.is_some_and(|(_, key)| key.verify_sig(signed, &signature.0).is_ok())
                }
                // The factory is jsonwebtoken's own; it checks the family of the key once more.
                Material::Secret(secret) => (DEFAULT_PROVIDER.verifier_factory)(&algorithm.library(), secret)
                    .is_ok_and(|verifier| verifier.verify(signed, &signature.0).is_ok()),
            }
    }

    /// The key has left its set: what it verified ends now.
    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Release);
    }

    /// Whether it has left its set.
    pub(super) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("label", &self.label).field("kind", &self.kind).finish_non_exhaustive()
    }
}

fn without_zeros(mut number: &[u8]) -> &[u8] {
    while let [0, rest @ ..] = number {
        number = rest;
    }
    number
}

/// Whether the modulus is of the form that faulty chips made (Nemec and others, "The Return of Coppersmith's Attack", CCS 2017, section 2.2):
/// modulo each small prime it is a power of 65537. A sound modulus is so for all of them once in many millions.
fn has_roca_fingerprint(n: &[u8]) -> bool {
    const PRIMES: [u32; 38] = [
        3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107,
        109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
    ];
    PRIMES.iter().all(|prime| {
        let rest = n.iter().fold(0, |rest, byte| (rest * 256 + u32::from(*byte)) % prime);
        let powers = std::iter::successors(Some(1), |power| Some(power * 65_537 % prime));
        powers.take(*prime as usize).any(|power| power == rest)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modulus(bits: usize) -> Vec<u8> {
        let mut n = vec![0xff; bits.div_ceil(8)];
        if !bits.is_multiple_of(8) {
            n[0] = (1 << (bits % 8)) - 1;
        }
        n
    }

    fn rsa(bits: usize, e: &[u8]) -> Option<KeyFault> {
        Key::rsa(Label::Unnamed, None, &modulus(bits), e).err()
    }

    #[test]
    fn weak_rsa_keys_are_refused_on_both_sides_of_each_edge() {
        assert_eq!(rsa(2047, &[1, 0, 1]), Some(KeyFault::WeakRsa));
        assert_eq!(rsa(2048, &[1, 0, 1]), None);
        assert_eq!(rsa(8192, &[1, 0, 1]), None);
        assert_eq!(rsa(8193, &[1, 0, 1]), Some(KeyFault::LongRsa));
        assert_eq!(rsa(2048, &[3]), None);
        for e in [&[1][..], &[0, 1], &[], &[0], &[2], &[1, 0, 0], &[1, 0, 0, 0, 0, 0, 0, 0, 1]] {
            assert_eq!(rsa(2048, e), Some(KeyFault::WeakExponent), "{e:?}");
        }
        let mut padded = vec![0; 200];
        padded.extend(modulus(1024));
        assert_eq!(Key::rsa(Label::Unnamed, None, &padded, &[3]).err(), Some(KeyFault::WeakRsa));
        let mut even = modulus(2048);
        even[255] = 0xfe;
        assert_eq!(Key::rsa(Label::Unnamed, None, &even, &[3]).err(), Some(KeyFault::Incomplete));
        assert_eq!(Key::rsa(Label::Unnamed, None, &[], &[3]).err(), Some(KeyFault::WeakRsa));
    }

    #[test]
    fn a_point_must_lie_on_its_curve() {
        let mut point = vec![4];
        point.extend([1; 64]);
        assert_eq!(Key::point(Label::Any, None, Kind::P256, &point).err(), Some(KeyFault::NotOnCurve));
        assert_eq!(Key::point(Label::Any, None, Kind::P256, &point[..64]).err(), Some(KeyFault::Incomplete));
        assert_eq!(Key::point(Label::Any, None, Kind::P384, &point).err(), Some(KeyFault::Incomplete));
    }

    #[test]
    fn a_secret_is_as_long_as_its_hash_and_no_pem() {
        use SignatureAlgorithm::{HS256, HS512};
        assert!(Key::secret(&[7; 32], &[HS256]).is_ok());
        assert_eq!(Key::secret(&[7; 31], &[HS256]).err(), Some(KeyFault::ShortSecret));
        assert_eq!(Key::secret(&[7; 63], &[HS256, HS512]).err(), Some(KeyFault::ShortSecret));
        let pem = b"-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----";
        assert_eq!(Key::secret(pem, &[HS256]).err(), Some(KeyFault::SecretIsPem));
    }
}

//! JWTs that are signed here: those of a mint without a call, and the word of a client at a token endpoint.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Map, Value as Json};
use zeroize::Zeroizing;

use super::body::Body;
use super::settings::JwtSettings;
use super::template::{Place, Template, Unfit, Values};
use crate::clock::Timestamp;
use crate::secret::Secret;
use crate::setting::FieldFault;

/// `jwt` of a mint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LocalJwt {
    pub(super) algorithm: Algorithm,
    pub(super) header: Body,
    pub(super) claims: Body,
}

/// A JWT, and its `exp`.
pub(super) struct Signed {
    pub(super) token: Zeroizing<String>,
    pub(super) ends: Option<Timestamp>,
}

/// The algorithms by which a key can sign.
const ALGORITHMS: [(&str, Algorithm); 12] = [
    ("HS256", Algorithm::HS256),
    ("HS384", Algorithm::HS384),
    ("HS512", Algorithm::HS512),
    ("RS256", Algorithm::RS256),
    ("RS384", Algorithm::RS384),
    ("RS512", Algorithm::RS512),
    ("PS256", Algorithm::PS256),
    ("PS384", Algorithm::PS384),
    ("PS512", Algorithm::PS512),
    ("ES256", Algorithm::ES256),
    ("ES384", Algorithm::ES384),
    ("EdDSA", Algorithm::EdDSA),
];

/// The algorithm of this name.
pub(super) fn algorithm(name: &str) -> Result<Algorithm, &'static str> {
    ALGORITHMS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, algorithm)| *algorithm)
        .ok_or("expected HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 or EdDSA")
}

/// The name of an algorithm, as RFC 7518 has it.
pub(super) fn name(algorithm: Algorithm) -> &'static str {
    ALGORITHMS.iter().find(|(_, known)| *known == algorithm).map_or("", |(name, _)| name)
}

impl LocalJwt {
    pub(super) fn compile(
        settings: &JwtSettings,
        place: Place,
        prefix: &str,
        faults: &mut Vec<FieldFault>,
    ) -> Option<Self> {
        let mut fault = |key: &str, message: &str| faults.push(FieldFault::at(format!("{prefix}.{key}"), message));
        let algorithm = algorithm(&settings.algorithm).map_err(|message| fault("algorithm", message)).ok();
        if settings.header.get("alg").is_some() {
            fault("header.alg", "the algorithm stands in `algorithm`");
        }
        let claims = Body::compile("claims", &settings.claims, place, &mut fault);
        let header = Body::compile("header", &settings.header, place, &mut fault);
        Some(Self { algorithm: algorithm?, header: header?, claims: claims? })
    }

    pub(super) fn templates(&self) -> Vec<&Template> {
        [&self.header, &self.claims].into_iter().flat_map(Body::templates).collect()
    }

    /// Why this key can't sign; `None`: it can.
    pub(super) fn key_fault(&self, key: &Secret) -> Option<&'static str> {
        signing_key(self.algorithm, key).err()
    }

    pub(super) fn sign(&self, key: &Secret, values: &Values<'_>) -> Result<Signed, Unfit> {
        let claims = self.claims.members(values)?;
        let ends = claims.get("exp").and_then(Json::as_i64).map(Timestamp::from_secs);
        let token = sign(self.algorithm, key, self.header.members(values)?, claims)?;
        Ok(Signed { token, ends })
    }
}

/// A JWT in compact form (RFC 7515, section 7.1); `typ` is `JWT` unless `header` says otherwise.
pub(super) fn sign(
    algorithm: Algorithm,
    key: &Secret,
    mut header: Map<String, Json>,
    claims: Map<String, Json>,
) -> Result<Zeroizing<String>, Unfit> {
    header.entry("typ").or_insert_with(|| "JWT".into());
    header.insert("alg".into(), name(algorithm).into());
    let part = |members| serde_json::to_vec(&Json::Object(members)).map(|json| URL_SAFE_NO_PAD.encode(json));
    let (Ok(header), Ok(claims)) = (part(header), part(claims)) else { return Err(Unfit) };
    let mut token = Zeroizing::new(format!("{header}.{claims}"));
    // The key signs, and goes nowhere.
    let key = signing_key(algorithm, key).map_err(|_| Unfit)?;
    let signer = (DEFAULT_PROVIDER.signer_factory)(&algorithm, &key).map_err(|_| Unfit)?;
    let signature = signer.try_sign(token.as_bytes()).map_err(|_| Unfit)?;
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    Ok(token)
}

/// The algorithm that a private key in PEM is for, where nobody names another.
pub(super) fn usual_algorithm(key: &Secret) -> Option<Algorithm> {
    [Algorithm::RS256, Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA]
        .into_iter()
        .find(|algorithm| signing_key(*algorithm, key).is_ok())
}

fn signing_key(algorithm: Algorithm, key: &Secret) -> Result<EncodingKey, &'static str> {
    const PEM: &str = "expected a private key in PEM, not encrypted, of the kind that `algorithm` signs with";
    // Into the signer's own form.
    let bytes = key.expose();
    let made = match algorithm {
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => return Ok(EncodingKey::from_secret(bytes)),
        Algorithm::ES256 | Algorithm::ES384 => EncodingKey::from_ec_pem(bytes),
        Algorithm::EdDSA => EncodingKey::from_ed_pem(bytes),
        _ => EncodingKey::from_rsa_pem(bytes),
    };
    let key = made.map_err(|_| PEM)?;
    // A key of another curve is found here, and not with the first mint.
    let signer = (DEFAULT_PROVIDER.signer_factory)(&algorithm, &key).map_err(|_| PEM)?;
    signer.try_sign(b"").map_err(|_| PEM)?;
    Ok(key)
}

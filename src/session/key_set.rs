//! The keys of one issuer at one time, read from a JWK set (RFC 7517), a PEM file or a secret.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::Value;
use smallvec::SmallVec;

use super::algorithm::Kind;
use super::keys::{Key, KeyFault, Label};
use super::settings::SignatureAlgorithm;

/// More than any identity provider publishes; the rest of a larger set is not used.
const MAX_KEYS: usize = 256;

/// What is said of a key whose only fault is this.
const PADDED: &str = "a member of it has padding (`=`), which base64url in keys has not (RFC 7515, section 2)";

/// How many keys are tried for one token: each try costs a verification.
const MAX_TRIES: usize = 16;

/// The keys that are in force together.
#[derive(Debug, Default)]
pub(super) struct KeySet {
    keys: Vec<Arc<Key>>,
}

/// The keys that a token may mean.
pub(super) enum Candidates {
    /// The keys to be tried, in their order.
    Fit(SmallVec<[Arc<Key>; 2]>),
    /// There is such a key, but not for this algorithm.
    Misfit,
    /// There is none; a newer set may have it.
    Unknown,
}

/// A key set as read: what can be used, and a line for each key that can't, or that is not written as it should be.
pub(super) struct Reading {
    pub(super) keys: Vec<Key>,
    pub(super) remarks: Vec<String>,
    /// A line for each key that is in order, and not for us: providers publish keys for encryption and for other algorithms beside ours.
    pub(super) foreign: Vec<String>,
}

impl KeySet {
    /// The keys that `kid` and `algorithm` name together.
    pub(super) fn candidates(&self, kid: Option<&str>, algorithm: SignatureAlgorithm) -> Candidates {
        let mut known = false;
        let mut fit = SmallVec::new();
        for key in self.keys.iter().filter(|key| key.answers_to(kid)) {
            known = true;
            if key.fits(algorithm) && fit.len() < MAX_TRIES {
                fit.push(Arc::clone(key));
            }
        }
        match (fit.is_empty(), known && kid.is_some()) {
            (false, _) => Candidates::Fit(fit),
            (true, true) => Candidates::Misfit,
            (true, false) => Candidates::Unknown,
        }
    }

    /// The names of its keys; those without one are left out.
    pub(super) fn kids(&self) -> Vec<String> {
        self.keys.iter().filter_map(|key| key.kid()).map(ToOwned::to_owned).collect()
    }

    /// The set that follows this one. A key that stays keeps its identity, so that what it verified stays; one that left is retired.
    pub(super) fn followed_by(&self, fresh: Vec<Key>) -> Self {
        let keep = |new: Key| match self.keys.iter().find(|old| old.identity() == new.identity()) {
            Some(old) => Arc::clone(old),
            None => Arc::new(new),
        };
        Self { keys: fresh.into_iter().map(keep).collect() }
    }

    /// Reads a set whose keys others may hold already.
    pub(super) fn following(&self, fresh: &Self) -> Self {
        let keep =
            |new: &Arc<Key>| self.keys.iter().find(|old| old.identity() == new.identity()).unwrap_or(new).clone();
        Self { keys: fresh.keys.iter().map(keep).collect() }
    }

    /// Ends each key that is not in `next`. To be called when `next` is in force.
    pub(super) fn retire_all_but(&self, next: &Self) {
        for key in &self.keys {
            if !next.keys.iter().any(|kept| Arc::ptr_eq(kept, key)) {
                key.retire();
            }
        }
    }
}

#[derive(Deserialize)]
struct JwkSet {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    public_use: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    d: Option<Value>,
}

/// Reads a JWK set for these algorithms. A key that can't be used is left out with a line; `None` when `body` is no key set at all.
pub(super) fn read_jwk_set(body: &[u8], algorithms: &[SignatureAlgorithm]) -> Option<Reading> {
    let set: JwkSet = serde_json::from_slice(body).ok()?;
    let mut reading = Reading { keys: Vec::new(), remarks: Vec::new(), foreign: Vec::new() };
    if set.keys.len() > MAX_KEYS {
        reading.remarks.push(format!("the set holds more than {MAX_KEYS} keys; the rest is not used"));
    }
    for (position, value) in set.keys.into_iter().take(MAX_KEYS).enumerate() {
        let kid = value.get("kid").and_then(Value::as_str).map(|kid| super::shown(kid).to_string());
        let shown = kid.map_or_else(|| (position + 1).to_string(), |kid| format!("{kid:?}"));
        let padded = ["n", "e", "x", "y"].iter().any(|name| is_padded(value.get(name)));
        match read_jwk(value, algorithms) {
            Ok(key) => {
                reading.keys.push(key);
                if padded {
                    reading.remarks.push(format!("key {shown} is used, but {PADDED}"));
                }
            }
            Err(fault @ (KeyFault::OtherUse | KeyFault::UnknownType)) => {
                reading.foreign.push(format!("key {shown} is not used: {fault}"));
            }
            Err(fault) => reading.remarks.push(format!("key {shown} is not used: {fault}")),
        }
    }
    Some(reading)
}

/// The keys of a set of which none can be used, by what is public of them, and what was wanted; for the operator.
pub(super) fn describe(body: &[u8], algorithms: &[SignatureAlgorithm]) -> String {
    /// At most so many keys are named in a line.
    const SHOWN: usize = 8;
    let wanted = algorithms.iter().map(|algorithm| format!("{algorithm:?}")).collect::<Vec<_>>().join(", ");
    let keys = serde_json::from_slice::<JwkSet>(body).map(|set| set.keys).unwrap_or_default();
    if keys.is_empty() {
        return format!("it is empty; `algorithms` wants {wanted}");
    }
    let one = |key: &Value| {
        let member = |name: &str| {
            let value = key.get(name).and_then(Value::as_str)?;
            Some(format!("{name} {:?}", super::shown(value).to_string()))
        };
        ["kid", "kty", "crv", "alg", "use"].iter().filter_map(|name| member(name)).collect::<Vec<_>>().join(" ")
    };
    let shown = keys.iter().take(SHOWN).map(one).collect::<Vec<_>>().join("; ");
    let more = if keys.len() > SHOWN { "; …" } else { "" };
    format!("it has {shown}{more}; `algorithms` wants {wanted}")
}

fn read_jwk(value: Value, algorithms: &[SignatureAlgorithm]) -> Result<Key, KeyFault> {
    let jwk: Jwk = serde_json::from_value(value).map_err(|_| KeyFault::Incomplete)?;
    if jwk.kty == "oct" {
        return Err(KeyFault::Symmetric);
    }
    if jwk.d.is_some() {
        return Err(KeyFault::Private);
    }
    // RFC 7517, sections 4.2 and 4.3.
    let for_signatures = jwk.public_use.as_deref().is_none_or(|public_use| public_use == "sig")
        && jwk.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"));
    if !for_signatures {
        return Err(KeyFault::OtherUse);
    }
    let only = match jwk.alg.as_deref() {
        None => None,
        Some(name) => Some(SignatureAlgorithm::named(name).ok_or(KeyFault::OtherUse)?),
    };
    let label = jwk.kid.map_or(Label::Unnamed, |kid| Label::Named(kid.into()));
    let key = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) => Key::rsa(label, only, &decode(jwk.n)?, &decode(jwk.e)?)?,
        ("EC", Some("P-256")) => ec(label, only, Kind::P256, 32, jwk.x, jwk.y)?,
        ("EC", Some("P-384")) => ec(label, only, Kind::P384, 48, jwk.x, jwk.y)?,
        ("OKP", Some("Ed25519")) => Key::point(label, only, Kind::Ed25519, &decode(jwk.x)?)?,
        _ => return Err(KeyFault::UnknownType),
    };
    if algorithms.iter().any(|algorithm| key.fits(*algorithm)) { Ok(key) } else { Err(KeyFault::OtherUse) }
}

/// RFC 7518, section 6.2.1: each coordinate has the curve's full length.
fn ec(
    label: Label,
    only: Option<SignatureAlgorithm>,
    kind: Kind,
    length: usize,
    x: Option<String>,
    y: Option<String>,
) -> Result<Key, KeyFault> {
    let (x, y) = (decode(x)?, decode(y)?);
    if x.len() != length || y.len() != length {
        return Err(KeyFault::Incomplete);
    }
    Key::point(label, only, kind, &[&[4], x.as_slice(), y.as_slice()].concat())
}

fn is_padded(member: Option<&Value>) -> bool {
    member.and_then(Value::as_str).is_some_and(|text| text.ends_with('='))
}

/// base64url, also with the padding that some libraries add: it changes no byte of the key, and in a key (unlike in a token) nobody gains by
/// writing it in two ways.
fn decode(member: Option<String>) -> Result<Vec<u8>, KeyFault> {
    let member = member.ok_or(KeyFault::Incomplete)?;
    let engine = if member.ends_with('=') { &URL_SAFE } else { &URL_SAFE_NO_PAD };
    engine.decode(member).map_err(|_| KeyFault::NotBase64)
}

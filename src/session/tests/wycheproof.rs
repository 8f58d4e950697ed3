//! Project Wycheproof's vectors for JSON Web Signature, Key and Encryption, on the outside of a token: parts, header, keys, signature.
//! Their payload is `foo`, which is no set of claims, so they never reach further.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use wycheproof_ng_core::TestResult;
use wycheproof_ng_kdf_jose::json_web::{TestGroup, TestName, TestSet};

use crate::session::Reason;
use crate::session::key_set::{Candidates, KeySet, read_jwk_set};
use crate::session::keys::Key;
use crate::session::settings::SignatureAlgorithm::{self, *};
use crate::session::token::{Header, Parts};

const ASYMMETRIC: [SignatureAlgorithm; 9] = [RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA];
const SYMMETRIC: [SignatureAlgorithm; 3] = [HS256, HS384, HS512];

/// The keys of a group as an operator would give them: one shared secret as `secret`, anything else as a key set.
fn keys(group: &TestGroup) -> Option<(Vec<Key>, Vec<SignatureAlgorithm>)> {
    let given = group.public_key.as_ref().or(group.private_key.as_ref())?;
    if given["kty"] == "oct" {
        let secret = super::kit::unb64(given["k"].as_str()?)?;
        let named = SYMMETRIC.iter().filter(|a| given["alg"].as_str() == Some(&format!("{a:?}")));
        let algorithms: Vec<_> = named.copied().collect();
        return Some((vec![Key::secret(&secret, &algorithms).ok()?], algorithms));
    }
    let set = if given.get("keys").is_some() { given.clone() } else { json!({ "keys": [given] }) };
    Some((read_jwk_set(set.to_string().as_bytes(), &ASYMMETRIC)?.keys, ASYMMETRIC.to_vec()))
}

/// As `Sessions::look` does, without the claims between.
fn verify(jws: &str, group: &TestGroup) -> Result<(), Reason> {
    let (keys, algorithms) = keys(group).ok_or(Reason::UnknownKey)?;
    let parts = Parts::read(jws.as_bytes())?;
    let header = Header::read(&parts.header)?;
    let algorithm = header.algorithm.filter(|named| algorithms.contains(named)).ok_or(Reason::Algorithm)?;
    match KeySet::default().followed_by(keys).candidates(header.kid(), algorithm) {
        Candidates::Fit(keys) if keys.iter().any(|key| key.verifies(algorithm, parts.signed, &parts.signature)) => {
            Ok(())
        }
        Candidates::Fit(_) => Err(Reason::Signature),
        Candidates::Misfit => Err(Reason::Algorithm),
        Candidates::Unknown => Err(Reason::UnknownKey),
    }
}

/// The token of a vector; one that is JSON as its text.
fn text(token: Option<&Value>) -> String {
    match token {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}

/// The texts of two invalid vectors are those of the valid one number 357, byte for byte: what was wrong with them was lost when the set
/// was made.
const SAME_AS_A_VALID_ONE: [usize; 2] = [367, 370];

/// What came of one set.
#[derive(Default)]
struct Score {
    as_said: usize,
    /// Valid ones that were refused: group, comment, reason.
    refused: BTreeSet<(String, String, String)>,
    /// Invalid ones that opened.
    opened: Vec<usize>,
}

fn score(name: TestName) -> Score {
    let mut score = Score::default();
    for group in TestSet::load(name).expect("vectors").test_groups {
        for test in &group.tests {
            let verdict = verify(&text(test.jws.as_ref().or(test.jwe.as_ref())), &group);
            match (test.result, verdict) {
                (TestResult::Invalid, Ok(())) => score.opened.push(test.tc_id),
                (TestResult::Valid | TestResult::Acceptable, Err(reason)) => {
                    let line = (group.group_comment.clone(), test.comment.clone(), format!("{reason:?}"));
                    score.refused.insert(line);
                }
                _ => score.as_said += 1,
            }
        }
    }
    score
}

fn refused_on_purpose(lines: &[(&str, &str, &str)]) -> BTreeSet<(String, String, String)> {
    lines.iter().map(|(group, comment, reason)| ((*group).into(), (*comment).into(), (*reason).into())).collect()
}

#[test]
fn no_invalid_signature_opens_anything() {
    let Score { as_said, refused, opened } = score(TestName::JsonWebSignature);
    assert_eq!(opened, SAME_AS_A_VALID_ONE);
    let purpose = refused_on_purpose(&[
        // A `?` in header or payload, which RFC 7515 (section 2) does not allow in base64url.
        ("base64", "InvalidCharacterInsertedInHeader", "Malformed"),
        ("base64", "InvalidCharacterInsertedInPayload", "Malformed"),
        // No payload: no claims.
        ("rs256", "emptyPayload", "Malformed"),
        ("rs384", "emptyPayload", "Malformed"),
        ("rs512", "emptyPayload", "Malformed"),
        ("ps256", "emptyPayload", "Malformed"),
        ("ps384", "emptyPayload", "Malformed"),
        ("ps512", "emptyPayload", "Malformed"),
        // The key says PS256 and the token PS384: a key's `alg` is respected (RFC 7517, section 4.4).
        ("rfc7520", "Figure20", "Algorithm"),
        ("rfc7520WithKeyOps", "Figure20", "Algorithm"),
        // P-521 can't be configured.
        ("rfc7520", "Figure27", "Algorithm"),
        ("rfc7520WithKeyOps", "Figure27", "Algorithm"),
    ]);
    assert_eq!(refused, purpose);
    assert_eq!(as_said + refused.len() + opened.len(), 401);
}

#[test]
fn no_unfit_key_verifies_anything() {
    let Score { as_said, refused, opened } = score(TestName::JsonWebKey);
    assert_eq!(opened, [0; 0]);
    // A key set may hold no shared secret: one is given as `secret`.
    let purpose = refused_on_purpose(&[
        ("jws_keyset", "acceptsValid", "Algorithm"),
        ("HS256", "long_key", "Algorithm"),
        ("HS384", "long_key", "Algorithm"),
        ("HS512", "long_key", "Algorithm"),
    ]);
    assert_eq!(refused, purpose);
    assert_eq!(as_said, 22);
    let both = score(TestName::JsonWebCrypto);
    assert_eq!(both.opened, [0; 0]);
    assert!(
        both.refused.iter().all(|(group, ..)| group.starts_with("jwe_") || group == "jws_keyset"),
        "{:?}",
        both.refused
    );
}

#[test]
fn an_encrypted_token_opens_nothing() {
    let Score { refused, opened, .. } = score(TestName::JsonWebEncryption);
    assert_eq!(opened, [0; 0]);
    assert!(
        !refused.is_empty() && refused.iter().all(|(.., reason)| reason == "Malformed" || reason == "UnknownKey"),
        "{refused:?}"
    );
}

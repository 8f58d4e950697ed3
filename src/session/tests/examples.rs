//! The examples of RFC 7515, 7519, 7520, 8037 and 8725.

use serde_json::{Value, json};

use super::kit::{b64, unb64};
use crate::session::Reason;
use crate::session::key_set::{Candidates, KeySet, read_jwk_set};
use crate::session::keys::Key;
use crate::session::settings::SignatureAlgorithm::{self, *};
use crate::session::token::{Header, Parts};

fn set(jwk: &Value, algorithms: &[SignatureAlgorithm]) -> Vec<Key> {
    read_jwk_set(json!({ "keys": [jwk] }).to_string().as_bytes(), algorithms).unwrap().keys
}

fn verify(token: &str, keys: Vec<Key>, algorithms: &[SignatureAlgorithm]) -> Result<Vec<u8>, Reason> {
    let parts = Parts::read(token.as_bytes())?;
    let header = Header::read(&parts.header)?;
    let algorithm = header.algorithm.filter(|named| algorithms.contains(named)).ok_or(Reason::Algorithm)?;
    match KeySet::default().followed_by(keys).candidates(header.kid(), algorithm) {
        Candidates::Fit(keys) if keys.iter().any(|key| key.verifies(algorithm, parts.signed, &parts.signature)) => {
            Ok(parts.payload)
        }
        Candidates::Fit(_) => Err(Reason::Signature),
        Candidates::Misfit => Err(Reason::Algorithm),
        Candidates::Unknown => Err(Reason::UnknownKey),
    }
}

/// RFC 7515, appendix A.1; RFC 7519, section 3.1.
const JOE: &[u8] = b"{\"iss\":\"joe\",\r\n \"exp\":1300819380,\r\n \"http://example.com/is_root\":true}";

/// RFC 7520, section 4: the payload of all its signatures.
const BAGGINS: &str = "It\u{2019}s a dangerous business, Frodo, going out your door. You step onto the road, and if you don't keep your \
    feet, there\u{2019}s no knowing where you might be swept off to.";

#[test]
fn rfc_7515_a_1_hs256() {
    let token = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    let secret =
        unb64("AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow").unwrap();
    let keys = || vec![Key::secret(&secret, &[HS256]).unwrap()];
    assert_eq!(verify(token, keys(), &[HS256]).as_deref(), Ok(JOE));
    // Where RS256 is configured nobody's HMAC counts.
    assert_eq!(verify(token, keys(), &[RS256]), Err(Reason::Algorithm));
}

#[test]
fn rfc_7515_a_3_es256() {
    let jwk = json!({
        "kty": "EC", "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    });
    let token = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    assert_eq!(verify(token, set(&jwk, &[ES256]), &[ES256]).as_deref(), Ok(JOE));
    assert_eq!(verify(token, set(&jwk, &[ES256]), &[ES384]), Err(Reason::Algorithm));
}

#[test]
fn rfc_7515_a_5_and_rfc_7519_6_1_an_unsecured_token() {
    let token = "eyJhbGciOiJub25lIn0.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.";
    assert_eq!(verify(token, Vec::new(), &[RS256, ES256, EdDSA]), Err(Reason::Malformed));
}

#[test]
fn rfc_7515_a_6_and_a_7_json_serialisations() {
    for token in [
        r#"{"payload":"eyJpc3MiOiJqb2UifQ","signatures":[{"protected":"eyJhbGciOiJSUzI1NiJ9","signature":"AA"}]}"#,
        r#"{"payload":"eyJpc3MiOiJqb2UifQ","protected":"eyJhbGciOiJFUzI1NiJ9","signature":"AA"}"#,
    ] {
        assert_eq!(verify(token, Vec::new(), &[RS256, ES256]), Err(Reason::Malformed));
    }
}

#[test]
fn rfc_7515_e_a_critical_extension_that_is_not_understood() {
    let header =
        r#"{"alg":"ES256","crit":["http://example.invalid/UNDEFINED"],"http://example.invalid/UNDEFINED":true}"#;
    let token = format!("{}.{}.AA", b64(header), b64("FAIL"));
    assert_eq!(verify(&token, Vec::new(), &[ES256]), Err(Reason::CriticalExtension));
}

#[test]
fn rfc_7519_a_1_an_encrypted_token() {
    let token = "eyJhbGciOiJSU0ExXzUiLCJlbmMiOiJBMTI4Q0JDLUhTMjU2In0.QR1Owv2ug2WyPBnbQrRARTeEk9kDO2w8.AxY8DCtDaGlsbGljb3RoZQ.MKOle7UQrG6nSxTLX6Mqwt0orbHvAKeW.fiK51VwhsxJ-siBMR-YFiA";
    assert_eq!(verify(token, Vec::new(), &[RS256]), Err(Reason::Malformed));
}

#[test]
fn rfc_7520_4_4_hs256_and_its_kid() {
    // Figure 5: the secret. Figures 28 to 33.
    let secret = unb64("hJtXIZ2uSN5kbQfbtTNWbpdmhkV8FJG-Onbc6mxCcYg").unwrap();
    let token = format!(
        "eyJhbGciOiJIUzI1NiIsImtpZCI6IjAxOGMwYWU1LTRkOWItNDcxYi1iZmQ2LWVlZjMxNGJjNzAzNyJ9.{}.s0h6KThzkfBBBkLspW1h84VsJZFTsPPqMDA7g1Md7p0",
        b64(BAGGINS)
    );
    let keys = vec![Key::secret(&secret, &[HS256]).unwrap()];
    assert_eq!(verify(&token, keys, &[HS256]).as_deref(), Ok(BAGGINS.as_bytes()));
}

#[test]
fn rfc_8037_a_4_ed25519() {
    let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" });
    let token = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    assert_eq!(verify(token, set(&jwk, &[EdDSA]), &[EdDSA]).as_deref(), Ok(&b"Example of Ed25519 signing"[..]));
    let flipped = token.replace("hgyY0il", "hgyY0im");
    assert_eq!(verify(&flipped, set(&jwk, &[EdDSA]), &[EdDSA]), Err(Reason::Signature));
}

#[test]
fn rfc_8037_a_1_a_private_key_in_a_set_is_not_used() {
    let jwk = json!({
        "kty": "OKP", "crv": "Ed25519",
        "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
        "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
    });
    assert!(set(&jwk, &[EdDSA]).is_empty());
}

use jsonwebtoken::Algorithm;
use serde_json::json;

use super::kit::{HMAC_SECRET, Signer, good, issuer, try_world};
use crate::session::keys::KeyFault;
use crate::session::{Reason, SessionFault, pem};

#[test]
fn a_certificate_holds_the_same_key_as_its_public_half() {
    let identity = |text: &str| *pem::read(text.as_bytes()).unwrap().identity();
    let ec = identity(include_str!("fixtures/ec-public.pem"));
    assert_eq!(identity(include_str!("fixtures/ec-certificate.pem")), ec);
    let ed = identity(include_str!("fixtures/ed25519-public.pem"));
    assert_eq!(identity(include_str!("fixtures/ed25519-certificate.pem")), ed);
    let rsa = identity(include_str!("fixtures/rsa-public.pem"));
    assert_eq!(identity(include_str!("fixtures/rsa-public-pkcs1.pem")), rsa);
    assert_eq!(identity(include_str!("fixtures/rsa-certificate-v1-signed-with-ed25519.pem")), rsa);
}

#[test]
fn a_file_that_is_no_public_key_says_so() {
    let fault = |text: &str| pem::read(text.as_bytes()).err();
    assert_eq!(fault(""), Some(KeyFault::NotAPublicKey));
    assert_eq!(fault("ssh-ed25519 AAAA"), Some(KeyFault::NotAPublicKey));
    assert_eq!(fault(&super::kit::pem("PUBLIC KEY", b"junk")), Some(KeyFault::NotAPublicKey));
    assert_eq!(fault(&super::kit::pem("PUBLIC KEY", &[0x30, 0])), Some(KeyFault::NotAPublicKey));
    assert_eq!(fault(&super::kit::pem("PRIVATE KEY", &[0x30, 0])), Some(KeyFault::Private));
    let both = include_str!("fixtures/ec-public.pem").to_owned() + &super::kit::pem("EC PRIVATE KEY", &[0x30, 0]);
    assert_eq!(fault(&both), Some(KeyFault::Private));
}

#[tokio::test]
async fn a_reread_key_file_ends_what_the_old_key_verified() {
    let (old, new) = (Signer::new(Algorithm::ES256), Signer::new(Algorithm::ES256));
    let toml = issuer("\"ES256\"", "{ pem_file = \"key.pem\" }");
    let world = try_world(&toml, &[("key.pem", &old.pem)], &[]).ok().unwrap();
    let token = old.token("k", &good());
    world.verify(&token).await.ok().unwrap();
    assert_eq!(world.sessions.watched_files(), [world.folder.path().join("key.pem")]);

    std::fs::write(world.folder.path().join("key.pem"), "torn").unwrap();
    let faults = world.sessions.reread_files();
    assert!(faults.len() == 1 && faults[0].contains("key.pem"), "{faults:?}");
    assert!(world.is_cached(&token), "a file that can't be read keeps the key before");
    assert!(world.sessions.ready().issuers[0].failing);

    std::fs::write(world.folder.path().join("key.pem"), &new.pem).unwrap();
    assert_eq!(world.sessions.reread_files(), Vec::<String>::new());
    assert!(!world.is_cached(&token));
    assert_eq!(world.open(&token).await, Err(SessionFault::Invalid(Reason::Signature)));
    assert_eq!(world.open(&new.token("k", &good())).await.as_deref(), Ok("ada"));
    assert!(!world.sessions.ready().issuers[0].failing);
}

#[tokio::test]
async fn a_key_set_may_stand_in_a_file() {
    let signer = Signer::new(Algorithm::EdDSA);
    let set = json!({ "keys": [signer.named("k1")] }).to_string();
    let toml = issuer("\"EdDSA\"", "{ jwks_file = \"keys.json\" }");
    let world = try_world(&toml, &[("keys.json", &set)], &[]).ok().unwrap();
    assert_eq!(world.open(&signer.token("k1", &good())).await.as_deref(), Ok("ada"));
    let fault = world.open(&signer.token("k2", &good())).await;
    assert_eq!(fault, Err(SessionFault::Invalid(Reason::UnknownKey)));
}

#[test]
fn every_fault_of_the_keys_is_a_line_that_names_the_issuer() {
    let rsa = Signer::new(Algorithm::RS256).pem;
    let files = [("short", "secret"), ("key.pem", rsa.as_str()), ("junk", "junk"), ("secret", HMAC_SECRET)];
    for (algorithms, keys, expected) in [
        ("\"ES256\"", "{}", "exactly one"),
        ("\"ES256\"", "{ discovery = false }", "exactly one"),
        ("\"ES256\"", "{ discovery = true, pem_file = \"key.pem\" }", "exactly one"),
        ("\"ES256\"", "{ jwks_file = \"absent\" }", "absent"),
        ("\"ES256\"", "{ jwks_file = \"junk\" }", "is not JSON"),
        ("\"ES256\"", "{ pem_file = \"junk\" }", "is not PEM"),
        ("\"ES256\"", "{ pem_file = \"key.pem\" }", "none of the configured algorithms"),
        ("\"HS256\"", "{ pem_file = \"key.pem\" }", "need `keys = { secret"),
        ("\"HS256\", \"RS256\"", "{ secret = { file = \"secret\" } }", "need `keys = { secret"),
        ("\"HS256\"", "{ secret = { file = \"short\" } }", "RFC 7518"),
        ("", "{ pem_file = \"key.pem\" }", "names none"),
    ] {
        let faults = try_world(&issuer(algorithms, keys), &files, &[]).err().unwrap();
        assert!(faults.len() == 1 && faults[0].contains(expected), "{keys}: {faults:?}");
        assert!(faults[0].starts_with("session.issuer \"https://idp.example\": "), "{faults:?}");
    }
}

#[test]
fn every_fault_of_the_issuers_is_named_at_once() {
    let key = Signer::new(Algorithm::ES256).pem;
    let good = issuer("\"ES256\"", "{ pem_file = \"key.pem\" }");
    let bad = good.replace("idp.example", "two.example").replace("\"my-app\", \"other\"", "");
    let bad = bad.replace("key.pem", "absent.pem");
    let faults = try_world(&format!("{good}{good}{bad}"), &[("key.pem", &key)], &[]).err().unwrap();
    assert_eq!(faults.len(), 3, "{faults:#?}");
}

#[tokio::test]
async fn a_key_whose_members_are_padded_is_used_with_a_warning() {
    let signer = Signer::new(Algorithm::ES256);
    let mut padded = signer.named("k1");
    for name in ["x", "y"] {
        padded[name] = json!(format!("{}=", padded[name].as_str().unwrap()));
    }
    let set = json!({ "keys": [padded] }).to_string();
    let toml = issuer("\"ES256\"", "{ jwks_file = \"keys.json\" }");
    let world = try_world(&toml, &[("keys.json", &set)], &[]).ok().unwrap();
    assert_eq!(world.open(&signer.token("k1", &good())).await.as_deref(), Ok("ada"));
    let lines = crate::session::try_jwks_file(
        &world.folder.path().join("keys.json"),
        &[crate::session::settings::SignatureAlgorithm::ES256],
    );
    let lines = lines.unwrap();
    assert!(lines.len() == 1 && lines[0].contains("key \"k1\" is used, but a member of it has padding"), "{lines:?}");

    // Wrong padding, another alphabet and white space are no base64url in any library's reading.
    let x = signer.jwk["x"].as_str().unwrap();
    for wrong in [format!("{x}=="), format!("{x}=\n"), format!("={x}"), format!("{x} ="), format!("+{}=", &x[1..])] {
        let mut key = signer.named("k1");
        key["x"] = json!(wrong);
        let set = json!({ "keys": [key] }).to_string();
        assert!(try_world(&toml, &[("keys.json", &set)], &[]).is_err(), "{wrong:?}");
    }
}

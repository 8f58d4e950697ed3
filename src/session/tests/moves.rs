//! An issuer that moves from one kind of key to another: several entries of `keys`.

use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::json;

use super::kit::{Answer, HMAC_SECRET, ISSUER, Signer, good, issuer, try_world, unb64};
use crate::session::{Reason, SessionFault};

const OTHER_SECRET: &str = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210";
const SECRET: &str = "{ secret = { file = \"secret\" }, algorithms = [\"HS256\"] }";
const SET: &str = "{ jwks_url = \"https://idp.example/keys\", algorithms = [\"ES256\"] }";

/// One issuer with these entries of `keys`, and none of its own algorithms.
fn entries(entries: &[&str]) -> String {
    issuer("", &format!("[{}]", entries.join(", "))).replace("algorithms = []\n", "")
}

fn hmac(algorithm: Algorithm, secret: &[u8]) -> Signer {
    Signer { encoding: EncodingKey::from_secret(secret), ..Signer::new(algorithm) }
}

#[tokio::test]
async fn an_issuer_moves_from_a_shared_secret_to_public_keys() {
    let (old, new) = (Signer::new(Algorithm::HS256), Signer::new(Algorithm::ES256));
    for order in [[SECRET, SET], [SET, SECRET]] {
        let world = try_world(&entries(&order), &[("secret", HMAC_SECRET)], &[new.named("k1")]).ok().unwrap();
        world.sessions.fetch_all().await;
        for token in [old.token("any", &good()), new.token("k1", &good())] {
            assert_eq!(world.open(&token).await.as_deref(), Ok("ada"));
            assert!(world.is_cached(&token));
        }
    }
}

/// The classic confusion: what is public serves as a shared secret (RFC 8725, section 2.1).
#[tokio::test]
async fn no_public_key_beside_a_secret_is_taken_for_one() {
    let new = Signer::new(Algorithm::ES256);
    let set = json!({ "keys": [new.named("k1")] }).to_string();
    let world = try_world(&entries(&[SECRET, SET]), &[("secret", HMAC_SECRET)], &[new.named("k1")]).ok().unwrap();
    world.sessions.fetch_all().await;
    let point = unb64(new.jwk["x"].as_str().unwrap()).unwrap();
    for public in [new.pem.as_bytes(), set.as_bytes(), &point, b""] {
        for kid in ["k1", "any"] {
            let fault = world.open(&hmac(Algorithm::HS256, public).token(kid, &good())).await;
            assert_eq!(fault, Err(SessionFault::Invalid(Reason::Signature)));
        }
    }
}

#[tokio::test]
async fn an_algorithm_is_verified_only_with_the_entry_that_names_it() {
    let other = "{ secret = { file = \"other\" }, algorithms = [\"HS512\"] }";
    let files = [("secret", HMAC_SECRET), ("other", OTHER_SECRET)];
    let world = try_world(&entries(&[SECRET, other]), &files, &[]).ok().unwrap();
    for (algorithm, secret, expected) in [
        (Algorithm::HS256, HMAC_SECRET, Ok("ada")),
        (Algorithm::HS512, OTHER_SECRET, Ok("ada")),
        (Algorithm::HS256, OTHER_SECRET, Err(Reason::Signature)),
        (Algorithm::HS512, HMAC_SECRET, Err(Reason::Signature)),
        (Algorithm::HS384, HMAC_SECRET, Err(Reason::Algorithm)),
    ] {
        let opened = world.open(&hmac(algorithm, secret.as_bytes()).token("k", &good())).await;
        assert_eq!(
            opened.as_deref(),
            expected.map_err(SessionFault::Invalid).as_ref().map(|sub| *sub),
            "{algorithm:?}"
        );
    }
}

/// An entry without `algorithms` has those of the issuer, one with its own has none of them.
#[tokio::test]
async fn an_entry_without_algorithms_has_those_of_the_issuer() {
    let key = Signer::new(Algorithm::ES256);
    let toml = issuer("\"ES256\"", &format!("[{SECRET}, {{ pem_file = \"key.pem\" }}]"));
    let world = try_world(&toml, &[("secret", HMAC_SECRET), ("key.pem", &key.pem)], &[]).ok().unwrap();
    assert_eq!(world.open(&key.token("k", &good())).await.as_deref(), Ok("ada"));
    assert_eq!(world.open(&Signer::new(Algorithm::HS256).token("k", &good())).await.as_deref(), Ok("ada"));
    let both = issuer("\"ES256\", \"HS256\"", "[{ pem_file = \"key.pem\" }]");
    assert!(try_world(&both, &[("key.pem", &key.pem)], &[]).is_err());
    assert!(try_world(&entries(&[]), &[], &[]).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_key_that_one_entry_lacks_is_asked_for_though_another_has_one_to_try() {
    let (file, first, second) =
        (Signer::new(Algorithm::ES256), Signer::new(Algorithm::ES256), Signer::new(Algorithm::ES256));
    let pem = "{ pem_file = \"key.pem\", algorithms = [\"ES256\"] }";
    let world = try_world(&entries(&[pem, SET]), &[("key.pem", &file.pem)], &[first.named("k1")]).ok().unwrap();
    world.sessions.fetch_all().await;
    assert_eq!(world.open(&file.token("any", &good())).await.as_deref(), Ok("ada"));
    assert_eq!(world.open(&first.token("k1", &good())).await.as_deref(), Ok("ada"));
    world.idp.publishes(&[first.named("k1"), second.named("k2")]);
    world.pass(Duration::from_secs(31)).await;
    assert_eq!(world.open(&second.token("k2", &good())).await.as_deref(), Ok("ada"));
    // Nobody has this one, whoever is asked.
    let stranger = Signer::new(Algorithm::ES256).token("k3", &good());
    assert_eq!(world.open(&stranger).await, Err(SessionFault::Invalid(Reason::UnknownKey)));
}

#[tokio::test]
async fn each_entry_must_have_had_keys_before_the_issuer_is_ready() {
    let new = Signer::new(Algorithm::ES256);
    let world = try_world(&entries(&[SECRET, SET]), &[("secret", HMAC_SECRET)], &[new.named("k1")]).ok().unwrap();
    let ready = world.sessions.ready();
    assert!(!ready.all_had_once() && ready.any_had_once());
    assert_eq!(ready.degraded(), [format!("keys:{ISSUER}")]);
    // The secret opens sessions meanwhile; what waits for the set says so.
    assert!(world.open(&Signer::new(Algorithm::HS256).token("k", &good())).await.is_ok());
    world.idp.answers(Answer::Body(500, Vec::new()));
    let fault = world.open(&new.token("k1", &good())).await;
    assert!(matches!(fault, Err(SessionFault::KeysUnavailable(_))), "{fault:?}");
    let degraded = || world.metrics.degraded.with_label_values(&[&format!("keys:{ISSUER}")]).get();
    assert_eq!(degraded(), 1);
    // That the file was read again does not mend the set.
    assert_eq!(world.sessions.reread_files(), Vec::<String>::new());
    assert_eq!(degraded(), 1);
    world.idp.publishes(&[new.named("k1")]);
    assert_eq!(world.sessions.fetch_all().await, Vec::<String>::new());
    assert_eq!(degraded(), 0);
    assert!(world.sessions.ready().all_had_once() && world.sessions.ready().degraded().is_empty());
}

#[tokio::test]
async fn a_changed_file_of_one_entry_ends_what_it_verified_and_nothing_else() {
    let files = [("secret", HMAC_SECRET), ("other", OTHER_SECRET)];
    let other = "{ secret = { file = \"other\" }, algorithms = [\"HS256\"] }";
    let world = try_world(&entries(&[SECRET, other]), &files, &[]).ok().unwrap();
    // Two secrets of one algorithm: a change of the secret without a gap.
    let tokens =
        [HMAC_SECRET, OTHER_SECRET].map(|secret| hmac(Algorithm::HS256, secret.as_bytes()).token("k", &good()));
    for token in &tokens {
        assert!(world.open(token).await.is_ok());
    }
    assert_eq!(world.sessions.watched_files(), ["secret", "other"].map(|name| world.folder.path().join(name)));
    std::fs::write(world.folder.path().join("secret"), "x".repeat(64)).unwrap();
    assert_eq!(world.sessions.reread_files(), Vec::<String>::new());
    assert!(!world.is_cached(&tokens[0]) && world.is_cached(&tokens[1]));
}

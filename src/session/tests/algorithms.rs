use jsonwebtoken::Algorithm;
use serde_json::json;

use super::kit::{HMAC_SECRET, ISSUER, Signer, good, issuer, try_world, world_of};
use crate::session::{Reason, SessionFault};

const PUBLIC: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

#[tokio::test]
async fn a_good_token_of_each_public_algorithm_opens_a_session() {
    for algorithm in PUBLIC {
        let signer = Signer::new(algorithm);
        let world = world_of(&signer).await;
        let session = world.verify(&signer.token("k1", &good())).await.ok().unwrap();
        assert_eq!(
            (session.issuer(), session.subject(), session.external_id()),
            (ISSUER, "ada", "ada"),
            "{algorithm:?}"
        );
        assert_eq!(session.session_id(), None);
    }
}

#[tokio::test]
async fn a_good_token_opens_a_session_by_a_pem_file_whatever_its_kid() {
    for algorithm in PUBLIC {
        let signer = Signer::new(algorithm);
        let toml = issuer(&format!("\"{algorithm:?}\""), "{ pem_file = \"key.pem\" }");
        let world = try_world(&toml, &[("key.pem", &signer.pem)], &[]).ok().unwrap();
        assert_eq!(world.open(&signer.token("whatever", &good())).await.as_deref(), Ok("ada"), "{algorithm:?}");
    }
}

#[tokio::test]
async fn a_good_token_opens_a_session_by_a_shared_secret() {
    for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
        let signer = Signer::new(algorithm);
        let toml = issuer(&format!("\"{algorithm:?}\""), "{ secret = { file = \"key\" } }");
        let world = try_world(&toml, &[("key", HMAC_SECRET)], &[]).ok().unwrap();
        assert_eq!(world.open(&signer.token("k", &good())).await.as_deref(), Ok("ada"), "{algorithm:?}");
        let stranger = Signer { encoding: jsonwebtoken::EncodingKey::from_secret(&[7; 64]), ..signer };
        let fault = world.open(&stranger.token("k", &good())).await;
        assert_eq!(fault, Err(SessionFault::Invalid(Reason::Signature)));
    }
}

#[tokio::test]
async fn an_algorithm_that_is_not_configured_opens_nothing_though_the_key_could() {
    let ours = Signer::new(Algorithm::RS256);
    let world = world_of(&ours).await;
    for algorithm in [Algorithm::RS384, Algorithm::PS256] {
        let other = Signer { algorithm, ..ours.clone() };
        let fault = world.open(&other.token("k1", &good())).await;
        assert_eq!(fault, Err(SessionFault::Invalid(Reason::Algorithm)));
    }
}

#[tokio::test]
async fn a_key_serves_only_the_uses_and_the_algorithm_that_it_names() {
    let signer = Signer::new(Algorithm::RS256);
    let toml = issuer("\"RS256\", \"PS256\"", "{ jwks_url = \"https://idp.example/keys\" }");
    for (member, value, opens) in [
        ("use", json!("sig"), true),
        ("use", json!("enc"), false),
        ("key_ops", json!(["verify"]), true),
        ("key_ops", json!(["encrypt"]), false),
        ("key_ops", json!([]), false),
        ("alg", json!("RS256"), true),
        ("alg", json!("PS256"), false),
        ("alg", json!("RSA-OAEP"), false),
        ("d", json!("AQAB"), false),
    ] {
        let mut key = signer.named("k1");
        key[member] = value.clone();
        let world = try_world(&toml, &[], &[key]).ok().unwrap();
        world.sessions.fetch_all().await;
        assert_eq!(world.open(&signer.token("k1", &good())).await.is_ok(), opens, "{member} {value}");
    }
}

#[tokio::test]
async fn several_keys_of_one_name_or_none_are_each_tried() {
    let signers = [Algorithm::ES256, Algorithm::ES256, Algorithm::EdDSA].map(Signer::new);
    let toml = issuer("\"ES256\", \"EdDSA\"", "{ jwks_url = \"https://idp.example/keys\" }");
    for keys in [signers.each_ref().map(|s| s.named("same")), signers.each_ref().map(|s| s.jwk.clone())] {
        let named = keys[0].get("kid").is_some();
        let world = try_world(&toml, &[], &keys).ok().unwrap();
        world.sessions.fetch_all().await;
        for signer in &signers {
            let unnamed = signer.sign(&format!(r#"{{"alg":"{:?}"}}"#, signer.algorithm), &good().to_string());
            assert_eq!(world.open(&unnamed).await.as_deref(), Ok("ada"));
            assert_eq!(world.open(&signer.token("same", &good())).await.is_ok(), named);
        }
    }
}

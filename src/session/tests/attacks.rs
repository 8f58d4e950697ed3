use jsonwebtoken::{Algorithm, EncodingKey};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::kit::{ISSUER, Signer, World, b64, good, issuer, try_world, with, world_of};
use crate::session::{Reason, SessionFault};

async fn world() -> (Signer, World) {
    let signer = Signer::new(Algorithm::ES256);
    let world = world_of(&signer).await;
    (signer, world)
}

/// The reason why a token with this header, signed by the right key, opens nothing.
async fn refused(world: &World, signer: &Signer, header: &Value) -> Reason {
    reason(world, &signer.sign(&header.to_string(), &good().to_string())).await
}

async fn reason(world: &World, token: &str) -> Reason {
    match world.open(token).await {
        Err(SessionFault::Invalid(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_public_key_never_serves_as_a_shared_secret() {
    let rsa = Signer::new(Algorithm::RS256);
    let jwk_n = rsa.jwk["n"].as_str().unwrap().to_owned();
    for confusion in [rsa.pem.clone(), rsa.pem.trim_end().to_owned(), rsa.jwk.to_string(), jwk_n] {
        let forger = Signer {
            algorithm: Algorithm::HS256,
            encoding: EncodingKey::from_secret(confusion.as_bytes()),
            ..rsa.clone()
        };
        let token = forger.token("k1", &good());
        assert_eq!(reason(&world_of(&rsa).await, &token).await, Reason::Algorithm);
        let toml = issuer("\"RS256\"", "{ pem_file = \"key.pem\" }");
        let by_pem = try_world(&toml, &[("key.pem", &rsa.pem)], &[]).ok().unwrap();
        assert_eq!(reason(&by_pem, &token).await, Reason::Algorithm);
    }
    let toml = issuer("\"HS256\"", "{ secret = { file = \"key.pem\" } }");
    let faults = try_world(&toml, &[("key.pem", &rsa.pem)], &[]).err().unwrap();
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].contains("PEM"), "{faults:?}");
}

#[tokio::test]
async fn an_unsigned_token_opens_nothing() {
    let (_, world) = world().await;
    for alg in ["none", "None", "NONE", "nOnE", ""] {
        let signed = format!("{}.{}", b64(json!({ "alg": alg }).to_string()), b64(good().to_string()));
        assert_eq!(reason(&world, &format!("{signed}.")).await, Reason::Malformed);
        assert_eq!(reason(&world, &format!("{signed}.{}", b64([0; 64]))).await, Reason::Algorithm);
    }
}

#[tokio::test]
async fn signatures_of_zeros_and_of_other_lengths_open_nothing() {
    let (signer, world) = world().await;
    let token = signer.token("k1", &good());
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let raw = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, signature).unwrap();
    let (r, s) = raw.split_at(32);
    let mut shapes = vec![vec![0; 64], vec![0; 96], vec![0], vec![0xff; 64], raw[..63].to_vec(), raw[1..].to_vec()];
    shapes.push([&raw[..], &[0]].concat());
    shapes.push([&[0], &raw[..]].concat());
    shapes.push([&[0], r, &[0], s].concat());
    shapes.push([&raw[..], &raw[..]].concat());
    // The ASN.1 form that other uses of ECDSA have.
    shapes.push([&[0x30, 68, 2, 32], r, &[2, 32], s].concat());
    shapes.push([r, &[0; 32]].concat());
    shapes.push([&[0; 32], s].concat());
    for shape in shapes {
        let forged = format!("{signed}.{}", b64(&shape));
        assert_eq!(reason(&world, &forged).await, Reason::Signature, "{} bytes", shape.len());
    }
    assert_eq!(world.open(&token).await.as_deref(), Ok("ada"));
}

#[tokio::test]
async fn a_key_inside_a_token_is_never_used() {
    let (_, world) = world().await;
    let stranger = Signer::new(Algorithm::ES256);
    let asked = world.idp.asked();
    for (member, value) in [
        ("jwk", stranger.named("k1")),
        ("jku", json!("https://evil.example/keys")),
        ("x5u", json!("https://evil.example/chain")),
        ("x5c", json!(["MIIB"])),
    ] {
        let header = json!({ "alg": "ES256", "kid": "k1", member: value });
        assert_eq!(refused(&world, &stranger, &header).await, Reason::Signature, "{member}");
        let header = json!({ "alg": "ES256", member: value });
        assert_eq!(refused(&world, &stranger, &header).await, Reason::Signature, "{member}");
    }
    assert_eq!(world.idp.asked(), asked, "a token made us fetch");
}

#[tokio::test]
async fn extensions_and_other_types_open_nothing() {
    let (signer, world) = world().await;
    for (member, value, expected) in [
        ("crit", json!(["exp"]), Reason::CriticalExtension),
        ("b64", json!(false), Reason::CriticalExtension),
        ("typ", json!("logout+jwt"), Reason::Type),
        ("typ", json!("dpop+jwt"), Reason::Type),
    ] {
        let header = json!({ "alg": "ES256", "kid": "k1", member: value });
        assert_eq!(refused(&world, &signer, &header).await, expected, "{member}");
    }
}

#[tokio::test]
async fn logout_tokens_and_bound_tokens_open_nothing() {
    let (signer, world) = world().await;
    let event = json!({ "http://schemas.openid.net/event/backchannel-logout": {} });
    assert_eq!(reason(&world, &signer.token("k1", &with("events", Some(event)))).await, Reason::LogoutToken);
    for bound in [json!({ "jkt": "x" }), Value::Null] {
        assert_eq!(reason(&world, &signer.token("k1", &with("cnf", Some(bound)))).await, Reason::BoundToKey);
    }
}

#[tokio::test]
async fn a_name_that_stands_twice_opens_nothing() {
    let (signer, world) = world().await;
    let payload = good().to_string();
    let twice = payload.replacen('{', "{\"sub\":\"eve\",", 1);
    assert_eq!(reason(&world, &signer.sign(r#"{"alg":"ES256","kid":"k1"}"#, &twice)).await, Reason::Claims);
    let deep = payload.replacen('{', "{\"x\":[{\"a\":1,\"a\":2}],", 1);
    assert_eq!(reason(&world, &signer.sign(r#"{"alg":"ES256","kid":"k1"}"#, &deep)).await, Reason::Claims);
    let header = r#"{"alg":"ES256","kid":"k0","kid":"k1"}"#;
    assert_eq!(reason(&world, &signer.sign(header, &payload)).await, Reason::Header);
}

#[tokio::test]
async fn another_serialisation_opens_nothing() {
    let (signer, world) = world().await;
    let token = signer.token("k1", &good());
    let parts: Vec<&str> = token.split('.').collect();
    let json = json!({ "protected": parts[0], "payload": parts[1], "signature": parts[2] }).to_string();
    let mut wrong = vec![json, format!("{token}.x.y"), format!("{token}=="), format!("{token} "), format!(" {token}")];
    wrong.push(format!("{token}."));
    wrong.push(token.replacen('.', "=.", 1));
    wrong.push(token.replace('_', "/").replace('-', "+") + "=");
    wrong.push(String::new());
    for wrong in wrong {
        assert_eq!(reason(&world, &wrong).await, Reason::Malformed, "{wrong}");
    }
}

#[tokio::test]
async fn a_token_over_the_bound_is_refused_unread() {
    let signer = Signer::new(Algorithm::ES256);
    let token = signer.token("k1", &good());
    let keys = issuer("\"ES256\"", "{ jwks_url = \"https://idp.example/keys\" }");
    for (bound, opens) in [(token.len(), true), (token.len() - 1, false)] {
        let toml = format!("max_token_bytes = {bound}\n{keys}");
        let world = try_world(&toml, &[], &[signer.named("k1")]).ok().unwrap();
        world.sessions.fetch_all().await;
        let opened = world.open(&token).await;
        assert_eq!(opened.is_ok(), opens, "{opened:?}");
        assert_eq!(world.is_cached(&token), opens);
    }
    let (_, world) = self::world().await;
    assert_eq!(reason(&world, &"a".repeat(1 << 20)).await, Reason::TooLong);
    assert_eq!(world.checks(ISSUER, "invalid"), 0);
    assert_eq!(world.checks("unknown", "invalid"), 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_token_with_any_byte_changed_opens_nothing(position in any::<prop::sample::Index>(), change in 1_u8..=255) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            for algorithm in [Algorithm::ES256, Algorithm::EdDSA] {
                let signer = Signer::new(algorithm);
                let world = world_of(&signer).await;
                let mut token = signer.token("k1", &good()).into_bytes();
                let at = position.index(token.len());
                world.sessions.verify(&token, world.clock.now()).await.ok().unwrap();
                token[at] ^= change;
                assert!(world.sessions.cached(&token, world.clock.moment()).is_none());
                assert!(world.sessions.verify(&token, world.clock.now()).await.is_err());
            }
        });
    }
}

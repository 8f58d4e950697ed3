use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use super::kit::{NOW, Signer, World, good, issuer, try_world, with, world_of};
use crate::session::{Reason, SessionFault};

/// Every wrong form of a claim, and its absence.
fn forms() -> Vec<(&'static str, Option<Value>)> {
    vec![
        ("absent", None),
        ("string", Some(json!("1800003600"))),
        ("float", Some(json!(1_800_003_600.5))),
        ("negative", Some(json!(-1))),
        ("negative float", Some(json!(-0.5))),
        ("huge", Some(json!((1_u64 << 53) + 1))),
        ("huger", Some(json!(1e300))),
        ("largest", Some(json!(1_u64 << 53))),
        ("zero", Some(json!(0))),
        ("array", Some(json!([NOW + 3600]))),
        ("array of strings", Some(json!(["my-app"]))),
        ("mixed array", Some(json!(["my-app", 1]))),
        ("empty array", Some(json!([]))),
        ("null", Some(Value::Null)),
        ("bool", Some(json!(true))),
        ("object", Some(json!({ "my-app": 1 }))),
        ("empty", Some(json!(""))),
        ("control", Some(json!("a\nb"))),
        ("long", Some(json!("a".repeat(256)))),
        ("long enough", Some(json!("a".repeat(255)))),
    ]
}

/// Which forms of a claim open a session; all others must not.
async fn only_these_open(claim: &str, opening: &[&str]) {
    let signer = Signer::new(Algorithm::ES256);
    let world = world_of(&signer).await;
    for (form, value) in forms() {
        let opened = world.open(&signer.token("k1", &with(claim, value))).await;
        assert_eq!(opened.is_ok(), opening.contains(&form), "{claim} {form}: {opened:?}");
    }
}

#[tokio::test]
async fn exp_is_a_number_in_range_and_required() {
    only_these_open("exp", &["float", "largest"]).await;
}

#[tokio::test]
async fn nbf_and_iat_are_numbers_in_range_or_absent() {
    for claim in ["nbf", "iat"] {
        // The float lies an hour ahead, the largest far ahead.
        only_these_open(claim, &["absent", "zero"]).await;
        let signer = Signer::new(Algorithm::ES256);
        let world = world_of(&signer).await;
        let token = signer.token("k1", &with(claim, Some(json!(NOW as f64 + 0.5))));
        assert_eq!(world.open(&token).await.as_deref(), Ok("ada"));
    }
}

#[tokio::test]
async fn iss_is_one_configured_string() {
    only_these_open("iss", &[]).await;
    let signer = Signer::new(Algorithm::ES256);
    let world = world_of(&signer).await;
    for iss in [json!("https://idp.example/"), json!("HTTPS://idp.example"), json!(["https://idp.example"])] {
        assert!(world.open(&signer.token("k1", &with("iss", Some(iss.clone())))).await.is_err(), "{iss}");
    }
    assert_eq!(world.checks("unknown", "invalid"), 3);
}

#[tokio::test]
async fn aud_is_a_string_or_an_array_of_strings_and_one_is_ours() {
    only_these_open("aud", &["array of strings"]).await;
    let signer = Signer::new(Algorithm::ES256);
    let world = world_of(&signer).await;
    for (aud, ours) in [
        (json!("my-app"), true),
        (json!("other"), true),
        (json!(["x", "other"]), true),
        (json!(["x"]), false),
        (json!("My-App"), false),
        (json!("my-app "), false),
    ] {
        let opened = world.open(&signer.token("k1", &with("aud", Some(aud.clone())))).await;
        assert_eq!(opened.is_ok(), ours, "{aud}");
    }
}

#[tokio::test]
async fn sub_is_a_bounded_string_without_control_characters() {
    only_these_open("sub", &["string", "long enough"]).await;
}

#[tokio::test]
async fn sid_is_a_bounded_string_or_absent() {
    only_these_open("sid", &["absent", "string", "long enough"]).await;
}

#[tokio::test]
async fn jti_is_a_string_or_absent() {
    only_these_open("jti", &["absent", "string", "empty", "control", "long", "long enough"]).await;
}

async fn custom(signer: &Signer, more: &str) -> World {
    let toml = issuer("\"ES256\"", "{ jwks_url = \"https://idp.example/keys\" }") + more;
    let world = try_world(&toml, &[], &[signer.named("k1")]).ok().unwrap();
    world.sessions.fetch_all().await;
    world
}

#[tokio::test]
async fn subject_audience_and_session_stand_where_the_issuer_says() {
    let signer = Signer::new(Algorithm::ES256);
    let more = "subject_claim = \"/realm/user/id\"\naudience_claim = \"client_id\"\nsession_claim = \"session\"\n";
    let world = custom(&signer, more).await;
    let mut claims = good();
    claims["realm"] = json!({ "user": { "id": "u-1" } });
    claims["client_id"] = json!("my-app");
    claims["session"] = json!("s-1");
    claims.as_object_mut().unwrap().remove("aud");
    let session = world.verify(&signer.token("k1", &claims)).await.ok().unwrap();
    assert_eq!((session.subject(), session.session_id()), ("u-1", Some("s-1")));

    for wrong in [json!(""), json!(true), json!([7]), Value::Null, json!("a\u{7f}")] {
        claims["realm"]["user"]["id"] = wrong;
        let fault = world.open(&signer.token("k1", &claims)).await;
        assert_eq!(fault, Err(SessionFault::Invalid(Reason::Subject)));
    }
    claims["realm"]["user"]["id"] = json!("u-1");
    claims["sub"] = json!(7);
    assert_eq!(world.open(&signer.token("k1", &claims)).await, Err(SessionFault::Invalid(Reason::Subject)));
    claims["sub"] = json!("ada");
    claims["aud"] = json!(7);
    assert_eq!(world.open(&signer.token("k1", &claims)).await, Err(SessionFault::Invalid(Reason::Audience)));
}

/// What is in a token as it stands there: `1.0` is not `1`.
async fn open_with(world: &World, signer: &Signer, sub: &str, number: &str) -> Result<String, SessionFault> {
    let payload = good().to_string().replace("\"sub\":\"ada\"", &format!("{sub}\"uid\":{number}"));
    assert!(payload.contains("uid"), "{payload}");
    world.open(&signer.sign(r#"{"alg":"ES256","kid":"k1"}"#, &payload)).await
}

#[tokio::test]
async fn a_subject_claim_other_than_sub_may_be_a_whole_number() {
    let signer = Signer::new(Algorithm::ES256);
    for claim in ["uid", "/uid"] {
        let world = custom(&signer, &format!("subject_claim = \"{claim}\"\n")).await;
        for (number, subject) in [("0", "0"), ("7", "7"), ("9007199254740992", "9007199254740992"), ("\"7\"", "7")] {
            assert_eq!(open_with(&world, &signer, "", number).await.as_deref(), Ok(subject), "{number}");
        }
        for wrong in ["-1", "-0", "1.0", "7.5", "1e3", "1E3", "9007199254740993", "18446744073709551616", "true", "[7]"]
        {
            let fault = open_with(&world, &signer, "", wrong).await;
            assert_eq!(fault, Err(SessionFault::Invalid(Reason::Subject)), "{wrong}");
        }
    }
    for claim in ["sub", "/sub"] {
        let world = custom(&signer, &format!("subject_claim = \"{claim}\"\n")).await;
        let fault = world.open(&signer.token("k1", &with("sub", Some(json!(7))))).await;
        assert_eq!(fault, Err(SessionFault::Invalid(Reason::Subject)));
    }
}

#[tokio::test]
async fn beside_another_subject_claim_sub_may_be_empty_or_absent() {
    let signer = Signer::new(Algorithm::ES256);
    let world = custom(&signer, "subject_claim = \"uid\"\n").await;
    for (sub, opens) in [
        ("", true),
        ("\"sub\":\"\",", true),
        ("\"sub\":\"ada\",", true),
        ("\"sub\":7,", false),
        ("\"sub\":null,", false),
    ] {
        assert_eq!(open_with(&world, &signer, sub, "\"svc\"").await.is_ok(), opens, "{sub}");
    }
}

#[tokio::test]
async fn the_vendors_name_of_a_subject_is_built_from_claims() {
    let signer = Signer::new(Algorithm::ES256);
    let world = custom(&signer, "external_id = \"{claim:org}:{sub}\"\n").await;
    let session = world.verify(&signer.token("k1", &with("org", Some(json!("acme"))))).await.ok().unwrap();
    assert_eq!((session.subject(), session.external_id()), ("ada", "acme:ada"));
    let fault = world.open(&signer.token("k1", &good())).await;
    assert_eq!(fault, Err(SessionFault::Invalid(Reason::ExternalId)));
}

#[tokio::test]
async fn claims_for_recipes_are_non_empty_strings_or_nothing() {
    let signer = Signer::new(Algorithm::ES256);
    let world = world_of(&signer).await;
    for (value, kept) in [(json!("a@b.example"), Some("a@b.example")), (json!(""), None), (json!(["a"]), None)] {
        let session = world.verify(&signer.token("k1", &with("email", Some(value)))).await.ok().unwrap();
        assert_eq!(session.claims()[0].as_deref(), kept);
        assert_eq!(session.claims()[1], None);
    }
}

#[tokio::test]
async fn one_subject_of_two_issuers_is_two_persons() {
    let signer = Signer::new(Algorithm::ES256);
    let keys = "{ jwks_url = \"https://idp.example/keys\" }";
    let second = issuer("\"ES256\"", keys).replace("idp.example\"\n", "two.example\"\n");
    let toml = issuer("\"ES256\"", keys) + &second + "external_id = \"two-{sub}\"\n";
    let world = try_world(&toml, &[], &[signer.named("k1")]).ok().unwrap();
    world.sessions.fetch_all().await;
    let one = world.verify(&signer.token("k1", &good())).await.ok().unwrap();
    let two = world.verify(&signer.token("k1", &with("iss", Some(json!("https://two.example"))))).await.ok().unwrap();
    assert_eq!(one.subject(), two.subject());
    assert_ne!(one.issuer(), two.issuer());
    assert_ne!(one.log_id(), two.log_id());
    assert_ne!(one.external_id(), two.external_id());
    assert_eq!(one.log_id().len(), 43);
}

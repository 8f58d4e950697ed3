use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use super::kit::{ISSUER, NOW, SKEW, Signer, World, good, issuer, try_world, with, world_of};
use crate::session::{Reason, SessionFault};
use crate::units::Span;

/// A subject to look for: long, and with letters that no hash or token has.
const CANARY_PERSON: &str = "canary-person-3m8v!c1t6n@example.com";

/// The good claims for that person, with one of them set, or taken out (`None`).
fn with_canary(claim: &str, value: Option<Value>) -> Value {
    let mut claims = with("sub", Some(json!(CANARY_PERSON)));
    match value {
        Some(value) => claims[claim] = value,
        None => drop(claims.as_object_mut().unwrap().remove(claim)),
    }
    claims
}

/// What is told of a token: the steps that it passed, and the one that refused with its words.
async fn told(world: &World, token: &str) -> (Vec<String>, Option<(String, String, SessionFault)>) {
    let explanation = world.sessions.explain(token.as_bytes(), world.clock.now()).await;
    let passed = explanation.passed.iter().map(|(step, what)| format!("{step}: {what}")).collect();
    (passed, explanation.end.err().map(|end| (end.step.to_owned(), end.why, end.fault)))
}

#[tokio::test]
async fn a_good_token_passes_nine_steps_and_nothing_of_it_is_told() {
    let signer = Signer::new(Algorithm::ES256);
    let world = world_of(&signer).await;
    let token = signer.token("k1", &with_canary("sid", Some(json!("session-name-1"))));
    let (passed, end) = told(&world, &token).await;
    assert_eq!(end, None);
    let all = passed.join("\n");
    for part in [
        "header: alg ES256, kid k1, no typ: counts as JWT",
        "issuer: https://idp.example is configured",
        &format!(
            "claims: good for {}, clock_skew included; for my-app; it names its session",
            Span::secs(3600 + SKEW as u64)
        ),
        "key: 1 of",
        "signature: is good",
    ] {
        assert!(all.contains(part), "no {part:?} in:\n{all}");
    }
    assert_eq!(passed.len(), 9);
    for secret in token.split('.').chain([CANARY_PERSON, "session-name-1"]) {
        assert!(!all.contains(secret), "{secret} in:\n{all}");
    }
}

#[tokio::test]
async fn each_refusal_names_its_step_and_is_the_one_of_a_request() {
    let signer = Signer::new(Algorithm::ES256);
    let stranger = Signer::new(Algorithm::ES256);
    let world = world_of(&signer).await;
    let good = || with_canary("iat", Some(json!(NOW - 60)));
    let header = |members: &str| signer.sign(&format!("{{{members}}}"), &good().to_string());
    let event = json!({ "http://schemas.openid.net/event/backchannel-logout": {} });
    let cases: Vec<(String, &str, &str)> = vec![
        ("opaque".into(), "token", "no compact JWS"),
        ("a".repeat(9000), "token", "max_token_bytes"),
        (header(r#""kid":"k1""#), "header", "no JSON object with an `alg`"),
        (header(r#""alg":"ES256","crit":["x"]"#), "header", "extension"),
        (
            signer.token("k1", &with_canary("iss", Some(json!("https://other.example")))),
            "issuer",
            ": https://other.example",
        ),
        (header(r#""alg":"ES256","typ":"logout+jwt""#), "type", "none of `types`"),
        (header(r#""alg":"RS256","kid":"k1""#), "algorithm", "none of `algorithms`"),
        (signer.token("k1", &with_canary("exp", None)), "claims", "exp is required"),
        (
            signer.token("k1", &with_canary("aud", Some(json!(["a", "b"])))),
            "claims",
            "aud is a, b; audiences are my-app, other",
        ),
        (signer.token("k1", &with_canary("aud", None)), "claims", "aud is absent"),
        (signer.token("k1", &with_canary("nbf", Some(json!(NOW + 900)))), "claims", "future"),
        (signer.token("k1", &with_canary("sub", None)), "claims", "subject"),
        (signer.token("k1", &with_canary("cnf", Some(json!({})))), "claims", "accept_bound"),
        (signer.token("k1", &with_canary("events", Some(event))), "claims", "logout token"),
        (signer.token("k9", &good()), "key", "no key of its `kid`"),
        (stranger.token("k1", &good()), "signature", "none of the key's"),
        (signer.token("k1", &with_canary("exp", Some(json!(NOW - SKEW)))), "end", "life is over"),
    ];
    for (token, step, part) in cases {
        let (passed, end) = told(&world, &token).await;
        let (named, why, fault) = end.expect("refused");
        assert!(named == step && why.contains(part), "{step}: {named} {why}");
        assert_eq!(world.open(&token).await, Err(fault), "{step}");
        let all = format!("{} {why}", passed.join(" "));
        let leaked = token.split('.').find(|part| part.len() > 20 && all.contains(part));
        assert!(leaked.is_none() && !all.contains(CANARY_PERSON), "{all}");
    }
}

#[tokio::test]
async fn each_fault_names_its_claim_and_what_was_expected() {
    let signer = Signer::new(Algorithm::ES256);
    let world = world_with(&signer, "max_age = \"2h\"").await;
    let good = || with_canary("iat", Some(json!(NOW - 60)));
    let with_claim = |claim: &str, value: Option<Value>| {
        let mut claims = good();
        match value {
            Some(value) => claims[claim] = value,
            None => drop(claims.as_object_mut().unwrap().remove(claim)),
        }
        signer.token("k1", &claims)
    };
    let header = |members: &str| signer.sign(&format!("{{{members}}}"), &good().to_string());
    let whole = signer.token("k1", &good());
    let parts: Vec<&str> = whole.split('.').collect();
    let (broken, five) = (whole.replacen('.', ".\n", 1), format!("{whole}.AA.AA"));
    let old = with_claim("iat", Some(json!(NOW - 3 * 3600)));
    for (token, part) in [
        (good().to_string(), "it is JSON"),
        (broken, "white space"),
        (five, "encrypted (a JWE)"),
        (format!("{}.{}", parts[0], parts[1]), "it has 2 parts"),
        (format!("{}.{}.", parts[0], parts[1]), "its signature is empty"),
        (format!("{}.{}=.{}", parts[0], parts[1], parts[2]), "its payload has padding"),
        (format!("{}.{}.+/8", parts[0], parts[1]), "its signature is base64, and not base64url"),
        (header(r#""alg":1"#), "`alg` is a number"),
        (header(r#""alg":"ES256","kid":7"#), "`kid` is a number"),
        (header(r#""alg":"none""#), "its `alg` is none, none of `algorithms`: ES256"),
        (header(r#""alg":"ES256","typ":"logout+jwt""#), "its `typ` is \"logout+jwt\", none of `types`: JWT"),
        (signer.token("k9", &good()), "no key of its `kid` k9; it has k1"),
        (with_claim("iss", Some(json!("https://idp.example/"))), "did you mean \"https://idp.example\"?"),
        (with_claim("iss", Some(json!("https://elsewhere.test"))), "; configured: https://idp.example"),
        (with_claim("iss", None), "`iss` is missing"),
        (with_claim("iss", Some(json!(["https://idp.example"]))), "`iss` is a list, and must be a text"),
        (with_claim("exp", Some(json!("tomorrow"))), "`exp` is a text, and must be a number of seconds"),
        (with_claim("exp", Some(json!(-1))), "`exp` is a negative number"),
        (with_claim("exp", Some(json!(NOW - 300))), "`exp` was 5m ago"),
        (with_claim("iat", None), "`iat` is missing: iat is required with max_age"),
        (with_claim("iat", Some(json!(true))), "`iat` is true or false"),
        (old, "`iat` was 3h ago, and max_age is 2h"),
        (with_claim("nbf", Some(json!(NOW + 900))), "`nbf` lies 15m in the future"),
        (with_claim("iat", Some(json!(NOW + 900))), "`iat` lies 15m in the future"),
        (with_claim("jti", Some(json!(1))), "`jti` is a number, and must be a text"),
        (with_claim("sid", Some(json!(1))), "`session_claim` is a number, and must be a text"),
        (with_claim("sid", Some(json!(""))), "`session_claim` is empty"),
        (with_claim("sub", None), "the subject, `sub`, is missing"),
        (with_claim("sub", Some(json!(""))), "the subject, `sub`, is empty"),
        (with_claim("sub", Some(json!(["a"]))), "the subject, `sub`, is a list"),
        (with_claim("sub", Some(json!("x".repeat(256)))), "is 256 bytes long, at most 255"),
        (with_claim("sub", Some(json!("a\nb"))), "holds a control character"),
    ] {
        let (_, end) = told(&world, &token).await;
        let (_, why, _) = end.expect("refused");
        assert!(why.contains(part), "{part:?} is not in {why:?}");
        assert!(!why.contains(CANARY_PERSON), "{why}");
    }
}

#[tokio::test]
async fn a_claim_that_the_vendors_name_needs_is_named() {
    let signer = Signer::new(Algorithm::ES256);
    let world = world_with(&signer, "external_id = \"{claim:org}-{claim:/a/b}-{sub}\"").await;
    let (_, end) = told(&world, &signer.token("k1", &with("org", Some(json!("acme"))))).await;
    let (step, why, _) = end.unwrap();
    assert!(step == "vendor's id" && why.ends_with(": `/a/b`"), "{step} {why}");
}

#[tokio::test]
async fn keys_that_were_never_had_are_the_key_s_step() {
    let signer = Signer::new(Algorithm::ES256);
    let toml = issuer("\"ES256\"", "{ jwks_url = \"https://idp.example/keys\" }");
    let world = try_world(&toml, &[], &[signer.named("k1")]).ok().unwrap();
    let (_, end) = told(&world, &signer.token("k1", &good())).await;
    let (step, why, fault) = end.unwrap();
    assert_eq!((step.as_str(), why.as_str()), ("key", "the issuer's keys can't be had"));
    assert!(matches!(fault, SessionFault::KeysUnavailable(_)));
}

/// A world whose issuer has these lines too.
async fn world_with(signer: &Signer, lines: &str) -> World {
    let toml = format!("{}{lines}\n", issuer("\"ES256\"", "{ jwks_url = \"https://idp.example/keys\" }"));
    let world = try_world(&toml, &[], &[signer.named("k1")]).ok().unwrap();
    assert_eq!(world.sessions.fetch_all().await, Vec::<String>::new());
    world
}

#[tokio::test]
async fn the_audience_that_is_told_is_the_one_that_is_compared() {
    let signer = Signer::new(Algorithm::ES256);
    let world = world_with(&signer, "audience_claim = \"client_id\"").await;
    let (_, end) = told(&world, &signer.token("k1", &with("client_id", Some(json!("elsewhere"))))).await;
    let (_, why, _) = end.unwrap();
    assert!(why.contains("the token's client_id is elsewhere; audiences are my-app, other"), "{why}");
    let (passed, end) = told(&world, &signer.token("k1", &with("client_id", Some(json!("other"))))).await;
    assert!(end.is_none() && passed[5].contains("; for other;"), "{passed:?}");
}

#[tokio::test]
async fn only_the_types_of_the_issuer_open_a_session() {
    let signer = Signer::new(Algorithm::ES256);
    let world = world_with(&signer, "types = [\"application/AT+jwt\", \"vnd.session+jwt\"]").await;
    for (typ, opens) in [
        (Some("at+jwt"), true),
        (Some("application/at+jwt"), true),
        (Some("VND.session+JWT"), true),
        (Some("JWT"), false),
        (None, false),
        (Some("logout+jwt"), false),
        (Some(""), false),
    ] {
        let mut header = json!({ "alg": "ES256", "kid": "k1" });
        if let Some(typ) = typ {
            header["typ"] = json!(typ);
        }
        let opened = world.open(&signer.sign(&header.to_string(), &good().to_string())).await;
        let expected = if opens { Ok("ada".to_owned()) } else { Err(SessionFault::Invalid(Reason::Type)) };
        assert_eq!(opened, expected, "{typ:?}");
    }
}

#[tokio::test]
async fn max_age_counts_from_iat_on_both_sides_and_in_the_cache() {
    let signer = Signer::new(Algorithm::ES256);
    let world = world_with(&signer, "max_age = \"10m\"").await;
    let issued = |iat: i64| signer.token("k1", &with("iat", Some(json!(iat))));
    assert_eq!(world.open(&issued(NOW - 600 - SKEW + 1)).await.as_deref(), Ok("ada"));
    assert_eq!(world.open(&issued(NOW - 600 - SKEW)).await, Err(SessionFault::Expired));
    assert_eq!(world.open(&signer.token("k1", &with("iat", None))).await, Err(SessionFault::Invalid(Reason::Claims)));
    // The token's own end counts where it is earlier.
    let short = with("exp", Some(json!(NOW - SKEW)));
    assert_eq!(world.open(&signer.token("k1", &short)).await, Err(SessionFault::Expired));
    let token = issued(NOW);
    world.open(&token).await.unwrap();
    world.clock_control.advance(std::time::Duration::from_secs(600 + SKEW as u64 - 1));
    assert!(world.is_cached(&token));
    world.clock_control.advance(std::time::Duration::from_secs(1));
    assert!(!world.is_cached(&token));
    assert_eq!(world.open(&token).await, Err(SessionFault::Expired));
}

#[tokio::test]
async fn bound_tokens_open_where_the_operator_says_so() {
    let signer = Signer::new(Algorithm::ES256);
    let bound = signer.token("k1", &with("cnf", Some(json!({ "jkt": "x" }))));
    let strict = world_with(&signer, "").await;
    assert_eq!(strict.open(&bound).await, Err(SessionFault::Invalid(Reason::BoundToKey)));
    let lenient = world_with(&signer, "accept_bound = true").await;
    assert_eq!(lenient.open(&bound).await.as_deref(), Ok("ada"));
    assert_eq!(strict.checks(ISSUER, "invalid"), 1);
    let _: Value = good();
}

use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::Algorithm;
use serde_json::json;
use tokio::sync::watch;

use super::kit::{Answer, ISSUER, Signer, World, good, issuer, try_world, with, world_of};
use crate::http_client::Cause;
use crate::session::{ClientFault, Reason, SessionFault};

const UNKNOWN_KEY: SessionFault = SessionFault::Invalid(Reason::UnknownKey);

const COOL_DOWN: Duration = Duration::from_secs(30);
const MAX_STALE: Duration = Duration::from_secs(3600);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// An issuer whose keys were never had.
fn cold(keys: &[serde_json::Value]) -> World {
    let toml = issuer("\"ES256\"", "{ jwks_url = \"https://idp.example/keys\" }");
    try_world(&toml, &[], keys).ok().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_thousand_unknown_kids_cause_one_fetch() {
    let signer = Signer::new(Algorithm::ES256);
    let world = Arc::new(world_of(&signer).await);
    let asked = world.idp.asked();
    let mut callers = tokio::task::JoinSet::new();
    for i in 0..1000 {
        let (world, token) = (Arc::clone(&world), signer.token(&format!("bogus-{i}"), &good()));
        callers.spawn(async move { world.open(&token).await });
    }
    while let Some(opened) = callers.join_next().await {
        assert_eq!(opened.unwrap(), Err(UNKNOWN_KEY));
    }
    assert_eq!(world.idp.asked() - asked, 1);
    world.pass(COOL_DOWN - seconds(1)).await;
    assert_eq!(world.open(&signer.token("bogus", &good())).await, Err(UNKNOWN_KEY));
    assert_eq!(world.idp.asked() - asked, 1);
    world.pass(seconds(1)).await;
    assert_eq!(world.open(&signer.token("bogus", &good())).await, Err(UNKNOWN_KEY));
    assert_eq!(world.idp.asked() - asked, 2);
}

#[tokio::test(start_paused = true)]
async fn a_bad_signature_causes_no_fetch() {
    let world = world_of(&Signer::new(Algorithm::ES256)).await;
    let asked = world.idp.asked();
    let forged = Signer::new(Algorithm::ES256).token("k1", &good());
    assert_eq!(world.open(&forged).await, Err(SessionFault::Invalid(Reason::Signature)));
    let wrong_kind = Signer::new(Algorithm::EdDSA);
    assert_eq!(world.open(&wrong_kind.token("k1", &good())).await, Err(SessionFault::Invalid(Reason::Algorithm)));
    assert_eq!(world.idp.asked(), asked);
}

#[tokio::test(start_paused = true)]
async fn a_new_key_opens_sessions_with_the_request_that_first_names_it() {
    let (old, new) = (Signer::new(Algorithm::ES256), Signer::new(Algorithm::ES256));
    let world = world_of(&old).await;
    world.idp.publishes(&[old.named("k1"), new.named("k2")]);
    assert_eq!(world.open(&new.token("k2", &good())).await.as_deref(), Ok("ada"));
    assert_eq!(world.open(&old.token("k1", &good())).await.as_deref(), Ok("ada"));
    assert_eq!(world.fetches("ok"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_cached_verdict_survives_a_refresh_and_ends_with_its_key() {
    let (one, two) = (Signer::new(Algorithm::ES256), Signer::new(Algorithm::ES256));
    let world = world_of(&one).await;
    let token = one.token("k1", &good());
    world.verify(&token).await.ok().unwrap();
    world.idp.publishes(&[two.named("k2"), one.named("k1")]);
    world.sessions.fetch_all().await;
    assert!(world.is_cached(&token));
    world.idp.publishes(&[two.named("k2")]);
    world.sessions.fetch_all().await;
    assert!(!world.is_cached(&token));
    assert_eq!(world.open(&token).await, Err(UNKNOWN_KEY));
    // Another key under the old name does not bring it back.
    world.idp.publishes(&[two.named("k1")]);
    world.sessions.fetch_all().await;
    assert!(!world.is_cached(&token));
    assert_eq!(world.open(&token).await, Err(SessionFault::Invalid(Reason::Signature)));
}

#[tokio::test(start_paused = true)]
async fn a_hung_identity_provider_delays_only_tokens_of_unknown_keys() {
    let signer = Signer::new(Algorithm::ES256);
    let world = world_of(&signer).await;
    world.idp.answers(Answer::Hang);
    let before = tokio::time::Instant::now();
    assert_eq!(world.open(&signer.token("bogus", &good())).await, Err(UNKNOWN_KEY));
    assert_eq!(before.elapsed(), seconds(2));
    let before = tokio::time::Instant::now();
    assert_eq!(world.open(&signer.token("k1", &good())).await.as_deref(), Ok("ada"));
    assert_eq!(before.elapsed(), Duration::ZERO);
    world.pass(seconds(10)).await;
    // The attempt was given up, and nobody waits for the next before the cool-down is over.
    tokio::task::yield_now().await;
    assert_eq!(world.fetches("error"), 1);
    let before = tokio::time::Instant::now();
    assert_eq!(world.open(&signer.token("bogus", &good())).await, Err(UNKNOWN_KEY));
    assert_eq!(before.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_does_not_end_the_fetch() {
    let (old, new) = (Signer::new(Algorithm::ES256), Signer::new(Algorithm::ES256));
    let world = world_of(&old).await;
    world.idp.publishes(&[new.named("k2")]);
    let token = new.token("k2", &good());
    let caller = world.sessions.verify(token.as_bytes(), world.clock.now());
    // Polled once, then dropped at its await.
    assert!(tokio::time::timeout(Duration::ZERO, caller).await.is_err());
    while world.fetches("ok") < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.open(&token).await.as_deref(), Ok("ada"));
    assert_eq!(world.fetches("ok"), 2);
}

#[tokio::test(start_paused = true)]
async fn keys_are_believed_for_an_hour_after_the_last_success() {
    let signer = Signer::new(Algorithm::ES256);
    let world = world_of(&signer).await;
    let token = signer.token("k1", &with("exp", Some(json!(super::kit::NOW + 100_000))));
    world.verify(&token).await.ok().unwrap();
    world.idp.answers(Answer::Fault(ClientFault::Unreachable(Cause::Refused)));
    assert_eq!(world.sessions.fetch_all().await.len(), 1);
    assert_eq!(world.metrics.degraded.with_label_values(&["keys:https://idp.example"]).get(), 1);
    world.pass(MAX_STALE - Duration::from_millis(1)).await;
    assert!(world.is_cached(&token));
    assert_eq!(world.open(&token).await.as_deref(), Ok("ada"));
    world.pass(Duration::from_millis(1)).await;
    assert!(!world.is_cached(&token));
    assert_eq!(world.open(&token).await, Err(SessionFault::KeysUnavailable(COOL_DOWN)));
    assert_eq!(world.sessions.ready().degraded(), ["keys:https://idp.example"]);
    world.idp.publishes(&[signer.named("k1")]);
    world.sessions.fetch_all().await;
    assert!(world.is_cached(&token), "the key stayed, and so did what it verified");
    assert_eq!(world.metrics.degraded.with_label_values(&["keys:https://idp.example"]).get(), 0);
    assert_eq!(world.checks(ISSUER, "unavailable"), 1);
}

#[tokio::test(start_paused = true)]
async fn before_the_first_keys_a_good_token_is_told_to_come_again() {
    let signer = Signer::new(Algorithm::ES256);
    let world = cold(&[]);
    world.idp.answers(Answer::Fault(ClientFault::Unreachable(Cause::Refused)));
    let token = signer.token("k1", &good());
    assert_eq!(world.open(&token).await, Err(SessionFault::KeysUnavailable(COOL_DOWN)));
    world.pass(seconds(10)).await;
    assert_eq!(world.open(&token).await, Err(SessionFault::KeysUnavailable(COOL_DOWN - seconds(10))));
    assert_eq!(world.idp.asked(), 1);
    assert!(!world.sessions.ready().any_had_once());
    world.idp.publishes(&[signer.named("k1")]);
    world.pass(seconds(20)).await;
    assert_eq!(world.open(&token).await.as_deref(), Ok("ada"));
    assert!(world.sessions.ready().all_had_once());
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_no_key_set_keeps_the_keys_before() {
    let signer = Signer::new(Algorithm::ES256);
    let world = world_of(&signer).await;
    let mut nonsense = 0;
    for body in ["", "null", "[]", "{}", "{\"keys\":{}}", "{\"keys\":[", "<html>"] {
        world.idp.answers(Answer::Body(200, body.into()));
        assert_eq!(world.sessions.fetch_all().await.len(), 1, "{body}");
        nonsense += 1;
    }
    world.idp.answers(Answer::Body(200, vec![b' '; 1024 * 1024 + 1]));
    assert_eq!(world.sessions.fetch_all().await.len(), 1);
    assert_eq!(world.fetches("nonsense"), nonsense + 1);
    for status in [204, 302, 404, 500] {
        world.idp.answers(Answer::Body(status, json!({ "keys": [] }).to_string().into()));
        let faults = world.sessions.fetch_all().await;
        assert!(faults[0].contains(&status.to_string()), "{faults:?}");
    }
    assert_eq!(world.fetches("error"), 4);
    assert_eq!(world.open(&signer.token("k1", &good())).await.as_deref(), Ok("ada"));
}

#[tokio::test(start_paused = true)]
async fn a_set_without_a_usable_key_takes_the_keys_before_out() {
    let signer = Signer::new(Algorithm::ES256);
    for set in [json!([]), json!([{ "kty": "RSA", "kid": "k1", "n": "AQAB", "e": "AQAB" }])] {
        let world = world_of(&signer).await;
        let token = signer.token("k1", &good());
        world.verify(&token).await.ok().unwrap();
        world.idp.publishes(set.as_array().unwrap());
        assert_eq!(world.sessions.fetch_all().await.len(), 1);
        assert!(!world.is_cached(&token));
        assert_eq!(world.open(&token).await, Err(UNKNOWN_KEY));
        assert_eq!(world.fetches("nonsense"), 2, "the token that named a key that is gone asked once more");
        assert_eq!(world.sessions.ready().degraded(), ["keys:https://idp.example"]);
        world.idp.publishes(&[signer.named("k1")]);
        world.sessions.fetch_all().await;
        assert_eq!(world.open(&token).await.as_deref(), Ok("ada"));
    }
}

#[tokio::test(start_paused = true)]
async fn unusable_keys_do_not_spoil_the_set() {
    let signer = Signer::new(Algorithm::ES256);
    let strange = [
        json!(1),
        json!({}),
        json!({ "kty": "EC", "crv": "P-521", "x": "AQ", "y": "AQ" }),
        json!({ "kty": "oct", "k": "AQAB" }),
        json!({ "kty": "OKP", "crv": "X25519", "x": "AQ" }),
        json!({ "kty": "EC", "crv": "P-256", "x": "AQ==", "y": "AQ" }),
        signer.named("k1"),
    ];
    let world = cold(&strange);
    assert_eq!(world.sessions.fetch_all().await, Vec::<String>::new());
    assert_eq!(world.open(&signer.token("k1", &good())).await.as_deref(), Ok("ada"));
}

#[tokio::test(start_paused = true)]
async fn discovery_leads_to_the_key_set_of_that_issuer_alone() {
    let signer = Signer::new(Algorithm::ES256);
    let toml = issuer("\"ES256\"", "{ discovery = true }");
    let world = try_world(&toml, &[], &[signer.named("k1")]).ok().unwrap();
    world.idp.discovery.lock()["issuer"] = json!("https://idp.example/other");
    let faults = world.sessions.fetch_all().await;
    assert!(faults[0].contains("another issuer"), "{faults:?}");
    world.idp.discovery.lock()["issuer"] = json!(ISSUER);
    world.idp.discovery.lock()["jwks_uri"] = json!("http://idp.example/keys");
    assert_eq!(world.sessions.fetch_all().await.len(), 1);
    assert_eq!(world.idp.asked(), 0);
    world.idp.discovery.lock()["jwks_uri"] = json!("https://idp.example/keys");
    assert_eq!(world.sessions.fetch_all().await.len(), 0);
    assert_eq!(world.open(&signer.token("k1", &good())).await.as_deref(), Ok("ada"));
}

#[tokio::test]
async fn why_keys_are_not_had_is_told_apart_and_counted() {
    let signer = Signer::new(Algorithm::ES256);
    let world = world_of(&signer).await;
    let body = |status, text: &str| Answer::Body(status, text.as_bytes().to_vec());
    let of_other_kind = r#"{"keys":[{"kty":"RSA","kid":"k9","n":"AQAB","e":"AQAB"}]}"#;
    for (answer, cause, says) in [
        (Answer::Fault(ClientFault::Unreachable(Cause::Dns)), "dns", "DNS"),
        (Answer::Fault(ClientFault::Unreachable(Cause::CertificateUnfit)), "tls_unfit", "CA:TRUE"),
        (Answer::Fault(ClientFault::TimedOut), "timeout", "in time"),
        (Answer::Fault(ClientFault::TooLarge), "too_large", "1 MiB"),
        (body(302, ""), "redirect", "none is followed"),
        (body(404, "{}"), "status_4xx", "404"),
        (body(503, "{}"), "status_5xx", "503"),
        (body(200, " <html>"), "html", "HTML"),
        (body(200, "[]"), "no_key_set", "no key set"),
        (body(200, r#"{"keys":[]}"#), "no_usable_key", "it is empty; `algorithms` wants ES256"),
        (body(200, of_other_kind), "no_usable_key", "it has kid \"k9\" kty \"RSA\"; `algorithms` wants ES256"),
    ] {
        let count = || world.metrics.jwks_failures.with_label_values(&[ISSUER, cause]).get();
        let before = count();
        world.idp.answers(answer);
        let faults = world.sessions.fetch_all().await;
        assert!(faults.len() == 1 && faults[0].contains(says), "{cause}: {faults:?}");
        assert_eq!(count(), before + 1, "{cause}");
    }
}

/// Lets spawned tasks run until they wait for time.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_background_tries_fast_for_first_keys_and_then_refreshes() {
    let signer = Signer::new(Algorithm::ES256);
    let world = cold(&[]);
    world.idp.answers(Answer::Fault(ClientFault::Unreachable(Cause::Refused)));
    let (stop, stopped) = watch::channel(false);
    let background = tokio::spawn(Arc::clone(&world.sessions).run(stopped));
    settle().await;
    assert_eq!(world.idp.asked(), 1);
    for (pause, asked) in [(1, 2), (2, 3), (4, 4), (8, 5), (16, 6), (30, 7), (30, 8)] {
        world.pass(seconds(pause)).await;
        settle().await;
        assert_eq!(world.idp.asked(), asked, "after {pause} s");
    }
    world.idp.publishes(&[signer.named("k1")]);
    world.pass(seconds(30)).await;
    settle().await;
    assert_eq!((world.idp.asked(), world.fetches("ok")), (9, 1));
    world.pass(seconds(4 * 60)).await;
    settle().await;
    assert_eq!(world.idp.asked(), 9);
    world.pass(seconds(60)).await;
    settle().await;
    assert_eq!(world.idp.asked(), 10);
    stop.send(true).unwrap();
    background.await.unwrap();
}

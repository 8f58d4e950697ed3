use std::time::Duration;

use jsonwebtoken::Algorithm;
use serde_json::json;

use super::kit::{ISSUER, NOW, SKEW, Signer, World, good, issuer, try_world, with, world_of};
use crate::clock::Timestamp;
use crate::session::{Reason, SessionFault};

async fn world() -> (Signer, World) {
    let signer = Signer::new(Algorithm::ES256);
    let world = world_of(&signer).await;
    (signer, world)
}

#[tokio::test]
async fn a_fresh_token_is_good_until_its_end_plus_skew() {
    let (signer, world) = world().await;
    let at = |exp: i64| signer.token("k1", &with("exp", Some(json!(exp))));
    assert_eq!(world.open(&at(NOW - SKEW + 1)).await.as_deref(), Ok("ada"));
    assert_eq!(world.open(&at(NOW - SKEW)).await, Err(SessionFault::Expired));
    assert_eq!(world.open(&at(0)).await, Err(SessionFault::Expired));
    world.clock_control.step_wall(999);
    assert_eq!(world.open(&at(NOW - SKEW + 1)).await.as_deref(), Ok("ada"));
    world.clock_control.step_wall(1);
    assert_eq!(world.open(&at(NOW - SKEW + 1)).await, Err(SessionFault::Expired));
    assert_eq!((world.checks(ISSUER, "valid"), world.checks(ISSUER, "expired")), (2, 3));
}

#[tokio::test]
async fn a_fresh_token_is_good_from_its_beginning_less_skew() {
    let (signer, world) = world().await;
    for claim in ["nbf", "iat"] {
        let at = |begin: i64| signer.token("k1", &with(claim, Some(json!(begin))));
        assert_eq!(world.open(&at(NOW + SKEW)).await.as_deref(), Ok("ada"), "{claim}");
        let early = world.open(&at(NOW + SKEW + 1)).await;
        assert_eq!(early, Err(SessionFault::Invalid(Reason::NotYetValid)), "{claim}");
    }
}

#[tokio::test]
async fn a_cached_verdict_ends_with_its_token() {
    let (signer, world) = world().await;
    let token = signer.token("k1", &with("exp", Some(json!(NOW + 100))));
    assert!(!world.is_cached(&token));
    world.verify(&token).await.ok().unwrap();
    assert!(world.is_cached(&token));
    assert_eq!(world.metrics.session_cache_entries.get(), 1);
    world.clock_control.advance(Duration::from_millis(129_999));
    assert!(world.is_cached(&token));
    world.clock_control.advance(Duration::from_millis(1));
    assert!(!world.is_cached(&token));
    assert_eq!(world.metrics.session_cache_entries.get(), 0);
    assert_eq!(world.open(&token).await, Err(SessionFault::Expired));
    assert_eq!(world.checks(ISSUER, "cached"), 2);
}

#[tokio::test]
async fn a_session_says_when_it_ends_also_where_max_age_ends_it() {
    let (signer, world) = world().await;
    let token = signer.token("k1", &with("exp", Some(json!(NOW + 100))));
    assert_eq!(world.verify(&token).await.ok().unwrap().ends(), Timestamp::from_secs(NOW + 100 + SKEW));
    let toml = issuer("\"ES256\"", "{ jwks_url = \"https://idp.example/keys\" }") + "max_age = \"1m\"\n";
    let world = try_world(&toml, &[], &[signer.named("k1")]).ok().unwrap();
    assert_eq!(world.sessions.fetch_all().await, Vec::<String>::new());
    let mut claims = with("exp", Some(json!(NOW + 3600)));
    claims["iat"] = json!(NOW - 10);
    let session = world.verify(&signer.token("k1", &claims)).await.ok().unwrap();
    assert_eq!(session.ends(), Timestamp::from_secs(NOW + 50 + SKEW));
}

#[tokio::test]
async fn a_cached_verdict_holds_no_earlier_than_its_token() {
    let (signer, world) = world().await;
    let token = signer.token("k1", &with("nbf", Some(json!(NOW))));
    world.verify(&token).await.ok().unwrap();
    world.clock_control.step_wall(-SKEW * 1000);
    assert!(world.is_cached(&token));
    world.clock_control.step_wall(-1);
    assert!(!world.is_cached(&token));
    world.clock_control.step_wall(1);
    assert!(world.is_cached(&token), "the clock came back, and the verdict with it");
}

#[tokio::test]
async fn expiry_is_told_only_when_all_else_is_right() {
    let (signer, world) = world().await;
    let stranger = Signer::new(Algorithm::ES256);
    let expired = with("exp", Some(json!(NOW - 3600)));
    assert_eq!(world.open(&signer.token("k1", &expired)).await, Err(SessionFault::Expired));
    let forged = world.open(&stranger.token("k1", &expired)).await;
    assert_eq!(forged, Err(SessionFault::Invalid(Reason::Signature)));
    let mut elsewhere = expired.clone();
    elsewhere["aud"] = json!("elsewhere");
    let fault = world.open(&signer.token("k1", &elsewhere)).await;
    assert_eq!(fault, Err(SessionFault::Invalid(Reason::Audience)));
}

#[tokio::test]
async fn a_bad_token_is_never_remembered() {
    let (signer, world) = world().await;
    let forged = Signer::new(Algorithm::ES256).token("k1", &good());
    world.verify(&forged).await.err().unwrap();
    world.verify(&signer.token("k1", &with("exp", Some(json!(1))))).await.err().unwrap();
    assert!(!world.is_cached(&forged));
    assert_eq!(world.metrics.session_cache_entries.get(), 0);
    world.sessions.count_absent();
    assert_eq!(world.checks("unknown", "absent"), 1);
}

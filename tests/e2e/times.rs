//! The edges of a lease's life, both sides of each.

use std::time::Duration;

use valet_gateway::demo::idp::TokenRequest;
use valet_gateway::demo::provider::Faults;

use crate::kit::{FACE_SCAN, Setup, Stack, until};

/// A stack with URLs of one hour, and a token that outlives them.
async fn one_hour(setup: Setup) -> (Stack, String) {
    let stack = setup.vendor(|vendor| vendor.life = Duration::from_secs(3600)).start().await;
    let token = stack.idp().token(&TokenRequest::user("ada").expires_in(48 * 3600));
    (stack, token)
}

async fn url(stack: &Stack, token: &str) -> String {
    stack.get(FACE_SCAN).bearer(token).send().await.assert_status(302).location().to_owned()
}

#[tokio::test]
async fn a_held_url_is_served_until_min_remaining_before_its_end() {
    let (stack, token) = one_hour(Setup::new().plugin("min_remaining = \"10m\"")).await;
    let first = url(&stack, &token).await;
    stack.advance(Duration::from_millis(50 * 60 * 1000 - 1));
    assert_eq!(url(&stack, &token).await, first);
    stack.advance(Duration::from_millis(1));
    assert_ne!(url(&stack, &token).await, first);
    assert_eq!(stack.vendor().mint_count(), 2);
    assert_eq!(stack.count("valet_leases_held", &[]), 1);
}

#[tokio::test]
async fn a_url_is_never_held_longer_than_max_age() {
    let (stack, token) = one_hour(Setup::new().plugin("max_age = \"20m\"")).await;
    let first = url(&stack, &token).await;
    stack.advance(Duration::from_millis(15 * 60 * 1000 - 1));
    assert_eq!(url(&stack, &token).await, first);
    stack.advance(Duration::from_millis(1));
    assert_ne!(url(&stack, &token).await, first);
}

#[tokio::test]
async fn a_new_url_with_exactly_min_remaining_is_short_and_one_with_more_is_held() {
    let (stack, token) = one_hour(Setup::new().plugin("min_remaining = \"10m\"")).await;
    stack.vendor_does(Faults::life(Duration::from_secs(600)));
    url(&stack, &token).await;
    assert_eq!((stack.mints("short"), stack.count("valet_leases_held", &[])), (1, 0));
    stack.vendor_does(Faults::life(Duration::from_secs(601)));
    let held = url(&stack, &token).await;
    assert_eq!((stack.mints("ok"), stack.count("valet_leases_held", &[])), (1, 1));
    stack.advance(Duration::from_millis(999));
    assert_eq!(url(&stack, &token).await, held);
    stack.advance(Duration::from_millis(1));
    assert_ne!(url(&stack, &token).await, held);
}

#[tokio::test]
async fn a_url_of_six_seconds_may_be_sent_and_one_of_five_is_nonsense() {
    let (stack, _) = one_hour(Setup::new().plugin("min_remaining = \"0s\"")).await;
    stack.vendor_does(Faults::life(Duration::from_secs(6)));
    stack.url_of("ada").await;
    stack.vendor_does(Faults::life(Duration::from_secs(5)));
    stack.get(FACE_SCAN).as_user("bob").send().await.assert_problem(502, "provider-unavailable");
}

#[tokio::test]
async fn a_url_with_little_life_left_is_sent_at_once_and_renewed_behind() {
    let (stack, token) = one_hour(Setup::new().plugin("min_remaining = \"5m\"\nrefresh_ahead = \"30m\"")).await;
    let first = url(&stack, &token).await;
    stack.advance(Duration::from_millis(30 * 60 * 1000 - 1));
    assert_eq!(url(&stack, &token).await, first);
    assert_eq!(stack.vendor().mint_count(), 1, "not yet");
    stack.advance(Duration::from_millis(1));
    stack.vendor_does(Faults::hang());
    for _ in 0..20 {
        assert_eq!(url(&stack, &token).await, first, "nobody waits");
    }
    stack.vendor().until_mints(2).await;
    stack.vendor_does(Faults::default());
    until("a lease minted ahead", || stack.count("valet_leases_total", &[("source", "ahead")]) == 1).await;
    assert_ne!(url(&stack, &token).await, first);
    assert_eq!(stack.vendor().mint_count(), 2);
    assert_eq!(stack.count("valet_leases_total", &[("source", "minted")]), 1);
}

#[tokio::test]
async fn urls_that_live_shorter_than_refresh_ahead_are_renewed_one_at_a_time() {
    let (stack, token) = one_hour(Setup::new().plugin("min_remaining = \"5m\"\nrefresh_ahead = \"2h\"")).await;
    let first = url(&stack, &token).await;
    // The second one ends in the same second as the first, and is as good.
    assert_eq!(url(&stack, &token).await, first);
    until("a lease minted ahead", || stack.count("valet_leases_total", &[("source", "ahead")]) == 1).await;
    let second = url(&stack, &token).await;
    assert_ne!(second, first);
    for _ in 0..20 {
        assert_eq!(url(&stack, &token).await, second);
    }
    assert_eq!(stack.vendor().mint_count(), 2, "no storm");
    stack.advance(Duration::from_secs(10));
    assert_eq!(url(&stack, &token).await, second);
    until("another", || stack.count("valet_leases_total", &[("source", "ahead")]) == 2).await;
    assert_ne!(url(&stack, &token).await, second);
}

#[tokio::test]
async fn a_renewal_that_brings_less_life_changes_nothing() {
    let (stack, token) = one_hour(Setup::new().plugin("min_remaining = \"5m\"\nrefresh_ahead = \"30m\"")).await;
    let first = url(&stack, &token).await;
    stack.advance(Duration::from_secs(31 * 60));
    stack.vendor_does(Faults::life(Duration::from_secs(20 * 60)));
    assert_eq!(url(&stack, &token).await, first);
    stack.vendor().until_mints(2).await;
    until("it has landed", || stack.mints("ok") == 2).await;
    for _ in 0..20 {
        assert_eq!(url(&stack, &token).await, first);
    }
    assert_eq!(stack.vendor().mint_count(), 2);
}

#[tokio::test]
async fn nobody_asks_nothing_is_renewed() {
    let (stack, token) = one_hour(Setup::new().plugin("min_remaining = \"5m\"\nrefresh_ahead = \"30m\"")).await;
    let first = url(&stack, &token).await;
    stack.advance(Duration::from_secs(54 * 60));
    stack.url_of("bob").await;
    assert_eq!(stack.vendor().mint_count(), 2, "one for each who asked");
    stack.advance(Duration::from_secs(60));
    assert_ne!(url(&stack, &token).await, first);
}

#[tokio::test]
async fn a_renewal_that_fails_behind_is_not_seen_and_not_repeated_at_once() {
    let (stack, token) = one_hour(Setup::new().plugin("min_remaining = \"5m\"\nrefresh_ahead = \"30m\"")).await;
    let first = url(&stack, &token).await;
    stack.vendor_does(Faults::status(500));
    stack.advance(Duration::from_secs(36 * 60));
    assert_eq!(url(&stack, &token).await, first);
    until("the failed mint", || stack.mints("unreachable") == 1).await;
    for _ in 0..20 {
        assert_eq!(url(&stack, &token).await, first);
    }
    assert_eq!(stack.vendor().mint_count(), 2, "no storm");
    stack.vendor_does(Faults::default());
    stack.advance(Duration::from_secs(60));
    assert_eq!(url(&stack, &token).await, first);
    until("a lease minted ahead", || stack.count("valet_leases_total", &[("source", "ahead")]) == 1).await;
    assert_ne!(url(&stack, &token).await, first);
}

#[tokio::test]
async fn at_the_bound_the_leases_that_end_soonest_go_and_are_counted() {
    let (stack, _) = one_hour(Setup::new().tables("[leases]\nstore = \"memory\"\ncapacity = 2")).await;
    let mut urls = Vec::new();
    for user in ["a", "b", "c"] {
        urls.push(stack.url_of(user).await);
        stack.advance(Duration::from_secs(1));
    }
    assert_eq!((stack.count("valet_leases_held", &[]), stack.count("valet_leases_evicted_total", &[])), (2, 1));
    assert_eq!(stack.url_of("c").await, urls[2]);
    assert_eq!(stack.url_of("b").await, urls[1]);
    assert_ne!(stack.url_of("a").await, urls[0]);
}

#[tokio::test]
async fn the_life_left_in_each_url_sent_is_measured() {
    let (stack, token) = one_hour(Setup::new()).await;
    url(&stack, &token).await;
    stack.advance(Duration::from_secs(3000));
    url(&stack, &token).await;
    let at_most = |bound: &str| stack.count("valet_redirect_remaining_seconds_bucket", &[("le", bound)]);
    let buckets = ["0", "60", "300", "600", "1800", "3600", "10800", "21600", "+Inf"].map(at_most);
    assert_eq!(buckets, [0, 0, 0, 1, 1, 2, 2, 2, 2]);
}

//! Rate limits by address and by person, refused credentials, and a tenant's share of mints.

use std::time::Duration;

use http::StatusCode;
use valet_gateway::demo::fault::Fail;
use valet_gateway::demo::idp::TokenRequest;
use valet_gateway::demo::provider::{Faults, On};

use crate::kit::{App, FACE_SCAN, Setup, Stack};

fn limited(lines: &str) -> Setup {
    Setup::new().server("trusted_proxies = [\"127.0.0.1\"]").tables(&format!("[limits]\n{lines}"))
}

fn limited_total(stack: &Stack, limit: &str) -> u64 {
    stack.count("valet_limited_total", &[("limit", limit)])
}

#[tokio::test]
async fn every_request_of_an_address_counts_and_the_next_is_429_with_the_time_until_one_would_pass() {
    let stack = limited("per_address = { rate = 1, burst = 4 }").start().await;
    let from = |address: &str, method: &str, target: &str| stack.ask(method, target).field("x-forwarded-for", address);
    from("203.0.113.7", "GET", "/nothing").send().await.assert_status(404);
    from("203.0.113.7", "OPTIONS", FACE_SCAN).send().await.assert_status(405);
    from("203.0.113.7", "GET", "/.valet/nothing").send().await.assert_status(404);
    from("203.0.113.7", "GET", "/a%2fb").send().await.assert_status(400);
    let answer = from("203.0.113.7", "GET", "/nothing").send().await;
    answer.assert_problem(429, "too-many-requests");
    assert_eq!(answer.retry_after(), 1);
    // One address is not another; the last 64 bits of an IPv6 address are its holder's own.
    from("203.0.113.8", "GET", "/nothing").send().await.assert_status(404);
    for host in 1..=4 {
        from(&format!("2001:db8::{host}"), "GET", "/nothing").send().await.assert_status(404);
    }
    from("2001:db8::5", "GET", "/nothing").send().await.assert_status(429);
    from("2001:db8:0:1::5", "GET", "/nothing").send().await.assert_status(404);
    stack.advance(Duration::from_secs(1));
    from("203.0.113.7", "GET", "/nothing").send().await.assert_status(404);
    assert_eq!(limited_total(&stack, "per_address"), 2);
    assert_eq!(stack.answered("limited"), 2);
}

#[tokio::test]
async fn a_stranger_can_not_spend_the_requests_of_another_address() {
    let stack = Setup::new().tables("[limits]\nper_address = { rate = 1, burst = 2 }").start().await;
    for _ in 0..2 {
        stack.get("/nothing").field("x-forwarded-for", "203.0.113.7").send().await.assert_status(404);
    }
    stack.get("/nothing").field("x-forwarded-for", "203.0.113.9").send().await.assert_status(429);
}

#[tokio::test]
async fn a_person_has_one_rate_whatever_token_he_brings_and_wherever_he_goes() {
    let app = App::start().await;
    let stack = limited("per_subject = { rate = 2, burst = 3 }").app(&app, "path = \"/\"").start().await;
    let other_token = stack.idp().token(&TokenRequest::user("ada").session("s2"));
    stack.get(FACE_SCAN).as_user("ada").send().await.assert_status(302);
    stack.get("/page").bearer(&other_token).send().await.assert_status(200);
    stack.get(FACE_SCAN).cookie(&other_token).send().await.assert_status(302);
    let answer = stack.get("/page").as_user("ada").send().await;
    answer.assert_problem(429, "too-many-requests");
    assert_eq!(answer.retry_after(), 1);
    stack.get(FACE_SCAN).as_user("bob").send().await.assert_status(302);
    stack.advance(Duration::from_millis(500));
    stack.get("/page").as_user("ada").send().await.assert_status(200);
    assert_eq!(limited_total(&stack, "per_subject"), 1);
}

#[tokio::test]
async fn a_request_that_one_limit_refuses_uses_up_no_other() {
    let stack = limited(
        "per_address = { rate = 1, burst = 3 }\nper_subject = { rate = 1, burst = 1 }\n\
         mints_per = { claim = \"org\", count = 1, within = \"1h\" }",
    )
    .start()
    .await;
    let token = stack.token("ada");
    let ask = || stack.get(FACE_SCAN).bearer(&token).field("x-forwarded-for", "203.0.113.7");
    ask().send().await.assert_status(302);
    for _ in 0..5 {
        ask().send().await.assert_status(429);
    }
    // The address has used one of three; bob is refused by the tenant's share, and keeps both.
    let bob = stack.token("bob");
    for _ in 0..5 {
        let ask = stack.get(FACE_SCAN).bearer(&bob).field("x-forwarded-for", "203.0.113.7");
        ask.send().await.assert_status(429);
        stack.advance(Duration::from_secs(2));
    }
    assert_eq!(limited_total(&stack, "per_address"), 0);
    assert_eq!(limited_total(&stack, "per_subject"), 5);
    for _ in 0..2 {
        stack.get("/nothing").field("x-forwarded-for", "203.0.113.7").send().await.assert_status(404);
    }
}

#[tokio::test]
async fn beyond_the_refused_credentials_of_an_address_no_signature_is_checked_and_who_was_in_stays_in() {
    let stack = limited("invalid_per_address = { count = 3, within = \"1m\" }").start().await;
    let from = |address: &str, token: &str| stack.get(FACE_SCAN).bearer(token).field("x-forwarded-for", address);
    let (ada, bob) = (stack.token("ada"), stack.token("bob"));
    from("203.0.113.7", &ada).send().await.assert_status(302);
    let expired = stack.idp().token(&TokenRequest::user("ada").expires_in(-3600));
    for _ in 0..5 {
        from("203.0.113.7", &expired).send().await.assert_problem(401, "session-expired");
        stack.get(FACE_SCAN).field("x-forwarded-for", "203.0.113.7").send().await.assert_status(401);
    }
    for _ in 0..3 {
        from("203.0.113.7", &format!("{bob}x")).send().await.assert_problem(401, "session-invalid");
    }
    let invalid = stack.count("valet_session_checks_total", &[("outcome", "invalid")]);
    for token in [&bob, &format!("{bob}x"), "nonsense"] {
        let answer = from("203.0.113.7", token).send().await;
        answer.assert_problem(429, "too-many-requests");
        assert_eq!(answer.retry_after(), 60);
    }
    assert_eq!(stack.count("valet_session_checks_total", &[("outcome", "invalid")]), invalid, "none was read");
    from("203.0.113.7", &ada).send().await.assert_status(302);
    from("203.0.113.8", &bob).send().await.assert_status(302);
    stack.advance(Duration::from_secs(60));
    from("203.0.113.7", &stack.token("eve")).send().await.assert_status(302);
    assert_eq!(limited_total(&stack, "invalid_per_address"), 3);
}

#[tokio::test]
async fn a_tenant_has_its_share_of_mints_and_a_refused_scan_keeps_its_lease() {
    let stack = limited("mints_per = { claim = \"/org/id\", count = 2, within = \"24h\" }").start().await;
    let token = |user: &str, org: &str| {
        stack.idp().token(&TokenRequest::user(user).expires_in(90_000).claim("org", serde_json::json!({ "id": org })))
    };
    let (ada, bob) = (token("ada", "acme"), token("bob", "acme"));
    let url = stack.get(FACE_SCAN).bearer(&ada).send().await.assert_status(302).location().to_owned();
    // A mint that fails has used the vendor's quota.
    stack.vendor_does(Faults { fail: Some(Fail::Status(StatusCode::INTERNAL_SERVER_ERROR)), ..Faults::default() });
    stack.get(FACE_SCAN).bearer(&bob).send().await.assert_status(502);
    stack.vendor_does(Faults::default());
    stack.advance(Duration::from_secs(2));
    let answer = stack.get(FACE_SCAN).bearer(&bob).send().await;
    answer.assert_problem(429, "too-many-requests");
    assert_eq!(answer.retry_after(), 24 * 3600 - 2);
    stack.post(FACE_SCAN).bearer(&ada).send().await.assert_status(429);
    assert_eq!(stack.get(FACE_SCAN).bearer(&ada).send().await.assert_status(302).location(), url);
    // Another tenant, and all those without one.
    stack.get(FACE_SCAN).bearer(token("eve", "globex")).send().await.assert_status(302);
    for user in ["kim", "lee"] {
        stack.get(FACE_SCAN).as_user(user).send().await.assert_status(302);
    }
    stack.get(FACE_SCAN).as_user("max").send().await.assert_status(429);
    assert!(limited_total(&stack, "mints_per") >= 3);
}

#[tokio::test]
async fn a_mint_that_is_held_back_before_any_call_uses_up_no_share_of_its_tenant() {
    let stack = limited("mints_per = { claim = \"org\", count = 3, within = \"24h\" }").start().await;
    let token = |user: &str| stack.idp().token(&TokenRequest::user(user).expires_in(90_000).claim("org", "acme"));
    stack.vendor_does(Faults { retry_after: Some(4), ..Faults::status(503) }.on(On::Mint));
    for user in ["ada", "bob", "eve", "kim"] {
        let answer = stack.get(FACE_SCAN).bearer(token(user)).send().await;
        assert_eq!(answer.assert_problem(503, "provider-busy").retry_after(), 4, "{user}");
    }
    assert_eq!((stack.vendor().mint_count(), limited_total(&stack, "mints_per")), (1, 0));
    stack.vendor_does(Faults::default());
    stack.advance(Duration::from_secs(4));
    for user in ["ada", "bob"] {
        stack.get(FACE_SCAN).bearer(token(user)).send().await.assert_status(302);
    }
    let answer = stack.get(FACE_SCAN).bearer(token("eve")).send().await;
    assert_eq!(answer.assert_problem(429, "too-many-requests").retry_after(), 24 * 3600 - 4);
}

#[tokio::test]
async fn a_person_with_tokens_of_two_tenants_is_judged_by_the_share_of_the_one_that_asks() {
    let stack = limited("mints_per = { claim = \"org\", count = 1, within = \"24h\" }").start().await;
    let token = |user: &str, org: &str| stack.idp().token(&TokenRequest::user(user).claim("org", org));
    stack.get(FACE_SCAN).bearer(token("bob", "acme")).send().await.assert_status(302);
    // The clock stands still: what is remembered for a moment is remembered.
    stack.get(FACE_SCAN).bearer(token("ada", "acme")).send().await.assert_status(429);
    let url = stack.get(FACE_SCAN).bearer(token("ada", "globex")).send().await.assert_status(302).location().to_owned();
    // The URL is hers, whichever token she shows.
    assert_eq!(stack.get(FACE_SCAN).bearer(token("ada", "acme")).send().await.assert_status(302).location(), url);
}

#[tokio::test]
async fn a_number_names_a_tenant_by_its_decimal_text_and_what_names_none_shares_one_count() {
    use serde_json::json;
    let stack = limited("mints_per = { claim = \"/o/id\", count = 1, within = \"24h\" }").start().await;
    let tenants = [json!(41), json!(42), json!(true), json!(false), json!("acme"), json!(null)];
    for (user, tenant) in tenants.iter().enumerate() {
        let token =
            stack.idp().token(&TokenRequest::user(&format!("first-{user}")).claim("o", json!({ "id": tenant })));
        stack.get(FACE_SCAN).bearer(&token).send().await.assert_status(302);
    }
    let used =
        [json!(41), json!("41"), json!(42), json!("true"), json!("acme"), json!(["acme"]), json!(-41), json!(4.5)];
    for (user, tenant) in used.iter().enumerate() {
        let token =
            stack.idp().token(&TokenRequest::user(&format!("second-{user}")).claim("o", json!({ "id": tenant })));
        stack.get(FACE_SCAN).bearer(&token).send().await.assert_problem(429, "too-many-requests");
    }
    // And one without the claim is of those that name no tenant.
    stack.get(FACE_SCAN).as_user("max").send().await.assert_status(429);
}

#[tokio::test]
async fn mints_per_subject_is_counted_among_the_limits() {
    let stack = Setup::new().plugin("mints_per_subject = { count = 1, within = \"1h\" }").start().await;
    stack.post(FACE_SCAN).as_user("ada").send().await.assert_status(303);
    stack.post(FACE_SCAN).as_user("ada").send().await.assert_status(429);
    assert_eq!(limited_total(&stack, "mints_per_subject"), 1);
}

//! A vendor in trouble: what callers are told, how often it is asked, and that held URLs go on being served.

use std::time::Duration;

use valet_gateway::demo::fault::{Fail, REDIRECT_TARGET};
use valet_gateway::demo::provider::{CallKind, ExistingUser, Faults, On, UrlAs, UrlFault};

use crate::kit::{Answer, FACE_SCAN, Setup, Stack};

/// What the simulated vendor writes into its refusals.
const VENDORS_WORDS: [&str; 5] = ["simulator", "authentication", "unknown", "reason", "foreign"];

async fn get(stack: &Stack, user: &str) -> Answer {
    stack.get(FACE_SCAN).as_user(user).send().await
}

/// A problem that holds nothing of what the vendor said.
#[track_caller]
fn assert_refused(answer: &Answer, status: u16, slug: &str) {
    answer.assert_problem(status, slug);
    let text = answer.text().to_lowercase();
    for word in VENDORS_WORDS {
        assert!(!text.contains(word), "{word} in {text}");
    }
}

#[tokio::test]
async fn each_fault_of_the_vendor_has_its_status_and_its_count() {
    let hosts = |text: &str| Faults::url_text(text);
    for (name, faults, status, slug, outcome, cause) in [
        ("500", Faults::status(500), 502, "provider-unavailable", "unreachable", "status_5xx"),
        ("502", Faults::status(502), 502, "provider-unavailable", "unreachable", "status_5xx"),
        ("504", Faults::status(504), 502, "provider-unavailable", "unreachable", "status_5xx"),
        ("503", Faults::status(503), 503, "provider-busy", "busy", "status_5xx"),
        ("429", Faults::status(429), 503, "provider-busy", "busy", "status_4xx"),
        ("400", Faults::status(400), 502, "provider-unavailable", "refused", "status_4xx"),
        ("404", Faults::status(404), 502, "provider-unavailable", "refused", "status_4xx"),
        ("reject-keys", Faults::failing(Fail::RejectKeys), 502, "provider-unavailable", "refused", "status_4xx"),
        ("garbage", Faults::failing(Fail::Garbage).on(On::Mint), 502, "provider-unavailable", "nonsense", "no_url"),
        ("empty", Faults::failing(Fail::Empty).on(On::Mint), 502, "provider-unavailable", "nonsense", "no_url"),
        (
            "oversize",
            Faults::failing(Fail::Oversize).on(On::Mint),
            502,
            "provider-unavailable",
            "nonsense",
            "too_large",
        ),
        ("redirect", Faults::failing(Fail::Redirect).on(On::Mint), 502, "provider-unavailable", "nonsense", "redirect"),
        (
            "wrong host",
            Faults::url(UrlFault::WrongHost),
            502,
            "provider-unavailable",
            "forbidden_host",
            "forbidden_host",
        ),
        ("expired", Faults::url(UrlFault::Expired), 502, "provider-unavailable", "nonsense", "url_ended"),
        ("5 s", Faults::life(Duration::from_secs(5)), 502, "provider-unavailable", "nonsense", "url_ended"),
        ("script", hosts("javascript:alert(1)"), 502, "provider-unavailable", "nonsense", "no_url"),
        ("no scheme", hosts("//127.0.0.1/x"), 502, "provider-unavailable", "nonsense", "no_url"),
        ("userinfo", hosts("http://127.0.0.1@evil.example/"), 502, "provider-unavailable", "nonsense", "no_url"),
        ("backslash", hosts("http://127.0.0.1\\@evil.example/"), 502, "provider-unavailable", "nonsense", "no_url"),
        (
            "suffix",
            hosts("https://127.0.0.1.evil.example/"),
            502,
            "provider-unavailable",
            "forbidden_host",
            "forbidden_host",
        ),
        ("http", hosts("http://plugin.intelliprove.com/"), 502, "provider-unavailable", "nonsense", "no_url"),
        ("space", hosts("http://127.0.0.1/a b"), 502, "provider-unavailable", "nonsense", "no_url"),
        ("line end", hosts("http://127.0.0.1/\r\nSet-Cookie: a=b"), 502, "provider-unavailable", "nonsense", "no_url"),
    ] {
        let stack = Stack::start().await;
        stack.vendor_does(faults);
        let answer = get(&stack, "ada").await;
        assert_eq!(answer.status, status, "{name}: {answer}");
        assert_refused(&answer, status, slug);
        assert_eq!(stack.mints(outcome), 1, "{name}: {}", stack.metrics.text());
        for (cause, count) in [(Some(cause), 1), (None, 1)] {
            let labels: Vec<_> = cause.map(|cause| ("cause", cause)).into_iter().collect();
            assert_eq!(stack.count("valet_mint_failures_total", &labels), count, "{name}: {}", stack.metrics.text());
        }
        assert_eq!(stack.count("valet_mints_total", &[]), 1, "{name}");
        assert!(stack.vendor().mint_count() <= 1, "{name}");
        let elsewhere = stack.vendor().calls().iter().any(|call| call.path == REDIRECT_TARGET);
        assert!(!elsewhere, "{name}: the key goes where it was meant to go");
        if status == 503 {
            assert!(answer.retry_after() >= 1);
        } else {
            answer.assert_no_field("retry-after");
        }
    }
}

#[tokio::test]
async fn held_urls_are_served_while_the_vendor_is_down() {
    let mut stack = Stack::start().await;
    let url = stack.url_of("ada").await;
    stack.vendor_does(Faults::status(500));
    assert_eq!(stack.url_of("ada").await, url);
    stack.stop_vendor().await;
    stack.advance(Duration::from_secs(3000));
    assert_eq!(stack.url_of("ada").await, url);
    assert_refused(&get(&stack, "bob").await, 502, "provider-unavailable");
    assert_eq!(stack.url_of("ada").await, url);
    assert_eq!(stack.mints("unreachable"), 1);
}

#[tokio::test]
async fn a_vendor_that_hangs_is_given_up_in_time_and_not_asked_again() {
    let stack = Setup::new().provider("timeout = \"200ms\"").start().await;
    stack.vendor_does(Faults::hang().on(On::Mint));
    let mut sent = Vec::new();
    for _ in 0..20 {
        sent.push(stack.get(FACE_SCAN).as_user("ada").start().await);
    }
    for sent in &mut sent {
        assert_refused(&sent.answer().await, 504, "provider-timeout");
    }
    assert_eq!(stack.mints("timeout"), 1);
    assert!(stack.vendor().mint_count() <= 1, "a call that timed out is not repeated");
}

#[tokio::test]
async fn a_mint_that_failed_answers_for_its_own_key_for_a_second() {
    let stack = Stack::start().await;
    stack.vendor_does(Faults::status(500).on(On::Mint));
    for _ in 0..50 {
        get(&stack, "ada").await.assert_problem(502, "provider-unavailable");
    }
    assert_eq!(stack.vendor().mint_count(), 1);
    get(&stack, "bob").await.assert_problem(502, "provider-unavailable");
    assert_eq!(stack.vendor().mint_count(), 2, "another key");
    stack.advance(Duration::from_millis(999));
    get(&stack, "ada").await.assert_problem(502, "provider-unavailable");
    assert_eq!(stack.vendor().mint_count(), 2);
    stack.advance(Duration::from_millis(1));
    stack.vendor_does(Faults::default());
    stack.url_of("ada").await;
    assert_eq!(stack.vendor().mint_count(), 3);
}

#[tokio::test]
async fn the_breaker_opens_after_its_failures_and_lets_one_call_try_after_its_pause() {
    let breaker = "breaker = { failures = 3, within = \"10s\", pause = \"5s\" }";
    let stack = Setup::new().provider(breaker).start().await;
    let held = stack.url_of("held").await;
    stack.vendor_does(Faults::status(500).on(On::Mint));
    for user in ["a", "b", "c"] {
        get(&stack, user).await.assert_problem(502, "provider-unavailable");
    }
    for user in ["d", "e", "f", "g"] {
        let answer = get(&stack, user).await;
        assert_refused(&answer, 503, "provider-busy");
        assert_eq!(answer.retry_after(), 5);
    }
    assert_eq!(stack.vendor().mint_count(), 4, "no storm on a vendor that is down");
    assert_eq!(stack.url_of("held").await, held);
    stack.advance(Duration::from_secs(5));
    get(&stack, "h").await.assert_problem(502, "provider-unavailable");
    get(&stack, "i").await.assert_problem(503, "provider-busy");
    assert_eq!(stack.vendor().mint_count(), 5, "one call tried");
    stack.vendor_does(Faults::default());
    stack.advance(Duration::from_secs(5));
    for user in ["j", "k"] {
        stack.url_of(user).await;
    }
}

#[tokio::test]
async fn refusals_nonsense_and_forbidden_hosts_do_not_open_the_breaker() {
    let breaker = "breaker = { failures = 2, within = \"10s\", pause = \"5s\" }";
    let stack = Setup::new().provider(breaker).start().await;
    let faults = [
        Faults::status(400),
        Faults::status(429),
        Faults::failing(Fail::Garbage).on(On::Mint),
        Faults::url(UrlFault::WrongHost),
    ];
    for (n, faults) in faults.into_iter().enumerate() {
        stack.vendor_does(faults);
        for m in 0..3 {
            assert_ne!(get(&stack, &format!("user {n} {m}")).await.status, 302);
        }
    }
    stack.vendor_does(Faults::default());
    stack.url_of("ada").await;
}

#[tokio::test]
async fn a_vendor_that_asks_for_a_pause_gets_it() {
    for status in [429, 503] {
        let stack = Stack::start().await;
        let held = stack.url_of("held").await;
        stack.vendor_does(Faults { retry_after: Some(7), ..Faults::status(status) }.on(On::Mint));
        let answer = get(&stack, "ada").await;
        assert_refused(&answer, 503, "provider-busy");
        assert_eq!(answer.retry_after(), 7);
        stack.vendor_does(Faults::default());
        stack.advance(Duration::from_millis(6_999));
        let waiting = get(&stack, "bob").await;
        assert_refused(&waiting, 503, "provider-busy");
        assert_eq!((waiting.retry_after(), stack.vendor().mint_count()), (1, 2), "nobody asks meanwhile");
        assert_eq!(stack.url_of("held").await, held);
        stack.advance(Duration::from_millis(1));
        stack.url_of("carl").await;
    }
}

#[tokio::test]
async fn a_pause_lasts_a_minute_at_most_and_without_a_wish_not_at_all() {
    let stack = Stack::start().await;
    stack.vendor_does(Faults { retry_after: Some(3600), ..Faults::status(429) });
    assert_eq!(get(&stack, "ada").await.assert_problem(503, "provider-busy").retry_after(), 60);
    stack.vendor_does(Faults::status(429));
    stack.advance(Duration::from_secs(60));
    get(&stack, "bob").await.assert_problem(503, "provider-busy");
    stack.vendor_does(Faults::default());
    stack.url_of("carl").await;
}

#[tokio::test]
async fn more_mints_at_once_than_allowed_are_refused_and_not_queued() {
    let stack = Setup::new().provider("max_in_flight = 1").start().await;
    stack.vendor_does(Faults::hang());
    let mut first = stack.get(FACE_SCAN).as_user("ada").start().await;
    stack.until_sessions(1).await;
    let answer = get(&stack, "bob").await;
    answer.assert_problem(503, "provider-busy");
    assert!(answer.retry_after() >= 1);
    stack.vendor_does(Faults::default());
    first.answer().await.assert_status(302);
    assert_eq!(stack.vendor().mint_count(), 1);
}

#[tokio::test]
async fn a_user_who_was_deleted_at_the_vendor_is_registered_again_once() {
    let stack = Stack::start().await;
    stack.post(FACE_SCAN).as_user("ada").send().await.assert_status(303);
    stack.post(FACE_SCAN).as_user("ada").send().await.assert_status(303);
    assert_eq!((stack.vendor().registrations(), stack.vendor().mint_count()), (1, 2), "registration is remembered");
    stack.vendor().forget_user("ada");
    stack.post(FACE_SCAN).as_user("ada").send().await.assert_status(303);
    assert_eq!((stack.vendor().registrations(), stack.vendor().mint_count()), (2, 4));
    stack.vendor_does(Faults::failing(Fail::UnknownUser).on(On::Mint));
    stack.post(FACE_SCAN).as_user("ada").send().await.assert_problem(502, "provider-unavailable");
    assert_eq!((stack.vendor().registrations(), stack.vendor().mint_count()), (3, 6), "and not for ever");
}

#[tokio::test]
async fn a_vendor_that_says_by_401_or_403_that_a_user_is_gone_registers_it_again_once() {
    for status in [401, 403] {
        let stack = Stack::start().await;
        stack.url_of("ada").await;
        stack.vendor_does(Faults::status(status).on(On::Mint).times(1));
        stack.post(FACE_SCAN).as_user("ada").send().await.assert_status(303);
        assert_eq!((stack.vendor().registrations(), stack.vendor().mint_count()), (2, 3), "{status}");
        stack.vendor_does(Faults::status(status).on(On::Mint));
        stack.post(FACE_SCAN).as_user("ada").send().await.assert_problem(502, "provider-unavailable");
        assert_eq!((stack.vendor().registrations(), stack.vendor().mint_count()), (3, 5), "{status}");
    }
}

#[tokio::test]
async fn both_answers_of_vendors_for_a_user_who_exists_are_understood() {
    for existing_user in [ExistingUser::Ok, ExistingUser::AlreadyExists] {
        let first = Setup::new().vendor(|vendor| vendor.existing_user = existing_user).start().await;
        // Another plug-in of the same user by another gateway would register again; here a forgotten registration does.
        first.url_of("ada").await;
        first.vendor_does(Faults::failing(Fail::UnknownUser).on(On::Mint).times(1));
        first.post(FACE_SCAN).as_user("ada").send().await.assert_status(303);
        assert_eq!(first.vendor().registrations(), 2);
    }
}

#[tokio::test]
async fn the_second_key_is_tried_when_the_first_is_refused() {
    let keys = ["sim_old_key_that_was_good", "sim_new_key_that_is_good"];
    let setup = || Setup::new().keys_in_file(&keys).vendor(|vendor| vendor.api_keys = vec![keys[1].to_owned()]);
    let stack = setup().start().await;
    stack.url_of("ada").await;
    let refused = stack.vendor().calls().iter().filter(|call| !call.key.is_good()).count();
    stack.url_of("bob").await;
    let later = stack.vendor().calls().iter().filter(|call| !call.key.is_good()).count();
    assert_eq!((refused, later), (1, 1), "the key that works is remembered");
    stack.vendor().set_keys(vec![keys[0].to_owned()]);
    stack.url_of("carl").await;
    stack.vendor().set_keys(vec!["another".to_owned()]);
    assert_refused(&get(&stack, "dora").await, 502, "provider-unavailable");
    assert_eq!(stack.mints("refused"), 1);
}

#[tokio::test]
async fn a_url_of_years_is_held_for_max_age_only_and_told_with_its_own_end() {
    let stack = Stack::start().await;
    stack.vendor_does(Faults::url(UrlFault::Years));
    let json = stack.get(FACE_SCAN).as_user("ada").for_json().send().await.json();
    assert!(json["expires_in"].as_u64().unwrap() > 9 * 365 * 24 * 3600);
    let url = json["url"].as_str().unwrap().to_owned();
    let token = |secs| stack.idp().token(&valet_gateway::demo::idp::TokenRequest::user("ada").expires_in(secs));
    let token = token(24 * 3600);
    let held = async || stack.get(FACE_SCAN).bearer(&token).send().await.assert_status(302).location().to_owned();
    stack.advance(Duration::from_millis((6 * 3600 - 300) * 1000 - 1));
    assert_eq!(held().await, url);
    stack.advance(Duration::from_millis(1));
    assert_ne!(held().await, url);
    assert_eq!(stack.vendor().mint_count(), 2);
}

#[tokio::test]
async fn a_short_url_goes_to_those_who_wait_and_is_not_kept() {
    let stack = Stack::start().await;
    stack.vendor_does(Faults { url: Some(UrlFault::Short), ..Faults::hang() });
    let mut sent = Vec::new();
    for _ in 0..5 {
        sent.push(stack.get(FACE_SCAN).as_user("ada").start().await);
    }
    stack.until_sessions(5).await;
    stack.vendor_does(Faults::url(UrlFault::Short));
    let mut urls = Vec::new();
    for sent in &mut sent {
        urls.push(sent.answer().await.assert_status(302).location().to_owned());
    }
    urls.dedup();
    assert_eq!(urls.len(), 1);
    assert_eq!((stack.mints("short"), stack.mints("ok"), stack.count("valet_leases_held", &[])), (1, 0, 0));
    assert_ne!(stack.url_of("ada").await, urls[0]);
    assert_eq!(stack.mints("short"), 2);
}

#[tokio::test]
async fn a_url_is_read_in_every_form_that_vendors_write() {
    for url_as in [UrlAs::String, UrlAs::Text] {
        let stack = Setup::new().vendor(|vendor| vendor.url_as = url_as).start().await;
        stack.url_of("ada").await;
    }
    let recipe = "[provider.mint.face-scan]\nurl = \"json:/url\"";
    let stack = Setup::new().vendor(|vendor| vendor.url_as = UrlAs::Object).tables(recipe).start().await;
    stack.url_of("ada").await;
}

#[tokio::test]
async fn the_first_version_of_the_vendor_needs_no_registration() {
    let stack = Setup::new().preset("intelliprove-v1").start().await;
    stack.url_of("ada").await;
    let kinds: Vec<CallKind> = stack.vendor().calls().iter().map(|call| call.kind).collect();
    assert_eq!(kinds, [CallKind::Mint]);
    assert_eq!(stack.vendor().calls()[0].parameter("patient-ref").as_deref(), Some("ada"));
}

#[tokio::test]
async fn the_vendor_is_never_told_where_a_browser_came_from() {
    let stack = Stack::start().await;
    let ask = stack.get(FACE_SCAN).as_browser_of("ada").field("Referer", "https://app.example.com/secret");
    ask.field("User-Agent", "canary-agent").send().await.assert_status(302);
    assert!(stack.vendor().calls().iter().all(|call| !call.referer));
}

mod hostile;
mod pace;
mod recipes;
mod rows;
mod script;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use self::script::*;
use super::*;

const THREE_FAILURES: &str = "breaker = { failures = 3, within = '10s', pause = '5s' }";

fn secs(secs: u64) -> MintFailure {
    MintFailure::Busy(Duration::from_secs(secs))
}

/// Answers registrations with 201 and mints as told.
fn mints(reply: impl Fn() -> Reply + Send + Sync + 'static) -> impl Fn(&Seen) -> Reply + Send + Sync + 'static {
    move |seen| if seen.is_registration() { status(201) } else { reply() }
}

#[tokio::test]
async fn a_user_is_registered_before_the_first_mint_and_remembered() {
    let stage = Stage::start("", mints(good)).await;
    let minted = stage.mint().await.unwrap();
    assert_eq!(minted.url.expose(), url_until(START + 6 * 3600));
    assert_eq!(minted.ends, Some(Timestamp::from_secs(START + 6 * 3600)));
    stage.mint().await.unwrap();
    assert_eq!(stage.story(), "RMM");
    assert_eq!(stage.calls()[0].body, r#"{"id":"ada"}"#);
    assert_eq!(stage.calls()[1].line(), "GET /embed?id=ada");
}

#[tokio::test]
async fn a_kept_connection_that_the_vendor_closes_just_then_fails_no_mint_and_trips_no_breaker() {
    for tables in ["", "[register]\npath = '/users'\n"] {
        let extra = format!("{THREE_FAILURES}\n{tables}");
        let stage = Stage::without_registration(&extra, |seen| match (seen.earlier, seen.is_registration()) {
            (1, _) => Reply::HangUp,
            (_, true) => status(201),
            (_, false) => good(),
        })
        .await;
        for user in 0..8 {
            let minted = stage.mint_for(&person("https://idp.example", &format!("user-{user}"))).await;
            assert!(minted.is_ok(), "user {user}, {tables:?}: {minted:?}");
        }
        assert_eq!((stage.counted("unreachable"), stage.degraded()), (0, 0));
    }
}

#[tokio::test]
async fn a_vendor_that_hangs_up_on_a_fresh_connection_is_asked_once() {
    let stage = Stage::without_registration("", |_| Reply::HangUp).await;
    assert_eq!(stage.mint().await, Err(MintFailure::Unreachable));
    assert_eq!(stage.story(), "M");
}

#[tokio::test]
async fn an_end_that_the_recipe_names_and_nobody_finds_is_counted_and_not_promised() {
    let stage = Stage::without_registration("", |_| {
        Reply::Is(200, "", "https://plugin.acme.example/?token=canary.e30.sig".into())
    })
    .await;
    let unread = stage.metrics.expiry_unreadable.with_label_values(&["acme"]);
    assert_eq!(unread.get(), 0);
    for count in 1..3 {
        let minted = stage.mint().await.unwrap();
        assert_eq!((minted.ends, minted.end_unread, unread.get()), (None, true, count));
    }
    let stage = Stage::without_registration("", |_| good()).await;
    assert!(!stage.mint().await.unwrap().end_unread);
}

#[tokio::test]
async fn the_same_name_at_another_issuer_is_another_person() {
    let stage = Stage::start("", mints(good)).await;
    for issuer in ["https://one.example", "https://two.example"] {
        stage.mint_for(&person(issuer, "ada")).await.unwrap();
    }
    assert_eq!(stage.story(), "RMRM");
}

#[tokio::test]
async fn a_user_who_exists_already_counts_as_registered() {
    for reason in ["the user already exists", "User Already Exists", "USER ALREADY EXISTS"] {
        let exists = move || Reply::Is(400, "", format!("{{\"reason\":\"{reason}\"}}"));
        let stage = Stage::start("", move |seen| if seen.is_registration() { exists() } else { good() }).await;
        assert!(stage.mint().await.is_ok(), "{reason}");
        assert!(stage.mint().await.is_ok());
        assert_eq!(stage.story(), "RMM");
    }
}

#[tokio::test]
async fn a_refused_registration_mints_nothing_and_is_not_remembered() {
    let stage = Stage::start("", |_| status(400)).await;
    assert_eq!(stage.mint().await, Err(MintFailure::Refused));
    assert_eq!(stage.mint().await, Err(MintFailure::Refused));
    assert_eq!(stage.story(), "RR");
}

#[tokio::test]
async fn a_user_whom_the_vendor_forgot_is_registered_again_once() {
    let forgotten = Arc::new(AtomicBool::new(false));
    let now_forgotten = forgotten.clone();
    let stage = Stage::start("", move |seen| match seen.is_registration() {
        true => {
            forgotten.store(false, Ordering::SeqCst);
            status(201)
        }
        false if forgotten.load(Ordering::SeqCst) => status(404),
        false => good(),
    })
    .await;
    stage.mint().await.unwrap();
    now_forgotten.store(true, Ordering::SeqCst);
    stage.mint().await.unwrap();
    assert_eq!(stage.story(), "RMMRM");
}

#[tokio::test]
async fn a_vendor_that_goes_on_refusing_is_asked_once_more_and_no_oftener() {
    let stage = Stage::start("", mints(|| status(422))).await;
    assert_eq!(stage.mint().await, Err(MintFailure::Refused));
    assert_eq!(stage.story(), "RM", "just registered: nothing to repeat");
    assert_eq!(stage.mint().await, Err(MintFailure::Refused));
    assert_eq!(stage.story(), "RMMRM");
}

#[tokio::test]
async fn a_refused_mint_registers_a_known_user_again_once_and_too_many_requests_do_not() {
    // With each of two keys at most once; the mint behind them begins with the registration.
    for (refusal, calls, then) in [(401, "RMMMRMM", "RMM"), (403, "RMMMRMM", "RMM"), (429, "RMM", "M")] {
        let first = AtomicBool::new(true);
        let stage =
            Stage::start("", mints(move || if first.swap(false, Ordering::SeqCst) { good() } else { status(refusal) }))
                .await;
        stage.mint().await.unwrap();
        assert!(stage.mint().await.is_err());
        assert_eq!(stage.story(), calls, "{refusal}");
        assert!(stage.mint().await.is_err());
        assert_eq!(stage.story(), [calls, then].concat(), "{refusal}");
    }
}

#[tokio::test]
async fn keys_that_are_refused_for_a_known_user_are_tried_for_one_registration_more_and_no_mint() {
    let revoked = Arc::new(AtomicBool::new(false));
    let now_revoked = revoked.clone();
    let stage = Stage::start("", move |seen| match seen.is_registration() {
        _ if revoked.load(Ordering::SeqCst) => status(403),
        true => status(201),
        false => good(),
    })
    .await;
    stage.mint().await.unwrap();
    now_revoked.store(true, Ordering::SeqCst);
    for story in ["RMMMRR", "RMMMRRRR"] {
        assert_eq!(stage.mint().await, Err(MintFailure::Refused));
        assert_eq!(stage.story(), story);
    }
}

#[tokio::test]
async fn the_second_key_is_tried_on_401_and_403_and_remembered_while_it_works() {
    for refusal in [401, 403] {
        let good_key = Arc::new(AtomicUsize::new(1));
        let rotated = good_key.clone();
        let stage = Stage::without_registration("", move |seen| {
            if seen.has_key(KEYS[good_key.load(Ordering::SeqCst)]) { good() } else { status(refusal) }
        })
        .await;
        stage.mint().await.unwrap();
        stage.mint().await.unwrap();
        rotated.store(0, Ordering::SeqCst);
        stage.mint().await.unwrap();
        stage.mint().await.unwrap();
        let used: String = stage.calls().iter().map(|call| if call.has_key(KEYS[0]) { '1' } else { '2' }).collect();
        assert_eq!(used, "122211");
    }
}

#[tokio::test]
async fn two_refused_keys_are_a_refusal() {
    let stage = Stage::start("", |_| status(403)).await;
    assert_eq!(stage.mint().await, Err(MintFailure::Refused));
    assert_eq!(stage.calls().len(), 2);
    assert_eq!((stage.counted("refused"), stage.degraded()), (1, 0));
}

#[tokio::test]
async fn a_key_that_changed_on_disk_is_used_and_one_that_no_header_holds_is_passed_over() {
    let stage = Stage::without_registration("", |_| good()).await;
    std::fs::write(stage.directory.path().join("0"), "canary-key-new").unwrap();
    stage.keys[0].reread(|_| Ok(())).unwrap();
    stage.mint().await.unwrap();
    std::fs::write(stage.directory.path().join("0"), "two\nlines").unwrap();
    stage.keys[0].reread(|_| Ok(())).unwrap();
    stage.mint().await.unwrap();
    let calls = stage.calls();
    assert!(calls.len() == 2 && calls[0].has_key("canary-key-new") && calls[1].has_key(KEYS[1]));
}

#[tokio::test]
async fn the_key_goes_as_a_bearer_or_a_parameter_where_the_recipe_says_so() {
    for (auth, line, field) in [
        ("{ bearer = true }", "GET /embed?id=ada", "\r\nauthorization: Bearer canary-key-one\r\n"),
        ("{ query = 'api key' }", "GET /embed?id=ada&api%20key=canary-key-one", ""),
        (
            "{ header = 'authorization', prefix = 'Token token=' }",
            "GET /embed?id=ada",
            "\r\nauthorization: Token token=canary-key-one\r\n",
        ),
    ] {
        let stage = Stage::with_auth(auth, |_| good()).await;
        stage.mint().await.unwrap();
        let call = &stage.calls()[0];
        assert_eq!(call.line(), line);
        assert!(call.head.contains(field) && !call.head.contains("x-api-key"));
        assert_eq!(call.head.matches("canary").count(), 1);
    }
}

#[tokio::test]
async fn each_call_carries_the_providers_own_fields_and_the_secret_ones() {
    let extra = "headers = { x-client-id = 'acme' }\nsecret_headers = { x-second = { file = '1' } }";
    let stage = Stage::start(extra, |call| if call.is_registration() { status(201) } else { good() }).await;
    stage.mint().await.unwrap();
    assert_eq!(stage.story(), "RM");
    for call in stage.calls() {
        assert!(
            call.head.contains("\r\nx-client-id: acme\r\n") && call.head.contains("\r\nx-second: canary-key-two\r\n")
        );
    }
    // A second secret that can't stand there: nothing is sent.
    std::fs::write(stage.directory.path().join("1"), "a\u{e9}").unwrap();
    stage.keys[1].reread(|_| Ok(())).unwrap();
    assert_eq!(stage.mint().await, Err(MintFailure::Refused));
    assert_eq!(stage.calls().len(), 2);
}

#[tokio::test]
async fn a_silent_vendor_times_out_and_is_not_asked_twice() {
    let stage = Stage::without_registration("", |_| Reply::Silence).await;
    assert_eq!(stage.mint_in_vain(1).await, Err(MintFailure::TimedOut));
    assert_eq!((stage.calls().len(), stage.counted("timeout")), (1, 1));
    let stage = Stage::start("", mints(|| Reply::Silence)).await;
    assert_eq!(stage.mint_in_vain(2).await, Err(MintFailure::TimedOut));
    assert_eq!(stage.story(), "RM");
}

#[tokio::test]
async fn a_vendor_that_is_gone_breaks_off_or_fails_is_unreachable() {
    for reply in [Reply::HangUp, status(500), status(502), status(504)] {
        let stage = Stage::start("", move |_| reply.clone()).await;
        assert_eq!(stage.mint().await, Err(MintFailure::Unreachable));
        assert_eq!((stage.calls().len(), stage.counted("unreachable")), (1, 1));
    }
}

#[tokio::test]
async fn the_breaker_opens_pauses_and_tries_again_with_one_call() {
    let (down, told) = (Arc::new(AtomicBool::new(true)), Arc::new(Notify::new()));
    let (still_down, tell) = (down.clone(), told.clone());
    let stage = Stage::without_registration(THREE_FAILURES, move |_| {
        if down.load(Ordering::SeqCst) { status(500) } else { Reply::When(told.clone()) }
    })
    .await;
    for _ in 0..3 {
        assert_eq!(stage.degraded(), 0);
        assert_eq!(stage.mint().await, Err(MintFailure::Unreachable));
    }
    assert_eq!(stage.degraded(), 1);
    stage.pass(1_000);
    assert_eq!(stage.mint().await, Err(secs(4)));
    stage.pass(4_000);
    assert_eq!(stage.mint().await, Err(MintFailure::Unreachable), "the probe fails");
    assert_eq!(stage.mint().await, Err(secs(5)));
    stage.pass(5_000);
    still_down.store(false, Ordering::SeqCst);
    assert_eq!(stage.calls().len(), 4);
    let (probe, other) = tokio::join!(stage.mint(), async {
        while stage.calls().len() < 5 {
            stage.call_arrived().await;
        }
        let other = stage.mint().await;
        tell.notify_one();
        other
    });
    assert!(probe.is_ok());
    assert_eq!(other, Err(secs(1)), "while one call tries, no other does");
    assert_eq!((stage.calls().len(), stage.degraded(), stage.counted("busy")), (5, 0, 3));
}

#[tokio::test]
async fn refusals_nonsense_and_forbidden_hosts_do_not_open_the_breaker() {
    let replies = [
        status(404),
        status(429),
        status(200),
        Reply::Is(200, "", "https://evil.example/".into()),
        Reply::Is(302, "location: https://plugin.acme.example/\r\n", String::new()),
    ];
    for reply in replies {
        let stage = Stage::without_registration(THREE_FAILURES, move |_| reply.clone()).await;
        for _ in 0..4 {
            assert!(stage.mint().await.is_err());
        }
        assert_eq!((stage.calls().len(), stage.degraded()), (4, 0));
    }
}

#[tokio::test]
async fn a_503_counts_as_a_failure_of_the_vendor() {
    let stage = Stage::without_registration(THREE_FAILURES, |_| status(503)).await;
    for _ in 0..3 {
        assert_eq!(stage.mint().await, Err(secs(1)));
    }
    assert_eq!(stage.mint().await, Err(secs(5)));
    assert_eq!(stage.calls().len(), 3);
}

#[tokio::test]
async fn a_vendor_that_asks_for_a_pause_gets_it_up_to_a_minute() {
    for (status, field, pause) in
        [(429, "retry-after: 7\r\n", 7), (503, "retry-after: 7\r\n", 7), (429, "retry-after: 86400\r\n", 60)]
    {
        let stage = Stage::without_registration("", move |_| Reply::Is(status, field, String::new())).await;
        assert_eq!(stage.mint().await, Err(secs(pause)), "{status} {field}");
        assert_eq!(stage.degraded(), 1);
        stage.pass(pause * 1_000 - 1);
        assert_eq!(stage.mint().await, Err(MintFailure::Busy(Duration::from_millis(1))));
        assert_eq!(stage.calls().len(), 1, "nobody else called");
        stage.pass(1);
        assert!(!stage.vendor.is_degraded());
        assert_eq!(stage.degraded(), 0);
        assert_eq!(stage.mint().await, Err(secs(pause)));
        assert_eq!(stage.calls().len(), 2);
    }
}

#[tokio::test]
async fn a_pause_may_end_at_a_date() {
    let field = "retry-after: Mon, 29 Dec 2025 09:20:10 GMT\r\n";
    let stage = Stage::without_registration("", move |_| Reply::Is(503, field, String::new())).await;
    assert_eq!(stage.mint().await, Err(secs(10)), "ten seconds after the clock's start");
    stage.pass(10_000);
    assert_eq!(stage.mint().await, Err(secs(1)), "a date that has passed asks for no pause");
    assert_eq!((stage.calls().len(), stage.degraded()), (2, 0));
}

#[tokio::test]
async fn without_a_retry_after_there_is_no_pause() {
    for field in ["", "retry-after: soon\r\n", "retry-after: 0\r\n"] {
        let stage = Stage::without_registration("", move |_| Reply::Is(429, field, String::new())).await;
        assert_eq!(stage.mint().await, Err(secs(1)));
        assert_eq!(stage.mint().await, Err(secs(1)));
        assert_eq!((stage.calls().len(), stage.degraded(), stage.counted("busy")), (2, 0, 2));
    }
}

#[tokio::test]
async fn more_than_max_in_flight_are_turned_away_at_once() {
    let told = Arc::new(Notify::new());
    let tell = told.clone();
    let stage = Stage::without_registration("max_in_flight = 1", move |_| Reply::When(told.clone())).await;
    let (first, second) = tokio::join!(stage.mint(), async {
        stage.call_arrived().await;
        let second = stage.mint().await;
        tell.notify_one();
        second
    });
    assert!(first.is_ok());
    assert_eq!(second, Err(secs(1)));
    assert_eq!((stage.calls().len(), stage.counted("busy")), (1, 1));
    tell.notify_one();
    assert!(stage.mint().await.is_ok(), "the slot is free again");
}

#[tokio::test]
async fn a_mint_that_is_dropped_gives_its_slot_and_its_probe_back() {
    let silent = Arc::new(AtomicUsize::new(0));
    let said = silent.clone();
    let settings = "max_in_flight = 1\nbreaker = { failures = 1, within = '10s', pause = '5s' }";
    let stage = Stage::without_registration(settings, move |_| match silent.fetch_add(1, Ordering::SeqCst) {
        0 => status(500),
        1 => Reply::Silence,
        _ => good(),
    })
    .await;
    assert_eq!(stage.mint().await, Err(MintFailure::Unreachable));
    stage.pass(5_000);
    tokio::select! {
        biased;
        _ = stage.mint() => unreachable!("the vendor is silent"),
        () = async { while said.load(Ordering::SeqCst) < 2 { stage.call_arrived().await } } => {}
    }
    assert!(stage.mint().await.is_ok());
    assert_eq!(stage.degraded(), 0);
}

#[tokio::test]
async fn answers_that_are_no_url_are_nonsense() {
    let long = format!("{}&pad={}", url_until(START + 3600), "x".repeat(9000));
    for reply in [
        status(200),
        Reply::Is(200, "", String::new()),
        Reply::Is(204, "", String::new()),
        Reply::Is(200, "", long),
        Reply::Is(200, "", "x".repeat(super::send::MAX_ANSWER_BYTES + 1)),
        Reply::Is(200, "", "http://plugin.acme.example/".into()),
        Reply::Is(301, "location: https://plugin.acme.example/\r\n", url_until(START + 3600)),
    ] {
        let stage = Stage::without_registration("", move |_| reply.clone()).await;
        assert_eq!(stage.mint().await, Err(MintFailure::Nonsense));
        assert_eq!(stage.counted("nonsense"), 1);
    }
}

#[tokio::test]
async fn a_url_to_another_host_is_forbidden() {
    let stage = Stage::without_registration("", |_| {
        Reply::Is(200, "", "https://plugin.acme.example.evil.example/?action_token=x".into())
    })
    .await;
    assert_eq!(stage.mint().await, Err(MintFailure::ForbiddenHost));
    assert_eq!(stage.counted("forbidden_host"), 1);
}

#[tokio::test]
async fn a_url_needs_more_than_five_seconds_of_life() {
    for (life, good) in [(-1, false), (0, false), (5, false), (6, true)] {
        let stage = Stage::without_registration("", move |_| Reply::Is(200, "", url_until(START + life))).await;
        assert_eq!(stage.mint().await.is_ok(), good, "{life} s");
    }
    let stage =
        Stage::without_registration("", |_| Reply::Is(200, "", "https://plugin.acme.example/?x=1".into())).await;
    assert_eq!(stage.mint().await.unwrap().ends, None);
}

#[tokio::test]
async fn the_key_is_sent_to_nobody_but_the_base_url() {
    let (elsewhere, seen, _) = serve(|_| good()).await;
    let field: &'static str = Box::leak(format!("location: http://{elsewhere}/\r\n").into_boxed_str());
    for status in [301, 302, 303, 307, 308] {
        let stage = Stage::start("", move |_| Reply::Is(status, field, String::new())).await;
        assert_eq!(stage.mint().await, Err(MintFailure::Nonsense));
        assert_eq!(stage.calls().len(), 1);
    }
    assert!(seen.lock().is_empty());
}

#[tokio::test]
async fn on_the_wire_each_subject_is_exactly_these_bytes() {
    let stage = Stage::start("", mints(good)).await;
    let subjects = [
        ("auth0|a b", "auth0%7Ca%20b", "auth0|a b"),
        ("a/../b", "a%2F..%2Fb", "a/../b"),
        ("a&x=1", "a%26x%3D1", "a&x=1"),
        ("\"}", "%22%7D", "\\\"}"),
        ("é", "%C3%A9", "é"),
        ("..", "..", ".."),
        ("%2f", "%252f", "%2f"),
        ("\r\nx-a: b", "%0D%0Ax-a%3A%20b", "\\r\\nx-a: b"),
        ("\0", "%00", "\\u0000"),
    ];
    for (at, (subject, in_query, in_json)) in subjects.into_iter().enumerate() {
        stage.mint_for(&MintInput { language: Some("nl".into()), ..person("i", subject) }).await.unwrap();
        let calls = stage.calls();
        let host = calls[0].head.split("host: ").nth(1).unwrap().split('\r').next().unwrap();
        let [register, mint] = &calls[at * 2..] else { panic!("two calls each") };
        assert_eq!(register.body, format!("{{\"id\":\"{in_json}\"}}"));
        let agent = env!("CARGO_PKG_VERSION");
        let expected = format!(
            "GET /embed?id={in_query}&language=nl HTTP/1.1\r\nx-api-key: {}\r\naccept: */*\r\naccept-encoding: identity\r\nuser-agent: valet/{agent}\r\nhost: {host}\r\n\r\n",
            KEYS[0]
        );
        assert_eq!(mint.head, expected);
    }
}

#[tokio::test]
async fn what_can_not_be_sent_makes_no_call_and_costs_no_probe() {
    let stage = Stage::without_registration("", |_| good()).await;
    assert_eq!(stage.mint_for(&person("i", "")).await, Err(MintFailure::Refused));
    assert_eq!(stage.mint_for(&person("i", &"x".repeat(70_000))).await, Err(MintFailure::Refused));
    assert!(stage.calls().is_empty());
    assert_eq!(stage.counted("refused"), 2);
}

#[tokio::test]
async fn the_subjects_hash_is_keyed_and_tells_issuers_apart() {
    let stage = Stage::without_registration("", |_| good()).await;
    let hash = |issuer, subject| stage.vendor.0.subject_hash(&person(issuer, subject)).unwrap();
    // printf 'i\0ada' | openssl dgst -sha256 -hmac canary-key-one -binary | basenc --base64url
    assert_eq!(hash("i", "ada"), "blcQdzSUTVPIz2LskbwkxpNVtHyb0zKL_vJxLru4AqQ");
    assert_ne!(hash("i", "ada"), hash("j", "ada"));
    assert_ne!(hash("ia", "da"), hash("i", "ada"));
}

#[tokio::test]
async fn each_mint_that_called_the_vendor_is_timed() {
    let stage =
        Stage::without_registration("breaker = { failures = 1, within = '10s', pause = '5s' }", |_| status(500)).await;
    assert_eq!(stage.mint().await, Err(MintFailure::Unreachable));
    assert_eq!(stage.mint().await, Err(secs(5)));
    assert_eq!(stage.metrics.mint_duration.get_sample_count(), 1);
}

#[tokio::test]
async fn no_secret_shows_in_debug_output() {
    let stage = Stage::start("", mints(good)).await;
    let minted = stage.mint().await.unwrap();
    let shown = format!("{:?} {:?} {:?} {}", stage.vendor, stage.vendor.recipe(), minted, stage.metrics.text());
    assert!(!shown.contains("canary"), "{shown}");
}

#[tokio::test]
async fn a_mint_that_the_recipe_has_not_is_none() {
    let stage = Stage::start("", mints(good)).await;
    assert!(stage.vendor.minter("embed").is_some() && stage.vendor.minter("other").is_none());
    assert_eq!(stage.vendor.name(), "acme");
}

//! What a session gets: the redirect, the JSON, "scan again", and for whom a URL is used again.

use std::time::Duration;

use valet_gateway::demo::fault::Fail;
use valet_gateway::demo::idp::{IdpFaults, IdpOn, TokenRequest};
use valet_gateway::demo::provider::{Faults, UrlFault};

use crate::kit::setup::START;
use crate::kit::{FACE_SCAN, Setup, Stack, Wire};

/// Every visible byte but `\`, which no URL may hold.
fn odd_url(stack: &Stack) -> String {
    let visible: String = (0x21..=0x7e_u8).map(char::from).filter(|c| *c != '\\').collect();
    format!("{}/p//./%7e%7E/?b=2&a=1&a=1&action_token=x.y.z&patient=%20+;{visible}", stack.vendor_url())
}

#[tokio::test]
async fn a_session_is_sent_to_the_plug_in_url_byte_for_byte() {
    let stack = Stack::start().await;
    let url = odd_url(&stack);
    stack.vendor_does(Faults::url_text(&url));
    let answer = stack.get(FACE_SCAN).as_user("ada").send().await;
    answer
        .assert_status(302)
        .assert_field("location", &url)
        .assert_field("cache-control", "no-store")
        .assert_field("referrer-policy", "no-referrer")
        .assert_field("vary", "Accept, Origin")
        .assert_field("content-length", "0");
    assert!(answer.body.is_empty());
    uuid::Uuid::parse_str(answer.field("x-request-id").unwrap()).unwrap();
}

#[tokio::test]
async fn accept_in_several_field_lines_is_one_list() {
    let stack = Setup::new().plugin("login_url = \"/login\"").start().await;
    let get = |lines: &[&str]| lines.iter().fold(stack.get(FACE_SCAN), |ask, line| ask.field("Accept", line));
    for (lines, status) in [
        (&["text/plain", "application/json"][..], 200),
        (&["application/json;q=0.5", "text/html"], 302),
        (&["text/html;q=0.5", "*/*", "application/json"], 200),
    ] {
        get(lines).as_user("ada").send().await.assert_status(status);
    }
    // Without a session a navigation is sent to the login page.
    get(&["image/png", "text/html"]).send().await.assert_status(302);
    get(&["image/png", "application/json"]).send().await.assert_problem(401, "session-required");
}

#[tokio::test]
async fn the_redirect_leads_to_the_page_of_the_vendor() {
    let stack = Stack::start().await;
    let url = stack.url_of("ada").await;
    let (address, target) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut wire = Wire::open(address).await;
    wire.write(format!("GET /{target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")).await;
    wire.answer().await.assert_status(200);
    assert_eq!(stack.vendor().users(), ["ada"]);
}

#[tokio::test]
async fn each_request_has_an_id_of_our_own() {
    let stack = Stack::start().await;
    let theirs = "5f0c2a54-5d8f-4d52-9d0f-6f7d1c9f8a11";
    let mut ids = Vec::new();
    for _ in 0..3 {
        let answer = stack.get(FACE_SCAN).as_user("ada").field("X-Request-Id", theirs).send().await;
        ids.push(answer.field("x-request-id").unwrap().to_owned());
    }
    ids.push(theirs.to_owned());
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 4);
}

#[tokio::test]
async fn head_is_answered_as_get_without_a_body() {
    let stack = Stack::start().await;
    let got = stack.get(FACE_SCAN).as_user("ada").send().await;
    let mut wire = stack.wire().await;
    for _ in 0..2 {
        wire.write(stack.ask("HEAD", FACE_SCAN).as_user("ada").bytes()).await;
        let answer = wire.answer_to("HEAD").await;
        answer.assert_status(302).assert_field("location", got.location()).assert_field("cache-control", "no-store");
    }
    wire.write(stack.ask("HEAD", FACE_SCAN).as_user("ada").for_json().bytes()).await;
    let answer = wire.answer_to("HEAD").await;
    answer.assert_status(200).assert_field("content-type", "application/json");
    wire.write(stack.ask("HEAD", FACE_SCAN).bytes()).await;
    wire.answer_to("HEAD").await.assert_status(401).assert_field("content-type", "application/problem+json");
    assert_eq!(stack.vendor().mint_count(), 1);
}

#[tokio::test]
async fn a_program_gets_the_url_and_its_own_end_as_json() {
    let stack = Setup::new().plugin("max_age = \"1h\"").start().await;
    stack.vendor_does(Faults::life(Duration::from_secs(7200)));
    let answer = stack.get(FACE_SCAN).as_user("ada").for_json().send().await;
    answer
        .assert_status(200)
        .assert_field("content-type", "application/json")
        .assert_field("cache-control", "no-store")
        .assert_field("vary", "Accept, Origin")
        .assert_field("x-content-type-options", "nosniff")
        .assert_no_field("location");
    assert!(answer.field("cross-origin-resource-policy").is_some());
    uuid::Uuid::parse_str(answer.field("x-request-id").unwrap()).unwrap();
    let body = answer.json();
    let mut members: Vec<&str> = body.as_object().unwrap().keys().map(String::as_str).collect();
    members.sort_unstable();
    assert_eq!(members, ["expires_at", "expires_in", "plugin", "url"]);
    assert_eq!(body["url"], stack.url_of("ada").await);
    assert_eq!(body["expires_in"], 7200);
    assert_eq!(body["plugin"], "face-scan");
    let at: jiff::Timestamp = body["expires_at"].as_str().unwrap().parse().unwrap();
    assert_eq!(at.as_second(), START + 7200);
    assert!(body["expires_at"].as_str().unwrap().ends_with('Z'));
    stack.advance(Duration::from_millis(500));
    let later = stack.get(FACE_SCAN).as_user("ada").for_json().send().await.json();
    assert_eq!((&later["url"], &later["expires_in"]), (&body["url"], &7199.into()));
}

#[tokio::test]
async fn a_held_url_promises_what_is_left_of_it_though_the_keys_of_its_session_were_waited_for() {
    let stack = Stack::start().await;
    let held = stack.get(FACE_SCAN).as_user("ada").for_json().send().await.assert_status(200).json();
    stack.advance(Duration::from_secs(30));
    stack.idp().rotate(true).unwrap();
    stack.idp().set_faults(IdpFaults { on: IdpOn::Keys, ..IdpFaults::failing(Fail::Hang) });
    let fetches = stack.idp().fetches();
    let token = stack.idp().token(&TokenRequest::user("ada"));
    let mut waiting = stack.get(FACE_SCAN).bearer(token).for_json().start().await;
    stack.idp().until_fetches(fetches + 1).await;
    stack.advance(Duration::from_secs(5));
    stack.idp().set_faults(IdpFaults::default());
    let answer = waiting.answer().await.assert_status(200).json();
    assert_eq!(answer["url"], held["url"]);
    let promised = |answer: &serde_json::Value| answer["expires_in"].as_u64().unwrap();
    assert_eq!(promised(&answer), promised(&held) - 35);
}

#[tokio::test]
async fn a_url_whose_configured_end_is_not_found_is_held_and_promises_none() {
    let stack = Setup::new().plugin("max_age = \"1h\"").start().await;
    stack.vendor_does(Faults::url(UrlFault::NoExp));
    let first = stack.get(FACE_SCAN).as_user("ada").for_json().send().await.assert_status(200).json();
    for end in ["expires_at", "expires_in"] {
        assert_eq!(first.get(end), Some(&serde_json::Value::Null), "{end}");
    }
    stack.vendor_does(Faults::default());
    let held = |answer: serde_json::Value| answer["url"] == first["url"];
    stack.advance(Duration::from_secs(54 * 60));
    assert!(held(stack.get(FACE_SCAN).as_user("ada").for_json().send().await.json()));
    stack.advance(Duration::from_secs(60));
    assert!(!held(stack.get(FACE_SCAN).as_user("ada").for_json().send().await.json()), "max_age counts");
}

#[tokio::test]
async fn json_is_for_those_who_prefer_it() {
    let stack = Stack::start().await;
    for (accept, status) in [
        ("application/json", 200),
        ("application/json, text/plain, */*", 200),
        ("text/html;q=0.5, application/json", 200),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", 302),
        ("text/html, application/json;q=0.9", 302),
        ("*/*", 302),
        ("application/json;q=0", 302),
    ] {
        let answer = stack.get(FACE_SCAN).as_user("ada").field("Accept", accept).send().await;
        assert_eq!(answer.status, status, "{accept}");
    }
    stack.get(FACE_SCAN).as_user("ada").send().await.assert_status(302);
}

#[tokio::test]
async fn scan_again_forgets_the_urls_of_every_language_and_mints_anew() {
    let stack = Setup::new().plugin("languages = [\"en\", \"nl\"]").start().await;
    let url = async |method: &str, language: &str| {
        let answer = stack.ask(method, &format!("{FACE_SCAN}?language={language}")).as_user("ada").send().await;
        answer.assert_status(if method == "POST" { 303 } else { 302 }).location().to_owned()
    };
    let (english, dutch) = (url("GET", "en").await, url("GET", "nl").await);
    assert_ne!(english, dutch);
    let others = stack.url_of("bob").await;
    let again = url("POST", "en").await;
    assert_ne!(again, english);
    assert_eq!(url("GET", "en").await, again, "the new one is held");
    assert_ne!(url("GET", "nl").await, dutch, "forgotten too");
    assert_eq!(stack.url_of("bob").await, others, "nobody else's");
    assert_eq!(stack.vendor().mint_count(), 5);
}

#[tokio::test]
async fn scan_again_is_answered_303_or_as_json() {
    let stack = Stack::start().await;
    let answer = stack.post(FACE_SCAN).as_user("ada").send().await;
    answer
        .assert_status(303)
        .assert_field("cache-control", "no-store")
        .assert_field("referrer-policy", "no-referrer")
        .assert_field("vary", "Accept, Origin")
        .assert_field("content-length", "0");
    let json = stack.post(FACE_SCAN).as_user("ada").for_json().body("a=1&b=2").send().await;
    assert_ne!(json.assert_status(200).json()["url"], answer.location());
}

#[tokio::test]
async fn scan_again_is_answered_by_a_mint_that_began_after_it() {
    let stack = Stack::start().await;
    stack.vendor_does(Faults::hang());
    let mut get = stack.get(FACE_SCAN).as_user("ada").start().await;
    stack.until_sessions(1).await;
    let mut post = stack.post(FACE_SCAN).as_user("ada").start().await;
    stack.until_sessions(2).await;
    stack.vendor_does(Faults::default());
    let (got, posted) = (get.answer().await, post.answer().await);
    got.assert_status(302);
    posted.assert_status(303);
    assert_ne!(got.location(), posted.location());
    assert_eq!(stack.url_of("ada").await, posted.location(), "what began before was not kept");
    assert_eq!(stack.vendor().mint_count(), 2);
}

#[tokio::test]
async fn those_who_wait_to_scan_again_share_one_mint() {
    let stack = Stack::start().await;
    stack.url_of("ada").await;
    stack.vendor_does(Faults::hang());
    let mut first = stack.post(FACE_SCAN).as_user("ada").start().await;
    stack.vendor().until_mints(2).await;
    let mut waiting = Vec::new();
    for _ in 0..10 {
        waiting.push(stack.post(FACE_SCAN).as_user("ada").start().await);
    }
    stack.until_sessions(12).await;
    stack.vendor_does(Faults::default());
    let first = first.answer().await.assert_status(303).location().to_owned();
    let mut urls = Vec::new();
    for sent in &mut waiting {
        urls.push(sent.answer().await.assert_status(303).location().to_owned());
    }
    urls.dedup();
    assert_eq!(urls.len(), 1);
    assert_ne!(urls[0], first);
    assert_eq!(stack.vendor().mint_count(), 3);
}

#[tokio::test]
async fn one_url_is_used_for_all_sessions_of_a_user() {
    let stack = Stack::start().await;
    let mut urls = Vec::new();
    for session in ["s1", "s2"] {
        let token = stack.idp().token(&TokenRequest::user("ada").session(session));
        urls.push(stack.get(FACE_SCAN).bearer(token).send().await.assert_status(302).location().to_owned());
    }
    urls.push(stack.get(FACE_SCAN).as_browser_of("ada").send().await.location().to_owned());
    urls.dedup();
    assert_eq!(urls.len(), 1);
    assert_ne!(stack.url_of("bob").await, urls[0]);
    assert_eq!(stack.vendor().mint_count(), 2);
}

#[tokio::test]
async fn with_reuse_by_session_each_session_has_its_url_and_a_token_without_one_shares_with_no_other() {
    let stack = Setup::new().plugin("reuse = \"session\"").start().await;
    let url = async |request: TokenRequest| {
        let token = stack.idp().token(&request);
        let url = stack.get(FACE_SCAN).bearer(&token).send().await.assert_status(302).location().to_owned();
        assert_eq!(stack.get(FACE_SCAN).bearer(&token).send().await.location(), url, "the same token, the same URL");
        url
    };
    let one = url(TokenRequest::user("ada").session("s1")).await;
    assert_eq!(url(TokenRequest::user("ada").session("s1")).await, one);
    let two = url(TokenRequest::user("ada").session("s2")).await;
    let none = url(TokenRequest::user("ada")).await;
    let none_again = url(TokenRequest::user("ada")).await;
    let other_user = url(TokenRequest::user("bob").session("s1")).await;
    let mut all = vec![one, two, none, none_again, other_user];
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 5);
    assert_eq!(stack.vendor().mint_count(), 5);
}

#[tokio::test]
async fn with_reuse_never_each_request_has_its_mint() {
    let stack = Setup::new().plugin("reuse = \"never\"").start().await;
    stack.vendor_does(Faults::hang());
    let mut waiting = Vec::new();
    for n in 1..=3 {
        waiting.push(stack.get(FACE_SCAN).as_user("ada").start().await);
        stack.until_sessions(n).await;
    }
    stack.vendor_does(Faults::default());
    let mut urls = Vec::new();
    for sent in &mut waiting {
        urls.push(sent.answer().await.assert_status(302).location().to_owned());
    }
    urls.push(stack.post(FACE_SCAN).as_user("ada").send().await.assert_status(303).location().to_owned());
    urls.push(stack.url_of("ada").await);
    urls.sort();
    urls.dedup();
    assert_eq!(urls.len(), 5);
    assert_eq!(stack.vendor().minted(), 5);
    assert_eq!(stack.count("valet_leases_held", &[]), 0);
    let head = stack.ask("HEAD", FACE_SCAN).as_user("ada").send().await;
    let allow = head.assert_status(405).field("allow").unwrap().to_owned();
    assert!(!allow.contains("HEAD"), "{allow}");
    assert_eq!(stack.vendor().minted(), 5);
}

#[tokio::test]
async fn a_language_is_the_first_one_listed_without_case_and_the_only_thing_passed_on() {
    let stack = Setup::new().plugin("languages = [\"en\", \"nl\"]").start().await;
    let mut urls = Vec::new();
    for (query, passed) in [
        ("?language=en", Some("en")),
        ("?language=EN&x=1", Some("en")),
        ("?a=b&language=nl&language=en", Some("nl")),
        ("?language=fr", None),
        ("?language=fr&language=en", None),
        ("?language=", None),
        ("?Language=en", None),
        ("", None),
    ] {
        let target = format!("{FACE_SCAN}{query}");
        let answer = stack.get(&target).as_user(&format!("user {query}")).send().await;
        urls.push(answer.assert_status(302).location().to_owned());
        let calls = stack.vendor().calls();
        let mint = calls.last().unwrap();
        assert_eq!(mint.parameter("language").as_deref(), passed, "{query}");
        assert_eq!(mint.parameter("x").or(mint.parameter("a")).or(mint.parameter("Language")), None);
    }
    let first = stack.get(&format!("{FACE_SCAN}?language=en")).as_user("ada").send().await;
    let same = stack.get(&format!("{FACE_SCAN}?language=eN&y")).as_user("ada").send().await;
    let none = stack.get(&format!("{FACE_SCAN}?language=xx")).as_user("ada").send().await;
    assert_eq!(first.location(), same.location());
    assert_ne!(first.location(), none.location());
    assert_eq!(none.location(), stack.url_of("ada").await);
}

#[tokio::test]
async fn a_plug_in_of_another_host_is_not_here() {
    let stack = Setup::new().plugin("host = \"scan.example.com\"").start().await;
    for (host, status) in [
        ("scan.example.com", 302),
        ("SCAN.example.com", 302),
        ("scan.example.com:8443", 302),
        ("app.example.com", 404),
        ("scan.example.com.evil.example", 404),
        ("xscan.example.com", 404),
    ] {
        let answer = stack.get(FACE_SCAN).host(host).as_user("ada").send().await;
        assert_eq!(answer.status, status, "{host}");
    }
}

#[tokio::test]
async fn a_prefetch_mints_nothing() {
    let stack = Stack::start().await;
    for (name, value) in [
        ("Sec-Purpose", "prefetch"),
        ("Sec-Purpose", "prefetch;prerender"),
        ("Sec-Purpose", "prefetch;anonymous-client-ip"),
        ("Purpose", "prefetch"),
    ] {
        let answer = stack.get(FACE_SCAN).as_browser_of("ada").field(name, value).send().await;
        answer.assert_problem(503, "prefetch-refused");
    }
    assert_eq!(stack.vendor().mint_count(), 0);
    stack.url_of("ada").await;
}

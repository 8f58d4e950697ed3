//! Credentials and sessions: where they are read, when they count, what those without one get.

use std::time::Duration;

use valet_gateway::demo::fault::Fail;
use valet_gateway::demo::idp::{IdpFaults, TokenRequest};

use crate::kit::ask::basic;
use crate::kit::setup::START;
use crate::kit::{FACE_SCAN, Setup, Stack, Wire};

#[tokio::test]
async fn bearer_is_read_in_any_case_and_so_is_the_cookie() {
    let stack = Stack::start().await;
    let token = stack.token("ada");
    for value in [format!("Bearer {token}"), format!("bearer {token}"), format!("BEARER   {token}")] {
        stack.get(FACE_SCAN).field("authorization", value).send().await.assert_status(302);
    }
    for value in [format!("session={token}"), format!("a=b; session={token}; c=d"), format!("a=b;session={token}")] {
        stack.get(FACE_SCAN).field("cookie", value).send().await.assert_status(302);
    }
    assert_eq!(stack.vendor().mint_count(), 1);
}

#[tokio::test]
async fn credentials_that_contradict_each_other_are_a_bad_request() {
    let stack = Stack::start().await;
    let (ada, bob) = (stack.token("ada"), stack.token("bob"));
    let get = || stack.get(FACE_SCAN);
    let expired = stack.idp().token(&TokenRequest::user("ada").expires_in(-3600));
    for (what, ask) in [
        ("two Authorization fields", get().bearer(&ada).bearer(&ada)),
        ("two cookies of one name", get().field("Cookie", format!("session={ada}; session={bob}"))),
        ("two cookie fields", get().cookie(&ada).cookie(&bob)),
        ("two persons", get().bearer(&ada).cookie(&bob)),
        ("two persons, the other way", get().bearer(&bob).cookie(&ada)),
        ("one is nonsense", get().bearer(&ada).cookie("nonsense")),
        ("the first is nonsense", get().bearer("nonsense").cookie(&ada)),
        ("one has expired", get().bearer(&ada).cookie(&expired)),
    ] {
        let answer = ask.send().await;
        assert_eq!(answer.status, 400, "{what}");
        answer.assert_problem(400, "bad-request");
    }
    assert_eq!(stack.vendor().calls().len(), 0);
}

#[tokio::test]
async fn one_person_by_two_tokens_is_let_in_by_the_first_source() {
    let stack = Setup::new().plugin("reuse = \"session\"").start().await;
    let one = stack.idp().token(&TokenRequest::user("ada").session("s1"));
    let two = stack.idp().token(&TokenRequest::user("ada").session("s2"));
    let first = stack.get(FACE_SCAN).bearer(&one).send().await.assert_status(302).location().to_owned();
    let both = stack.get(FACE_SCAN).cookie(&two).bearer(&one).send().await;
    assert_eq!(both.assert_status(302).location(), first);
    let equal = stack.get(FACE_SCAN).field("Cookie", format!("session={one}; session={one}")).send().await;
    assert_eq!(equal.assert_status(302).location(), first);
    let foreign = stack.post(FACE_SCAN).bearer(&one).cookie(&two).field("Sec-Fetch-Site", "cross-site").send().await;
    foreign.assert_status(303);
}

#[tokio::test]
async fn a_credential_is_never_taken_from_a_query_or_a_body() {
    let stack = Stack::start().await;
    let token = stack.token("ada");
    for name in ["session", "access_token", "token", "authorization", "Authorization"] {
        let answer = stack.get(&format!("{FACE_SCAN}?{name}={token}")).send().await;
        answer.assert_problem(401, "session-required");
    }
    let form = format!("access_token={token}&session={token}");
    stack.post(FACE_SCAN).body(form).send().await.assert_problem(401, "session-required");
}

#[tokio::test]
async fn every_401_asks_for_a_bearer_and_names_the_error_of_one_that_came() {
    let stack = Stack::start().await;
    let expired = stack.idp().token(&TokenRequest::user("ada").expires_in(-3600));
    for (ask, slug) in [
        (stack.get(FACE_SCAN), "session-required"),
        (stack.get(FACE_SCAN).field("Cookie", "other=1; session="), "session-required"),
        (stack.get(FACE_SCAN).bearer(&expired), "session-expired"),
        (stack.get(FACE_SCAN).cookie(&expired), "session-expired"),
        (stack.get(FACE_SCAN).bearer("nonsense"), "session-invalid"),
        (stack.get(FACE_SCAN).field("Authorization", "Bearer"), "session-invalid"),
    ] {
        let asks_for = if slug == "session-required" { "Bearer" } else { "Bearer error=\"invalid_token\"" };
        ask.send().await.assert_problem(401, slug).assert_field("www-authenticate", asks_for);
    }
}

#[tokio::test]
async fn every_fault_of_a_credential_has_the_same_face() {
    let stack = Stack::start().await;
    let good = stack.token("ada");
    let [head, payload, signature]: [&str; 3] = good.split('.').collect::<Vec<_>>().try_into().unwrap();
    let sign = |request: TokenRequest| stack.idp().token(&request);
    let ada = || TokenRequest::user("ada");
    let other_idp = Stack::start().await;
    let tokens = [
        "nonsense".to_owned(),
        format!("{head}.{payload}."),
        format!("{head}.{payload}"),
        format!("{head}.{payload}.{}", signature.chars().rev().collect::<String>()),
        // {"alg":"none"}
        format!("eyJhbGciOiJub25lIn0.{payload}."),
        // {"alg":"HS256"}
        format!("eyJhbGciOiJIUzI1NiJ9.{payload}.{signature}"),
        other_idp.token("ada"),
        other_idp.idp().token(&ada().claim("iss", stack.idp().issuer())),
        sign(ada().claim("aud", "another-app")),
        sign(ada().without("aud")),
        sign(ada().without("exp")),
        sign(ada().without("sub")),
        sign(ada().without("iss")),
        sign(ada().claim("exp", "4000000000")),
        sign(ada().claim("nbf", START + 31)),
        sign(ada().claim("iat", START + 31)),
        sign(ada().claim("events", serde_json::json!({"http://schemas.openid.net/event/backchannel-logout": {}}))),
        "x".repeat(9000),
    ];
    let mut faces = Vec::new();
    for token in &tokens {
        let answer = stack.get(FACE_SCAN).bearer(token).send().await;
        answer.assert_field("www-authenticate", "Bearer error=\"invalid_token\"");
        let mut problem = answer.assert_problem(401, "session-invalid").json();
        problem["instance"].take();
        faces.push(problem.to_string());
    }
    let other_scheme = stack.get(FACE_SCAN).field("Authorization", basic("ada", "secret")).send().await;
    // No token of ours came (RFC 6750, section 3): the fields say so, and the face is the same.
    other_scheme.assert_field("www-authenticate", "Bearer");
    let mut problem = other_scheme.assert_problem(401, "session-invalid").json();
    problem["instance"].take();
    faces.push(problem.to_string());
    faces.dedup();
    assert_eq!(faces.len(), 1, "{faces:#?}");
    assert_eq!(stack.vendor().calls().len(), 0);
}

#[tokio::test]
async fn a_session_ends_with_its_token_whether_it_was_seen_before_or_not() {
    let stack = Stack::start().await;
    let token = |_| stack.idp().token(&TokenRequest::user("ada").expires_in(60));
    let [seen, unseen, later] = [0, 1, 2].map(token);
    let status = async |token: &str| stack.get(FACE_SCAN).bearer(token).send().await.status;
    assert_eq!(status(&seen).await, 302);
    stack.advance(Duration::from_millis(89_999));
    assert_eq!([status(&seen).await, status(&unseen).await], [302, 302], "a skew of 30 s");
    stack.advance(Duration::from_millis(1));
    for token in [&seen, &unseen, &later] {
        stack.get(FACE_SCAN).bearer(token).send().await.assert_problem(401, "session-expired");
    }
}

#[tokio::test]
async fn a_session_begins_at_its_nbf() {
    let stack = Stack::start().await;
    let token = stack.idp().token(&TokenRequest::user("ada").claim("nbf", START + 100));
    stack.advance(Duration::from_millis(69_999));
    stack.get(FACE_SCAN).bearer(&token).send().await.assert_problem(401, "session-invalid");
    stack.advance(Duration::from_millis(1));
    stack.get(FACE_SCAN).bearer(&token).send().await.assert_status(302);
}

#[tokio::test]
async fn a_new_key_is_fetched_when_its_first_token_comes_but_not_more_than_every_half_minute() {
    let stack = Stack::start().await;
    let old = stack.token("ada");
    stack.get(FACE_SCAN).bearer(&old).send().await.assert_status(302);
    assert_eq!(stack.idp().fetches(), 1);
    stack.idp().rotate(true).unwrap();
    let new = stack.idp().token(&TokenRequest::user("ada"));
    for _ in 0..20 {
        stack.get(FACE_SCAN).bearer(&new).send().await.assert_problem(401, "session-invalid");
    }
    assert_eq!(stack.idp().fetches(), 1, "within the cool-down");
    stack.advance(Duration::from_secs(30));
    stack.get(FACE_SCAN).bearer(&new).send().await.assert_status(302);
    stack.get(FACE_SCAN).bearer(&old).send().await.assert_status(302);
    assert_eq!(stack.idp().fetches(), 2);
}

#[tokio::test]
async fn a_key_that_was_removed_ends_the_sessions_that_it_signed() {
    let stack = Stack::start().await;
    let old = stack.token("ada");
    stack.get(FACE_SCAN).bearer(&old).send().await.assert_status(302);
    stack.idp().rotate(false).unwrap();
    stack.advance(Duration::from_secs(30));
    let new = stack.idp().token(&TokenRequest::user("bob"));
    stack.get(FACE_SCAN).bearer(&new).send().await.assert_status(302);
    stack.get(FACE_SCAN).bearer(&old).send().await.assert_problem(401, "session-invalid");
}

#[tokio::test]
async fn a_thousand_unknown_keys_cost_one_fetch() {
    let stack = Stack::start().await;
    stack.url_of("ada").await;
    stack.advance(Duration::from_secs(30));
    let token = stack.token("ada");
    let (_, rest) = token.split_once('.').unwrap();
    let mut wire = stack.wire().await;
    for n in 0..1000 {
        use base64::Engine;
        let head = format!("{{\"alg\":\"ES256\",\"kid\":\"unknown-{n}\"}}");
        let head = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(head);
        wire.write(stack.get(FACE_SCAN).bearer(format!("{head}.{rest}")).bytes()).await;
        wire.answer().await.assert_status(401);
    }
    assert_eq!(stack.idp().fetches(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_good_token_is_refused_while_the_first_keys_arrive() {
    for round in 0..150 {
        let stack = Stack::start().await;
        let mut clients = Vec::new();
        for n in 0..8 {
            let (address, request) =
                (stack.address.clone(), stack.get(FACE_SCAN).as_user(&format!("user {n}")).bytes());
            clients.push(tokio::spawn(async move {
                let mut wire = Wire::open(&address).await;
                for _ in 0..5 {
                    wire.write(&request).await;
                    let answer = wire.answer().await;
                    assert_eq!(answer.status, 302, "in round {round}: {answer}");
                }
            }));
        }
        for client in clients {
            client.await.unwrap();
        }
    }
}

#[tokio::test]
async fn without_keys_nobody_is_let_in_and_nobody_is_turned_away_for_good() {
    let down = IdpFaults::failing(Fail::Status(http::StatusCode::INTERNAL_SERVER_ERROR));
    let stack = Setup::new().idp_faults(down).start().await;
    let answer = stack.get(FACE_SCAN).as_user("ada").send().await;
    answer.assert_problem(503, "keys-unavailable");
    assert!((1..=30).contains(&answer.retry_after()), "{answer}");
    stack.get(FACE_SCAN).send().await.assert_problem(401, "session-required");
    stack.idp().set_faults(IdpFaults::default());
    stack.advance(Duration::from_secs(30));
    stack.get(FACE_SCAN).as_user("ada").send().await.assert_status(302);
}

#[tokio::test]
async fn an_identity_provider_that_is_down_is_survived_for_an_hour_and_not_longer() {
    let stack = Stack::start().await;
    let token = stack.idp().token(&TokenRequest::user("ada").expires_in(24 * 3600));
    let status = async || stack.get(FACE_SCAN).bearer(&token).send().await.status;
    assert_eq!(status().await, 302);
    stack.idp().set_faults(IdpFaults::failing(Fail::Status(http::StatusCode::BAD_GATEWAY)));
    stack.advance(Duration::from_secs(3599));
    assert_eq!(status().await, 302);
    stack.advance(Duration::from_secs(1));
    let answer = stack.get(FACE_SCAN).bearer(&token).send().await;
    answer.assert_problem(503, "keys-unavailable");
    assert!(answer.retry_after() >= 1);
}

const BACK: &str = "/login?return_to=%2Fplugins%2Fface-scan";

async fn with_login() -> Stack {
    Setup::new().session("login_url = \"/login\"").start().await
}

#[tokio::test]
async fn a_navigation_without_a_session_is_sent_to_the_login_page() {
    let stack = with_login().await;
    let answer = stack.get(&format!("{FACE_SCAN}?language=en&x=%2f")).as_navigation().send().await;
    answer
        .assert_status(302)
        .assert_field("location", &format!("{BACK}%3Flanguage%3Den%26x%3D%252f"))
        .assert_field("cache-control", "no-store")
        .assert_field("vary", "Accept, Origin");
    let old_browser = stack.get(FACE_SCAN).field("Accept", "text/html, */*").send().await;
    old_browser.assert_status(302).assert_field("location", BACK);
    let expired = stack.idp().token(&TokenRequest::user("ada").expires_in(-3600));
    stack.get(FACE_SCAN).as_navigation().cookie(expired).send().await.assert_field("location", BACK);
}

#[tokio::test]
async fn what_is_no_navigation_or_no_get_is_told_401() {
    let stack = with_login().await;
    for ask in [
        stack.get(FACE_SCAN),
        stack.get(FACE_SCAN).for_json(),
        stack.get(FACE_SCAN).field("Accept", "*/*"),
        stack.get(FACE_SCAN).field("Accept", "text/html").field("Sec-Fetch-Mode", "cors"),
        stack.post(FACE_SCAN).as_navigation(),
        stack.ask("HEAD", FACE_SCAN).as_navigation(),
    ] {
        ask.send().await.assert_status(401).assert_field("www-authenticate", "Bearer").assert_no_field("location");
    }
}

#[tokio::test]
async fn an_invalid_credential_never_redirects() {
    let stack = with_login().await;
    let removed = stack.idp().token(&TokenRequest::user("ada").claim("aud", "another-app"));
    for ask in [
        stack.get(FACE_SCAN).as_navigation().cookie("nonsense"),
        stack.get(FACE_SCAN).as_navigation().bearer(&removed),
        stack.get(FACE_SCAN).as_navigation().field("Authorization", basic("a", "b")),
        stack.get(FACE_SCAN).in_frame_of("same-origin").cookie("nonsense"),
    ] {
        let answer = ask.send().await;
        answer.assert_status(401).assert_no_field("location");
        assert!(!answer.text().contains("href"), "{answer}");
    }
}

#[tokio::test]
async fn in_a_frame_the_login_is_a_link_for_the_whole_window() {
    let stack = with_login().await;
    let answer = stack.get(FACE_SCAN).in_frame_of("same-origin").send().await;
    answer.assert_status(401).assert_field("content-type", "text/html; charset=utf-8").assert_no_field("location");
    let text = answer.text();
    assert!(text.contains("target=\"_top\"") && text.contains("href=\"/login"), "{text}");
}

#[tokio::test]
async fn a_login_elsewhere_is_told_our_public_address_and_never_the_host_that_was_sent() {
    let login = "login_url = \"https://id.example.com/start?app=1\"";
    let stack = Setup::new().plugin(login).session("login_url = \"/login\"").start().await;
    let ask = stack.get(FACE_SCAN).as_navigation().host("evil.example").field("X-Forwarded-Host", "evil.example");
    let expected = "https://id.example.com/start?app=1&return_to=https%3A%2F%2Fapp.example.com%2Fplugins%2Fface-scan";
    ask.send().await.assert_status(302).assert_field("location", expected);
}

#[tokio::test]
async fn return_to_stays_at_home() {
    let stack = with_login().await;
    for (target, back) in [
        ("//plugins/face-scan", "/login?return_to=%2F"),
        ("//plugins/face-scan?a=b", "/login?return_to=%2F"),
        ("//evil.example/../plugins/face-scan", "/login?return_to=%2F"),
        ("/x/..//plugins/face-scan", BACK),
    ] {
        stack.get(target).as_navigation().send().await.assert_status(302).assert_field("location", back);
    }
    for target in ["/\\evil.example/plugins/face-scan", "/%09/evil.example", "/%5cevil.example"] {
        stack.get(target).as_navigation().send().await.assert_status(400).assert_no_field("location");
    }
}

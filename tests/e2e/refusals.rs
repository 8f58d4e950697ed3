//! The table of refusals, each row by what leads to it, and what a person sees.

use std::time::Duration;

use valet_gateway::demo::idp::TokenRequest;
use valet_gateway::demo::provider::Faults;

use crate::kit::{Answer, FACE_SCAN, Setup, Stack};

/// What each answer has, whatever it says.
fn assert_common(answer: &Answer) {
    answer.assert_field("cache-control", "no-store").assert_field("vary", "Accept, Origin").assert_no_field("server");
    uuid::Uuid::parse_str(answer.field("x-request-id").unwrap()).unwrap();
}

#[tokio::test]
async fn what_is_not_here_is_not_found_before_any_credential_is_read() {
    let stack = Stack::start().await;
    for target in ["/", "/plugins", "/plugins/face-scan/", "/plugins/face-scan/x", "/plugins/face-scan2", "/.valet/x"] {
        for ask in [stack.get(target), stack.get(target).as_user("ada"), stack.get(target).bearer("nonsense")] {
            let answer = ask.send().await;
            assert_common(answer.assert_problem(404, "not-found"));
        }
    }
    assert_eq!(stack.count("valet_session_checks_total", &[]), 0);
}

#[tokio::test]
async fn another_method_is_refused_before_any_credential_is_read() {
    let spa = Setup::new().plugin("allowed_origins = [\"https://spa.example.com\"]").start().await;
    let answer = spa.ask("PUT", FACE_SCAN).send().await;
    answer.assert_problem(405, "method-not-allowed").assert_field("allow", "GET, HEAD, POST, OPTIONS");
    let stack = Stack::start().await;
    for method in ["PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "PROPFIND", "get"] {
        let answer = stack.ask(method, FACE_SCAN).as_user("ada").send().await;
        answer.assert_problem(405, "method-not-allowed").assert_field("allow", "GET, HEAD, POST");
        assert_common(&answer);
    }
    assert_eq!(stack.count("valet_session_checks_total", &[]), 0);
}

#[tokio::test]
async fn a_problem_says_what_the_table_says_and_nothing_else() {
    let stack = Stack::start().await;
    let answer = stack.get(FACE_SCAN).bearer("very-secret-credential").send().await;
    answer.assert_problem(401, "session-invalid");
    let problem = answer.json();
    let mut members: Vec<&str> = problem.as_object().unwrap().keys().map(String::as_str).collect();
    members.sort_unstable();
    assert_eq!(members, ["detail", "instance", "status", "title", "type"]);
    let again = stack.get(FACE_SCAN).bearer("another").send().await.json();
    for member in ["detail", "title", "type"] {
        assert_eq!(problem[member], again[member]);
    }
    assert_ne!(problem["instance"], again["instance"]);
    assert!(!answer.to_string().contains("very-secret"), "{answer}");
}

#[tokio::test]
async fn a_person_gets_a_small_page_without_script() {
    let stack = Setup::new().plugin("mints_per_subject = { count = 1, within = \"1h\" }").start().await;
    stack.url_of("carl").await;
    stack.vendor_does(Faults::status(500));
    let expired = stack.idp().token(&TokenRequest::user("ada").expires_in(-3600));
    for (ask, status) in [
        (stack.get("/nothing"), 404),
        (stack.ask("PUT", FACE_SCAN), 405),
        (stack.get(FACE_SCAN), 401),
        (stack.get(FACE_SCAN).cookie(expired), 401),
        (stack.get(FACE_SCAN).cookie("nonsense"), 401),
        (stack.get(FACE_SCAN).as_browser_of("bob"), 502),
        (stack.post(FACE_SCAN).as_browser_of("carl"), 429),
    ] {
        let answer = ask.as_navigation().send().await;
        answer.assert_status(status).assert_field("content-type", "text/html; charset=utf-8");
        assert_common(&answer);
        let policy = answer.field("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none';"), "{policy}");
        assert!(!policy.contains("script-src") && !policy.contains("unsafe"), "{policy}");
        let page = answer.text();
        for script in ["<script", "javascript:", "onload", "onclick", "<iframe", "<object", "http://", "https://"] {
            assert!(!page.contains(script), "{script} in {page}");
        }
        let id = answer.field("x-request-id").unwrap();
        assert!(page.contains(id) && page.contains("<h1>") && page.contains("<p>"), "{page}");
        if status == 401 {
            let came = answer.text().contains("expired") || answer.text().contains("not valid");
            answer.assert_field("www-authenticate", if came { "Bearer error=\"invalid_token\"" } else { "Bearer" });
        }
        if status == 429 {
            assert!(answer.retry_after() > 0);
        }
    }
}

#[tokio::test]
async fn a_session_without_what_the_vendor_must_be_told_is_not_permitted() {
    let query = "external_user_id = \"{subject}\", tier = \"{claim:tier}\", clinic = \"{claim:clinic?}\"";
    let stack = Setup::new().tables(&format!("[provider.mint.face-scan]\nquery = {{ {query} }}")).start().await;
    let get = async |request: TokenRequest| stack.get(FACE_SCAN).bearer(stack.idp().token(&request)).send().await;
    let ada = || TokenRequest::user("ada");
    for refused in [ada(), ada().claim("tier", ""), ada().claim("tier", 7), ada().claim("tier", true)] {
        get(refused).await.assert_problem(403, "not-permitted");
    }
    assert_eq!(stack.vendor().calls().len(), 0);

    let gold = get(ada().claim("tier", "gold & more")).await.assert_status(302).location().to_owned();
    let mint = stack.vendor().calls().last().unwrap().clone();
    assert_eq!(mint.parameter("tier").as_deref(), Some("gold & more"));
    assert_eq!(mint.parameter("clinic"), None);
    let plain = get(ada().claim("tier", "plain")).await.assert_status(302).location().to_owned();
    let clinic = get(ada().claim("tier", "plain").claim("clinic", "c")).await.assert_status(302).location().to_owned();
    assert_eq!(stack.vendor().calls().last().unwrap().parameter("clinic").as_deref(), Some("c"));
    assert!(gold != plain && plain != clinic, "a value that the recipe uses is part of the lease");
    assert_eq!(get(ada().claim("tier", "gold & more")).await.location(), gold);
    assert_eq!(stack.vendor().mint_count(), 3);
}

#[tokio::test]
async fn too_many_mints_of_one_subject_are_refused_until_the_oldest_is_old_enough() {
    let stack = Setup::new().plugin("mints_per_subject = { count = 3, within = \"10m\" }").start().await;
    for _ in 0..3 {
        stack.post(FACE_SCAN).as_user("ada").send().await.assert_status(303);
        stack.advance(Duration::from_secs(60));
    }
    let answer = stack.post(FACE_SCAN).as_user("ada").send().await;
    answer.assert_problem(429, "too-many-requests");
    assert_eq!(answer.retry_after(), 420);
    stack.post(FACE_SCAN).as_user("bob").send().await.assert_status(303);
    stack.advance(Duration::from_millis(419_999));
    stack.post(FACE_SCAN).as_user("ada").send().await.assert_problem(429, "too-many-requests");
    stack.advance(Duration::from_millis(1));
    stack.post(FACE_SCAN).as_user("ada").send().await.assert_status(303);
    assert_eq!(stack.vendor().mint_count(), 5);
}

#[tokio::test]
async fn a_subject_does_not_gain_mints_by_more_sessions_or_languages() {
    for reuse in ["session", "user", "never"] {
        let limit = "mints_per_subject = { count = 2, within = \"1h\" }\nlanguages = [\"en\", \"nl\", \"fr\"]";
        let stack = Setup::new().plugin(&format!("reuse = \"{reuse}\"\n{limit}")).start().await;
        let mut statuses = Vec::new();
        for (session, language) in [(Some("s1"), "en"), (None, "nl"), (Some("s2"), "fr"), (None, "de")] {
            let request = TokenRequest { session: session.map(str::to_owned), ..TokenRequest::user("ada") };
            let target = format!("{FACE_SCAN}?language={language}");
            statuses.push(stack.get(&target).bearer(stack.idp().token(&request)).send().await.status);
        }
        assert_eq!(statuses, [302, 302, 429, 429], "{reuse}");
        assert_eq!(stack.vendor().mint_count(), 2, "{reuse}");
    }
}

#[tokio::test]
async fn a_subject_does_not_gain_mints_by_asking_all_at_once() {
    for reuse in ["session", "never"] {
        let limit = "mints_per_subject = { count = 2, within = \"1h\" }";
        let stack = Setup::new().plugin(&format!("reuse = \"{reuse}\"\n{limit}")).start().await;
        stack.vendor_does(Faults::hang());
        let mut sent = Vec::new();
        for n in 0..5 {
            let token = stack.idp().token(&TokenRequest::user("ada").session(&format!("s{n}")));
            sent.push(stack.get(FACE_SCAN).bearer(token).start().await);
        }
        stack.until_sessions(5).await;
        stack.vendor_does(Faults::default());
        let mut statuses = Vec::new();
        for sent in &mut sent {
            statuses.push(sent.answer().await.status);
        }
        statuses.sort_unstable();
        assert_eq!(statuses, [302, 302, 429, 429, 429], "{reuse}");
        assert_eq!(stack.vendor().mint_count(), 2, "{reuse}");
    }
}

#[tokio::test]
async fn a_body_that_nobody_wants_is_bounded() {
    let stack = Stack::start().await;
    let mut wire = stack.wire().await;
    wire.write(format!("POST {FACE_SCAN} HTTP/1.1\r\nHost: a\r\nContent-Length: 65537\r\n\r\n")).await;
    wire.answer().await.assert_problem(413, "body-too-large").assert_field("connection", "close");
    wire.assert_closed().await;
    let body = vec![b'x'; 65536];
    stack.post(FACE_SCAN).as_user("ada").body(body).send().await.assert_status(303);
}

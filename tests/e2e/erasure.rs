//! What vendors are told of who signs out, and of who is erased; and what of a session that ends is still under way.

use std::time::{Duration, Instant};

use serde_json::json;
use valet_gateway::demo::idp::TokenRequest;

use crate::kit::{App, FACE_SCAN, Setup, Stack, until};

const REVOKE: &str = "/api/sessions/revoke";
const FORGET: &str = "/api/subjects/forget";

/// Open connections end within this time of the answer to the call.
const CLOSED: Duration = Duration::from_secs(5);

/// A second provider that is told of everybody, and writes it down.
async fn told(app: &App, revoke: &str) -> Stack {
    let provider = format!(
        "[[provider]]\nname = \"recorder\"\nbase_url = \"http://{}\"\napi_key = {{ file = \"key-0\" }}\nauth = {{ header = \"x-api-key\" }}\nredirect_hosts = [\"embed.example.com\"]\n\
         [provider.mint.m]\npath = \"/mint\"\nurl = \"text\"\nexpires = \"fixed\"\n\
         [provider.revoke]\npath = \"{revoke}\"\n[provider.forget]\nmethod = \"POST\"\npath = \"/erase\"\njson = {{ user = \"{{subject}}\" }}",
        app.address
    );
    Setup::new().administered().tables(&provider).start().await
}

fn calls(stack: &Stack, call: &str, outcome: &str) -> u64 {
    stack.count("valet_provider_calls_total", &[("provider", "recorder"), ("call", call), ("outcome", outcome)])
}

#[tokio::test]
async fn a_vendor_is_told_once_whose_sessions_have_ended_by_subject() {
    let app = App::start().await;
    let stack = told(&app, "/tokens/{subject}").await;
    let issuer = stack.idp().issuer();
    let subject = "auth0|a b&c/../d\"é";
    stack.admin_post(REVOKE, &json!({ "issuer": issuer, "subject": subject })).await.assert_status(204);
    until("the vendor is told", || calls(&stack, "revoke", "done") == 1).await;
    let seen = app.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].line(), "DELETE /tokens/auth0%7Ca%20b%26c%2F..%2Fd%22%C3%A9");
    assert!(seen[0].field("x-api-key").is_some());
    // Of whom a session is nobody says.
    stack.admin_post(REVOKE, &json!({ "issuer": issuer, "session": "s" })).await.assert_status(204);
    let both = json!({ "issuer": issuer, "subject": "bob", "session": "s" });
    stack.admin_post(REVOKE, &both).await.assert_status(204);
    until("the vendor is told", || calls(&stack, "revoke", "done") == 2).await;
    assert_eq!(app.seen().len(), 2);
    assert_eq!(app.last().line(), "DELETE /tokens/bob");
}

#[tokio::test]
async fn a_vendor_that_can_not_be_told_is_counted_and_loosens_nothing() {
    let app = App::start().await;
    let stack = told(&app, "/{subject}").await;
    let token = stack.idp().token(&TokenRequest::user(".."));
    let body = json!({ "issuer": stack.idp().issuer(), "subject": ".." });
    stack.admin_post(REVOKE, &body).await.assert_status(204);
    until("it is counted", || calls(&stack, "revoke", "failed") == 1).await;
    assert!(app.seen().is_empty());
    stack.get(FACE_SCAN).bearer(&token).send().await.assert_problem(401, "session-invalid");
}

#[tokio::test]
async fn who_is_erased_is_forgotten_here_and_at_each_provider_that_can_forget() {
    let app = App::start().await;
    let stack = told(&app, "/tokens/{subject}").await;
    let issuer = stack.idp().issuer();
    stack.url_of("ada").await;
    stack.url_of("bob").await;
    assert_eq!(stack.vendor().registrations(), 2);
    let answer = stack.admin_post(FORGET, &json!({ "issuer": issuer, "subject": "ada" })).await;
    let providers = json!([{ "name": "intelliprove", "outcome": "none" }, { "name": "recorder", "outcome": "done" }]);
    assert_eq!(answer.assert_status(200).json(), json!({ "providers": providers }));
    let erased = app.seen().into_iter().find(|seen| seen.line() == "POST /erase").expect("the call");
    assert_eq!(erased.body, br#"{"user":"ada"}"#);
    assert_eq!(stack.count("valet_leases_held", &[]), 1);
    assert_eq!(stack.count("valet_session_cache_entries", &[]), 1);
    stack.get(FACE_SCAN).as_user("ada").send().await.assert_problem(401, "session-invalid");
    // Who comes back is registered anew; others are not.
    stack.advance(Duration::from_secs(1));
    let again = stack.idp().token(&TokenRequest::user("ada"));
    stack.get(FACE_SCAN).bearer(&again).send().await.assert_status(302);
    stack.post(FACE_SCAN).as_user("bob").send().await.assert_status(303);
    assert_eq!(stack.vendor().registrations(), 3);
    for body in [json!({ "issuer": issuer }), json!({ "issuer": issuer, "session": "s" }), json!({ "subject": "ada" })]
    {
        stack.admin_post(FORGET, &body).await.assert_status(400);
    }
}

#[tokio::test]
async fn websockets_and_requests_under_way_of_a_revoked_session_are_closed_and_no_others() {
    let app = App::start().await;
    let stack = Setup::new().real_time().administered().app(&app, "path = \"/\"").start().await;
    stack.until_ready().await;
    let (mut ended, mut other) = (
        stack.websocket("/socket", Some(&stack.token("ada"))).await,
        stack.websocket("/socket", Some(&stack.token("bob"))).await,
    );
    let mut waiting = stack.get("/later").as_user("ada").start().await;
    let mut posting = stack.post("/later").as_user("ada").body("x").start().await;
    until("the app has them", || app.seen().len() == 4).await;
    let body = json!({ "issuer": stack.idp().issuer(), "subject": "ada" });
    stack.admin_post(REVOKE, &body).await.assert_status(204);
    let answered = Instant::now();
    ended.assert_closed().await;
    waiting.wire.assert_closed().await;
    posting.wire.assert_closed().await;
    assert!(answered.elapsed() < CLOSED, "{:?}", answered.elapsed());
    other.assert_echoes().await;
    assert_eq!(stack.answered("session_ended"), 3);
}

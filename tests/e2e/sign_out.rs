//! Sign-out that the identity provider tells us of: back-channel logout, and security events by push.

use std::time::Duration;

use serde_json::{Value, json};
use valet_gateway::demo::idp::TokenRequest;

use crate::http2::{ask, http2_of};
use crate::kit::answer::Answer;
use crate::kit::setup::START;
use crate::kit::{FACE_SCAN, Setup, Stack};

const LOGOUT: &str = "/.valet/backchannel-logout";
const EVENTS: &str = "/.valet/events";
const LOGOUT_EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
pub const CAEP: &str = "https://schemas.openid.net/secevent/caep/event-type";
const RISC: &str = "https://schemas.openid.net/secevent/risc/event-type";

/// One issuer that sends logout tokens, and a second identity provider that is a transmitter. What a logout token holds is the test's.
pub async fn stack() -> Stack {
    Setup::new().tables("[session.logout]").start().await
}

/// A good logout token of this user; the test takes something away or adds it.
pub fn logout_token(user: &str) -> TokenRequest {
    let token = TokenRequest::user(user).expires_in(120).claim("events", json!({ LOGOUT_EVENT: {} })).without("name");
    TokenRequest { typ: Some("logout+jwt".into()), ..token }
}

pub async fn post_form(stack: &Stack, body: &str) -> Answer {
    let ask = stack.post(LOGOUT).field("Content-Type", "application/x-www-form-urlencoded");
    ask.body(body).send().await
}

async fn logout(stack: &Stack, token: &TokenRequest) -> Answer {
    post_form(stack, &format!("logout_token={}", stack.idp().token(token))).await
}

pub fn counted(stack: &Stack, source: &str) -> [u64; 3] {
    ["applied", "ignored", "refused"]
        .map(|outcome| stack.count("valet_revocations_total", &[("source", source), ("outcome", outcome)]))
}

#[tokio::test]
async fn a_logout_token_with_a_subject_ends_its_sessions_and_leases_of_up_to_its_second() {
    let stack = stack().await;
    let token = |iat: i64| stack.idp().token(&TokenRequest::user("ada").session("s").claim("iat", START + iat));
    let (before, after) = (token(0), token(5));
    stack.get(FACE_SCAN).bearer(&before).send().await.assert_status(302);
    let answer = logout(&stack, &logout_token("ada")).await;
    answer.assert_status(200).assert_field("cache-control", "no-store");
    assert_eq!((answer.text().as_str(), stack.count("valet_leases_held", &[])), ("", 0));
    stack.get(FACE_SCAN).bearer(&before).send().await.assert_problem(401, "session-invalid");
    // Later by the clock of the identity provider, within the tolerance.
    stack.get(FACE_SCAN).bearer(&after).send().await.assert_status(302);
    assert_eq!(counted(&stack, "logout"), [1, 0, 0]);
}

#[tokio::test]
async fn a_logout_token_with_a_session_alone_ends_that_session_and_with_a_subject_too_those_without_a_name() {
    for subject_too in [false, true] {
        let stack = stack().await;
        let token = |session: Option<&str>| {
            stack.idp().token(&TokenRequest { session: session.map(Into::into), ..TokenRequest::user("ada") })
        };
        let (one, two, unnamed) = (token(Some("one")), token(Some("two")), token(None));
        let told = logout_token("ada").session("one");
        let told = if subject_too { told } else { told.without("sub") };
        logout(&stack, &told).await.assert_status(200);
        stack.get(FACE_SCAN).bearer(&one).send().await.assert_problem(401, "session-invalid");
        stack.get(FACE_SCAN).bearer(&two).send().await.assert_status(302);
        stack.get(FACE_SCAN).bearer(&unnamed).send().await.assert_status(if subject_too { 401 } else { 302 });
    }
}

#[tokio::test]
async fn a_logout_token_works_once() {
    let stack = stack().await;
    stack.url_of("ada").await;
    let body = format!("logout_token={}", stack.idp().token(&logout_token("ada")));
    post_form(&stack, &body).await.assert_status(200);
    stack.advance(Duration::from_secs(1));
    let again = stack.idp().token(&TokenRequest::user("ada"));
    stack.get(FACE_SCAN).bearer(&again).send().await.assert_status(302);
    post_form(&stack, &body).await.assert_status(200);
    assert_eq!((counted(&stack, "logout"), stack.count("valet_leases_held", &[])), ([1, 1, 0], 1));
    stack.get(FACE_SCAN).bearer(&again).send().await.assert_status(302);
    assert_eq!(stack.vendor().mint_count(), 2);
}

#[tokio::test]
async fn no_other_token_ends_a_session() {
    let stack = stack().await;
    let url = stack.url_of("ada").await;
    let typ = |typ: &str| TokenRequest { typ: Some(typ.into()), ..logout_token("ada") };
    let refused = [
        ("an access token", TokenRequest::user("ada")),
        ("no event", logout_token("ada").without("events")),
        ("another event", logout_token("ada").claim("events", json!({ "https://example.com/other": {} }))),
        ("an event that is no object", logout_token("ada").claim("events", json!({ LOGOUT_EVENT: true }))),
        ("events in a list", logout_token("ada").claim("events", json!([LOGOUT_EVENT]))),
        ("a nonce", logout_token("ada").claim("nonce", "n")),
        ("another audience", logout_token("ada").claim("aud", "other-app")),
        ("no audience", logout_token("ada").without("aud")),
        ("another issuer", logout_token("ada").claim("iss", "https://other.example")),
        ("no jti", logout_token("ada").without("jti")),
        ("no iat", logout_token("ada").without("iat")),
        ("an iat that is no number", logout_token("ada").claim("iat", "now")),
        ("an iat to come", logout_token("ada").claim("iat", START + 31)),
        ("expired", logout_token("ada").claim("exp", START - 30)),
        ("without exp, and old", logout_token("ada").without("exp").claim("iat", START - 150)),
        ("nobody", logout_token("ada").without("sub")),
        ("a subject that is no text", logout_token("ada").claim("sub", 1)),
        ("a session that is no text", logout_token("ada").claim("sid", 1)),
        ("an empty session", logout_token("ada").claim("sid", "")),
        ("typ at+jwt", typ("at+jwt")),
        ("typ secevent+jwt", typ("secevent+jwt")),
        ("typ dpop+jwt", typ("dpop+jwt")),
    ];
    for (what, token) in &refused {
        let answer = logout(&stack, token).await;
        assert_eq!((answer.status, &answer.json()["error"]), (400, &json!("invalid_request")), "{what}");
    }
    let good = stack.idp().token(&logout_token("ada"));
    let (head, rest) = good.split_once('.').unwrap();
    let (payload, signature) = rest.split_once('.').unwrap();
    let none = "eyJhbGciOiJub25lIn0";
    let forms = [
        String::new(),
        "logout_token=".into(),
        "logout_token=nonsense".into(),
        format!("logout_token={none}.{payload}."),
        format!("logout_token={none}.{payload}.{signature}"),
        format!("logout_token={head}.{payload}.{}", "A".repeat(86)),
        format!("logout_token={head}.{payload}"),
        format!("logout_token={good}&logout_token={good}"),
        format!("token={good}"),
    ];
    for form in &forms {
        assert_eq!(post_form(&stack, form).await.status, 400, "{form}");
    }
    let json = stack.post(LOGOUT).field("Content-Type", "application/json").body(format!("logout_token={good}"));
    json.send().await.assert_status(400);
    stack.get(LOGOUT).send().await.assert_problem(405, "method-not-allowed");
    let count = (refused.len() + forms.len() + 1) as u64;
    assert_eq!(counted(&stack, "logout"), [0, 0, count]);
    assert_eq!(stack.url_of("ada").await, url);
    assert_eq!(stack.vendor().mint_count(), 1);
    // The one that all of these were made of is good.
    post_form(&stack, &format!("logout_token={good}")).await.assert_status(200);
}

#[tokio::test]
async fn types_and_forms_that_are_good_end_sessions() {
    let stack = stack().await;
    for (n, typ) in ["JWT", "jwt", "Logout+JWT", "application/logout+jwt"].into_iter().enumerate() {
        let user = format!("user-{n}");
        logout(&stack, &TokenRequest { typ: Some(typ.into()), ..logout_token(&user) }).await.assert_status(200);
        stack.get(FACE_SCAN).as_user(&user).send().await.assert_problem(401, "session-invalid");
    }
    logout(&stack, &logout_token("old").without("exp")).await.assert_status(200);
    let form = "state=1&logout_token=";
    post_form(&stack, &format!("{form}{}", stack.idp().token(&logout_token("more")))).await.assert_status(200);
    // In chunks, and with a client that waits for a word.
    let body = format!("logout_token={}", stack.idp().token(&logout_token("chunks")));
    let (first, second) = body.split_at(100);
    let head = format!(
        "POST {LOGOUT} HTTP/1.1\r\nHost: app.example.com\r\nContent-Type: application/x-www-form-urlencoded;charset=UTF-8\r\n"
    );
    let mut wire = stack.wire().await;
    let chunk = |text: &str| format!("{:x};note=\"x\"\r\n{text}\r\n", text.len());
    wire.write(format!("{head}Transfer-Encoding: chunked\r\n\r\n{}", chunk(first))).await;
    wire.write(format!("{}0\r\n\r\n", chunk(second))).await;
    wire.answer().await.assert_status(200);
    stack.get(FACE_SCAN).as_user("chunks").send().await.assert_status(401);
    let body = format!("logout_token={}", stack.idp().token(&logout_token("waits")));
    let mut wire = stack.wire().await;
    wire.write(format!("{head}Expect: 100-continue\r\nContent-Length: {}\r\n\r\n", body.len())).await;
    wire.read_to("100 Continue\r\n\r\n").await;
    wire.write(&body).await;
    wire.answer().await.assert_status(200);
    // The connection goes on.
    wire.write(format!("GET {FACE_SCAN} HTTP/1.1\r\nHost: app.example.com\r\n\r\n")).await;
    wire.answer().await.assert_status(401);
    assert_eq!(counted(&stack, "logout"), [8, 0, 0]);
}

#[tokio::test]
async fn a_logout_token_opens_no_session_and_the_path_is_nothing_where_it_is_not_configured() {
    let stack = Stack::start().await;
    let token = stack.idp().token(&logout_token("ada"));
    stack.get(FACE_SCAN).bearer(&token).send().await.assert_problem(401, "session-invalid");
    post_form(&stack, &format!("logout_token={token}")).await.assert_problem(404, "not-found");
    let stack = self::stack().await;
    for typ in [Some("JWT"), Some("at+jwt"), None] {
        let token = stack.idp().token(&TokenRequest { typ: typ.map(Into::into), ..logout_token("ada") });
        stack.get(FACE_SCAN).bearer(&token).send().await.assert_problem(401, "session-invalid");
    }
}

#[tokio::test]
async fn bad_logout_tokens_count_as_refused_credentials_of_their_address() {
    let limits = "[limits]\ninvalid_per_address = { count = 3, within = \"1m\" }\n[session.logout]\npath = \"/bye\"";
    let stack = Setup::new().tables(limits).start().await;
    let post = async |token: String| {
        let ask = stack.post("/bye").field("Content-Type", "application/x-www-form-urlencoded");
        ask.body(format!("logout_token={token}")).send().await.status
    };
    for _ in 0..3 {
        assert_eq!(post("a.b.c".into()).await, 400);
    }
    assert_eq!(post(stack.idp().token(&logout_token("ada"))).await, 429);
}

#[tokio::test]
async fn a_post_that_is_refused_for_bad_tokens_before_it_uses_up_no_request_of_its_address() {
    let limits =
        "[limits]\nper_address = { rate = 1, burst = 5 }\ninvalid_per_address = { count = 3, within = \"1m\" }";
    let stack = Setup::new().tables(&format!("{limits}\n[session.logout]")).start().await;
    for _ in 0..3 {
        post_form(&stack, "logout_token=a.b.c").await.assert_status(400);
    }
    for _ in 0..5 {
        let answer = logout(&stack, &logout_token("ada")).await;
        assert_eq!(answer.assert_problem(429, "too-many-requests").retry_after(), 60);
    }
    // The two that are left.
    for status in [404, 404, 429] {
        stack.get("/nothing").send().await.assert_status(status);
    }
    let limited = |limit: &str| stack.count("valet_limited_total", &[("limit", limit)]);
    assert_eq!((limited("invalid_per_address"), limited("per_address")), (5, 1));
}

/// The second identity provider is the transmitter.
pub async fn with_events() -> Stack {
    let idps = Setup::new().issuers(&["{sub}", "b|{sub}"]);
    idps.session_tables(|idps| {
        format!(
            "[session.events]\n[[session.events.transmitter]]\nissuer = \"{}\"\naudiences = [\"my-app\"]\nkeys = {{ discovery = true }}\nsubjects_of = \"{}\"\n",
            idps[1], idps[0]
        )
    })
    .start()
    .await
}

/// A good security event of this type.
pub fn event(kind: &str, subject: Value) -> TokenRequest {
    let token = TokenRequest::user("nobody").claim("events", json!({ kind: {} })).claim("sub_id", subject);
    TokenRequest { typ: Some("secevent+jwt".into()), ..token.without("sub").without("exp").without("name") }
}

pub async fn push(stack: &Stack, token: String) -> Answer {
    stack.post(EVENTS).field("Content-Type", "application/secevent+jwt").body(token).send().await
}

#[tokio::test]
async fn events_of_each_kind_end_the_sessions_of_whom_they_name() {
    let stack = with_events().await;
    let kinds = [
        format!("{CAEP}/session-revoked"),
        format!("{CAEP}/credential-change"),
        format!("{RISC}/account-disabled"),
        format!("{RISC}/account-purged"),
        format!("{RISC}/sessions-revoked"),
    ];
    for (n, kind) in kinds.iter().enumerate() {
        let user = format!("user-{n}");
        stack.get(FACE_SCAN).as_user(&user).send().await.assert_status(302);
        let subject = match n {
            0 => json!({ "format": "opaque", "id": user }),
            _ => json!({ "format": "iss_sub", "iss": stack.idp().issuer(), "sub": user }),
        };
        let answer = push(&stack, stack.idp_at(1).token(&event(kind, subject))).await;
        assert_eq!((answer.assert_status(202).status, answer.text().as_str()), (202, ""));
        stack.get(FACE_SCAN).as_user(&user).send().await.assert_problem(401, "session-invalid");
    }
    assert_eq!(counted(&stack, "event"), [5, 0, 0]);
}

#[tokio::test]
async fn an_event_with_user_and_session_ends_that_session_and_its_time_bounds_it() {
    let stack = with_events().await;
    let token = |session: &str| stack.idp().token(&TokenRequest::user("ada").session(session));
    let (one, two) = (token("one"), token("two"));
    let user = json!({ "format": "iss_sub", "iss": stack.idp().issuer(), "sub": "ada" });
    let complex = json!({ "format": "complex", "user": user, "session": { "format": "opaque", "id": "one" } });
    let kind = format!("{CAEP}/session-revoked");
    push(&stack, stack.idp_at(1).token(&event(&kind, complex))).await.assert_status(202);
    stack.get(FACE_SCAN).bearer(&one).send().await.assert_problem(401, "session-invalid");
    stack.get(FACE_SCAN).bearer(&two).send().await.assert_status(302);
    // As drafts had it, and of a time before the sessions began.
    let dated = |at: i64| {
        let events = json!({ &kind: { "subject": { "user": user }, "event_timestamp": at } });
        event(&kind, Value::Null).without("sub_id").claim("events", events)
    };
    push(&stack, stack.idp_at(1).token(&dated(START - 1))).await.assert_status(202);
    stack.get(FACE_SCAN).bearer(&two).send().await.assert_status(302);
    // In milliseconds, as Okta writes it.
    push(&stack, stack.idp_at(1).token(&dated((START - 1) * 1000 + 643))).await.assert_status(202);
    stack.get(FACE_SCAN).bearer(&two).send().await.assert_status(302);
    // One that has not come yet counts as now.
    push(&stack, stack.idp_at(1).token(&dated(START + 1000))).await.assert_status(202);
    stack.get(FACE_SCAN).bearer(&two).send().await.assert_status(401);
    let later = stack.idp().token(&TokenRequest::user("ada").claim("iat", START + 1));
    stack.get(FACE_SCAN).bearer(&later).send().await.assert_status(302);
}

#[tokio::test]
async fn events_that_ask_for_nothing_are_taken_and_ignored_and_each_works_once() {
    let stack = with_events().await;
    let subject = || json!({ "format": "opaque", "id": "ada" });
    for kind in [
        "https://schemas.openid.net/secevent/ssf/event-type/verification".to_owned(),
        format!("{CAEP}/device-compliance-change"),
        "https://example.com/session-revoked".into(),
        format!("{RISC}/session-revoked"),
    ] {
        push(&stack, stack.idp_at(1).token(&event(&kind, subject()))).await.assert_status(202);
    }
    assert_eq!(counted(&stack, "event"), [0, 4, 0]);
    stack.url_of("ada").await;
    let token = stack.idp_at(1).token(&event(&format!("{CAEP}/session-revoked"), subject()));
    for _ in 0..3 {
        push(&stack, token.clone()).await.assert_status(202);
    }
    assert_eq!(counted(&stack, "event"), [1, 6, 0]);
}

#[tokio::test]
async fn no_other_token_is_taken_for_an_event() {
    let stack = with_events().await;
    stack.url_of("ada").await;
    let kind = format!("{CAEP}/session-revoked");
    let subject = json!({ "format": "opaque", "id": "ada" });
    let good = || event(&kind, subject.clone());
    let of = |token: &TokenRequest| stack.idp_at(1).token(token);
    let typ = |typ: &str| TokenRequest { typ: Some(typ.into()), ..good() };
    let mut expired = good().claim("exp", START - 30);
    expired.omit.retain(|name| name != "exp");
    let stranger = json!({ "format": "iss_sub", "iss": "https://other.example", "sub": "ada" });
    let signed = of(&good());
    let (unsigned, signature) = signed.rsplit_once('.').unwrap();
    let forged = format!("{unsigned}.{}", "A".repeat(signature.len()));
    for (what, token, err) in [
        ("typ JWT", of(&typ("JWT")), "invalid_request"),
        ("typ logout+jwt", of(&typ("logout+jwt")), "invalid_request"),
        ("an access token", of(&TokenRequest::user("ada")), "invalid_request"),
        ("no events", of(&good().without("events")), "invalid_request"),
        ("empty events", of(&good().claim("events", json!({}))), "invalid_request"),
        ("no jti", of(&good().without("jti")), "invalid_request"),
        ("no iat", of(&good().without("iat")), "invalid_request"),
        ("an iat to come", of(&good().claim("iat", START + 31)), "invalid_request"),
        ("expired", of(&expired), "invalid_request"),
        ("nobody", of(&good().without("sub_id")), "invalid_request"),
        ("another's people", of(&event(&kind, stranger)), "invalid_request"),
        ("an address", of(&event(&kind, json!({ "format": "email", "email": "ada@example.com" }))), "invalid_request"),
        ("another audience", of(&good().claim("aud", "other")), "invalid_audience"),
        ("no audience", of(&good().without("aud")), "invalid_audience"),
        ("an issuer of sessions", stack.idp().token(&good()), "invalid_issuer"),
        ("nobody's", of(&good().claim("iss", "https://nobody.example")), "invalid_issuer"),
        ("another's key", stack.idp().token(&good().claim("iss", stack.idp_at(1).issuer())), "invalid_key"),
        ("forged", forged, "invalid_key"),
        ("nonsense", "nonsense".into(), "invalid_request"),
    ] {
        let answer = push(&stack, token).await;
        assert_eq!((answer.status, &answer.json()["err"]), (400, &json!(err)), "{what}");
        assert!(answer.json()["description"].is_string());
    }
    let plain = stack.post(EVENTS).field("Content-Type", "application/jwt").body(&signed).send().await;
    assert_eq!((plain.status, &plain.json()["err"]), (400, &json!("invalid_request")));
    assert_eq!(counted(&stack, "event"), [0, 0, 20]);
    stack.url_of("ada").await;
    stack.get(FACE_SCAN).bearer(of(&good())).send().await.assert_problem(401, "session-invalid");
    push(&stack, signed).await.assert_status(202);
    stack.get(FACE_SCAN).as_user("ada").send().await.assert_status(401);
}

#[tokio::test]
async fn a_logout_token_comes_over_http_2_too() {
    let (stack, mut send, _authority) = http2_of(Setup::new().tables("[session.logout]")).await;
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let body = format!("logout_token={}", stack.idp().token(&logout_token("ada")));
    assert_eq!(ask(&mut send, "POST", LOGOUT, &form, &body).await.status, 200);
    assert_eq!(ask(&mut send, "POST", LOGOUT, &form, "logout_token=x").await.status, 400);
    assert_eq!(ask(&mut send, "POST", LOGOUT, &form, &"x".repeat(70_000)).await.status, 413);
    let bearer = format!("Bearer {}", stack.token("ada"));
    assert_eq!(ask(&mut send, "GET", FACE_SCAN, &[("authorization", &*bearer)], "").await.status, 401);
}

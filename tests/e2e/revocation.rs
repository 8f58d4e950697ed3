//! Taking back: sessions that are ended before their tokens do.

use std::time::Duration;

use serde_json::json;
use valet_gateway::demo::idp::TokenRequest;
use valet_gateway::demo::provider::Faults;

use crate::kit::answer::Answer;
use crate::kit::setup::START;
use crate::kit::{App, FACE_SCAN, Setup, Stack};

const REVOKE: &str = "/api/sessions/revoke";

const DROP: &str = "/api/leases/drop";

async fn administered() -> Stack {
    Setup::new().administered().start().await
}

async fn revoke_subject(stack: &Stack, subject: &str) -> Answer {
    stack.admin_post(REVOKE, &json!({ "issuer": stack.idp().issuer(), "subject": subject })).await
}

async fn revoke_session(stack: &Stack, session: &str) -> Answer {
    stack.admin_post(REVOKE, &json!({ "issuer": stack.idp().issuer(), "session": session })).await
}

fn revocations(stack: &Stack, outcome: &str) -> u64 {
    stack.count("valet_revocations_total", &[("source", "api"), ("outcome", outcome)])
}

#[tokio::test]
async fn a_revoked_person_is_refused_with_every_token_of_before_and_let_in_with_one_of_later() {
    let stack = administered().await;
    let idp = stack.idp();
    let second = |offset: i64| idp.token(&TokenRequest::user("ada").claim("iat", START + offset));
    let (before, same, after) = (second(-1), second(0), second(1));
    let undated = idp.token(&TokenRequest::user("ada").without("iat"));
    let unseen = second(-2);
    for token in [&before, &same, &undated] {
        stack.get(FACE_SCAN).bearer(token).send().await.assert_status(302);
    }
    let url = stack.url_of("bob").await;
    revoke_subject(&stack, "ada").await.assert_status(204);
    stack.advance(Duration::from_secs(1));
    for token in [&before, &same, &undated, &unseen] {
        let refused = stack.get(FACE_SCAN).bearer(token).send().await;
        refused
            .assert_problem(401, "session-invalid")
            .assert_field("www-authenticate", "Bearer error=\"invalid_token\"");
    }
    stack.get(FACE_SCAN).bearer(&after).send().await.assert_status(302);
    assert_eq!(stack.url_of("bob").await, url, "another person notices nothing");
    assert_eq!(revocations(&stack, "applied"), 1);
    let checks = stack.count("valet_session_checks_total", &[("issuer", &idp.issuer()), ("outcome", "revoked")]);
    assert_eq!(checks, 4);
}

#[tokio::test]
async fn who_signs_in_again_gets_a_new_url() {
    let stack = administered().await;
    let url = stack.url_of("ada").await;
    revoke_subject(&stack, "ada").await.assert_status(204);
    assert_eq!(stack.count("valet_leases_held", &[]), 0);
    stack.advance(Duration::from_secs(1));
    let again = stack.idp().token(&TokenRequest::user("ada"));
    let fresh = stack.get(FACE_SCAN).bearer(again).send().await;
    assert_ne!(fresh.assert_status(302).location(), url);
}

#[tokio::test]
async fn a_revoked_session_ends_and_the_persons_other_sessions_keep_their_urls() {
    let stack = Setup::new().administered().plugin("reuse = \"session\"").start().await;
    let token = |session: &str| stack.idp().token(&TokenRequest::user("ada").session(session));
    let (one, two) = (token("one"), token("two"));
    let unnamed = stack.idp().token(&TokenRequest::user("ada"));
    let url =
        async |token: &str| stack.get(FACE_SCAN).bearer(token).send().await.assert_status(302).location().to_owned();
    let urls = [url(&two).await, url(&unnamed).await];
    url(&one).await;
    revoke_session(&stack, "one").await.assert_status(204);
    stack.advance(Duration::from_secs(60));
    // Whenever it was issued.
    for token in [one, token("one")] {
        stack.get(FACE_SCAN).bearer(token).send().await.assert_problem(401, "session-invalid");
    }
    assert_eq!([url(&two).await, url(&unnamed).await], urls);
    assert_eq!(stack.vendor().mint_count(), 3);
    assert_eq!(stack.count("valet_leases_held", &[]), 2);
}

#[tokio::test]
async fn a_session_ended_by_subject_and_session_takes_shared_urls_along_and_leaves_other_sessions_theirs() {
    const SHARED: &str = "/plugins/shared";
    let shared = format!(
        "[[plugin]]\nname = \"shared\"\nprovider = \"intelliprove\"\nmint = \"face-scan\"\npath = \"{SHARED}\"\nreuse = \"user\"\n"
    );
    let stack = Setup::new().administered().plugin("reuse = \"session\"").tables(&shared).start().await;
    let token = |session: &str| stack.idp().token(&TokenRequest::user("ada").session(session));
    let (one, two) = (token("one"), token("two"));
    let unnamed = stack.idp().token(&TokenRequest::user("ada"));
    let url = async |path: &str, token: &str| {
        stack.get(path).bearer(token).send().await.assert_status(302).location().to_owned()
    };
    let before = [url(FACE_SCAN, &two).await, url(SHARED, &two).await];
    url(FACE_SCAN, &one).await;
    url(FACE_SCAN, &unnamed).await;
    assert_eq!(stack.count("valet_leases_held", &[]), 4);
    let body = json!({ "issuer": stack.idp().issuer(), "subject": "ada", "session": "one" });
    stack.admin_post(REVOKE, &body).await.assert_status(204);
    assert_eq!(stack.count("valet_leases_held", &[]), 1);
    for ended in [&one, &unnamed] {
        stack.get(FACE_SCAN).bearer(ended).send().await.assert_problem(401, "session-invalid");
    }
    let after = [url(FACE_SCAN, &two).await, url(SHARED, &two).await];
    assert_eq!(after[0], before[0], "another session's own");
    assert_ne!(after[1], before[1], "shared by all of the subject's sessions");
}

#[tokio::test]
async fn a_mint_under_way_for_a_revoked_person_is_neither_sent_nor_kept() {
    for by_session in [false, true] {
        let stack = Setup::new().administered().plugin("reuse = \"session\"").start().await;
        stack.vendor_does(Faults::hang());
        let mut under_way = stack.get(FACE_SCAN).as_user("ada").start().await;
        stack.until_sessions(1).await;
        match by_session {
            true => revoke_session(&stack, "session of ada").await.assert_status(204),
            false => revoke_subject(&stack, "ada").await.assert_status(204),
        };
        stack.vendor_does(Faults::default());
        under_way.answer().await.assert_problem(401, "session-invalid");
        assert_eq!((stack.vendor().mint_count(), stack.count("valet_leases_held", &[])), (1, 0), "{by_session}");
    }
}

#[tokio::test]
async fn who_signed_in_again_is_served_though_he_waited_for_the_mint_of_the_session_that_ended() {
    let stack = administered().await;
    stack.vendor_does(Faults::hang());
    let mut old = stack.get(FACE_SCAN).as_user("ada").start().await;
    stack.until_sessions(1).await;
    // Within the tolerance of clocks.
    let later = stack.idp().token(&TokenRequest::user("ada").claim("iat", START + 5));
    let mut new = stack.get(FACE_SCAN).bearer(later).start().await;
    stack.until_sessions(2).await;
    revoke_subject(&stack, "ada").await.assert_status(204);
    stack.vendor_does(Faults::default());
    old.answer().await.assert_problem(401, "session-invalid");
    new.answer().await.assert_status(302);
}

#[tokio::test]
async fn an_app_gets_nothing_of_a_revoked_session_whatever_it_asks_for() {
    let app = App::start().await;
    let stack = Setup::new().administered().app(&app, "path = \"/\"\nsession = \"optional\"").start().await;
    stack.get("/").as_user("ada").send().await.assert_status(200);
    stack.get("/").as_browser_of("ada").send().await.assert_status(200);
    revoke_subject(&stack, "ada").await.assert_status(204);
    let seen = app.seen().len();
    stack.get("/").as_user("ada").send().await.assert_problem(401, "session-invalid");
    stack.get("/").as_browser_of("ada").send().await.assert_status(401);
    assert_eq!(app.seen().len(), seen);
}

#[tokio::test]
async fn subjects_of_two_issuers_that_are_one_person_end_together() {
    let stack = Setup::new().administered().moved_issuer().start().await;
    for idp in [0, 1] {
        stack.get(FACE_SCAN).bearer(stack.token_of(idp, "ada")).send().await.assert_status(302);
    }
    let body = json!({ "issuer": stack.idp_at(1).issuer(), "subject": "ada" });
    stack.admin_post(REVOKE, &body).await.assert_status(204);
    for idp in [0, 1] {
        let refused = stack.get(FACE_SCAN).bearer(stack.token_of(idp, "ada")).send().await;
        refused.assert_problem(401, "session-invalid");
    }
}

#[tokio::test]
async fn a_call_that_names_nobody_is_refused_and_ends_nothing() {
    let stack = administered().await;
    stack.url_of("ada").await;
    let issuer = stack.idp().issuer();
    let long = "x".repeat(256);
    for body in [
        json!({}),
        json!({ "issuer": issuer }),
        json!({ "subject": "ada" }),
        json!({ "issuer": "https://other.example", "subject": "ada" }),
        json!({ "issuer": issuer, "subject": "" }),
        json!({ "issuer": issuer, "subject": long }),
        json!({ "issuer": issuer, "subject": "a\nb" }),
        json!({ "issuer": issuer, "subject": null, "session": null }),
        json!({ "issuer": issuer, "subject": 1 }),
        json!({ "issuer": issuer, "subject": "ada", "more": 1 }),
    ] {
        stack.admin_post(REVOKE, &body).await.assert_status(400);
    }
    assert_eq!((revocations(&stack, "refused"), revocations(&stack, "applied")), (10, 0));
    stack.url_of("ada").await;
    assert_eq!(stack.vendor().mint_count(), 1);
}

#[tokio::test]
async fn a_revocation_is_remembered_for_as_long_as_its_life_says() {
    let stack = Setup::new().administered().session("revocation_life = \"10m\"").start().await;
    let token = stack.idp().token(&TokenRequest::user("ada"));
    stack.get(FACE_SCAN).bearer(&token).send().await.assert_status(302);
    revoke_subject(&stack, "ada").await.assert_status(204);
    stack.advance(Duration::from_secs(600));
    stack.get(FACE_SCAN).bearer(&token).send().await.assert_problem(401, "session-invalid");
    // Nothing is forgotten but when something is noted.
    stack.advance(Duration::from_secs(100));
    revoke_subject(&stack, "bob").await.assert_status(204);
    stack.get(FACE_SCAN).bearer(&token).send().await.assert_status(302);
}

#[tokio::test]
async fn who_is_revoked_is_no_attacker() {
    let limits = "[limits]\ninvalid_per_address = { count = 2, within = \"1m\" }";
    let stack = Setup::new().administered().tables(limits).start().await;
    revoke_subject(&stack, "ada").await.assert_status(204);
    for _ in 0..5 {
        stack.get(FACE_SCAN).as_user("ada").send().await.assert_problem(401, "session-invalid");
    }
    stack.url_of("bob").await;
}

#[tokio::test]
async fn leases_are_dropped_by_the_bodies_that_revoke_takes_and_by_no_others() {
    let app = App::start().await;
    let stack = Setup::new().administered().app(&app, "path = \"/portal/\"").start().await;
    let issuer = stack.idp().issuer();
    let bodies = [
        (json!({ "issuer": issuer, "subject": "ada" }), 204),
        (json!({ "issuer": issuer, "session": "one" }), 204),
        (json!({ "issuer": issuer, "subject": "ada", "session": "one" }), 204),
        (json!({ "issuer": issuer }), 400),
        (json!({ "issuer": issuer, "subject": "" }), 400),
        (json!({ "issuer": issuer, "session": "" }), 400),
        (json!({ "issuer": issuer, "subject": "x".repeat(256) }), 400),
        (json!({ "issuer": issuer, "subject": "a\nb" }), 400),
        (json!({ "issuer": "https://other.example", "subject": "ada" }), 400),
    ];
    for has_plugins in [true, false] {
        for (body, status) in &bodies {
            for path in [DROP, REVOKE] {
                assert_eq!(
                    stack.admin_post(path, body).await.status,
                    *status,
                    "{path} {body}, plug-ins: {has_plugins}"
                );
            }
        }
        let text = stack.config();
        if let (Some((before, _)), Some((_, app))) = (text.split_once("[[plugin]]"), text.split_once("[[app]]")) {
            assert!(stack.reload_with(&format!("{before}[[app]]{app}")).await.contains(&"plugin.face-scan".to_owned()));
        }
    }
}

#[tokio::test]
async fn a_drop_by_subject_and_session_leaves_other_persons_and_other_names_their_urls() {
    let stack = Setup::new().administered().plugin("reuse = \"session\"").start().await;
    let token = |user: &str, session: &str| stack.idp().token(&TokenRequest::user(user).session(session));
    let tokens = [token("ada", "one"), token("ada", "two"), token("bob", "one")];
    let url =
        async |token: &str| stack.get(FACE_SCAN).bearer(token).send().await.assert_status(302).location().to_owned();
    let before = [url(&tokens[0]).await, url(&tokens[1]).await, url(&tokens[2]).await];
    let body = json!({ "issuer": stack.idp().issuer(), "subject": "ada", "session": "three" });
    stack.admin_post(DROP, &body).await.assert_status(204);
    assert_eq!([url(&tokens[0]).await, url(&tokens[1]).await, url(&tokens[2]).await], before);
    let body = json!({ "issuer": stack.idp().issuer(), "subject": "ada", "session": "one" });
    stack.admin_post(DROP, &body).await.assert_status(204);
    assert_ne!(url(&tokens[0]).await, before[0]);
    assert_eq!(url(&tokens[2]).await, before[2], "another person's session of the same name");
}

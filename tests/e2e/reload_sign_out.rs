//! Sign-out across a reload: what was ended stays ended, what was used stays used.

use std::time::Duration;

use serde_json::json;
use valet_gateway::demo::fault::Fail;
use valet_gateway::demo::idp::{IdpFaults, TokenRequest};

use crate::kit::setup::START;
use crate::kit::{App, FACE_SCAN, Setup, until};
use crate::sign_out::{CAEP, counted, event, logout_token, post_form, push, stack, with_events};

#[tokio::test]
async fn a_reload_keeps_who_was_signed_out_and_which_logout_tokens_were_used() {
    let stack = stack().await;
    let session = stack.idp().token(&TokenRequest::user("ada").session("s").claim("iat", START));
    stack.get(FACE_SCAN).bearer(&session).send().await.assert_status(302);
    let body = format!("logout_token={}", stack.idp().token(&logout_token("ada")));
    post_form(&stack, &body).await.assert_status(200);
    let moved = stack.config().replace("[session.logout]", "[session.logout]\npath = \"/.valet/signed-out\"");
    assert_eq!(stack.reload_with(&moved).await, ["session"]);
    stack.get(FACE_SCAN).bearer(&session).send().await.assert_problem(401, "session-invalid");
    post_form(&stack, &body).await.assert_status(404);
    let again = stack.post("/.valet/signed-out").field("Content-Type", "application/x-www-form-urlencoded").body(&body);
    again.send().await.assert_status(200);
    assert_eq!(counted(&stack, "logout"), [1, 1, 0]);
}

#[tokio::test]
async fn a_reload_changes_what_a_transmitter_must_say_and_keeps_what_it_has_said() {
    let stack = with_events().await;
    let of = |user: &str| json!({ "format": "opaque", "id": user });
    let kind = format!("{CAEP}/session-revoked");
    stack.get(FACE_SCAN).as_user("ada").send().await.assert_status(302);
    push(&stack, stack.idp_at(1).token(&event(&kind, of("ada")))).await.assert_status(202);
    let config = stack.config();
    let at = config.find("[session.events]").expect("it is there");
    let (before, events) = config.split_at(at);
    let moved = format!("{before}{}", events.replacen("audiences = [\"my-app\"]", "audiences = [\"other-app\"]", 1));
    assert_eq!(stack.reload_with(&moved).await, ["session"]);
    stack.get(FACE_SCAN).as_user("ada").send().await.assert_problem(401, "session-invalid");
    stack.get(FACE_SCAN).as_user("eve").send().await.assert_status(302);
    let refused = push(&stack, stack.idp_at(1).token(&event(&kind, of("eve")))).await;
    assert_eq!(refused.assert_status(400).json()["err"], "invalid_audience");
    assert_eq!(stack.reload_with(&config).await, ["session"]);
    push(&stack, stack.idp_at(1).token(&event(&kind, of("eve")))).await.assert_status(202);
    stack.get(FACE_SCAN).as_user("eve").send().await.assert_problem(401, "session-invalid");
}

#[tokio::test]
async fn a_transmitters_fetched_keys_are_carried_over_while_it_is_gone() {
    let stack = with_events().await;
    let revoked = |user: &str| event(&format!("{CAEP}/session-revoked"), json!({ "format": "opaque", "id": user }));
    push(&stack, stack.idp_at(1).token(&revoked("ada"))).await.assert_status(202);
    stack.idp_at(1).set_faults(IdpFaults::failing(Fail::Status(http::StatusCode::INTERNAL_SERVER_ERROR)));
    stack.reload_with(&stack.config().replace("[session]\n", "[session]\nclock_skew = \"20s\"\n")).await;
    push(&stack, stack.idp_at(1).token(&revoked("eve"))).await.assert_status(202);
    stack.get(FACE_SCAN).as_user("eve").send().await.assert_problem(401, "session-invalid");
}

#[tokio::test]
async fn a_transmitter_that_is_removed_is_in_trouble_no_more() {
    let stack = Setup::new().start().await;
    let before = stack.config();
    // Nobody listens at the port of discard.
    let transmitter = "http://127.0.0.1:9";
    let events = format!(
        "[session.events]\n[[session.events.transmitter]]\nissuer = \"{transmitter}\"\naudiences = [\"my-app\"]\nkeys = {{ discovery = true }}\nsubjects_of = \"{}\"\n",
        stack.idp().issuer()
    );
    stack.reload_with(&format!("{before}\n{events}")).await;
    let what = format!("keys:{transmitter}");
    until("its keys can't be had", || stack.count("valet_degraded", &[("what", &what)]) == 1).await;
    stack.reload_with(&before).await;
    assert!(!stack.metrics.text().contains(&what), "{}", stack.metrics.text());
}

#[tokio::test]
async fn a_websocket_from_before_a_reload_with_another_key_of_hashes_ends_with_its_session() {
    let app = App::start().await;
    let key = "0123456789abcdef0123456789abcdef";
    let stack = Setup::new().administered().file("hashes", key).app(&app, "path = \"/portal/\"").start().await;
    stack.until_ready().await;
    let mut ended = stack.websocket("/portal/socket", Some(&stack.token("ada"))).await;
    let mut other = stack.websocket("/portal/socket", Some(&stack.token("bob"))).await;
    let hashes = stack.config().replace("[session]\n", "[log]\nsubject_key = { file = \"hashes\" }\n[session]\n");
    assert_eq!(stack.reload_with(&hashes).await, ["log"]);
    let body = json!({ "issuer": stack.idp().issuer(), "subject": "ada" });
    stack.admin_post("/api/sessions/revoke", &body).await.assert_status(204);
    ended.assert_closed().await;
    other.assert_echoes().await;
}

#[tokio::test]
async fn who_was_signed_out_stays_so_when_subjects_of_is_added_taken_out_or_changed() {
    let ways = [
        (None, Some(0), 1, ("subject", "grace")),
        (None, Some(0), 1, ("session", "q4")),
        (Some(0), None, 1, ("subject", "grace")),
        (Some(0), None, 1, ("session", "q4")),
        // By the name of the other issuer, whose subjects they are.
        (Some(0), None, 0, ("subject", "grace")),
        (Some(0), Some(2), 1, ("subject", "grace")),
        (Some(0), Some(2), 1, ("session", "q4")),
    ];
    for (before, after, named, (member, name)) in ways {
        let stack = Setup::new().administered().issuers(&["a|{sub}", "b|{sub}", "c|{sub}"]).start().await;
        let apart = stack.config();
        let with = |other: Option<usize>| match other {
            None => apart.clone(),
            Some(other) => {
                let line = format!("subjects_of = \"{}\"", stack.idp_at(other).issuer());
                apart.replace("external_id = \"b|{sub}\"", &line)
            }
        };
        stack.reload_with(&with(before)).await;
        let token = stack.idp_at(1).token(&TokenRequest::user("grace").session("q4"));
        stack.get(FACE_SCAN).bearer(&token).send().await.assert_status(302);
        let body = json!({ "issuer": stack.idp_at(named).issuer(), member: name });
        stack.admin_post("/api/sessions/revoke", &body).await.assert_status(204);
        stack.get(FACE_SCAN).bearer(&token).send().await.assert_problem(401, "session-invalid");
        stack.reload_with(&with(after)).await;
        let answer = stack.get(FACE_SCAN).bearer(&token).send().await;
        assert_eq!(answer.status, 401, "{before:?} to {after:?}, ended by {member} of {named}");
    }
}

#[tokio::test]
async fn who_was_signed_out_before_revocation_life_was_made_longer_stays_so_for_that_long_and_no_longer() {
    let stack = Setup::new().administered().session("revocation_life = \"10m\"").start().await;
    let token = stack.idp().token(&TokenRequest::user("ada").expires_in(4 * 3600));
    stack.get(FACE_SCAN).bearer(&token).send().await.assert_status(302);
    // Nothing is forgotten but when something is noted.
    let revoke = async |subject: &str| {
        let body = json!({ "issuer": stack.idp().issuer(), "subject": subject });
        stack.admin_post("/api/sessions/revoke", &body).await.assert_status(204);
    };
    revoke("ada").await;
    assert_eq!(stack.reload_with(&stack.config().replace("\"10m\"", "\"20m\"")).await, ["session"]);
    // Keys are believed for an hour, and are not fetched anew here.
    stack.advance(Duration::from_secs(1200));
    revoke("bob").await;
    stack.get(FACE_SCAN).bearer(&token).send().await.assert_problem(401, "session-invalid");
    stack.advance(Duration::from_secs(100));
    revoke("carol").await;
    stack.get(FACE_SCAN).bearer(&token).send().await.assert_status(302);
}

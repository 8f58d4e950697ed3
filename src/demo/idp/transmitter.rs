//! Sign-out and security events, told to others: logout tokens to a client's back-channel logout URL (OpenID Connect Back-Channel Logout 1.0,
//! section 2.5), security event tokens to a receiver by push (RFC 8935, section 2).

use std::time::Duration;

use axum::Json;
use axum::extract::State as Extract;
use axum::response::{IntoResponse, Response};
use http::{Request, StatusCode, header};
use http_body_util::Full;
use serde_json::{Map, Value, json};

use super::sign_out::{LOGOUT_EVENT, LOGOUT_LIFE_SECS};
use super::{IdpSim, TokenRequest};
use crate::demo::fault::reason;
use crate::http_client::Client;

/// The types of events that have a short name here, by the space of their URIs.
const TYPES: [(&str, &[&str]); 3] = [
    (
        "https://schemas.openid.net/secevent/caep/event-type/",
        &[
            "session-revoked",
            "credential-change",
            "token-claims-change",
            "assurance-level-change",
            "device-compliance-change",
        ],
    ),
    (
        "https://schemas.openid.net/secevent/risc/event-type/",
        &["account-disabled", "account-purged", "account-enabled", "sessions-revoked", "identifier-changed"],
    ),
    ("https://schemas.openid.net/secevent/ssf/event-type/", &[VERIFICATION]),
];

/// The one type that is about nobody.
const VERIFICATION: &str = "verification";

/// A receiver that takes longer hangs.
const DEADLINE: Duration = Duration::from_secs(10);

/// A refusal has a few lines.
const MAX_ANSWER: usize = 64 * 1024;

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Logout,
    Event,
}

/// `POST /_sim/logout`: a logout token, to each `--logout-url`. Dropped: it was posted or not.
pub(super) async fn logout(Extract(sim): Extract<IdpSim>, body: String) -> Response {
    sim.transmit(Kind::Logout, &body).await
}

/// `POST /_sim/event`: a security event token, to each `--events-url`. Dropped: it was pushed or not.
pub(super) async fn event(Extract(sim): Extract<IdpSim>, body: String) -> Response {
    sim.transmit(Kind::Event, &body).await
}

impl IdpSim {
    async fn transmit(&self, kind: Kind, body: &str) -> Response {
        let (urls, option) = match kind {
            Kind::Logout => (&self.0.options.logout_urls, "name where it goes with --logout-url"),
            Kind::Event => (&self.0.options.events_urls, "name where it goes with --events-url"),
        };
        if urls.is_empty() {
            return reason(StatusCode::CONFLICT, option);
        }
        let token = match serde_json::from_str::<Map<String, Value>>(body) {
            Err(fault) => return reason(StatusCode::BAD_REQUEST, &fault.to_string()),
            Ok(members) => match self.told(kind, members) {
                Err(fault) => return reason(StatusCode::BAD_REQUEST, fault),
                Ok(token) => token,
            },
        };
        let Ok(client) = Client::new() else {
            return reason(StatusCode::INTERNAL_SERVER_ERROR, "the TLS library can't be set up");
        };
        let mut deliveries = Vec::new();
        for url in urls {
            deliveries.push(deliver(&client, kind, url, &token).await);
        }
        Json(json!({ "token": token, "deliveries": deliveries })).into_response()
    }

    /// The token that these members ask for. The error says what is wrong, in fixed words.
    fn told(&self, kind: Kind, mut members: Map<String, Value>) -> Result<String, &'static str> {
        if let Some(token) = members.remove("token") {
            // Once more, or one that is none.
            return match token {
                Value::String(token) if members.is_empty() => Ok(token),
                _ => Err("token is a string, and stands alone"),
            };
        }
        let is_named = members.contains_key("user");
        members.entry("session").or_insert(Value::Null);
        // It stays out of the token.
        members.entry("user").or_insert_with(|| json!("nobody"));
        let (typ, event) = (members.remove("type"), members.remove("event"));
        let mut wanted = TokenRequest::read(members)?;
        if is_named && !self.0.options.users.contains(&wanted.user) {
            return Err("no such user; name users with --user");
        }
        let about = is_named.then_some(wanted.user.as_str());
        let (typ_of_token, added, left_out) = match kind {
            Kind::Logout if typ.is_some() || event.is_some() => return Err("type and event are for /_sim/event"),
            Kind::Logout if about.is_none() && wanted.session.is_none() => {
                return Err("name a user, a session, or both");
            }
            Kind::Logout => {
                wanted.expires_in.get_or_insert(LOGOUT_LIFE_SECS);
                let left_out: &[&str] = if is_named { &["name"] } else { &["name", "sub"] };
                ("logout+jwt", [Some(("events", json!({ LOGOUT_EVENT: {} }))), None], left_out)
            }
            Kind::Event => {
                let typ = uri(typ.as_ref())?;
                let event = match event.unwrap_or_else(|| json!({})) {
                    event @ Value::Object(_) => event,
                    _ => return Err("event is an object: the members of the event"),
                };
                let whom = self.subject(about, wanted.session.as_deref());
                if whom.is_none() && !typ.ends_with(VERIFICATION) && !wanted.claims.contains_key("sub_id") {
                    return Err("name a user, a session, or both; or write sub_id");
                }
                let events = Some(("events", json!({ typ: event })));
                // None of these is for a security event token (RFC 8417, section 2.2; Shared Signals Framework 1.0, section 4.1).
                let left_out: &[&str] =
                    if wanted.expires_in.is_some() { &["name", "sub", "sid"] } else { &["name", "sub", "sid", "exp"] };
                ("secevent+jwt", [events, whom.map(|whom| ("sub_id", whom))], left_out)
            }
        };
        wanted.typ.get_or_insert_with(|| typ_of_token.to_owned());
        // What the request says of a claim counts, whatever it is: a test needs wrong ones.
        for (name, value) in added.into_iter().flatten() {
            wanted.claims.entry(name).or_insert(value);
        }
        let unsaid = left_out.iter().filter(|name| !wanted.claims.contains_key(**name));
        wanted.omit.extend(unsaid.map(|name| (*name).to_owned()).collect::<Vec<_>>());
        Ok(self.token(&wanted))
    }

    /// The subject identifier (RFC 9493) of a user, a session, or a user's session.
    fn subject(&self, user: Option<&str>, session: Option<&str>) -> Option<Value> {
        let user = user.map(|user| json!({ "format": "iss_sub", "iss": self.issuer(), "sub": user }));
        let session = session.map(|session| json!({ "format": "opaque", "id": session }));
        match (user, session) {
            (user, None) => user,
            (None, Some(session)) => Some(json!({ "format": "complex", "session": session })),
            (Some(user), Some(session)) => Some(json!({ "format": "complex", "user": user, "session": session })),
        }
    }
}

/// The URI of an event's type, by its short name or as it is.
fn uri(typ: Option<&Value>) -> Result<String, &'static str> {
    let typ = typ.and_then(Value::as_str).ok_or("type is the event's: session-revoked, …, or its URI")?;
    if typ.contains(':') {
        return Ok(typ.to_owned());
    }
    let known = TYPES.iter().find(|(_, names)| names.contains(&typ));
    known.map(|(space, _)| format!("{space}{typ}")).ok_or("no event has this short name; write its URI")
}

/// Sends a token to one address; what came of it.
async fn deliver(client: &Client, kind: Kind, url: &str, token: &str) -> Value {
    let (content_type, body) = match kind {
        Kind::Logout => {
            let form = form_urlencoded::Serializer::new(String::new()).append_pair("logout_token", token).finish();
            ("application/x-www-form-urlencoded", form)
        }
        Kind::Event => ("application/secevent+jwt", token.to_owned()),
    };
    let request = Request::post(url)
        .header(header::CONTENT_TYPE, content_type)
        .header(header::ACCEPT, "application/json")
        .body(Full::new(body.into()));
    let Ok(request) = request else { return json!({ "url": url, "fault": "no URL" }) };
    match client.send(request, MAX_ANSWER, DEADLINE).await {
        Ok(answer) => {
            let text = || Value::String(String::from_utf8_lossy(&answer.body).into_owned());
            let body = serde_json::from_slice(&answer.body).unwrap_or_else(|_| text());
            json!({ "url": url, "status": answer.status, "body": body })
        }
        Err(fault) => json!({ "url": url, "fault": fault.cause().to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    use axum::Router;
    use axum::http::{HeaderMap, Method};
    use axum::routing::post;
    use base64::Engine;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD;
    use parking_lot::Mutex;
    use tokio::sync::watch;

    use super::*;
    use crate::demo::idp::{IdpOptions, spawn};
    use crate::demo::serve::{self, ServerHandle};
    use crate::demo::testing::{Answer, send};

    /// What a receiver got: the type of the content, and the body.
    type Received = Arc<Mutex<Vec<(String, String)>>>;

    /// A receiver that takes logout tokens and refuses events. It ends with the test's runtime.
    async fn receiver() -> (String, Received) {
        let received = Received::default();
        let note = |received: Received, answer: (StatusCode, &'static str)| {
            post(async move |headers: HeaderMap, body: String| {
                received.lock().push((headers["content-type"].to_str().unwrap().to_owned(), body));
                answer
            })
        };
        let refusal = (StatusCode::BAD_REQUEST, r#"{"err": "invalid_key", "description": "no"}"#);
        let routes = Router::new()
            .route("/logout", note(received.clone(), (StatusCode::OK, "")))
            .route("/events", note(received.clone(), refusal));
        let listener = serve::bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
        let url = serve::url_of(&listener);
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(async move {
            serve::serve(listener, routes, stopped).await;
            drop(stop);
        });
        (url, received)
    }

    async fn idp(logout: &[String], events: &[String]) -> ServerHandle<IdpSim> {
        let options =
            IdpOptions { logout_urls: logout.to_vec(), events_urls: events.to_vec(), ..IdpOptions::default() };
        spawn((Ipv4Addr::LOCALHOST, 0).into(), IdpSim::with(options).unwrap()).await.unwrap()
    }

    async fn tell(idp: &ServerHandle<IdpSim>, what: &str, body: &Value) -> Answer {
        send(Method::POST, &format!("{}/_sim/{what}", idp.url()), &[], body.to_string()).await
    }

    /// Header and claims.
    fn read(token: &str) -> (Value, Value) {
        let part = |part: &str| serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
        let mut parts = token.split('.').map(part);
        (parts.next().unwrap(), parts.by_ref().next().unwrap())
    }

    #[tokio::test]
    async fn a_logout_token_is_posted_as_the_standard_wants_it_and_the_answer_says_what_came_of_it() {
        let (to, received) = receiver().await;
        let url = format!("{to}/logout");
        // Nobody listens at the second.
        let dead = serve::bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
        let nowhere = serve::url_of(&dead);
        drop(dead);
        let idp = idp(&[url.clone(), nowhere.clone()], &[]).await;
        let answer = tell(&idp, "logout", &json!({ "user": "ada", "session": "s1" })).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let answer = answer.json();
        let token = answer["token"].as_str().unwrap();
        assert_eq!(answer["deliveries"][0], json!({ "url": url, "status": 200, "body": "" }));
        assert_eq!(answer["deliveries"][1]["url"], json!(nowhere));
        assert!(answer["deliveries"][1]["fault"].is_string(), "{answer}");
        let expected = ("application/x-www-form-urlencoded".to_owned(), format!("logout_token={token}"));
        assert_eq!(*received.lock(), [expected]);
        let (header, claims) = read(token);
        assert_eq!(header["typ"], json!("logout+jwt"));
        assert_eq!((&claims["sub"], &claims["sid"], &claims["aud"]), (&json!("ada"), &json!("s1"), &json!("my-app")));
        assert_eq!((&claims["events"], claims.get("name")), (&json!({ LOGOUT_EVENT: {} }), None));
        let life = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
        assert_eq!((life, claims["jti"].is_string()), (LOGOUT_LIFE_SECS, true));
        // The same once more.
        tell(&idp, "logout", &json!({ "token": token })).await;
        let [first, second] = received.lock().clone().try_into().unwrap();
        assert_eq!(first, second);
    }

    #[tokio::test]
    async fn an_event_is_pushed_as_the_standard_wants_it_and_a_refusal_is_told() {
        let (to, received) = receiver().await;
        let idp = idp(&[], &[format!("{to}/events")]).await;
        let user = json!({ "format": "iss_sub", "iss": idp.url(), "sub": "ada" });
        let session = json!({ "format": "opaque", "id": "s1" });
        let caep = "https://schemas.openid.net/secevent/caep/event-type/session-revoked";
        let risc = "https://schemas.openid.net/secevent/risc/event-type/account-disabled";
        for (asked, of, event) in [
            (json!({ "type": "session-revoked", "user": "ada" }), user.clone(), json!({ caep: {} })),
            (
                json!({ "type": "session-revoked", "user": "ada", "session": "s1", "event": { "event_timestamp": 7 } }),
                json!({ "format": "complex", "user": user, "session": session }),
                json!({ caep: { "event_timestamp": 7 } }),
            ),
            (
                json!({ "type": caep, "session": "s1" }),
                json!({ "format": "complex", "session": session }),
                json!({ caep: {} }),
            ),
            (
                json!({ "type": "account-disabled", "sub_id": { "format": "email", "email": "a@example.com" } }),
                json!({ "format": "email", "email": "a@example.com" }),
                json!({ risc: {} }),
            ),
        ] {
            received.lock().clear();
            let answer = tell(&idp, "event", &asked).await.json();
            let delivery = &answer["deliveries"][0];
            assert_eq!(
                (&delivery["status"], &delivery["body"]["err"]),
                (&json!(400), &json!("invalid_key")),
                "{answer}"
            );
            let [(kind, token)] = received.lock().clone().try_into().unwrap();
            assert_eq!(kind, "application/secevent+jwt");
            let (header, claims) = read(&token);
            assert_eq!((&header["typ"], &claims["sub_id"], &claims["events"]), (&json!("secevent+jwt"), &of, &event));
            for name in ["sub", "exp", "sid", "name"] {
                assert_eq!(claims.get(name), None, "{name} of {asked}");
            }
        }
        let verification = tell(&idp, "event", &json!({ "type": "verification" })).await.json();
        assert_eq!(read(verification["token"].as_str().unwrap()).1.get("sub_id"), None);
    }

    #[tokio::test]
    async fn a_token_can_be_wrong_in_every_way_that_a_test_needs() {
        let (to, _) = receiver().await;
        let idp = idp(&[format!("{to}/logout")], &[format!("{to}/events")]).await;
        let wrong = json!({ "user": "ada", "typ": "at+jwt", "audience": "b", "nonce": "n", "expires_in": -9, "events": {}, "omit": ["jti"] });
        let answer = tell(&idp, "logout", &wrong).await.json();
        let (header, claims) = read(answer["token"].as_str().unwrap());
        assert_eq!((&header["typ"], &claims["aud"], &claims["nonce"]), (&json!("at+jwt"), &json!("b"), &json!("n")));
        assert_eq!((&claims["events"], claims.get("jti")), (&json!({}), None));
        assert!(claims["exp"].as_i64() < claims["iat"].as_i64());
        let wrong = json!({ "type": "session-revoked", "user": "ada", "sub": "ada", "expires_in": 60 });
        let answer = tell(&idp, "event", &wrong).await.json();
        let (_, claims) = read(answer["token"].as_str().unwrap());
        assert_eq!((&claims["sub"], claims["exp"].is_number()), (&json!("ada"), true));
    }

    #[tokio::test]
    async fn what_says_too_little_is_not_sent_and_what_has_no_address_is_told_which_option_gives_it() {
        let (to, received) = receiver().await;
        let (told, silent) = (idp(&[format!("{to}/logout")], &[format!("{to}/events")]).await, idp(&[], &[]).await);
        for (what, body) in [
            ("logout", json!({})),
            ("logout", json!({ "user": "mallory" })),
            ("logout", json!({ "user": "ada", "type": "session-revoked" })),
            ("logout", json!({ "token": 1 })),
            ("logout", json!({ "token": "a.b.c", "user": "ada" })),
            ("logout", json!([])),
            ("event", json!({ "user": "ada" })),
            ("event", json!({ "type": "sign-out", "user": "ada" })),
            ("event", json!({ "type": "session-revoked" })),
            ("event", json!({ "type": "session-revoked", "user": "ada", "event": 7 })),
        ] {
            assert_eq!(tell(&told, what, &body).await.status, 400, "{what} {body}");
        }
        assert!(received.lock().is_empty());
        for (what, option) in [("logout", "--logout-url"), ("event", "--events-url")] {
            let answer = tell(&silent, what, &json!({ "user": "ada" })).await;
            assert_eq!(answer.status, 409);
            assert!(answer.text().contains(option), "{}", answer.text());
            let foreign = [("origin", "https://evil.example")];
            let url = format!("{}/_sim/{what}", told.url());
            assert_eq!(send(Method::POST, &url, &foreign, r#"{"user": "ada"}"#).await.status, 403);
        }
    }
}

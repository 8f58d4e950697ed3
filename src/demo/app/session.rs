//! Signing in with the identity provider (OpenID Connect's code flow with PKCE), and who the gateway says is signed in.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use form_urlencoded::Serializer;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use http_body_util::Full;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{AppParts, AppSim, cookie, refused};
use crate::demo::fault::reason;

/// The cookie that the gateway reads. The app sets it and never reads it.
const SESSION: &str = "session";

/// Who is signed in, as the gateway tells it.
const SUBJECT: &str = "x-auth-subject";

/// The claim `name`, which the gateway was told to pass on.
const NAME: &str = "x-auth-name";

/// Ties the browser that comes back to the one that left (RFC 6749, section 10.12).
const STATE: &str = "sign_in";

/// Where the gateway takes logout tokens, unless `[session.logout]` says otherwise.
const BACKCHANNEL: &str = "/.valet/backchannel-logout";

/// Sign-ins that have not come back; more than that, and the oldest is given up.
const MAX_SIGN_INS: usize = 100;

/// Identity provider and gateway are on this machine.
const DEADLINE: Duration = Duration::from_secs(5);

/// More than any answer with a token.
const MAX_ANSWER: usize = 64 * 1024;

struct SignIn {
    state: String,
    verifier: String,
    return_to: String,
}

/// Sign-ins under way.
#[derive(Default)]
pub(super) struct SignIns(Mutex<VecDeque<SignIn>>);

impl SignIns {
    fn begin(&self, return_to: String) -> (String, String) {
        let text = || format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        let (state, verifier) = (text(), text());
        let mut under_way = self.0.lock();
        if under_way.len() >= MAX_SIGN_INS {
            under_way.pop_front();
        }
        under_way.push_back(SignIn { state: state.clone(), verifier: verifier.clone(), return_to });
        (state, verifier)
    }

    fn end(&self, state: &str) -> Option<SignIn> {
        let mut under_way = self.0.lock();
        let position = under_way.iter().position(|sign_in| sign_in.state == state)?;
        under_way.remove(position)
    }
}

#[derive(Deserialize)]
pub(super) struct Login {
    return_to: Option<String>,
}

/// `GET /login`: to the identity provider.
pub(super) async fn login(State(sim): State<AppSim>, Query(query): Query<Login>) -> Response {
    let return_to = query.return_to.filter(|place| is_home(place)).unwrap_or_else(|| "/".into());
    let (state, verifier) = sim.0.sign_ins.begin(return_to);
    let question = Serializer::new(String::new())
        .append_pair("response_type", "code")
        .append_pair("client_id", "the demo app")
        .append_pair("redirect_uri", &sim.redirect_uri())
        .append_pair("state", &state)
        .append_pair("code_challenge", &URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes())))
        .append_pair("code_challenge_method", "S256")
        .finish();
    let mut response = Redirect::to(&format!("{}/authorize?{question}", sim.places().idp)).into_response();
    set_cookie(&mut response, &format!("{STATE}={state}; HttpOnly; SameSite=Lax; Path=/callback; Max-Age=600"));
    response
}

#[derive(Deserialize)]
pub(super) struct Back {
    code: Option<String>,
    state: Option<String>,
}

/// `GET /callback`: the code becomes a session. Dropped: the code is spent or not; the person signs in again.
pub(super) async fn callback(State(sim): State<AppSim>, headers: HeaderMap, Query(back): Query<Back>) -> Response {
    let state = back.state.unwrap_or_default();
    let sign_in = cookie(&headers, STATE).filter(|known| *known == state).and_then(|state| sim.0.sign_ins.end(state));
    let (Some(sign_in), Some(code)) = (sign_in, back.code) else {
        return refused("this sign-in was not begun here, or has ended: go back to the app and sign in again");
    };
    let Some(token) = sim.exchange(&code, &sign_in.verifier).await else {
        return refused("the identity provider gave no session: go back to the app and sign in again");
    };
    let mut response = Redirect::to(&sign_in.return_to).into_response();
    set_cookie(&mut response, &format!("{SESSION}={token}; HttpOnly; SameSite=Lax; Path=/"));
    set_cookie(&mut response, &format!("{STATE}=; HttpOnly; SameSite=Lax; Path=/callback; Max-Age=0"));
    response
}

/// `POST /logout`.
pub(super) async fn logout() -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    set_cookie(&mut response, &format!("{SESSION}=; HttpOnly; SameSite=Lax; Path=/; Max-Age=0"));
    response
}

/// `POST /api/sign-out`: what signs this person out everywhere, for [`sign_out`]. Not done at once: the gateway closes the requests that are under
/// way for a session that ends, and this is one.
pub(super) async fn sign_out_order(State(sim): State<AppSim>, headers: HeaderMap) -> Response {
    let Some(subject) = subject(&headers) else {
        return reason(StatusCode::FORBIDDEN, "this is for the gateway to ask, in somebody's name");
    };
    // In the hands of the browser for a moment: it can do nothing but sign this person out.
    Json(json!({ "order": sim.0.parts.idp.logout_token(&subject) })).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SignOut {
    order: String,
}

/// `POST /sign-out`: the identity provider tells the gateway. The cookie stays, so that one can see that it opens nothing any more.
///
/// Dropped: the sessions have ended or not.
pub(super) async fn sign_out(State(sim): State<AppSim>, Json(SignOut { order }): Json<SignOut>) -> Response {
    match sim.tell_gateway(&order).await {
        Some(200) => StatusCode::NO_CONTENT.into_response(),
        Some(status) => {
            reason(StatusCode::BAD_GATEWAY, &format!("the gateway answered the logout token with {status}"))
        }
        None => reason(StatusCode::BAD_GATEWAY, "the gateway gave no answer to the logout token"),
    }
}

/// `GET /me`: who is signed in, or `null`, and what told it so.
pub(super) async fn me(headers: HeaderMap) -> Response {
    let received: BTreeMap<&str, String> = headers
        .iter()
        .filter(|(name, _)| name.as_str().starts_with("x-auth-"))
        .map(|(name, value)| (name.as_str(), text(value)))
        .collect();
    let answer = json!({ "name": said(&headers, NAME), "received": received, "credential": has_credential(&headers) });
    ([(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))], Json(answer)).into_response()
}

/// The subject of who is signed in. It is true because nobody but the gateway reaches the app, and the gateway takes out what others say.
pub(super) fn subject(headers: &HeaderMap) -> Option<String> {
    said(headers, SUBJECT)
}

fn said(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).map(text)
}

/// UTF-8: a name may have letters that ASCII has not.
fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

/// Whether the app got something by which it could speak for the person. A JWT begins with `{"`, in base64url.
fn has_credential(headers: &HeaderMap) -> bool {
    let token = |value: &HeaderValue| value.as_bytes().windows(3).any(|three| three == b"eyJ");
    headers.contains_key(header::AUTHORIZATION) || headers.values().any(token)
}

impl AppSim {
    fn redirect_uri(&self) -> String {
        format!("{}/callback", self.places().app)
    }

    /// Posts a logout token to the gateway, in the identity provider's place. `None`: no answer.
    async fn tell_gateway(&self, logout_token: &str) -> Option<u16> {
        let AppParts { places, client, .. } = &self.0.parts;
        let form = Serializer::new(String::new()).append_pair("logout_token", logout_token).finish();
        let request = Request::post(format!("{}{BACKCHANNEL}", places.gateway_here))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::new(Bytes::from(form)))
            .ok()?;
        client.send(request, MAX_ANSWER, DEADLINE).await.ok().map(|answer| answer.status)
    }

    async fn exchange(&self, code: &str, verifier: &str) -> Option<String> {
        let form = Serializer::new(String::new())
            .append_pair("grant_type", "authorization_code")
            .append_pair("code", code)
            .append_pair("redirect_uri", &self.redirect_uri())
            .append_pair("code_verifier", verifier)
            .finish();
        let request = Request::post(format!("{}/token", self.places().idp_here))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::new(Bytes::from(form)))
            .ok()?;
        let answer = self.0.parts.client.send(request, MAX_ANSWER, DEADLINE).await.ok()?;
        let answer: Value = serde_json::from_slice(&answer.body).ok()?;
        answer["access_token"].as_str().map(str::to_owned)
    }
}

/// A path of ours, the plug-ins' included: the gateway sends people here to sign in. Nothing else is gone back to.
fn is_home(place: &str) -> bool {
    place.starts_with('/') && !place.starts_with("//") && !place.contains('\\') && !place.contains(char::is_control)
}

/// Tokens and states are of base64url letters and dots: the value is always a header's.
fn set_cookie(response: &mut Response, cookie: &str) {
    if let Ok(cookie) = HeaderValue::from_str(cookie) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
}

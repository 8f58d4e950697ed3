//! The identity provider's routes.

use axum::body::Bytes;
use axum::extract::{Query, Request, State as Extract};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use url::Url;

use super::{IdpFaults, IdpOn, IdpSim, TokenRequest, transmitter};
use crate::demo::fault::{Fail, reason};
use crate::demo::guard::{is_foreign, own_site_only};
use crate::demo::page::{ICON, no_icon};
use crate::demo::serve::stopped;

/// More than any request for a token needs.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// The switches stand at `/_sim/…`; the rest stands below the path of the issuer, as discovery wants it.
pub(super) fn routes(sim: IdpSim) -> Router {
    Router::new()
        .route("/_sim/faults", get(faults).put(set_faults))
        .route("/_sim/counts", get(counts))
        .route("/_sim/rotate", post(rotate))
        .route("/_sim/logout", post(transmitter::logout))
        .route("/_sim/event", post(transmitter::event))
        .route("/_sim/reset", post(reset))
        .route_layer(middleware::from_fn(own_site_only))
        .route(ICON, get(no_icon))
        .fallback(answer)
        .with_state(sim)
}

async fn answer(Extract(sim): Extract<IdpSim>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let below = Url::parse(&sim.issuer()).map(|url| url.path().trim_end_matches('/').to_owned()).unwrap_or_default();
    match (request.method().as_str(), path.strip_prefix(below.as_str()).unwrap_or(&path)) {
        ("GET", "/.well-known/openid-configuration") => sim.discovery().await,
        ("GET", "/jwks.json") => sim.key_set().await,
        ("POST", "/token") => sim.grant(request).await,
        ("GET", "/authorize") => sim.ask(&form(request.uri().query().unwrap_or_default().as_bytes())),
        ("POST", "/authorize") if is_foreign(request.headers()) => {
            reason(StatusCode::FORBIDDEN, "nobody signs in from a form of another site")
        }
        ("POST", "/authorize") => match axum::body::to_bytes(request.into_body(), MAX_BODY_BYTES).await {
            Ok(body) => sim.chosen(&form(&body)),
            Err(_) => reason(StatusCode::PAYLOAD_TOO_LARGE, "a body of more than 64 KiB"),
        },
        (_, "/.well-known/openid-configuration" | "/jwks.json" | "/token" | "/authorize") => {
            reason(StatusCode::METHOD_NOT_ALLOWED, "not with this method")
        }
        (_, _) => reason(StatusCode::NOT_FOUND, "no such resource"),
    }
}

impl IdpSim {
    /// OpenID Connect Discovery 1.0, section 4.2.
    async fn discovery(&self) -> Response {
        self.0.state.lock().discoveries += 1;
        if let Err(failure) = self.suffer(IdpOn::Discovery).await {
            return *failure;
        }
        let issuer = self.issuer();
        let base = issuer.trim_end_matches('/');
        let tells = !self.0.options.logout_urls.is_empty();
        Json(json!({
            "issuer": issuer,
            "jwks_uri": format!("{base}/jwks.json"),
            "authorization_endpoint": format!("{base}/authorize"),
            "token_endpoint": format!("{base}/token"),
            "response_types_supported": ["code"],
            "grant_types_supported": ["authorization_code"],
            "code_challenge_methods_supported": ["S256"],
            "backchannel_logout_supported": tells,
            "backchannel_logout_session_supported": tells,
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [self.0.options.algorithm.name()],
        }))
        .into_response()
    }

    async fn key_set(&self) -> Response {
        self.0.state.lock().fetches += 1;
        self.0.arrived.send_modify(|version| *version += 1);
        match self.suffer(IdpOn::Keys).await {
            Ok(()) => Json(self.jwks()).into_response(),
            Err(failure) => *failure,
        }
    }

    /// RFC 6749, sections 5.1 and 5.2, as far as that makes sense without clients and passwords.
    async fn grant(&self, request: Request) -> Response {
        let is_json = request
            .headers()
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().to_ascii_lowercase().starts_with(b"application/json"));
        let Ok(body) = axum::body::to_bytes(request.into_body(), MAX_BODY_BYTES).await else {
            return refusal(StatusCode::PAYLOAD_TOO_LARGE, "invalid_request", "a body of more than 64 KiB");
        };
        let Some(members) = members(is_json, &body) else {
            return refusal(StatusCode::BAD_REQUEST, "invalid_request", "expected a JSON object or a form");
        };
        let wanted = if members.get("grant_type").is_some_and(|kind| kind == "authorization_code") {
            match self.redeem(&members) {
                Some(wanted) => wanted,
                None => return refusal(StatusCode::BAD_REQUEST, "invalid_grant", "no such code, or not for you"),
            }
        } else {
            match TokenRequest::read(members) {
                Ok(wanted) => wanted,
                Err(fault) => return refusal(StatusCode::BAD_REQUEST, "invalid_request", fault),
            }
        };
        if !self.0.options.users.contains(&wanted.user) {
            return refusal(StatusCode::BAD_REQUEST, "invalid_grant", "no such user; name users with --user");
        }
        let answer = json!({
            "access_token": self.token(&wanted),
            "token_type": "Bearer",
            "expires_in": wanted.expires_in.unwrap_or_else(|| self.life_secs()),
        });
        ([(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))], Json(answer)).into_response()
    }

    /// Waits and fails as the faults say; `Err` is the answer. Dropped: nothing.
    async fn suffer(&self, on: IdpOn) -> Result<(), Box<Response>> {
        let mut set = self.0.faults_set.subscribe();
        let going_away = || Box::new(reason(StatusCode::SERVICE_UNAVAILABLE, "the simulator stops"));
        loop {
            set.borrow_and_update();
            let faults = self.0.state.lock().faults.claim(on);
            if let Some(delay) = faults.delay {
                tokio::select! {
                    () = tokio::time::sleep(delay) => {}
                    () = stopped(self.0.stopping.subscribe()) => return Err(going_away()),
                }
            }
            match faults.fail {
                None => return Ok(()),
                Some(Fail::Hang) => tokio::select! {
                    // Its sender lives as long as `self`.
                    _ = set.changed() => {}
                    () = stopped(self.0.stopping.subscribe()) => return Err(going_away()),
                },
                Some(fail) => return Err(fail.response(faults.retry_after).map_or_else(going_away, Box::new)),
            }
        }
    }
}

fn members(is_json: bool, body: &Bytes) -> Option<Map<String, Value>> {
    if is_json {
        return serde_json::from_slice(body).ok();
    }
    Some(form(body))
}

fn form(text: &[u8]) -> Map<String, Value> {
    form_urlencoded::parse(text).map(|(name, value)| (name.into_owned(), Value::String(value.into_owned()))).collect()
}

fn refusal(status: StatusCode, error: &str, description: &str) -> Response {
    (status, Json(json!({ "error": error, "error_description": description }))).into_response()
}

async fn faults(Extract(sim): Extract<IdpSim>) -> Json<IdpFaults> {
    Json(sim.faults())
}

async fn set_faults(Extract(sim): Extract<IdpSim>, body: String) -> Response {
    match serde_json::from_str(&body) {
        Ok(faults) => {
            sim.set_faults(faults);
            Json(sim.faults()).into_response()
        }
        Err(fault) => reason(StatusCode::BAD_REQUEST, &fault.to_string()),
    }
}

async fn counts(Extract(sim): Extract<IdpSim>) -> Json<Value> {
    Json(json!({ "fetches": sim.fetches(), "discoveries": sim.discoveries(), "kid": sim.kid() }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rotate {
    drop: Option<String>,
}

async fn rotate(Extract(sim): Extract<IdpSim>, Query(how): Query<Rotate>) -> Response {
    let keep_old = match how.drop.as_deref() {
        None | Some("0") => true,
        Some("1") => false,
        Some(_) => return reason(StatusCode::BAD_REQUEST, "drop is 0 or 1"),
    };
    match sim.rotate(keep_old) {
        Ok(()) => Json(json!({ "kid": sim.kid() })).into_response(),
        Err(fault) => reason(StatusCode::INTERNAL_SERVER_ERROR, &fault.to_string()),
    }
}

async fn reset(Extract(sim): Extract<IdpSim>) -> StatusCode {
    sim.clear();
    StatusCode::NO_CONTENT
}

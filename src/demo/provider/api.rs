//! The vendor's API, v1 and v2.

use axum::Json;
use axum::extract::{Request, State as Extract};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;

use super::calls::{Asked, CallKind};
use super::faults::{ExistingUser, Faults, UrlAs, UrlFault};
use super::state::{MAX_USERS, User};
use super::token::{Meta, Plugin};
use super::{ProviderSim, page};
use crate::demo::fault::{Fail, reason, unknown_user, wrong_key};
use crate::demo::serve::stopped;

/// A host that no `redirect_hosts` allows.
const FOREIGN_BASE: &str = "https://plugin.foreign.example";

/// Everything but the switches: kept as a call, hit by the faults, answered.
/// Dropped (the caller left): the call stays without a status; what it had changed stays changed.
pub(super) async fn answer(Extract(sim): Extract<ProviderSim>, request: Request) -> Response {
    let asked = match Asked::read(request).await {
        Ok(asked) => asked,
        Err(refusal) => return *refusal,
    };
    let number = sim.arrived(&asked);
    let response = match asked.kind {
        CallKind::Page => page::show(&sim, &asked),
        CallKind::Other => reason(StatusCode::NOT_FOUND, "no such resource"),
        CallKind::Mint | CallKind::Register | CallKind::Lookup | CallKind::KeyCheck => sim.call(&asked).await,
    };
    sim.answered(number, response.status());
    response
}

impl ProviderSim {
    async fn call(&self, asked: &Asked) -> Response {
        let faults = match self.suffer(asked.kind).await {
            Ok(faults) => faults,
            Err(failure) => return *failure,
        };
        let mut response = if !asked.key_among(&self.0.state.lock().keys).is_good() {
            wrong_key()
        } else {
            match (asked.kind, asked.uri.path()) {
                (CallKind::Register, _) => self.register(asked),
                (CallKind::Lookup, _) => self.look_up(asked),
                (CallKind::KeyCheck, _) => Json(serde_json::json!({ "status": 200 })).into_response(),
                (_, "/v1/plugin/make") => self.mint_v1(asked, &faults),
                (_, "/v2/plugin/health-dashboard") => self.mint_v2(asked, Plugin::HealthDashboard, &faults),
                (_, _) => self.mint_v2(asked, Plugin::FaceScan, &faults),
            }
        };
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    /// Waits and fails as the faults say. `Ok`: what is left for the URL; `Err`: the answer.
    async fn suffer(&self, kind: CallKind) -> Result<Faults, Box<Response>> {
        let mut set = self.0.faults_set.subscribe();
        loop {
            set.borrow_and_update();
            let faults = self.0.state.lock().faults.claim(kind);
            if let Some(delay) = faults.delay {
                tokio::select! {
                    () = tokio::time::sleep(delay) => {}
                    () = stopped(self.0.stopping.subscribe()) => return Err(Box::new(going_away())),
                }
            }
            match faults.fail {
                None => return Ok(faults),
                Some(Fail::Hang) => tokio::select! {
                    // Its sender lives as long as `self`.
                    _ = set.changed() => {}
                    () = stopped(self.0.stopping.subscribe()) => return Err(Box::new(going_away())),
                },
                Some(fail) => return Err(Box::new(fail.response(faults.retry_after).unwrap_or_else(going_away))),
            }
        }
    }

    fn register(&self, asked: &Asked) -> Response {
        #[derive(Deserialize)]
        struct Body {
            external_user_id: String,
            language: Option<String>,
        }
        let Ok(body) = serde_json::from_slice::<Body>(&asked.body) else {
            return reason(StatusCode::BAD_REQUEST, "expected JSON with external_user_id");
        };
        if body.external_user_id.is_empty() {
            return reason(StatusCode::BAD_REQUEST, "external_user_id is empty");
        }
        let mut state = self.0.state.lock();
        if let Some(user) = state.users.get(&body.external_user_id) {
            return match self.0.options.existing_user {
                ExistingUser::Ok => Json(user).into_response(),
                ExistingUser::AlreadyExists => reason(StatusCode::BAD_REQUEST, "a user with this id already exists"),
            };
        }
        if state.users.len() >= MAX_USERS {
            return reason(StatusCode::INSUFFICIENT_STORAGE, "the simulator holds a million users; reset it");
        }
        let user = User::new(&body.external_user_id, body.language);
        let response = (StatusCode::CREATED, Json(&user)).into_response();
        state.users.insert(body.external_user_id, user);
        response
    }

    fn look_up(&self, asked: &Asked) -> Response {
        match asked.parameter("external_user_id").and_then(|id| self.0.state.lock().users.get(&id).cloned()) {
            Some(user) => Json(user).into_response(),
            None => unknown_user(),
        }
    }

    fn mint_v2(&self, asked: &Asked, plugin: Plugin, faults: &Faults) -> Response {
        let by_external = asked.parameter("external_user_id");
        let by_own = asked.parameter("user_id");
        let user = {
            let state = self.0.state.lock();
            match (&by_external, &by_own) {
                (Some(id), _) => state.users.get(id).cloned(),
                (None, Some(id)) => state.users.values().find(|user| user.user_id == *id).cloned(),
                (None, None) => {
                    return reason(StatusCode::BAD_REQUEST, "user_id or external_user_id is required");
                }
            }
        };
        let Some(user) = user else { return unknown_user() };
        let language = match language(asked) {
            Ok(asked_for) => asked_for.or(user.language),
            Err(refusal) => return *refusal,
        };
        let meta = Meta { plugin, patient: user.external_user_id, language };
        let Some(url) = self.url(meta, Some(&user.user_id), &user.user_id, faults) else { return no_token() };
        match self.0.options.url_as {
            UrlAs::String => Json(url).into_response(),
            UrlAs::Text => url.into_response(),
            UrlAs::Object => Json(serde_json::json!({ "url": url })).into_response(),
        }
    }

    fn mint_v1(&self, asked: &Asked, faults: &Faults) -> Response {
        let language = match language(asked) {
            Ok(language) => language,
            Err(refusal) => return *refusal,
        };
        let patient = asked.parameter("patient-ref").unwrap_or_default();
        let meta = Meta { plugin: Plugin::FaceScan, patient: patient.clone(), language };
        self.url(meta, None, &patient, faults).map_or_else(no_token, IntoResponse::into_response)
    }

    /// A fresh URL, counted as minted.
    fn url(&self, meta: Meta, user_id: Option<&str>, patient: &str, faults: &Faults) -> Option<String> {
        let (now, life) = (self.0.options.clock.now(), faults.life.unwrap_or(self.0.options.life));
        let token = self.0.token_key.sign(meta, user_id, now, life, faults.url)?;
        let base = match faults.url {
            Some(UrlFault::WrongHost) => FOREIGN_BASE.to_owned(),
            None | Some(UrlFault::Expired | UrlFault::NoExp | UrlFault::Short | UrlFault::Years) => self.plugin_base(),
        };
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("action_token", &token)
            .append_pair("patient", patient)
            .finish();
        self.0.state.lock().minted += 1;
        Some(faults.url_text.clone().unwrap_or_else(|| format!("{base}/?{query}")))
    }
}

/// Two letters, or absent.
fn language(asked: &Asked) -> Result<Option<String>, Box<Response>> {
    match asked.parameter("language") {
        Some(tag) if tag.len() == 2 && tag.bytes().all(|byte| byte.is_ascii_alphabetic()) => Ok(Some(tag)),
        None => Ok(None),
        Some(_) => Err(Box::new(reason(StatusCode::BAD_REQUEST, "language is two letters"))),
    }
}

fn no_token() -> Response {
    reason(StatusCode::INTERNAL_SERVER_ERROR, "the simulator could not sign a token")
}

fn going_away() -> Response {
    reason(StatusCode::SERVICE_UNAVAILABLE, "the simulator stops")
}

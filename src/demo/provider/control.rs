//! The switches over HTTP, for a test that runs in another process.

use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router, middleware};
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::ProviderSim;
use super::calls::Call;
use super::faults::Faults;
use crate::demo::fault::reason;
use crate::demo::guard::own_site_only;

/// `/_sim/…`.
pub(super) fn routes() -> Router<ProviderSim> {
    Router::new()
        .route("/_sim/faults", get(faults).put(set_faults))
        .route("/_sim/calls", get(calls))
        .route("/_sim/keys", put(set_keys))
        .route("/_sim/forget", post(forget))
        .route("/_sim/reset", post(reset))
        .route_layer(middleware::from_fn(own_site_only))
}

async fn faults(State(sim): State<ProviderSim>) -> Json<Faults> {
    Json(sim.faults())
}

async fn set_faults(State(sim): State<ProviderSim>, body: String) -> Response {
    match body.parse::<Faults>() {
        Ok(faults) => {
            sim.set_faults(faults);
            Json(sim.faults()).into_response()
        }
        Err(fault) => reason(StatusCode::BAD_REQUEST, &fault.to_string()),
    }
}

#[derive(Serialize)]
struct Report {
    mint_calls: u64,
    minted: u64,
    register_calls: u64,
    users: usize,
    calls: Vec<Call>,
}

async fn calls(State(sim): State<ProviderSim>) -> Json<Report> {
    let state = sim.0.state.lock();
    Json(Report {
        mint_calls: state.mint_calls,
        minted: state.minted,
        register_calls: state.register_calls,
        users: state.users.len(),
        calls: state.calls.iter().cloned().collect(),
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    keys: Vec<String>,
}

async fn set_keys(State(sim): State<ProviderSim>, body: String) -> Response {
    // The parser's own text may quote a key.
    let Ok(body) = serde_json::from_str::<Keys>(&body) else {
        return reason(StatusCode::BAD_REQUEST, "expected {\"keys\": [\"…\"]}");
    };
    sim.set_keys(body.keys);
    StatusCode::NO_CONTENT.into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Forget {
    user: Option<String>,
}

async fn forget(State(sim): State<ProviderSim>, Query(whom): Query<Forget>) -> Response {
    match whom.user {
        None => sim.forget_users(),
        Some(user) if sim.forget_user(&user) => {}
        Some(_) => return reason(StatusCode::NOT_FOUND, "no such user"),
    }
    StatusCode::NO_CONTENT.into_response()
}

async fn reset(State(sim): State<ProviderSim>) -> StatusCode {
    sim.clear();
    StatusCode::NO_CONTENT
}

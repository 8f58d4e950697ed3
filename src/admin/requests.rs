//! Of an administrator: the last requests that were refused or began a mint, the last mints, and the end of this process.

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use tracing::info;

use super::api::{Api, Page, problem};
use crate::lease::MintRecord;
use crate::telemetry::RecentRequest;

const WRONG_PAGE: &str = "expected `limit` of 1 to 1000";

/// The routes; whoever merges them asks for the token.
pub(super) fn router() -> Router<Arc<Api>> {
    Router::new()
        .route("/api/mints", get(mints))
        .route("/api/requests", get(requests))
        .route("/api/requests/{id}", get(request))
        .route("/api/drain", post(drain))
}

async fn mints(State(api): State<Arc<Api>>, page: Result<Query<Page>, QueryRejection>) -> Response {
    let Some(limit) = limit(page) else { return problem(StatusCode::BAD_REQUEST, WRONG_PAGE) };
    let mints: Vec<Value> = api.book.leases().mints(limit).iter().map(|mint| told_mint(&api, mint)).collect();
    axum::Json(json!({ "mints": mints })).into_response()
}

async fn requests(State(api): State<Arc<Api>>, page: Result<Query<Page>, QueryRejection>) -> Response {
    let Some(limit) = limit(page) else { return problem(StatusCode::BAD_REQUEST, WRONG_PAGE) };
    let requests: Vec<Value> = api.recent.last(limit).iter().map(told_request).collect();
    axum::Json(json!({ "requests": requests })).into_response()
}

/// A request by its id, with the mints that it began.
async fn request(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Response {
    let Some(request) = api.recent.find(&id) else {
        return problem(StatusCode::NOT_FOUND, "none of the last refusals and mints has this id");
    };
    let mints: Vec<Value> = api.book.leases().mints_of(&id).iter().map(|mint| told_mint(&api, mint)).collect();
    axum::Json(json!({ "request": told_request(&request), "mints": mints })).into_response()
}

/// As SIGTERM does: the process ends when nothing is under way.
async fn drain(State(api): State<Arc<Api>>) -> StatusCode {
    info!(target: "valet::admin", "an administrator drains this process");
    api.drain.notify_one();
    StatusCode::ACCEPTED
}

fn limit(page: Result<Query<Page>, QueryRejection>) -> Option<usize> {
    let Query(page) = page.ok()?;
    page.limit().filter(|_| page.after.is_none())
}

fn told_mint(api: &Api, mint: &MintRecord) -> Value {
    json!({
        "time": mint.time.rfc3339(),
        "plugin": mint.plugin,
        "subject": api.sessions.log_id(&mint.issuer, &mint.subject),
        "reason": mint.reason.label(),
        "outcome": mint.outcome.map_or_else(|failure| failure.label(), |_| "ok"),
        "duration_ms": mint.took.as_millis() as u64,
        "remaining_s": mint.outcome.ok().map(|life| life.as_secs()),
        "request_id": mint.request_id,
    })
}

/// By the names of access lines.
fn told_request(request: &RecentRequest) -> Value {
    json!({
        "time": request.time.rfc3339(),
        "request_id": request.request_id,
        "trace_id": request.trace_id,
        "method": request.method,
        "path": request.path,
        "route": request.route,
        "status": request.status,
        "outcome": request.outcome,
        "source": request.source,
        "session_check": request.session_check,
        "cause": request.cause,
        "policy": request.policy.as_deref(),
        "upstream": request.upstream,
        "remaining_s": request.remaining.map(|remaining| remaining.as_secs()),
        "duration_us": request.duration_us,
        "subject": request.subject,
    })
}

//! Twenty tabs at once.

use std::collections::HashSet;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::Full;
use serde_json::json;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::AppSim;
use super::session::subject;
use crate::demo::fault::reason;
use crate::demo::idp::TokenRequest;

/// So many tabs.
const TABS: usize = 20;

/// Longer than the gateway waits for the vendor.
const DEADLINE: Duration = Duration::from_secs(10);

/// Redirects have no body; refusals have little.
const MAX_ANSWER: usize = 64 * 1024;

/// `POST /api/tabs`: opens the face scan so often at the same moment, as the one who is signed in, in a new session. A browser would open
/// six connections at a time; from here they all go at once. Dropped: the tabs are closed.
pub(super) async fn open(State(sim): State<AppSim>, headers: HeaderMap) -> Response {
    let Some(subject) = subject(&headers) else {
        return reason(StatusCode::FORBIDDEN, "this is for the gateway to ask, in somebody's name");
    };
    let parts = &sim.0.parts;
    let token = parts.idp.token(&TokenRequest::user(&subject).session(&Uuid::new_v4().to_string()));
    let before = parts.controls.look().await.asked;
    let mut tabs = JoinSet::new();
    for _ in 0..TABS {
        let request = Request::get(format!("{}/plugins/face-scan", parts.places.gateway_here))
            .header(header::COOKIE, format!("session={token}"))
            .header(header::ACCEPT, "text/html")
            .body(Full::default());
        let client = parts.client.clone();
        tabs.spawn(async move { client.send(request.ok()?, MAX_ANSWER, DEADLINE).await.ok() });
    }
    let mut links = HashSet::new();
    let mut opened = 0;
    for answer in tabs.join_all().await.into_iter().flatten() {
        if let Some(link) = answer.headers.get(header::LOCATION).filter(|_| answer.status == 302) {
            opened += 1;
            links.insert(link.clone());
        }
    }
    let asked = parts.controls.look().await.asked.saturating_sub(before);
    Json(json!({ "tabs": TABS, "opened": opened, "links": links.len(), "asked": asked })).into_response()
}

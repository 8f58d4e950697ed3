//! The administration's routes, each for holders of the token.

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::{get, post};

use super::api::{Api, admit, drop_leases, embed_policy, forget, leases, reload, revoke};
use super::requests;

/// Names of an issuer and a subject; more is not read.
const MAX_BODY: usize = 16 * 1024;

impl Api {
    /// The routes of the administration, each for holders of the token.
    pub fn router(self) -> Router {
        let api = Arc::new(self);
        Router::new()
            .route("/api/leases", get(leases))
            .route("/api/leases/drop", post(drop_leases))
            .route("/api/sessions/revoke", post(revoke))
            .route("/api/reload", post(reload))
            .route("/api/embed-policy", get(embed_policy))
            .route("/api/subjects/forget", post(forget))
            .merge(requests::router())
            .layer(DefaultBodyLimit::max(MAX_BODY))
            .layer(middleware::from_fn_with_state(api.clone(), admit))
            .with_state(api)
    }
}

//! The operators' page at `/`: what an operator asks at night, drawn from `/metrics` and `/readyz` by a script of ours. It needs no token to be seen, for it
//! shows no more than they do; what it does goes to the `/api/` routes with the token that is typed into it.

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// Nothing from elsewhere, no text as script or style, no frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

/// The page and its three files.
pub(super) fn router() -> Router {
    Router::new()
        .route("/", get(async || file("text/html; charset=utf-8", include_str!("page/index.html"))))
        .route("/page.css", get(async || file("text/css; charset=utf-8", include_str!("page/page.css"))))
        .route("/page.js", get(async || file("text/javascript; charset=utf-8", include_str!("page/page.js"))))
        .route("/page.svg", get(async || file("image/svg+xml", include_str!("page/page.svg"))))
}

fn file(kind: &'static str, text: &'static str) -> Response {
    let mut response = text.into_response();
    for (name, value) in [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        // The files of another version are others.
        (header::CACHE_CONTROL, "no-cache"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

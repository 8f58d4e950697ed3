//! The demo's app: a page that signs people in, opens their plug-ins through the gateway, and shows what the gateway did.
//!
//! It stands for a team's own app behind the gateway. It signs people in, and from then on reads who they are from header fields that only
//! the gateway can set: there is no code here that reads a token. It never sees a plug-in URL or an API key.

mod controls;
mod feed;
mod live;
mod processes;
mod remote_control;
mod session;
mod tabs;

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use tokio::net::TcpListener;
use tokio::sync::watch;

pub use self::controls::{Controls, Vendor};
pub use self::feed::{Feed, Tee};
pub use self::live::SIGN_OF_LIFE;
pub use self::processes::{Processes, Said};
pub use self::remote_control::RemoteControl;
use super::fault::reason;
use super::guard::own_site_only;
use super::idp::IdpSim;
use super::page::{self, Part};
use super::serve::{self, ServerHandle, SimFault};
use crate::http_client::Client;

const PAGE: &str = include_str!("../pages/app.html");
const STYLE: &str = include_str!("../pages/app.css");
const SCRIPT: &str = include_str!("../pages/app.js");

/// A key, drawn.
const KEY: &str = include_str!("../pages/key.svg");

/// Where everything is. Origins: scheme, host and port.
pub struct Places {
    /// The app, as a browser names it: the gateway's address, for the app stands behind it.
    pub app: String,
    /// The plug-in's pages.
    pub plugin: String,
    /// The identity provider, as a browser names it.
    pub idp: String,
    /// The gateway, as a program on this machine reaches it: names below `localhost` are known to browsers, not to every resolver.
    pub gateway_here: String,
    /// The identity provider, likewise.
    pub idp_here: String,
}

/// What the app is made of.
pub struct AppParts {
    /// Where everything is.
    pub places: Places,
    /// The identity provider: its key is changed by a button, and it signs the session of twenty tabs.
    pub idp: IdpSim,
    /// The buttons, and what they act on.
    pub controls: Controls,
    /// The gateway's access lines.
    pub feed: Feed,
    /// For calls to the identity provider and to the gateway.
    pub client: Client,
    /// Where the key is.
    pub processes: Processes,
}

/// The handle on the app. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct AppSim(Arc<Shared>);

struct Shared {
    parts: AppParts,
    sign_ins: session::SignIns,
    stopping: watch::Sender<bool>,
}

impl AppSim {
    /// An app nobody is signed in to.
    pub fn new(parts: AppParts) -> Self {
        Self(Arc::new(Shared { parts, sign_ins: session::SignIns::default(), stopping: watch::Sender::new(false) }))
    }

    fn places(&self) -> &Places {
        &self.0.parts.places
    }

    /// The buttons.
    pub fn controls(&self) -> &Controls {
        &self.0.parts.controls
    }

    /// Ends what has no end of its own, as before a stop. The rest goes on.
    pub fn end_feeds(&self) {
        self.0.stopping.send_replace(true);
    }
}

/// Serves `listener` on a task of its own.
///
/// # Errors
/// The listener can't be used on this runtime.
pub fn spawn_on(listener: TcpListener, sim: AppSim) -> Result<ServerHandle<AppSim>, SimFault> {
    let address = serve::address_of(&listener)?;
    let (stop, stopped) = watch::channel(false);
    let served = sim.clone();
    let task = tokio::spawn(async move {
        let watcher = async {
            serve::stopped(stopped.clone()).await;
            served.end_feeds();
        };
        tokio::join!(serve::serve(listener, routes(served.clone()), stopped.clone()), watcher);
    });
    Ok(ServerHandle::new(sim, address, stop, task))
}

fn routes(sim: AppSim) -> Router {
    Router::new()
        .route("/logout", post(session::logout))
        .route("/sign-out", post(session::sign_out))
        .route("/api/sign-out", post(session::sign_out_order))
        .route("/api/tabs", post(tabs::open))
        .route("/demo/feed", get(live::feed))
        .route("/demo/trouble", post(controls::trouble))
        .route("/demo/clock", post(controls::clock))
        .route("/demo/clock/right", post(controls::clock_right))
        .route("/demo/keys", post(controls::keys))
        .route_layer(middleware::from_fn(own_site_only))
        .route("/", get(show))
        .route("/me", get(session::me))
        .route("/login", get(session::login))
        .route("/callback", get(session::callback))
        .route(page::ICON, get(page::no_icon))
        .fallback(nothing)
        .layer(middleware::from_fn_with_state(sim.clone(), own_name_only))
        .with_state(sim)
}

/// The cookie is for one host name, so the page is served under that name only. A foreign name that leads here gets nothing.
/// Dropped: nothing was done yet.
async fn own_name_only(State(sim): State<AppSim>, request: Request, next: Next) -> Response {
    let own = sim.places().app.trim_start_matches("http://");
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if host.eq_ignore_ascii_case(own) {
        return next.run(request).await;
    }
    let port = own.rsplit(':').next().unwrap_or_default();
    let known = ["127.0.0.1", "localhost", "[::1]"].iter().any(|name| host == format!("{name}:{port}"));
    if known && request.method() == Method::GET && request.uri().path() == "/" {
        return Redirect::to(&sim.places().app).into_response();
    }
    reason(StatusCode::MISDIRECTED_REQUEST, &format!("the demo is at {}", sim.places().app))
}

async fn nothing() -> Response {
    reason(StatusCode::NOT_FOUND, "nothing is here; the demo's page is at /")
}

async fn show(State(sim): State<AppSim>) -> Response {
    let Places { plugin, .. } = sim.places();
    let processes = &sim.0.parts.processes;
    // The plug-in is named too: a browser holds the redirect behind a frame and behind a form to the page's policy.
    let allowed =
        format!("connect-src 'self'; frame-src 'self' {plugin}; form-action 'self' {plugin}; frame-ancestors 'none'");
    let mut response = page::respond(
        StatusCode::OK,
        PAGE,
        &allowed,
        &[
            ("app_style", Part::Markup(STYLE)),
            ("app_script", Part::Markup(SCRIPT)),
            ("plugin", Part::Text(plugin)),
            ("processes", Part::Markup(&processes.markup())),
            ("split", Part::Text(if processes.minter.is_some() { "split" } else { "" })),
        ],
    );
    // As a page that says nothing of it: that the plug-in gets no Referer is the gateway's doing.
    response.headers_mut().insert(header::REFERRER_POLICY, HeaderValue::from_static("strict-origin-when-cross-origin"));
    response
}

/// The value of a cookie.
fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|field| field.to_str().ok())
        .flat_map(|field| field.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(key, value)| (key == name).then_some(value))
}

fn refused(text: &str) -> Response {
    (StatusCode::BAD_REQUEST, Json(serde_json::json!({ "reason": text }))).into_response()
}

#[cfg(test)]
mod tests;

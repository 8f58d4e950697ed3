//! The administration address: health and metrics, on hyper over connections accepted as those of the other listeners are.

mod api;
mod embed;
mod page;
mod requests;
mod routes;
pub mod settings;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use pingora_core::protocols::Stream;
use tokio::sync::watch;

pub use self::api::{Api, Reload, check_token};
pub use self::embed::EmbedPolicy;
use crate::app::Pool;
use crate::clock::{Clock, Tick};
use crate::lease::store::SealedStore;
use crate::lease::store::settings::OnStoreLoss;
use crate::provider::Provider;
use crate::session::Sessions;
use crate::telemetry::{Metrics, OPEN_METRICS, PROMETHEUS_TEXT, prefers_open_metrics};

/// After this long one issuer with keys is enough to be ready: another's identity provider may be down for long.
const PATIENCE: Duration = Duration::from_secs(30);

/// A slow scraper's head is given up after this.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// What the administration address tells about.
pub struct Health {
    metrics: Metrics,
    sessions: Arc<Sessions>,
    providers: Arc<[Provider]>,
    apps: Vec<Arc<Pool>>,
    store: Option<Arc<SealedStore>>,
    clock: Clock,
    started: Tick,
    draining: Arc<AtomicBool>,
}

impl Health {
    /// Started now.
    pub fn new(
        metrics: Metrics,
        sessions: Arc<Sessions>,
        providers: Arc<[Provider]>,
        apps: Vec<Arc<Pool>>,
        store: Option<Arc<SealedStore>>,
        clock: Clock,
    ) -> Arc<Self> {
        let started = clock.tick();
        let draining = Arc::new(AtomicBool::new(false));
        Arc::new(Self { metrics, sessions, providers, apps, store, clock, started, draining })
    }

    /// The health of a new configuration: the process has started, and drains, when it did.
    pub fn following(self: Arc<Self>, before: &Self) -> Arc<Self> {
        let own = Arc::try_unwrap(self);
        own.map_or_else(
            |shared| shared,
            |own| Arc::new(Self { started: before.started, draining: before.draining.clone(), ..own }),
        )
    }

    /// From now on `/readyz` says no.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether requests should be sent here; if not, why.
    ///
    /// # Errors
    /// The reason that `/readyz` gives.
    pub fn ready(&self) -> Result<(), &'static str> {
        self.look().map_or(Ok(()), Err)
    }

    /// Says again what is in trouble.
    pub fn show_trouble(&self) {
        self.look();
    }

    /// Brings the gauges up to date that no event moves.
    fn look(&self) -> Option<&'static str> {
        for app in &self.apps {
            app.is_degraded();
        }
        for provider in self.providers.iter() {
            // Also moves `valet_degraded`: a pause ends by time alone.
            provider.is_degraded();
        }
        let reason = self.not_ready();
        self.metrics.ready.set(if reason.is_none() { 1.0 } else { 0.0 });
        reason
    }

    /// Why requests should not be sent here yet or any more; `None`: ready.
    fn not_ready(&self) -> Option<&'static str> {
        if self.draining.load(Ordering::Relaxed) {
            return Some("draining");
        }
        let readiness = self.sessions.ready();
        let waited = self.clock.tick().since(self.started) >= PATIENCE;
        let enough = readiness.all_had_once() || (waited && readiness.any_had_once());
        if !enough {
            return Some("waiting for the issuers' keys");
        }
        let store = self.store.as_ref()?;
        if !store.was_well() {
            return Some("waiting for the store of leases");
        }
        let refused = store.on_loss() == OnStoreLoss::Refuse && !store.is_well();
        refused.then_some("the store of leases does not answer")
    }
}

/// The administration application.
pub struct Admin {
    router: ArcSwap<Router>,
}

impl Admin {
    /// Tells about `health`; and lets who holds the token administer, if there is one.
    pub fn new(health: Arc<Health>, api: Option<Api>) -> Self {
        Self { router: ArcSwap::from_pointee(router(health, api)) }
    }

    /// From the next request on it tells about this.
    pub fn replace(&self, health: Arc<Health>, api: Option<Api>) {
        self.router.store(Arc::new(router(health, api)));
    }

    /// The routes, for a test without a socket.
    pub fn router(&self) -> Router {
        Router::clone(&self.router.load())
    }

    /// Serves one connection until it ends, or, once `stop` is true, until what is under way is answered.
    ///
    /// Dropped: the connection is cut.
    pub async fn serve(self: Arc<Self>, stream: Stream, mut stop: watch::Receiver<bool>) {
        let service = service_fn(move |request| TowerToHyperService::new(self.router()).call(request));
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            // A scraper that broke off is no event.
            _ = connection.as_mut() => return,
            _ = stop.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
        }
        let _ = connection.await;
    }
}

fn router(health: Arc<Health>, api: Option<Api>) -> Router {
    let router = Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(health)
        .merge(page::router());
    api.into_iter().fold(router, |router, api| router.merge(api.router()))
}

async fn readyz(State(health): State<Arc<Health>>) -> Response {
    let reason = health.look();
    let degraded = health.metrics.in_trouble();
    match reason {
        None => axum::Json(serde_json::json!({ "ready": true, "degraded": degraded })).into_response(),
        Some(reason) => {
            let body = axum::Json(serde_json::json!({ "ready": false, "reason": reason, "degraded": degraded }));
            (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
        }
    }
}

async fn metrics(State(health): State<Arc<Health>>, headers: HeaderMap) -> impl IntoResponse {
    health.look();
    let accept = headers.get_all(header::ACCEPT).iter().filter_map(|value: &HeaderValue| value.to_str().ok());
    let (kind, text) = match accept.collect::<Vec<_>>().join(",") {
        accept if prefers_open_metrics(&accept) => (OPEN_METRICS, health.metrics.open_metrics()),
        _ => (PROMETHEUS_TEXT, health.metrics.text()),
    };
    ([(header::CONTENT_TYPE, kind), (header::VARY, "accept")], text)
}

//! The upstreams of one app.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::address::Address;
use super::endpoints::{Endpoints, best};
use super::failure::Failures;
use super::peer::Peers;
use super::picked::Picked;
use super::resolve::{Resolver, SystemResolver};
use super::settings::{AppSettings, Balance, HealthSettings};
use super::target::Scheme;
use super::tls::{Tls, try_roots_of_the_machine};
use super::{balance, check, health, resolve, upstream};
use crate::clock::Clock;
use crate::http_client::Cause;
use crate::setting::FieldFault;
use crate::telemetry::Metrics;

/// Pools of this process so far. Their numbers tell them apart in Pingora's pool of connections: one that has other certificates, be it the same app's
/// of another configuration, must never get their connections.
static OPENED: AtomicU64 = AtomicU64::new(0);

/// The upstreams of one app. Shared by all requests.
pub struct Pool {
    pub(super) endpoints: Arc<Endpoints>,
    resolver: Arc<dyn Resolver>,
    pub(super) health: Option<HealthSettings>,
    balance: Balance,
    /// Each upstream speaks HTTP/1.1 in the clear.
    plain: bool,
    /// Some upstream speaks HTTP/2: it is configured so, or chose so when it was connected to by TLS.
    http2: AtomicBool,
    turn: AtomicUsize,
}

impl Pool {
    /// Reads the app's upstreams and certificates; relative paths start in `directory`. Touches no network. Every fault at once.
    ///
    /// # Errors
    /// All faults of upstreams, certificates and times, at their keys below the app.
    pub fn open(
        settings: &AppSettings,
        directory: &Path,
        clock: Clock,
        metrics: &Metrics,
    ) -> Result<Arc<Self>, Vec<FieldFault>> {
        Self::open_with(settings, directory, clock, metrics, Arc::new(SystemResolver))
    }

    pub(super) fn open_with(
        settings: &AppSettings,
        directory: &Path,
        clock: Clock,
        metrics: &Metrics,
        resolver: Arc<dyn Resolver>,
    ) -> Result<Arc<Self>, Vec<FieldFault>> {
        let mut faults = Vec::new();
        let targets = check::targets(settings, &mut faults);
        let tls = Tls::open(settings, directory, &mut faults);
        let number = OPENED.fetch_add(1, Ordering::Relaxed) + 1;
        let peers = Peers::new(settings, &targets, tls, number);
        if peers.trust_the_machine()
            && let Err(message) = try_roots_of_the_machine()
        {
            faults.push(FieldFault::at("ca", message));
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let plain = targets.iter().all(|target| target.scheme == Scheme::Http);
        let http2 = targets.iter().any(|target| target.scheme == Scheme::H2c);
        let endpoints = Endpoints {
            app: settings.name.as_str().into(),
            peers,
            ejection: settings.ejection,
            clock,
            metrics: metrics.clone(),
            degraded: metrics.degraded.with_label_values(&[&format!("app:{}", settings.name)]),
            failures: Failures::new(&settings.name, metrics),
            list: ArcSwap::default(),
            known: Mutex::new(vec![Vec::new(); targets.len()]),
            targets: targets.into(),
        };
        for (place, target) in endpoints.targets.iter().enumerate() {
            if let Ok(address) = target.lookup() {
                endpoints.know(place, vec![address]);
            }
        }
        let health = settings.health.clone();
        let pool = Self {
            endpoints: Arc::new(endpoints),
            resolver,
            health: health
                .map(|health| HealthSettings { host: health.host.or_else(|| settings.request.host.clone()), ..health }),
            balance: settings.balance,
            plain,
            http2: AtomicBool::new(http2),
            turn: AtomicUsize::new(0),
        };
        pool.is_degraded();
        Ok(Arc::new(pool))
    }

    /// An upstream for a request; `hash` is what `balance = "subject"` goes by. One of `tried` is taken only where no other is fit. `None` only if
    /// no address is known at all: DNS has never answered.
    pub fn pick(&self, hash: &[u8], tried: &[Address]) -> Option<Picked> {
        let endpoints = self.endpoints.list.load();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        loop {
            let now = self.endpoints.clock.tick();
            let (availability, best) = best(&endpoints, |endpoint| {
                (endpoint.outlier_detection.availability(now), tried.contains(&endpoint.address))
            })?;
            let chosen = balance::choose(self.balance, &best, turn, || upstream::hash(hash))?;
            // Without a pass another request has begun the trial since: the upstream stands lower now.
            if let Some(pass) = chosen.outlier_detection.pass(availability, now) {
                return Some(Picked::new(Arc::clone(&self.endpoints), Arc::clone(chosen), pass));
            }
        }
    }

    /// Keeps DNS names resolved and asks for health until `stop` says so or is gone. Dropped, both end.
    pub async fn run(self: Arc<Self>, stop: watch::Receiver<bool>) {
        let health = async {
            if let Some(settings) = &self.health {
                health::keep_asking(&self.endpoints, settings, stop.clone()).await;
            }
        };
        tokio::join!(resolve::keep_resolved(&self.endpoints, &self.resolver, stop.clone()), health);
    }

    /// Asks each upstream once, for a check: what is wrong with it, in the operator's words, behind its name as configured. With `[app.health]` the
    /// answer must be the one that is due there, else any is good. Dropped, the questions are given up.
    pub async fn try_out(&self) -> Vec<(String, Option<String>)> {
        resolve::resolve_once(&self.endpoints, &self.resolver).await;
        health::try_out(&self.endpoints, self.health.as_ref()).await
    }

    /// Whether no upstream is well: each fails its health checks, or its last requests, or is left alone; or no address is known.
    pub fn is_degraded(&self) -> bool {
        self.endpoints.show_degraded(&self.endpoints.known.lock())
    }

    /// Whether each upstream speaks HTTP/1.1 in the clear.
    pub fn is_plain(&self) -> bool {
        self.plain
    }

    /// Whether no upstream is known to speak HTTP/2. By TLS each chooses, and which it chose is known once it was connected to.
    pub fn is_http_1(&self) -> bool {
        !self.http2.load(Ordering::Relaxed)
    }

    /// An upstream chose HTTP/2.
    pub fn note_http_2(&self) {
        self.http2.store(true, Ordering::Relaxed);
    }

    /// Whether some upstream is believed by the machine's own authorities. If not, its connections need none of them.
    pub fn trusts_the_machine(&self) -> bool {
        self.endpoints.peers.trust_the_machine()
    }

    /// The app failed, and no upstream of it was at fault: no address is known, say.
    pub fn note_failure(&self, cause: Cause) {
        self.endpoints.note_failure(cause);
    }

    /// Says again of all that is known how it is.
    pub fn show_all(&self) {
        self.endpoints.show_all();
    }

    /// Its lines leave the page of metrics: no request goes there any more.
    pub fn forget_all(&self) {
        self.endpoints.forget_all();
    }
}

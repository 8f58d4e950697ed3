//! The upstreams of one app.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use prometheus::IntGauge;
use tokio::sync::watch;

use super::address::Address;
use super::endpoints::{Endpoints, Known, best};
use super::failure::Failures;
use super::peer::Peers;
use super::picked::Picked;
use super::resolve::{Resolver, SystemResolver};
use super::settings::{AppSettings, Balance, EjectionSettings, HealthSettings};
use super::target::{Scheme, Target};
use super::tls::{Tls, try_roots_of_the_machine};
use super::{balance, check, health, resolve, upstream};
use crate::clock::Clock;
use crate::setting::FieldFault;
use crate::telemetry::Metrics;

/// Pools of this process so far. Their numbers tell them apart in Pingora's pool of connections: one that has other certificates, be it the same app's
/// of another configuration, must never get their connections.
static OPENED: AtomicU64 = AtomicU64::new(0);

/// The upstreams of one app. Shared by all requests.
pub struct Pool {
    pub(super) app: Arc<str>,
    pub(super) targets: Box<[Arc<Target>]>,
    pub(super) peers: Peers,
    pub(super) resolver: Arc<dyn Resolver>,
    pub(super) health: Option<HealthSettings>,
    pub(super) ejection: EjectionSettings,
    pub(super) clock: Clock,
    pub(super) metrics: Metrics,
    pub(super) degraded: IntGauge,
    pub(super) failures: Failures,
    balance: Balance,
    /// Each upstream speaks HTTP/1.1 in the clear.
    plain: bool,
    /// Some upstream speaks HTTP/2: it is configured so, or chose so when it was connected to by TLS.
    http2: AtomicBool,
    turn: AtomicUsize,
    pub(super) endpoints: ArcSwap<Endpoints>,
    /// Held while `endpoints` or what is known of one changes: two that fail at once must not each take the other for the one that is left.
    pub(super) known: Mutex<Known>,
}

impl Pool {
    /// Reads the app's upstreams and certificates; relative paths start in `directory`. Touches no network. Every fault at once.
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
        let pool = Arc::new(Self {
            app: settings.name.as_str().into(),
            peers,
            resolver,
            health: settings
                .health
                .clone()
                .map(|health| HealthSettings { host: health.host.or_else(|| settings.request.host.clone()), ..health }),
            ejection: settings.ejection,
            clock,
            metrics: metrics.clone(),
            degraded: metrics.degraded.with_label_values(&[&format!("app:{}", settings.name)]),
            failures: Failures::new(&settings.name, metrics),
            balance: settings.balance,
            plain: targets.iter().all(|target| target.scheme == Scheme::Http),
            http2: AtomicBool::new(targets.iter().any(|target| target.scheme == Scheme::H2c)),
            turn: AtomicUsize::new(0),
            endpoints: ArcSwap::default(),
            known: Mutex::new(vec![Vec::new(); targets.len()]),
            targets: targets.into(),
        });
        for (place, target) in pool.targets.iter().enumerate() {
            if let Ok(address) = target.lookup() {
                pool.know(place, vec![address]);
            }
        }
        pool.is_degraded();
        Ok(pool)
    }

    /// An upstream for a request; `hash` is what `balance = "subject"` goes by. One of `tried` is taken only where no other is fit. `None` only if
    /// no address is known at all: DNS has never answered.
    pub fn pick(self: &Arc<Self>, hash: &[u8], tried: &[Address]) -> Option<Picked> {
        let endpoints = self.endpoints.load();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        loop {
            let now = self.clock.tick();
            let (availability, best) = best(&endpoints, |endpoint| {
                (endpoint.outlier_detection.availability(now), tried.contains(&endpoint.address))
            })?;
            let chosen = balance::choose(self.balance, &best, turn, || upstream::hash(hash))?;
            // Without a pass another request has begun the trial since: the upstream stands lower now.
            if let Some(pass) = chosen.outlier_detection.pass(availability, now) {
                return Some(Picked::new(Arc::clone(self), Arc::clone(chosen), pass));
            }
        }
    }

    /// Keeps DNS names resolved and asks for health until `stop` says so or is gone. Dropped, both end.
    pub async fn run(self: Arc<Self>, stop: watch::Receiver<bool>) {
        tokio::join!(resolve::keep_resolved(&self, stop.clone()), health::keep_asking(&self, stop));
    }

    /// Whether no upstream is well: each fails its health checks, or its last requests, or is left alone; or no address is known.
    pub fn is_degraded(&self) -> bool {
        self.show_degraded(&self.known.lock())
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
        self.peers.trust_the_machine()
    }
}

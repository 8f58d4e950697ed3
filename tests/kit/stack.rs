//! A stack that runs. Dropped: all of it stops.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use valet_gateway::clock::ClockControl;
use valet_gateway::demo::idp::{IdpSim, TokenRequest};
use valet_gateway::demo::provider::{Faults, ProviderSim};
use valet_gateway::demo::serve::ServerHandle;
use valet_gateway::server;
use valet_gateway::telemetry::Metrics;

use super::answer::Answer;
use super::lines::Lines;
use super::wire::Wire;
use super::{ADMIN_TOKEN, App, HOST, Setup, in_time, until};

/// Vendor, identity providers and gateway.
pub struct Stack {
    /// `None` after [`Stack::stop_vendor`].
    vendor: Option<ServerHandle<ProviderSim>>,
    idps: Vec<ServerHandle<IdpSim>>,
    gateway: Option<server::ServerHandle>,
    clock_control: Option<Arc<ClockControl>>,
    tokens: Mutex<HashMap<(usize, String), String>>,
    pub lines: Lines,
    pub metrics: Metrics,
    /// Where the gateway listens.
    pub address: String,
    /// All of its listeners.
    pub addresses: Vec<String>,
    /// Its administration address.
    pub admin: String,
    pub directory: tempfile::TempDir,
}

impl Stack {
    /// The plain one.
    pub async fn start() -> Self {
        Setup::new().start().await
    }

    /// Before this app, with these lines in its `[[app]]`; ready.
    pub async fn before(app: &App, lines: &str) -> Self {
        let stack = Setup::new().app(app, lines).start().await;
        stack.until_ready().await;
        stack
    }

    pub(super) fn new(
        vendor: ServerHandle<ProviderSim>,
        idps: Vec<ServerHandle<IdpSim>>,
        gateway: server::ServerHandle,
        clock_control: Option<Arc<ClockControl>>,
        lines: Lines,
        metrics: Metrics,
        directory: tempfile::TempDir,
    ) -> Self {
        let addresses = gateway.addresses.clone();
        let address = addresses[0].clone();
        let admin = gateway.admin.clone().expect("an administration address");
        Self {
            vendor: Some(vendor),
            idps,
            gateway: Some(gateway),
            clock_control,
            tokens: Mutex::default(),
            lines,
            metrics,
            address,
            addresses,
            admin,
            directory,
        }
    }

    pub fn vendor(&self) -> &ProviderSim {
        &self.vendor.as_ref().expect("the vendor runs").sim
    }

    /// The vendor's address.
    pub fn vendor_url(&self) -> String {
        self.vendor.as_ref().expect("the vendor runs").url()
    }

    pub fn idp(&self) -> &IdpSim {
        self.idp_at(0)
    }

    pub fn idp_at(&self, n: usize) -> &IdpSim {
        &self.idps[n].sim
    }

    /// What the vendor does wrong from now on.
    pub fn vendor_does(&self, faults: Faults) {
        self.vendor().set_faults(faults);
    }

    /// Nothing listens at the vendor's address any more.
    pub async fn stop_vendor(&mut self) {
        self.vendor.take().expect("the vendor runs").stop().await;
    }

    /// As SIGHUP does.
    pub fn reread(&self) {
        self.gateway.as_ref().expect("the gateway runs").reread();
    }

    pub fn gateway(&self) -> &server::ServerHandle {
        self.gateway.as_ref().expect("the gateway runs")
    }

    /// The gateway, to be stopped.
    pub fn take_gateway(&mut self) -> server::ServerHandle {
        self.gateway.take().expect("the gateway runs")
    }

    /// Time goes on.
    pub fn advance(&self, span: Duration) {
        self.clock_control.as_ref().expect("a manual clock").advance(span);
    }

    /// This user's token: always the same one.
    pub fn token(&self, user: &str) -> String {
        self.token_of(0, user)
    }

    /// The same of another identity provider.
    pub fn token_of(&self, idp: usize, user: &str) -> String {
        let mut tokens = self.tokens.lock().expect("no test panicked with it");
        let make = || self.idp_at(idp).token(&TokenRequest::user(user).session(&format!("session of {user}")));
        tokens.entry((idp, user.to_owned())).or_insert_with(make).clone()
    }

    pub async fn wire(&self) -> Wire {
        Wire::open(&self.address).await
    }

    /// An open WebSocket that echoes.
    pub async fn websocket(&self, path: &str, token: Option<&str>) -> Wire {
        let mut wire = self.wire().await;
        let bearer = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        wire.write(format!(
            "GET {path} HTTP/1.1\r\nHost: {HOST}\r\n{bearer}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        ))
        .await;
        let head = wire.read_to("\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        wire.assert_echoes().await;
        wire
    }

    pub async fn admin_get(&self, path: &str) -> Answer {
        let mut wire = Wire::open(&self.admin).await;
        wire.write(format!("GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n")).await;
        wire.answer().await
    }

    /// A call of an administrator, who has the token. See [`super::Setup::administered`].
    pub async fn admin_post(&self, path: &str, body: &serde_json::Value) -> Answer {
        let (mut wire, body) = (Wire::open(&self.admin).await, body.to_string());
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\nAuthorization: Bearer {ADMIN_TOKEN}\r\n"
        );
        wire.write(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len())).await;
        wire.answer().await
    }

    /// Returns when `/readyz` says yes.
    pub async fn until_ready(&self) {
        in_time("readiness", async { while self.admin_get("/readyz").await.status != 200 {} }).await;
    }

    /// The sum of a counter or gauge over all label sets that hold these labels.
    pub fn count(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        sum(&self.metrics.text(), name, labels)
    }

    /// `valet_requests_total` of all routes.
    pub fn answered(&self, outcome: &str) -> u64 {
        self.count("valet_requests_total", &[("outcome", outcome)])
    }

    /// `valet_mints_total`.
    pub fn mints(&self, outcome: &str) -> u64 {
        self.count("valet_mints_total", &[("outcome", outcome)])
    }

    /// Returns when so many credentials were checked and found good: on one thread, their requests wait for a lease then.
    pub async fn until_sessions(&self, count: u64) {
        let good = |outcome| self.count("valet_session_checks_total", &[("outcome", outcome)]);
        until("sessions", || good("valid") + good("cached") >= count).await;
    }
}

/// The sum in a text of Prometheus.
pub fn sum(text: &str, name: &str, labels: &[(&str, &str)]) -> u64 {
    let wanted: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
    let mut sum = 0.0;
    for line in text.lines() {
        let Some((series, value)) = line.rsplit_once(' ') else { continue };
        let bare = series.split('{').next().unwrap_or_default();
        if bare == name && wanted.iter().all(|label| series.contains(label)) {
            sum += value.parse::<f64>().expect("a value");
        }
    }
    sum as u64
}

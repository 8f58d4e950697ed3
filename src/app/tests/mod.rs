//! Pools whose time is moved and whose names are resolved by hand; the network is loopback.

mod balance;
mod ejection;
mod health;
mod names;
mod outlier_detection;
mod settings;
mod site;
mod tls;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::health::Unwell;
use super::resolve::{Resolver, SystemResolver};
use super::settings::AppSettings;
use super::*;
use crate::clock::{Clock, ClockControl, Timestamp};
use crate::http_client::Cause;
use crate::setting::FieldFault;
use crate::telemetry::Metrics;

/// A pool, and the hands of its clock.
struct TestBench {
    pool: Arc<Pool>,
    clock_control: Arc<ClockControl>,
    metrics: Metrics,
}

/// The settings of an app with these keys beside its name.
fn settings(keys: Value) -> AppSettings {
    let mut app = json!({ "name": "portal" });
    app.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    serde_json::from_value(app).unwrap()
}

fn open(settings: &AppSettings, directory: &Path) -> Result<Arc<Pool>, Vec<FieldFault>> {
    Pool::open(settings, directory, Clock::system(), &Metrics::new("0", "0").unwrap())
}

impl TestBench {
    fn new(keys: Value) -> Self {
        Self::with(keys, Arc::new(SystemResolver))
    }

    fn with(keys: Value, resolver: Arc<dyn Resolver>) -> Self {
        let (clock, clock_control) = Clock::manual(Timestamp::from_secs(0));
        let metrics = Metrics::new("0", "0").unwrap();
        let pool = Pool::open_with(&settings(keys), Path::new("."), clock, &metrics, resolver).unwrap();
        Self { pool, clock_control, metrics }
    }

    /// Upstreams at these ports of 127.0.0.1.
    fn at<const N: usize>(ports: [u16; N], mut keys: Value) -> Self {
        keys["upstreams"] = json!(ports.map(|port| format!("127.0.0.1:{port}")).to_vec());
        Self::new(keys)
    }

    fn pick(&self) -> Picked {
        self.pick_for("")
    }

    fn pick_for(&self, subject: &str) -> Picked {
        self.pool.pick(subject.as_bytes(), &[]).unwrap()
    }

    /// A pick that comes to this port, because all others were tried. It fails if that upstream gets no requests.
    fn pick_at(&self, port: u16) -> Picked {
        let endpoints = self.pool.endpoints.list.load();
        let others: Vec<_> = endpoints.iter().map(|m| m.address.clone()).filter(|a| a.port() != port).collect();
        let picked = self.pool.pick(b"", &others).unwrap();
        assert_eq!(picked.address().port(), port);
        picked
    }

    fn fails(&self, port: u16, times: usize) {
        for _ in 0..times {
            self.pick_at(port).failed(Cause::Refused);
        }
    }

    /// The ports of so many picks, one after the other.
    fn ports(&self, picks: usize) -> Vec<u16> {
        (0..picks).map(|_| self.pick().address().port()).collect()
    }

    /// The ports of so many picks, sorted, each once.
    fn ports_used(&self, picks: usize) -> Vec<u16> {
        let mut ports = self.ports(picks);
        ports.sort_unstable();
        ports.dedup();
        ports
    }

    fn pass(&self, span: Duration) {
        self.clock_control.advance(span);
    }

    /// Whether the page of metrics has this line.
    fn shows(&self, line: &str) -> bool {
        self.metrics.text().lines().any(|shown| shown == line)
    }

    fn is_up(&self, port: u16) -> bool {
        let up =
            |value| self.shows(&format!("valet_upstream_up{{app=\"portal\",upstream=\"127.0.0.1:{port}\"}} {value}"));
        assert!(up(0) != up(1), "it has one line");
        up(1)
    }

    fn ejections(&self, port: u16) -> u64 {
        self.metrics.upstream_ejections.with_label_values(&["portal", &format!("127.0.0.1:{port}")]).get()
    }

    /// What it says of itself, which is what its gauge says.
    fn is_degraded(&self) -> bool {
        let shown = self.metrics.in_trouble() == ["app:portal"];
        assert_eq!(self.pool.is_degraded(), shown);
        shown
    }
}

fn loopback(port: u16) -> Address {
    Address::Ip(SocketAddr::from(([127, 0, 0, 1], port)))
}

impl Address {
    /// Of an upstream that is no socket.
    fn ip(&self) -> SocketAddr {
        match self {
            Self::Ip(address) => *address,
            Self::Unix(path) => panic!("{path} is a socket"),
        }
    }

    fn port(&self) -> u16 {
        self.ip().port()
    }
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

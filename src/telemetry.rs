//! What operators see of a running gateway: counters, histograms, JSON log lines.

mod open_metrics;
mod outcome;
mod recent;
mod trace;
mod tracer;

use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::MetricFamily;
use prometheus::{
    Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::open_metrics::{OPEN_METRICS, PROMETHEUS_TEXT, prefers_open_metrics};
pub use self::outcome::Outcome;
pub use self::recent::{Recent, RecentRequest};
pub use self::trace::{Place, TRACEPARENT, TRACESTATE, TraceContext, trace_id};
pub use self::tracer::{BATCH, Kind, Queue, Span, Tracer, Value};
use crate::secret::SecretSource;

/// Upper bounds, in seconds, for answers: from a held lease, which takes microseconds, to a vendor at its time-out.
const ANSWER_SECONDS: [f64; 13] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// `[log]`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LogSettings {
    /// The least level that is written.
    pub level: LogLevel,
    /// Whether each request gets its access line.
    pub access: bool,
    /// The key of the subjects' hash; without it the hash of a subject differs from process to process.
    pub subject_key: Option<SecretSource>,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { level: LogLevel::Info, access: true, subject_key: None }
    }
}

/// `log.level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)] // The names are the documentation.
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// Every metric of the process (contract, "Administration address"), and where its spans go. One for each running gateway: tests run several in a
/// process.
///
/// Hot paths resolve their labels once, at start-up, and keep the `IntCounter`.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    /// Takes spans, if anybody does.
    pub tracer: Tracer,
    /// The last refusals and mints.
    pub recent: Recent,
    /// `valet_requests_total{route,outcome}`
    pub requests: IntCounterVec,
    /// `valet_request_duration_seconds{route,outcome}`
    pub request_duration: HistogramVec,
    /// `valet_upstream_response_seconds{app}`
    pub upstream_response: HistogramVec,
    /// `valet_session_checks_total{issuer,outcome}`
    pub session_checks: IntCounterVec,
    /// `valet_assertions_signed_total{app}`
    pub assertions_signed: IntCounterVec,
    /// `valet_session_cache_entries`
    pub session_cache_entries: IntGauge,
    /// `valet_revocations_total{source,outcome}`
    pub revocations: IntCounterVec,
    /// `valet_provider_calls_total{provider,call,outcome}`
    pub provider_calls: IntCounterVec,
    /// `valet_leases_total{plugin,source}`
    pub leases: IntCounterVec,
    /// `valet_leases_held`
    pub leases_held: IntGauge,
    /// `valet_store_operations_total{operation,outcome}`
    pub store_operations: IntCounterVec,
    /// `valet_store_failures_total{cause}`
    pub store_failures: IntCounterVec,
    /// `valet_leases_evicted_total`
    pub leases_evicted: IntCounter,
    /// `valet_mints_total{provider,outcome}`
    pub mints: IntCounterVec,
    /// `valet_mint_failures_total{provider,cause}`
    pub mint_failures: IntCounterVec,
    /// `valet_mint_duration_seconds`
    pub mint_duration: Histogram,
    /// `valet_redirect_remaining_seconds`
    pub redirect_remaining: Histogram,
    /// `valet_jwks_fetches_total{issuer,outcome}`
    pub jwks_fetches: IntCounterVec,
    /// `valet_jwks_failures_total{issuer,cause}`
    pub jwks_failures: IntCounterVec,
    /// `valet_limited_total{limit}`
    pub limited: IntCounterVec,
    /// `valet_expiry_unreadable_total{provider}`
    pub expiry_unreadable: IntCounterVec,
    /// `valet_vendor_clock_off_total{provider}`
    pub vendor_clock_off: IntCounterVec,
    /// `valet_vendor_quota_remaining{provider}`
    pub vendor_quota_remaining: IntGaugeVec,
    /// `valet_minter_up{provider,minter}`
    pub minter_up: IntGaugeVec,
    /// `valet_minter_requests_total{edge,outcome}`
    pub minter_requests: IntCounterVec,
    /// `valet_degraded{what}`
    pub degraded: IntGaugeVec,
    /// `valet_upstream_up{app,upstream}`
    pub upstream_up: IntGaugeVec,
    /// `valet_upstream_ejections_total{app,upstream}`
    pub upstream_ejections: IntCounterVec,
    /// `valet_upstream_failures_total{app,cause}`
    pub upstream_failures: IntCounterVec,
    /// `valet_upstream_lookups_total{app,outcome}`
    pub upstream_lookups: IntCounterVec,
    /// `valet_connections`
    pub connections: IntGauge,
    /// `valet_connections_cut_total{cause}`
    pub connections_cut: IntCounterVec,
    /// `valet_tls_handshakes_total{outcome}`
    pub tls_handshakes: IntCounterVec,
    /// `valet_tls_certificate_expiry_timestamp_seconds{chain}`
    pub tls_certificate_ends: IntGaugeVec,
    /// `valet_log_lines_lost_total{stream}`
    pub log_lines_lost: IntCounterVec,
    /// `valet_spans_total{outcome}`
    pub spans: IntCounterVec,
    /// `valet_metric_pushes_total{outcome}`
    pub metric_pushes: IntCounterVec,
    /// `valet_policy_decisions_total{action,resource,decision}`
    pub policy_decisions: IntCounterVec,
    /// `valet_ready`
    pub ready: Gauge,
    /// `valet_reloads_total{outcome}`
    pub reloads: IntCounterVec,
    /// `valet_config_loaded_timestamp_seconds`
    pub config_loaded: IntGauge,
    /// `valet_config_info{digest}`
    pub config_info: IntGaugeVec,
}

impl Metrics {
    /// All of them, at zero. `revision` is the commit the binary was built from.
    ///
    /// # Errors
    /// Two metrics have one name.
    #[allow(clippy::too_many_lines, reason = "a table: one entry for each metric")]
    pub fn new(version: &str, revision: &str) -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let vec = |name: &str, help: &str, labels: &[&str]| -> Result<IntCounterVec, prometheus::Error> {
            let metric = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let gauge = |name: &str, help: &str| -> Result<IntGauge, prometheus::Error> {
            let metric = IntGauge::new(name, help)?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let gauges = |name: &str, help: &str, labels: &[&str]| -> Result<IntGaugeVec, prometheus::Error> {
            let metric = IntGaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let histogram = |name: &str, help: &str, buckets: &[f64]| -> Result<Histogram, prometheus::Error> {
            let metric = Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec()))?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let histograms = |name: &str, help: &str, labels: &[&str]| -> Result<HistogramVec, prometheus::Error> {
            let opts = HistogramOpts::new(name, help).buckets(ANSWER_SECONDS.to_vec());
            let metric = HistogramVec::new(opts, labels)?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        registry.register(Box::new(ProcessCollector::for_self()))?;
        gauges("valet_build_info", "Version and revision of this binary.", &["version", "revision"])?
            .with_label_values(&[version, revision])
            .set(1);
        let evicted =
            IntCounter::new("valet_leases_evicted_total", "Leases dropped at the bound, soonest to end first.")?;
        registry.register(Box::new(evicted.clone()))?;
        let ready = Gauge::new("valet_ready", "1 when /readyz answers 200.")?;
        registry.register(Box::new(ready.clone()))?;
        let metrics = Self {
            requests: vec("valet_requests_total", "Requests by route and outcome.", &["route", "outcome"])?,
            request_duration: histograms(
                "valet_request_duration_seconds",
                "Time from the head of a request to its answer.",
                &["route", "outcome"],
            )?,
            upstream_response: histograms(
                "valet_upstream_response_seconds",
                "Time from asking an app's upstream to the head of its answer.",
                &["app"],
            )?,
            session_checks: vec("valet_session_checks_total", "Credentials checked.", &["issuer", "outcome"])?,
            assertions_signed: vec("valet_assertions_signed_total", "Assertions signed for apps.", &["app"])?,
            session_cache_entries: gauge("valet_session_cache_entries", "Verified tokens kept.")?,
            revocations: vec(
                "valet_revocations_total",
                "Calls that end sessions, by outcome.",
                &["source", "outcome"],
            )?,
            provider_calls: vec(
                "valet_provider_calls_total",
                "Calls about a person, by outcome after all tries.",
                &["provider", "call", "outcome"],
            )?,
            leases: vec("valet_leases_total", "Leases handed out, by where they came from.", &["plugin", "source"])?,
            leases_held: gauge("valet_leases_held", "Leases held in memory.")?,
            store_operations: vec(
                "valet_store_operations_total",
                "Calls to the store of leases, by outcome.",
                &["operation", "outcome"],
            )?,
            store_failures: vec(
                "valet_store_failures_total",
                "Tries to reach the store that failed, by cause.",
                &["cause"],
            )?,
            leases_evicted: evicted,
            mints: vec("valet_mints_total", "Mints asked of a provider, by outcome.", &["provider", "outcome"])?,
            mint_failures: vec("valet_mint_failures_total", "Mints that failed, by cause.", &["provider", "cause"])?,
            mint_duration: histogram(
                "valet_mint_duration_seconds",
                "Time of one mint, registration and retries included.",
                &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0],
            )?,
            redirect_remaining: histogram(
                "valet_redirect_remaining_seconds",
                "Life left in each URL sent.",
                &[0.0, 60.0, 300.0, 600.0, 1800.0, 3600.0, 10800.0, 21600.0],
            )?,
            jwks_fetches: vec("valet_jwks_fetches_total", "Key sets fetched.", &["issuer", "outcome"])?,
            jwks_failures: vec(
                "valet_jwks_failures_total",
                "Key sets that were not had, by cause.",
                &["issuer", "cause"],
            )?,
            limited: vec("valet_limited_total", "Requests and mints refused by a limit.", &["limit"])?,
            expiry_unreadable: vec(
                "valet_expiry_unreadable_total",
                "Minted URLs whose end was not found where the recipe says.",
                &["provider"],
            )?,
            vendor_quota_remaining: gauges(
                "valet_vendor_quota_remaining",
                "Calls that a vendor says are left.",
                &["provider"],
            )?,
            vendor_clock_off: vec(
                "valet_vendor_clock_off_total",
                "Mints answered by a vendor whose clock differs from ours by more than 30 s.",
                &["provider"],
            )?,
            spans: vec("valet_spans_total", "Spans recorded, by what became of them.", &["outcome"])?,
            metric_pushes: vec("valet_metric_pushes_total", "Times the metrics were sent.", &["outcome"])?,
            policy_decisions: vec(
                "valet_policy_decisions_total",
                "What policies said.",
                &["action", "resource", "decision"],
            )?,
            minter_up: gauges("valet_minter_up", "1 while a minter says that it is there.", &["provider", "minter"])?,
            minter_requests: vec(
                "valet_minter_requests_total",
                "What edges asked of this minter, by outcome.",
                &["edge", "outcome"],
            )?,
            degraded: gauges("valet_degraded", "1 for each part that is in trouble.", &["what"])?,
            upstream_up: gauges("valet_upstream_up", "1 while nothing is against an upstream.", &["app", "upstream"])?,
            upstream_ejections: vec(
                "valet_upstream_ejections_total",
                "Times an upstream was left alone for its failures.",
                &["app", "upstream"],
            )?,
            upstream_failures: vec(
                "valet_upstream_failures_total",
                "Tries to have an answer of an app's upstream that failed, by cause.",
                &["app", "cause"],
            )?,
            upstream_lookups: vec(
                "valet_upstream_lookups_total",
                "Names of upstreams asked for.",
                &["app", "outcome"],
            )?,
            connections: gauge("valet_connections", "Client connections open.")?,
            connections_cut: vec(
                "valet_connections_cut_total",
                "HTTP/2 connections that were ended beyond a bound.",
                &["cause"],
            )?,
            tls_handshakes: vec("valet_tls_handshakes_total", "TLS handshakes, by outcome.", &["outcome"])?,
            tls_certificate_ends: gauges(
                "valet_tls_certificate_expiry_timestamp_seconds",
                "When each certificate of a listener ends, in Unix time.",
                &["chain"],
            )?,
            log_lines_lost: vec("valet_log_lines_lost_total", "Log lines that no reader took in time.", &["stream"])?,
            ready,
            tracer: Tracer::default(),
            reloads: vec("valet_reloads_total", "Configurations read again, by outcome.", &["outcome"])?,
            config_loaded: gauge(
                "valet_config_loaded_timestamp_seconds",
                "When the configuration in force was put in force, in Unix time.",
            )?,
            config_info: gauges("valet_config_info", "SHA-256 of the configuration file in force.", &["digest"])?,
            recent: Recent::default(),
            registry: registry.clone(),
        };
        for outcome in [Outcome::Applied, Outcome::Unchanged, Outcome::Refused] {
            drop(metrics.reloads.with_label_values(&[outcome.label()]));
        }
        Ok(metrics)
    }

    /// What is in trouble now: the labels of `valet_degraded` that stand at 1, sorted.
    pub fn in_trouble(&self) -> Vec<String> {
        let mut what: Vec<String> = self
            .degraded
            .collect()
            .iter()
            .flat_map(|family| family.get_metric())
            .filter(|metric| metric.get_gauge().get_value() > 0.0)
            .flat_map(|metric| metric.get_label().iter().map(|label| label.value().to_owned()))
            .collect();
        what.sort_unstable();
        what
    }

    /// All families as they stand.
    pub fn gather(&self) -> Vec<MetricFamily> {
        self.registry.gather()
    }

    /// OpenMetrics, version 1.0.0.
    pub fn open_metrics(&self) -> String {
        open_metrics::encode(&self.registry.gather())
    }

    /// The Prometheus text format, version 0.0.4.
    pub fn text(&self) -> String {
        prometheus::TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_default()
    }
}

//! OpenTelemetry: spans and metrics to a collector, by OTLP over HTTP with protobuf (<https://opentelemetry.io/docs/specs/otlp/>).
//!
//! Requests put spans into a bounded queue and wait for nobody. A task of its own sends them, and each minute the metrics; what a collector does not
//! take is dropped, and counted.

mod metrics;
pub mod settings;
mod traces;

use std::sync::Arc;
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request};
use http_body_util::Full;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tracing::{info, warn};
use url::Url;

use self::settings::{TelemetrySettings, endpoint};
use crate::clock::{Clock, Timestamp};
use crate::http_client::{Cause, Client};
use crate::telemetry::{Metrics, Outcome, Queue, Tracer};

/// Spans wait this long for others, unless a batch comes together before.
const PAUSE: Duration = Duration::from_secs(1);

/// Metrics are sent this often.
const MINUTE: Duration = Duration::from_secs(60);

/// A collector that does not answer within this takes nothing.
const DEADLINE: Duration = Duration::from_secs(10);

/// A collector that does not answer within this takes nothing when we stop.
const LAST_DEADLINE: Duration = Duration::from_secs(1);

/// How long a stop waits for a collector at most, all together.
pub const LAST_WORDS: Duration = Duration::from_secs(2);

/// How often one batch is sent at most: a collector that is restarted misses nothing, and one that is gone costs a bounded queue.
const TRIES: u32 = 3;

/// An answer says how many were rejected.
const MAX_ANSWER: usize = 64 * 1024;

/// The words of `valet_spans_total{outcome}`.
const OUTCOMES: [Outcome; 4] = [Outcome::Sent, Outcome::Dropped, Outcome::Rejected, Outcome::Lost];

/// The tracer that these settings ask for; `None`: there is no `[telemetry]`.
pub fn tracer(settings: Option<&TelemetrySettings>, metrics: &Metrics) -> Tracer {
    let Some(settings) = settings else { return Tracer::default() };
    let dropped = settings.otlp.as_ref().map(|_| {
        let [_, dropped, ..] = OUTCOMES.map(|outcome| metrics.spans.with_label_values(&[outcome.label()]));
        dropped
    });
    Tracer::new(settings.sample, dropped)
}

/// Sends spans and metrics.
pub struct Exporter {
    client: Client,
    traces: Url,
    measurements: Url,
    queue: Arc<Queue>,
    metrics: Metrics,
    clock: Clock,
    started: Timestamp,
    resource: Resource,
}

/// Why a collector took nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Untaken {
    /// It may take it later.
    Later(&'static str),
    /// It never will.
    Never(&'static str),
}

impl Exporter {
    /// `None`: there is no collector, or nobody records.
    pub fn new(settings: Option<&TelemetrySettings>, client: Client, metrics: &Metrics, clock: &Clock) -> Option<Self> {
        let otlp = settings?.otlp.as_deref()?;
        let resource = Resource {
            attributes: vec![
                attribute("service.name", text("valet")),
                attribute("service.version", text(env!("CARGO_PKG_VERSION"))),
                attribute("service.instance.id", text(&uuid::Uuid::new_v4().to_string())),
            ],
            ..Resource::default()
        };
        Some(Self {
            client,
            traces: endpoint(otlp, "traces")?,
            measurements: endpoint(otlp, "metrics")?,
            queue: metrics.tracer.queue()?,
            metrics: metrics.clone(),
            started: clock.now(),
            clock: clock.clone(),
            resource,
        })
    }

    /// Sends until `stop` turns true or its sender is gone; then what waits, once, within a second.
    ///
    /// Dropped: what waits is lost.
    pub async fn run(self, stop: watch::Receiver<bool>) {
        tokio::join!(self.send_spans(stop.clone()), self.send_metrics(stop));
    }

    async fn send_spans(&self, mut stop: watch::Receiver<bool>) {
        let mut was_well = true;
        loop {
            let stopping = tokio::select! {
                () = tokio::time::sleep(PAUSE) => false,
                () = self.queue.full() => false,
                _ = stop.wait_for(|stop| *stop) => true,
            };
            loop {
                let spans = self.queue.take();
                if spans.is_empty() {
                    break;
                }
                let taken = self.send_patiently(traces::message(&self.resource, &spans).encode_to_vec(), &stop).await;
                let all = spans.len() as u64;
                let count =
                    |outcome: Outcome, of: u64| self.metrics.spans.with_label_values(&[outcome.label()]).inc_by(of);
                let why = match taken {
                    Ok(rejected) => {
                        let rejected = rejected.min(all);
                        count(Outcome::Sent, all - rejected);
                        count(Outcome::Rejected, rejected);
                        None
                    }
                    Err(untaken) => {
                        count(
                            if matches!(untaken, Untaken::Never(_)) { Outcome::Rejected } else { Outcome::Lost },
                            all,
                        );
                        Some(untaken.word())
                    }
                };
                tell(&mut was_well, why);
                if stopping && why.is_some() {
                    return;
                }
            }
            if stopping {
                return;
            }
        }
    }

    /// How many of the spans the collector rejected.
    async fn send_patiently(&self, body: Vec<u8>, stop: &watch::Receiver<bool>) -> Result<u64, Untaken> {
        let mut tried = 0;
        loop {
            let stopping = *stop.borrow();
            let deadline = if stopping { LAST_DEADLINE } else { DEADLINE };
            tried += 1;
            match self.post(&self.traces, body.clone(), deadline).await {
                Ok(answer) => {
                    let answer = ExportTraceServiceResponse::decode(&*answer).unwrap_or_default();
                    let rejected = answer.partial_success.map_or(0, |partial| partial.rejected_spans);
                    return Ok(u64::try_from(rejected).unwrap_or(0));
                }
                Err(Untaken::Later(_)) if tried < TRIES && !stopping => {
                    let mut stop = stop.clone();
                    let _ = tokio::time::timeout(PAUSE * tried, stop.wait_for(|stop| *stop)).await;
                }
                Err(untaken) => return Err(untaken),
            }
        }
    }

    async fn send_metrics(&self, mut stop: watch::Receiver<bool>) {
        let mut minute = interval_at(Instant::now() + MINUTE, MINUTE);
        minute.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let stopping = tokio::select! {
                _ = minute.tick() => false,
                _ = stop.wait_for(|stop| *stop) => true,
            };
            let span = metrics::Span { start: nanos(self.started), now: nanos(self.clock.now()) };
            let body = metrics::message(&self.resource, &self.metrics.gather(), span).encode_to_vec();
            let deadline = if stopping { LAST_DEADLINE } else { DEADLINE };
            let outcome = self.post(&self.measurements, body, deadline).await.map_or(Outcome::Error, |_| Outcome::Ok);
            self.metrics.metric_pushes.with_label_values(&[outcome.label()]).inc();
            if stopping {
                return;
            }
        }
    }

    async fn post(&self, url: &Url, body: Vec<u8>, deadline: Duration) -> Result<Vec<u8>, Untaken> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(url.as_str())
            .header(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"))
            .body(Full::new(body.into()))
            .map_err(|_| Untaken::Never(Cause::NoRoute.label()))?;
        match self.client.send(request, MAX_ANSWER, deadline).await {
            Ok(answer) => match answer.status {
                200..=299 => Ok(answer.body.to_vec()),
                429 | 502..=504 => Err(Untaken::Later("busy")),
                _ => Err(Untaken::Never("status_other")),
            },
            Err(fault) => Err(Untaken::Later(fault.cause().label())),
        }
    }
}

impl Untaken {
    fn word(self) -> &'static str {
        match self {
            Self::Later(word) | Self::Never(word) => word,
        }
    }
}

/// One line when a collector begins to take nothing, and one when it takes spans again.
fn tell(was_well: &mut bool, cause: Option<&'static str>) {
    match (cause, *was_well) {
        (Some(cause), true) => {
            warn!(target: "valet::telemetry", cause, "the collector takes no spans; they are dropped")
        }
        (None, false) => info!(target: "valet::telemetry", "the collector takes spans again"),
        _ => {}
    }
    *was_well = cause.is_none();
}

fn scope() -> InstrumentationScope {
    InstrumentationScope { name: "valet".into(), version: env!("CARGO_PKG_VERSION").into(), ..Default::default() }
}

fn attribute(key: &str, value: Any) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn text(text: &str) -> Any {
    Any::StringValue(text.to_owned())
}

fn number(number: i64) -> Any {
    Any::IntValue(number)
}

/// Since the epoch.
fn nanos(time: Timestamp) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(0).saturating_mul(1_000_000)
}

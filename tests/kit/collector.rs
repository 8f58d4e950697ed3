//! An OpenTelemetry collector that writes down what it gets.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;

use super::until;

/// The collector. Dropped: it stops.
pub struct Collector {
    pub address: String,
    seen: Arc<Seen>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    hangs: AtomicBool,
    raw: Mutex<Vec<u8>>,
    spans: Mutex<Vec<Span>>,
    metrics: Mutex<Vec<Metric>>,
    calls: Mutex<usize>,
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Collector {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let seen = Arc::new(Seen::default());
        let router = Router::new()
            .route("/v1/traces", post(traces))
            .route("/v1/metrics", post(metrics))
            .with_state(Arc::clone(&seen));
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Self { address, seen, task }
    }

    /// The table that leads to it.
    pub fn table(&self, sample: f64) -> String {
        format!("[telemetry]\notlp = \"http://{}\"\nsample = {sample:?}", self.address)
    }

    /// From now on it takes connections and answers nothing.
    pub fn hang(&self) {
        self.seen.hangs.store(true, Ordering::Relaxed);
    }

    pub fn calls(&self) -> usize {
        *self.seen.calls.lock().expect("no test panicked with it")
    }

    pub fn spans(&self) -> Vec<Span> {
        self.seen.spans.lock().expect("no test panicked with it").clone()
    }

    pub fn metrics(&self) -> Vec<Metric> {
        self.seen.metrics.lock().expect("no test panicked with it").clone()
    }

    /// Every byte that came.
    pub fn raw(&self) -> Vec<u8> {
        self.seen.raw.lock().expect("no test panicked with it").clone()
    }

    /// Those of this name, when there are so many.
    pub async fn until_spans(&self, name: &str, count: usize) -> Vec<Span> {
        let named = || self.spans().into_iter().filter(|span| span.name == name).collect::<Vec<_>>();
        until("spans", || named().len() >= count).await;
        named()
    }
}

/// An attribute as text.
pub fn attribute(span: &Span, key: &str) -> Option<String> {
    let value = span.attributes.iter().find(|attribute| attribute.key == key)?.value.clone()?.value?;
    match value {
        Value::StringValue(text) => Some(text),
        Value::IntValue(number) => Some(number.to_string()),
        other => panic!("{key}: {other:?}"),
    }
}

async fn take(seen: &Seen, headers: &HeaderMap, body: &Bytes) -> bool {
    assert_eq!(headers["content-type"], "application/x-protobuf");
    *seen.calls.lock().expect("no test panicked with it") += 1;
    if seen.hangs.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
    seen.raw.lock().expect("no test panicked with it").extend_from_slice(body);
    true
}

async fn traces(State(seen): State<Arc<Seen>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    take(&seen, &headers, &body).await;
    let message = ExportTraceServiceRequest::decode(body).expect("spans");
    let scopes = message.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
    seen.spans.lock().expect("no test panicked with it").extend(scopes.flat_map(|scope| scope.spans));
    StatusCode::OK
}

async fn metrics(State(seen): State<Arc<Seen>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    take(&seen, &headers, &body).await;
    let message = ExportMetricsServiceRequest::decode(body).expect("metrics");
    let scopes = message.resource_metrics.into_iter().flat_map(|resource| resource.scope_metrics);
    seen.metrics.lock().expect("no test panicked with it").extend(scopes.flat_map(|scope| scope.metrics));
    StatusCode::OK
}

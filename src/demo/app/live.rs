//! What the page shows beside the app: the gateway's requests and counters, the vendor's calls.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use hyper::body::Frame;
use prometheus::IntCounterVec;
use prometheus::core::Collector;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::mpsc;

use super::AppSim;
use crate::demo::fault::reason;
use crate::demo::serve::stopped;
use crate::demo::vendor_control::{Look, Trouble};

/// How soon a change is seen: at once, to an eye.
const LOOK: Duration = Duration::from_millis(100);

/// A feed says something at least so often: what stands between need not take it for dead, and a reader that is gone is noticed.
pub const SIGN_OF_LIFE: Duration = Duration::from_secs(10);

/// `GET /demo/feed`: what there is to see, and again whenever it has changed, as server-sent events (HTML, section 9.2). Dropped: it ends.
pub(super) async fn feed(State(sim): State<AppSim>) -> Response {
    if *sim.0.stopping.borrow() {
        return reason(StatusCode::SERVICE_UNAVAILABLE, "the demo ends");
    }
    // One: an event that a slow reader has not taken is not followed by a second.
    let (events, body) = mpsc::channel(1);
    tokio::spawn(tell(sim, events));
    let mut response = Body::new(Events(body)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Ends with the reader, or when feeds are to end.
async fn tell(sim: AppSim, events: mpsc::Sender<Bytes>) {
    let telling = async {
        let mut seen = String::new();
        loop {
            let event = match tokio::time::timeout(SIGN_OF_LIFE, sim.another(&seen)).await {
                Ok(text) => {
                    seen = text;
                    // JSON is on one line.
                    format!("data: {seen}\n\n")
                }
                // A comment.
                Err(_) => ":\n\n".to_owned(),
            };
            if events.send(event.into()).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = telling => {}
        () = events.closed() => {}
        () = stopped(sim.0.stopping.subscribe()) => {}
    }
}

/// The body that is made of what is sent.
struct Events(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|event| event.map(|event| Ok(Frame::data(event))))
    }
}

#[derive(Serialize)]
struct View {
    trouble: Trouble,
    /// How far the clock is ahead, in seconds.
    ahead_s: u64,
    /// The name of the key that the identity provider signs with now.
    key: String,
    counters: Counters,
    /// The gateway's access lines, newest first.
    requests: Vec<Value>,
    /// Calls of the vendor's API, newest first.
    calls: Vec<Value>,
}

/// The gateway's own metrics, and the vendor's count.
#[derive(Serialize)]
struct Counters {
    opened: u64,
    hit: u64,
    minted: u64,
    joined: u64,
    ahead: u64,
    verified: u64,
    cached: u64,
    held: i64,
    refused: u64,
    key_sets: u64,
    asked: u64,
}

impl AppSim {
    /// What there is to see, once it is another than this. Dropped: nothing.
    async fn another(&self, seen: &str) -> String {
        loop {
            let text = self.view().await;
            if text != seen {
                return text;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn view(&self) -> String {
        let parts = &self.0.parts;
        // Read before the counters: a line that is seen has been counted.
        let requests = parts.feed.last();
        let Look { asked, calls } = parts.controls.look().await;
        let view = View {
            trouble: parts.controls.trouble(),
            ahead_s: parts.controls.ahead().as_secs(),
            key: parts.idp.kid(),
            counters: self.counters(asked),
            requests,
            calls,
        };
        // Strings and numbers: nothing in it can fail to be written.
        serde_json::to_string(&view).unwrap_or_default()
    }

    fn counters(&self, asked: u64) -> Counters {
        let controls = &self.0.parts.controls;
        let metrics = &controls.metrics;
        let lease = |source: &str| total(&metrics.leases, "source", source);
        let session = |outcome: &str| total(&metrics.session_checks, "outcome", outcome);
        let request = |outcome: &str| total(&metrics.requests, "outcome", outcome);
        let (hit, minted, joined) = (lease("hit"), lease("minted"), lease("joined"));
        let opened = request("redirect") + request("json");
        // A client that has left was not refused either.
        let others: u64 = ["forwarded", "login", "preflight", "cancelled"].into_iter().map(request).sum();
        Counters {
            opened,
            hit,
            minted,
            joined,
            ahead: lease("ahead"),
            verified: session("valid"),
            cached: session("cached"),
            held: metrics.leases_held.get(),
            refused: total(&metrics.requests, "", "") - opened - others,
            key_sets: total(&metrics.jwks_fetches, "outcome", "ok"),
            asked,
        }
    }
}

/// The sum over all series that have this label, or over all for an empty name.
fn total(counter: &IntCounterVec, name: &str, value: &str) -> u64 {
    let families = counter.collect();
    let series = families.iter().flat_map(|family| family.get_metric());
    let wanted = series.filter(|series| {
        name.is_empty() || series.get_label().iter().any(|label| label.name() == name && label.value() == value)
    });
    // Counts of events, held as floating point by the library.
    wanted.map(|series| series.get_counter().get_value() as u64).sum()
}

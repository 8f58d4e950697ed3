//! What the page shows beside the app: the gateway's requests and counters, the vendor's calls.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use prometheus::IntCounterVec;
use prometheus::core::Collector;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{AppSim, Trouble};
use crate::demo::provider::{Call, CallKind};
use crate::demo::serve::stopped;

/// Calls that are shown: more than a person reads.
const CALLS: usize = 40;

/// How soon a change is seen: at once, to an eye.
const LOOK: Duration = Duration::from_millis(100);

/// A reader is answered after this long though nothing has changed, so that a connection that is gone is noticed.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Deserialize)]
pub(super) struct Seen {
    seen: Option<String>,
}

/// `GET /feed?seen=VERSION`: what there is to see, as soon as it is another than the version seen. Dropped: nothing.
pub(super) async fn feed(State(sim): State<AppSim>, Query(query): Query<Seen>) -> Response {
    let seen = query.seen.unwrap_or_default();
    let changed = async {
        loop {
            let (version, text) = sim.view();
            if version != seen {
                return (version, text);
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    let (version, text) = tokio::select! {
        view = changed => view,
        () = tokio::time::sleep(PATIENCE) => return StatusCode::NO_CONTENT.into_response(),
        () = stopped(sim.0.stopping.subscribe()) => return StatusCode::NO_CONTENT.into_response(),
    };
    let mut response = text.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(version) = HeaderValue::from_str(&version) {
        headers.insert("x-version", version);
    }
    response
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
    calls: Vec<Numbered>,
}

#[derive(Serialize)]
struct Numbered {
    n: u64,
    #[serde(flatten)]
    call: Call,
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
    fn view(&self) -> (String, String) {
        let parts = &self.0.parts;
        let calls = parts.stage.provider.last_calls(CALLS, |call| call.kind != CallKind::Page);
        let view = View {
            trouble: parts.stage.trouble(),
            ahead_s: parts.stage.ahead().as_secs(),
            key: parts.idp.kid(),
            counters: self.counters(),
            requests: parts.feed.last(),
            calls: calls.into_iter().map(|(n, call)| Numbered { n, call }).collect(),
        };
        // Strings and numbers: nothing in it can fail to be written.
        let text = serde_json::to_string(&view).unwrap_or_default();
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        (format!("{:016x}", hasher.finish()), text)
    }

    fn counters(&self) -> Counters {
        let stage = &self.0.parts.stage;
        let metrics = &stage.metrics;
        let lease = |source: &str| total(&metrics.leases, "source", source);
        let session = |outcome: &str| total(&metrics.session_checks, "outcome", outcome);
        let request = |outcome: &str| total(&metrics.requests, "outcome", outcome);
        let (hit, minted, joined) = (lease("hit"), lease("minted"), lease("joined"));
        let answered = request("redirect") + request("json");
        Counters {
            opened: answered,
            hit,
            minted,
            joined,
            ahead: lease("ahead"),
            verified: session("valid"),
            cached: session("cached"),
            held: metrics.leases_held.get(),
            refused: total(&metrics.requests, "", "") - answered,
            key_sets: total(&metrics.jwks_fetches, "outcome", "ok"),
            asked: stage.provider.mint_count(),
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

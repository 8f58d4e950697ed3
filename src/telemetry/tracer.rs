//! Spans: what is recorded of a request, of a mint and of a call, for an OpenTelemetry collector.
//!
//! A span holds numbers, fixed words and names of the configuration, by its types: no URL, token, key or subject can stand in one.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::IntCounter;
use tokio::sync::Notify;

use crate::clock::Timestamp;
use crate::telemetry::trace::Place;

/// Spans that wait for a collector: some seconds of a busy node, 2 MiB at most. Those beyond it are dropped, and counted.
const MAX_WAITING: usize = 4096;

/// So many are sent together, without waiting for the next second.
pub const BATCH: usize = 512;

/// Which side of a call a span is (OpenTelemetry, "SpanKind").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A request that we answer.
    Server,
    /// A call of ours.
    Client,
    /// Work of ours.
    Internal,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A word of the code.
    Word(&'static str),
    /// A name of the configuration, or an id that we made.
    Name(Arc<str>),
    /// A number.
    Number(i64),
}

/// One thing that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Where it stands.
    pub place: Place,
    /// Another span that it waited for.
    pub link: Option<crate::telemetry::trace::TraceContext>,
    /// Which side.
    pub kind: Kind,
    /// What was done.
    pub name: Arc<str>,
    /// When it began.
    pub start: Timestamp,
    /// How long it took.
    pub took: Duration,
    /// By the names of the semantic conventions.
    pub attributes: Vec<(&'static str, Value)>,
    /// What it failed by.
    pub error: Option<&'static str>,
}

/// Takes spans. Cheap to clone; clones share the queue.
#[derive(Clone, Debug, Default)]
pub struct Tracer {
    /// The share of requests without a sampled parent that is recorded.
    sample: f64,
    queue: Option<Arc<Queue>>,
}

/// Spans on their way to a collector.
#[derive(Debug)]
pub struct Queue {
    waiting: Mutex<VecDeque<Span>>,
    full: Notify,
    dropped: IntCounter,
}

impl Tracer {
    /// Samples so many requests. `dropped` counts spans beyond the bound; `None`: nobody takes spans, and only flags are passed on.
    pub fn new(sample: f64, dropped: Option<IntCounter>) -> Self {
        let queue = |dropped| Arc::new(Queue { waiting: Mutex::default(), full: Notify::new(), dropped });
        Self { sample, queue: dropped.map(queue) }
    }

    /// Whether somebody takes spans.
    pub fn is_on(&self) -> bool {
        self.queue.is_some()
    }

    /// Whether a request without a sampled parent is recorded from its head on.
    pub fn samples(&self) -> bool {
        self.sample > 0.0 && fastrand::f64() < self.sample
    }

    /// Takes a span, without waiting for anybody; `make` is asked only where somebody takes it.
    pub fn record(&self, make: impl FnOnce() -> Span) {
        let Some(queue) = &self.queue else { return };
        let span = make();
        let mut waiting = queue.waiting.lock();
        if waiting.len() >= MAX_WAITING {
            queue.dropped.inc();
            return;
        }
        waiting.push_back(span);
        if waiting.len() == BATCH {
            queue.full.notify_one();
        }
    }

    /// What was recorded.
    pub fn queue(&self) -> Option<Arc<Queue>> {
        self.queue.clone()
    }
}

impl Queue {
    /// The oldest ones, at most [`BATCH`].
    pub fn take(&self) -> Vec<Span> {
        let mut waiting = self.waiting.lock();
        let count = waiting.len().min(BATCH);
        waiting.drain(..count).collect()
    }

    /// Returns when a batch has come together.
    pub async fn full(&self) {
        self.full.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(number: u64) -> Span {
        Span {
            place: Place::begin([1; 16], true),
            link: None,
            kind: Kind::Server,
            name: "GET".into(),
            start: Timestamp::from_millis(0),
            took: Duration::from_secs(number),
            attributes: Vec::new(),
            error: None,
        }
    }

    #[test]
    fn spans_beyond_the_bound_are_dropped_and_counted_and_the_oldest_are_taken_first() {
        let dropped = IntCounter::new("dropped", "dropped").unwrap();
        let tracer = Tracer::new(0.0, Some(dropped.clone()));
        for number in 0..MAX_WAITING as u64 + 3 {
            tracer.record(|| span(number));
        }
        assert_eq!(dropped.get(), 3);
        let queue = tracer.queue().unwrap();
        let first = queue.take();
        assert_eq!((first.len(), first[0].took), (BATCH, Duration::ZERO));
        let rest = std::iter::repeat_with(|| queue.take().len()).take_while(|count| *count > 0).sum::<usize>();
        assert_eq!(rest, MAX_WAITING - BATCH);
    }

    #[test]
    fn the_share_of_sampled_requests_is_the_configured_one() {
        let sampled = |sample: f64| (0..10_000).filter(|_| Tracer::new(sample, None).samples()).count();
        assert_eq!((sampled(0.0), sampled(1.0)), (0, 10_000));
        assert!((2_000..3_000).contains(&sampled(0.25)));
        assert!(!Tracer::default().is_on());
        Tracer::default().record(|| unreachable!("nobody takes it"));
    }
}

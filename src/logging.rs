//! JSON lines: a writer that never blocks a request, and the layer that turns `tracing` events into lines.

use std::io::Write;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use prometheus::IntCounter;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_log::NormalizeEvent;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use crate::clock::Clock;

/// Lines that wait for a reader that is slow; beyond it they are lost, and counted.
const MAX_WAITING: usize = 4 * 1024 * 1024;

/// Lines of this long are written together: one system call for many requests.
const BATCH: Duration = Duration::from_millis(5);

/// How long the end of the process waits for a reader.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Where lines go. Cheap to clone.
#[derive(Clone)]
pub struct LineSink(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    lost: IntCounter,
    done: Mutex<mpsc::Receiver<()>>,
}

#[derive(Default)]
struct State {
    waiting: Vec<u8>,
    asleep: bool,
    closed: bool,
}

impl LineSink {
    /// Lines to `out`, by a thread of its own. `lost` counts those that no reader took.
    ///
    /// # Errors
    /// The thread that writes can't be started.
    pub fn new(mut out: impl Write + Send + 'static, lost: IntCounter) -> std::io::Result<Self> {
        let (finished, done) = mpsc::channel();
        let shared = Arc::new(Shared { state: Mutex::default(), wake: Condvar::new(), lost, done: Mutex::new(done) });
        let there = shared.clone();
        std::thread::Builder::new().name("log".into()).spawn(move || {
            there.write_out(&mut out);
            let _ = finished.send(());
        })?;
        Ok(Self(shared))
    }

    /// Adds the line that `write` makes, with its line end.
    pub fn push_with(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.0.state.lock();
        if state.waiting.len() > MAX_WAITING {
            self.0.lost.inc();
            return;
        }
        write(&mut state.waiting);
        if state.asleep {
            state.asleep = false;
            self.0.wake.notify_one();
        }
    }

    /// Writes what waits; returns when it is written or the reader does not take it.
    pub fn close(&self) {
        {
            let mut state = self.0.state.lock();
            state.closed = true;
            state.asleep = false;
        }
        self.0.wake.notify_one();
        let _ = self.0.done.lock().recv_timeout(LAST_WORDS);
    }
}

impl Shared {
    fn write_out(&self, out: &mut impl Write) {
        let mut batch = Vec::new();
        loop {
            let closed = {
                let mut state = self.state.lock();
                while state.waiting.is_empty() && !state.closed {
                    state.asleep = true;
                    self.wake.wait(&mut state);
                }
                std::mem::swap(&mut batch, &mut state.waiting);
                state.closed
            };
            if out.write_all(&batch).and_then(|()| out.flush()).is_err() {
                let lines = batch.iter().filter(|byte| **byte == b'\n').count();
                self.lost.inc_by(lines as u64);
            }
            batch.clear();
            if closed {
                return;
            }
            std::thread::sleep(BATCH);
        }
    }
}

/// Makes lines of events. Of the libraries (whatever is not ours) only target and level are kept, and only warnings and errors:
/// their texts may hold raw heads.
struct JsonLines {
    sink: LineSink,
    level: Level,
    clock: Clock,
}

impl JsonLines {
    /// Whether a line is made of what a callsite says. Nothing reads spans: the h2 crate opens several for each stream, and keeping them took a fifth of
    /// the time of a redirect over HTTP/2.
    fn wants(&self, metadata: &Metadata<'_>) -> bool {
        let most = if is_ours(metadata) { self.level } else { self.level.min(Level::WARN) };
        metadata.is_event() && *metadata.level() <= most
    }
}

fn is_ours(metadata: &Metadata<'_>) -> bool {
    metadata.target().starts_with("valet")
}

impl<S: Subscriber> Layer<S> for JsonLines {
    /// Asked once for each callsite: one without interest then costs a load and a compare.
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.wants(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.wants(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::from_level(self.level))
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let normalized = event.normalized_metadata();
        let metadata = normalized.as_ref().unwrap_or_else(|| event.metadata());
        let ours = is_ours(metadata);
        if !self.wants(metadata) {
            return;
        }
        let mut line = serde_json::Map::new();
        line.insert("time".into(), self.clock.now().rfc3339().into());
        line.insert("level".into(), metadata.level().as_str().to_ascii_lowercase().into());
        line.insert("target".into(), metadata.target().into());
        if ours {
            event.record(&mut Fields(&mut line));
        }
        self.sink.push_with(|out| {
            // Writing a map of strings into a Vec can't fail.
            let _ = serde_json::to_writer(&mut *out, &line);
            out.push(b'\n');
        });
    }
}

struct Fields<'a>(&'a mut serde_json::Map<String, serde_json::Value>);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.insert(field.name().into(), format!("{value:?}").into());
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().into(), value.into());
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().into(), value.into());
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().into(), value.into());
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().into(), value.into());
    }
}

/// From now on events of this process are lines in `sink`. Once in a process; a second call changes nothing.
pub fn install(sink: LineSink, level: Level, clock: Clock) {
    let layer = JsonLines { sink, level, clock };
    if tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer)).is_ok() {
        let _ = tracing_log::LogTracer::init_with_filter(log::LevelFilter::Warn);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// The lines that `say` leaves at a level.
    fn lines(level: Level, say: impl FnOnce()) -> Vec<String> {
        let page = Page::default();
        let lost = IntCounter::new("lost", "lost").unwrap();
        let sink = LineSink::new(page.clone(), lost).unwrap();
        let (clock, _) = Clock::manual(crate::clock::Timestamp::from_secs(0));
        let layer = JsonLines { sink: sink.clone(), level, clock };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), say);
        sink.close();
        let bytes = page.0.lock().clone();
        String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn spans_of_libraries_are_never_enabled() {
        lines(Level::TRACE, || {
            assert!(tracing::error_span!(target: "h2", "poll").is_disabled());
            assert!(tracing::trace_span!(target: "h2::codec", "FramedRead::next").is_disabled());
            assert!(tracing::info_span!(target: "pingora", "request").is_disabled());
        });
    }

    #[test]
    fn events_below_the_level_are_not_enabled_and_those_of_libraries_from_warnings_up() {
        let lines = lines(Level::INFO, || {
            assert!(!tracing::enabled!(target: "valet", Level::DEBUG));
            assert!(!tracing::enabled!(target: "h2", Level::INFO));
            tracing::info!(target: "valet", what = "ours", "said");
            tracing::debug!(target: "valet", "not said");
            tracing::info!(target: "h2", "not said");
            tracing::warn!(target: "h2", secret = "text of a library", "not told");
        });
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].contains("\"what\":\"ours\""), "{lines:?}");
        assert!(lines[1].contains("\"h2\"") && !lines[1].contains("library"), "{lines:?}");
    }
}

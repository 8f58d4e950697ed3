//! How a gateway stops: who is connected, when answers say `Connection: close`, when what is under way is cut.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use prometheus::IntGauge;
use tokio::sync::watch;

/// For this long after the stop idle connections are kept, and each request on them is answered with `Connection: close`: a client that
/// sends in the same moment loses nothing.
const LAME_DUCK: Duration = Duration::from_secs(1);

/// Nobody is connected only if nobody was for this long: a client whose answer closed its connection comes back at once with the next request.
const SETTLE: Duration = Duration::from_millis(50);

/// A client of HTTP/2 with nothing under way has this long to say that it heard of its connection's end ([RFC 9113, section
/// 6.8](https://www.rfc-editor.org/rfc/rfc9113#section-6.8)): one that sleeps holds up no stop.
pub(super) const GOODBYE: Duration = Duration::from_secs(3);

/// The state of stopping, shared by all connections.
pub struct Drain {
    lame: AtomicBool,
    /// Connections so far.
    entered: AtomicU64,
    abort: watch::Sender<bool>,
    open: watch::Sender<usize>,
    gauge: IntGauge,
}

impl Drain {
    /// Nothing stops yet. `gauge`: the connections open.
    pub fn new(gauge: IntGauge) -> Arc<Self> {
        Arc::new(Self {
            lame: AtomicBool::new(false),
            entered: AtomicU64::new(0),
            abort: watch::Sender::new(false),
            open: watch::Sender::new(0),
            gauge,
        })
    }

    /// Whether answers say `Connection: close`.
    pub fn is_lame(&self) -> bool {
        self.lame.load(Ordering::Relaxed)
    }

    /// From now on every answer closes its connection. Returns after a second, or when nobody is connected any more.
    pub async fn lame_duck(&self) {
        self.lame.store(true, Ordering::Relaxed);
        let _ = tokio::time::timeout(LAME_DUCK, self.empty()).await;
    }

    /// Waits until nobody is connected, at most this long; then what still waits for a mint is answered with `503 draining`, and what goes to or
    /// from an app is cut.
    pub async fn finish(&self, at_most: Duration) {
        if tokio::time::timeout(at_most, self.empty()).await.is_err() {
            self.abort.send_replace(true);
            let _ = tokio::time::timeout(LAME_DUCK, self.empty()).await;
        }
    }

    /// Becomes true at the end of the drain.
    pub(super) fn abort(&self) -> watch::Receiver<bool> {
        self.abort.subscribe()
    }

    /// Counts a connection for as long as the guard lives.
    pub fn enter(self: &Arc<Self>) -> Present {
        self.entered.fetch_add(1, Ordering::Relaxed);
        self.open.send_modify(|open| *open += 1);
        self.gauge.inc();
        Present(self.clone())
    }

    async fn empty(&self) {
        loop {
            // The sender is ours: it can't be gone.
            let _ = self.open.subscribe().wait_for(|open| *open == 0).await;
            let entered = self.entered.load(Ordering::Relaxed);
            tokio::time::sleep(SETTLE).await;
            if *self.open.borrow() == 0 && self.entered.load(Ordering::Relaxed) == entered {
                return;
            }
        }
    }

    /// How many are connected.
    pub(super) fn connected(&self) -> usize {
        *self.open.borrow()
    }
}

/// One connection.
pub struct Present(Arc<Drain>);

impl Drop for Present {
    fn drop(&mut self) {
        self.0.open.send_modify(|open| *open -= 1);
        self.0.gauge.dec();
    }
}

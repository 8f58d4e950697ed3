//! How the connections of a listener begin: as they come, or with TLS.

use pingora_core::listeners::tls::Acceptor;
use pingora_core::protocols::Stream;
use pingora_core::protocols::l4::stream::Stream as Transport;
use prometheus::IntCounter;

use crate::telemetry::Metrics;

/// The way in through one listener.
///
/// TLS is made here and not by Pingora: the bounds on connections and our own deadline hold for a handshake too, one that fails is a count
/// and no error in the log, and a connection that the kernel took while the listener closes is served like any other.
pub struct Door {
    tls: Option<Acceptor>,
    made: IntCounter,
    failed: IntCounter,
}

impl Door {
    /// With `tls`, connections that begin with anything else are closed.
    pub fn new(tls: Option<Acceptor>, metrics: &Metrics) -> Self {
        let count = |outcome| metrics.tls_handshakes.with_label_values(&[outcome]);
        Self { tls, made: count("ok"), failed: count("failed") }
    }

    /// The connection, ready for its first head; `None`: it is none that we serve, and is closed.
    ///
    /// Dropped: it is closed.
    pub(super) async fn open(&self, stream: Stream) -> Option<Stream> {
        let Some(tls) = &self.tls else { return Some(stream) };
        let mut outcome = Outcome(&self.failed);
        // Always one: nothing else is accepted.
        let transport = stream.into_any().downcast::<Transport>().ok()?;
        let stream = tls.tls_handshake(*transport).await.ok()?;
        outcome.0 = &self.made;
        Some(Box::new(stream))
    }
}

/// Counts a handshake at its end, be it that somebody waits for it no longer.
struct Outcome<'c>(&'c IntCounter);

impl Drop for Outcome<'_> {
    fn drop(&mut self) {
        self.0.inc();
    }
}

//! Sends spans and metrics as long as the process serves, whatever configuration is in force.

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::http_client::Client;
use crate::otlp::settings::TelemetrySettings;
use crate::otlp::{Exporter, LAST_WORDS};
use crate::server::{Live, ServerHandle};
use crate::telemetry::Metrics;

/// The task that sends them, if there is a collector.
#[derive(Default)]
pub(super) struct Exporting(Mutex<Option<(watch::Sender<bool>, JoinHandle<()>)>>);

impl Exporting {
    /// Begins.
    pub fn start(&self, settings: Option<&TelemetrySettings>, client: &Client, metrics: &Metrics, clock: &Clock) {
        let Some(exporter) = Exporter::new(settings, client.clone(), metrics, clock) else { return };
        let (stop, stopped) = watch::channel(false);
        *self.0.lock() = Some((stop, tokio::spawn(exporter.run(stopped))));
    }

    /// Sends what waits, and ends.
    pub async fn end(&self) {
        let Some((stop, task)) = self.0.lock().take() else { return };
        stop.send_replace(true);
        let _ = tokio::time::timeout(LAST_WORDS, task).await;
    }
}

impl Live {
    /// Ends what looks after the parts, and leaves the administration address.
    pub(super) fn leave(&self) {
        let mut state = self.state.lock();
        state.tasks.stop();
        if let Some(admin) = state.admin.take() {
            admin.leave();
        }
    }

    /// Begins to send spans and metrics, by the settings that the process began with.
    pub(super) fn export(&self) {
        let generation = self.generation();
        let (settings, client) = (generation.config.telemetry.as_ref(), &generation.components.client);
        self.exporting.start(settings, client, &self.around.metrics, &self.around.clock);
    }
}

impl ServerHandle {
    /// Returns when an administrator has asked for a drain (`POST /api/drain`). Dropped: nothing is lost.
    pub async fn drain_asked(&self) {
        self.live.drain_asked.notified().await;
    }
}

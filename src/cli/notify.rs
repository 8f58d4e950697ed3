//! What systemd is told: that it is ready, that it reads its configuration again, that it stops, and that its data plane is alive.

use std::time::Duration;

use sd_notify::NotifyState;
use tracing::warn;

use crate::server::ServerHandle;

/// It serves.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// It reads its configuration again; [`ready`] ends that, whatever came of it.
pub(super) fn reloading() {
    // Both in one message, as `Type=notify-reload` wants it.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// Another process of the service is the main one from now on: this one drains, and what it says is not heard any more.
pub(super) fn main_process(process: u32) {
    tell(&[NotifyState::MainPid(process)]);
}

/// It drains.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Without systemd nobody listens, and nothing is sent.
fn tell(state: &[NotifyState<'_>]) {
    if let Err(fault) = sd_notify::notify(state) {
        warn!(target: "valet", %fault, "systemd can't be told");
    }
}

/// Feeds the watchdog of the unit, if it has one, each time the data plane shows that it is alive; never where it does not.
///
/// Dropped: nobody feeds it.
pub(super) async fn feed_watchdog(server: &ServerHandle) {
    let Some(span) = sd_notify::watchdog_enabled().filter(|span| !span.is_zero()) else {
        return std::future::pending().await;
    };
    // Half of it, as sd_watchdog_enabled(3) advises; the other half is the sign's to come in.
    let mut tick = tokio::time::interval(span / 2);
    loop {
        tick.tick().await;
        if server.is_alive(patience(span)).await {
            tell(&[NotifyState::Watchdog]);
        } else {
            warn!(target: "valet", "a listener gives no sign of life: the watchdog is not fed");
        }
    }
}

/// A sign must come before the next is asked for.
fn patience(span: Duration) -> Duration {
    span / 2
}

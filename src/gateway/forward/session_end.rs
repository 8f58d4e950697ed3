//! What ends with the session that began it: WebSockets and answers that are still under way.

use std::future::pending;
use std::time::Duration;

use tokio::time::sleep;

use crate::clock::Clock;
use crate::gateway::forward::proxied_request::ProxiedRequest;
use crate::gateway::in_force::InForce;

/// The wall clock may be set, and a machine may sleep: so often it is looked at.
const LOOK: Duration = Duration::from_secs(10);

/// Revocations come in crowds: each open connection looks once for all of so long.
const SETTLED: Duration = Duration::from_secs(1);

/// A request under way when its session is revoked may still be answered in this time.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Ends when the session behind this has been revoked, a WebSocket's within a second or two, any other within three or four.
pub(in crate::gateway) async fn revoked(proxied: &ProxiedRequest, gateway: &InForce) {
    let Some(session) = proxied.forward.session() else { return pending().await };
    let sessions = gateway.load_full().sessions.clone();
    // Before the first look: what comes meanwhile is heard.
    let mut changes = sessions.revocation_changes();
    while !sessions.is_revoked(session) {
        if changes.changed().await.is_err() {
            return pending().await;
        }
        sleep(SETTLED).await;
    }
    if !proxied.websocket {
        sleep(LAST_WORDS).await;
    }
}

/// Ends when the session of a WebSocket that is open is over; never where the app does not ask for it.
pub(in crate::gateway) async fn of(proxied: &ProxiedRequest, clock: &Clock) {
    let Some(end) = proxied.must_end() else { return pending().await };
    loop {
        let left = end.since(clock.now());
        if left.is_zero() {
            return;
        }
        sleep(left.min(LOOK)).await;
    }
}

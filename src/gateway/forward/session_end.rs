//! WebSockets that end with the session that opened them.

use std::future::pending;
use std::time::Duration;

use tokio::time::sleep;

use crate::clock::Clock;
use crate::gateway::forward::proxied_request::ProxiedRequest;

/// The wall clock may be set, and a machine may sleep: so often it is looked at.
const LOOK: Duration = Duration::from_secs(10);

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

//! WebSockets that end with the session that opened them.

use std::future::pending;
use std::time::Duration;

use tokio::time::sleep;

use crate::clock::Clock;
use crate::gateway::journey::Journey;

/// The wall clock may be set, and a machine may sleep: so often it is looked at.
const LOOK: Duration = Duration::from_secs(10);

/// A handshake is under way; its end is near.
const HANDSHAKE: Duration = Duration::from_millis(100);

/// Ends when a WebSocket is open and its session is over; never for other requests, nor where the app does not ask for it.
pub(super) async fn of(journey: &Journey, clock: &Clock) {
    let Some(end) = journey.must_end() else { return pending().await };
    loop {
        let left = end.since(clock.now());
        match (left.is_zero(), journey.tunnel.get()) {
            (true, Some(_)) => return,
            (true, None) => sleep(HANDSHAKE).await,
            (false, _) => sleep(left.min(LOOK)).await,
        }
    }
}

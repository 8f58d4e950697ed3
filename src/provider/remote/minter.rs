//! One minter as an edge sees it: whether it is there, and what it says of itself.

use std::time::Duration;

use prometheus::IntGauge;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::http_client::{Cause, Client, ClientFault};
use crate::provider::wire::{self, Denial, Health, MintError};

/// How often each minter is asked whether it is there: two of these and its time-out are within the default time of one mint.
pub(super) const LOOK: Duration = Duration::from_secs(1);

/// A minter that does not say within this that it is there is not.
const LOOK_TIMEOUT: Duration = Duration::from_secs(1);

/// What one minter says to the edge that greets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HealthStatus {
    /// It is there; the edge may mint these.
    Welcome(Vec<String>),
    /// It is there, and does not know the edge, has no keys yet, or is about to stop.
    Refused(Denial),
    /// It is not there, or one side does not believe the other's certificate; `None`: what answers is no minter.
    Absent(Option<Cause>),
    /// It does not answer in time.
    Hangs,
}

/// How a minter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Up,
    /// Asked last; what is under way there ends there.
    Away,
    /// Asked last, and what is under way there is given up if there is another.
    Hangs,
}

pub(super) struct Minter {
    pub origin: Box<str>,
    state: watch::Sender<State>,
    gauge: IntGauge,
}

impl Minter {
    pub fn new(origin: &str, gauge: IntGauge) -> Self {
        gauge.set(1);
        Self { origin: origin.into(), state: watch::Sender::new(State::Up), gauge }
    }

    pub fn is_up(&self) -> bool {
        *self.state.borrow() == State::Up
    }

    pub fn set(&self, state: State, provider: &str) {
        let mut before = state;
        self.state.send_if_modified(|known| {
            before = std::mem::replace(known, state);
            before != state
        });
        self.gauge.set(i64::from(state == State::Up));
        match (before == State::Up, state == State::Up) {
            (false, true) => info!(target: "valet::provider", provider, minter = &*self.origin, "minter is back"),
            (true, false) => warn!(target: "valet::provider", provider, minter = &*self.origin, "minter is gone"),
            (true, true) | (false, false) => {}
        }
    }

    /// Waits until it hangs.
    pub async fn hangs(&self) {
        let mut state = self.state.subscribe();
        // The sender lives as long as `self`.
        let _ = state.wait_for(|state| *state == State::Hangs).await;
    }

    /// Looks after it for ever. `client`: one with a connection of its own, so that mints don't stand in the way.
    pub async fn watch_health(&self, client: &Client, provider: &str, tell: impl Fn(&Self, Denial)) {
        let mut tick = tokio::time::interval(LOOK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let state = match self.greet(client, LOOK_TIMEOUT).await {
                HealthStatus::Welcome(_) => State::Up,
                HealthStatus::Refused(denial) => {
                    tell(self, denial);
                    State::Away
                }
                HealthStatus::Absent(_) => State::Away,
                HealthStatus::Hangs => State::Hangs,
            };
            self.set(state, provider);
        }
    }

    pub async fn greet(&self, client: &Client, deadline: Duration) -> HealthStatus {
        let Ok(url) = url::Url::parse(&format!("{}{}", self.origin, wire::HEALTH)) else {
            return HealthStatus::Absent(None);
        };
        match client.get(&url, "application/json", wire::MAX_ANSWER_BYTES, deadline).await {
            Ok(answer) if answer.status == 200 => serde_json::from_slice(&answer.body)
                .map_or(HealthStatus::Absent(None), |Health { plugins }| HealthStatus::Welcome(plugins)),
            Ok(answer) => serde_json::from_slice(&answer.body)
                .map_or(HealthStatus::Absent(None), |MintError { refusal, .. }| HealthStatus::Refused(refusal)),
            Err(ClientFault::TimedOut) => HealthStatus::Hangs,
            Err(fault) => HealthStatus::Absent(Some(fault.cause())),
        }
    }
}

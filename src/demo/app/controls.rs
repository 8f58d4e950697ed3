//! The controls on the demo's page: what each does to the vendor, the clock and the identity provider.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use parking_lot::Mutex;
use serde::Deserialize;

use super::AppSim;
use super::remote_control::RemoteControl;
use crate::clock::ClockControl;
use crate::demo::fault::reason;
use crate::demo::vendor_control::{Look, Trouble, VendorControl, millis};
use crate::telemetry::Metrics;

/// The life of a URL: so far the clock goes when one is to expire.
const LIFE: Duration = Duration::from_secs(6 * 3600);

/// Where the vendor is.
pub enum Vendor {
    /// In this process.
    Here(Arc<VendorControl>),
    /// In another, with a clock of its own.
    There(Box<RemoteControl>),
}

/// The buttons, and what they act on.
pub struct Controls {
    vendor: Vendor,
    /// The gateway's counters.
    pub metrics: Metrics,
    /// Moves the clock of this process.
    clock_control: Arc<ClockControl>,
    state: Mutex<Now>,
    /// Held while something is changed: of two buttons at once the second waits.
    turn: tokio::sync::Mutex<()>,
}

struct Now {
    trouble: Trouble,
    ahead: Duration,
    seen: Look,
}

impl Controls {
    /// All is well.
    pub fn new(vendor: Vendor, clock_control: Arc<ClockControl>, metrics: Metrics) -> Self {
        let state = Mutex::new(Now { trouble: Trouble::None, ahead: Duration::ZERO, seen: Look::default() });
        Self { vendor, metrics, clock_control, state, turn: tokio::sync::Mutex::default() }
    }

    /// What is wrong now.
    pub fn trouble(&self) -> Trouble {
        self.state.lock().trouble
    }

    /// How far the clock is ahead.
    pub fn ahead(&self) -> Duration {
        self.state.lock().ahead
    }

    /// What the vendor was asked so far; if it can't be reached, what was known last. Dropped: nothing.
    pub async fn look(&self) -> Look {
        match &self.vendor {
            Vendor::Here(vendor_control) => vendor_control.look(),
            Vendor::There(far) => {
                if let Some(look) = far.look().await {
                    self.state.lock().seen = look;
                }
                self.state.lock().seen.clone()
            }
        }
    }

    /// Ends what is wrong and begins this. A fault is for a person. Dropped: what is wrong is unknown until the next call.
    ///
    /// # Errors
    /// In words for its user: why it can't be set so.
    pub async fn set(&self, trouble: Trouble) -> Result<(), String> {
        let _turn = self.turn.lock().await;
        match &self.vendor {
            Vendor::Here(vendor_control) => vendor_control.set(trouble).await.map_err(|fault| fault.to_string())?,
            Vendor::There(far) => far.set(trouble).await?,
        }
        self.state.lock().trouble = trouble;
        Ok(())
    }

    /// Every URL that is held now ends. Dropped: the vendor's clock may be ahead of ours until the next call.
    async fn expire(&self) -> Result<(), String> {
        let _turn = self.turn.lock().await;
        let ahead = self.ahead() + LIFE;
        self.tell_the_other(ahead).await?;
        self.clock_control.advance(LIFE);
        self.state.lock().ahead = ahead;
        Ok(())
    }

    /// The wall clock is the machine's again; a monotonic one never goes back. Dropped: the vendor's clock may be right before ours is.
    async fn set_right(&self) -> Result<(), String> {
        let _turn = self.turn.lock().await;
        self.tell_the_other(Duration::ZERO).await?;
        self.clock_control.step_wall(-millis(self.ahead()));
        self.state.lock().ahead = Duration::ZERO;
        Ok(())
    }

    /// Before this process's own clock: what it asks the other then is asked at one time.
    async fn tell_the_other(&self, ahead: Duration) -> Result<(), String> {
        match &self.vendor {
            Vendor::Here(_) => Ok(()),
            Vendor::There(far) => far.clock(ahead).await,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    trouble: Trouble,
}

/// `POST /demo/trouble` `{"trouble": …}`.
pub(super) async fn trouble(State(sim): State<AppSim>, Json(wanted): Json<Wanted>) -> Response {
    done(sim.0.parts.controls.set(wanted.trouble).await)
}

/// `POST /demo/clock`: six hours go by.
pub(super) async fn clock(State(sim): State<AppSim>) -> Response {
    done(sim.0.parts.controls.expire().await)
}

/// `POST /demo/clock/right`: the time is the machine's again.
pub(super) async fn clock_right(State(sim): State<AppSim>) -> Response {
    done(sim.0.parts.controls.set_right().await)
}

/// `POST /demo/keys`: the identity provider signs with a new key; tokens of the old one stay good.
pub(super) async fn keys(State(sim): State<AppSim>) -> Response {
    done(sim.0.parts.idp.rotate(true).map_err(|fault| fault.to_string()))
}

fn done(result: Result<(), String>) -> Response {
    match result {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(fault) => reason(StatusCode::INTERNAL_SERVER_ERROR, &fault),
    }
}

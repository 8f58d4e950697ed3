//! The buttons: what they do to the vendor, the clock and the identity provider.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use parking_lot::Mutex;
use serde::Deserialize;

use super::AppSim;
use super::far::Far;
use crate::clock::Hands;
use crate::demo::backstage::{Backstage, Look, Trouble};
use crate::demo::fault::reason;
use crate::telemetry::Metrics;

/// The life of a URL: so far the clock goes when one is to expire.
const LIFE: Duration = Duration::from_secs(6 * 3600);

/// Where the vendor is.
pub enum Vendor {
    /// In this process.
    Here(Arc<Backstage>),
    /// In another, with a clock of its own.
    There(Box<Far>),
}

/// The buttons, and what they act on.
pub struct Stage {
    vendor: Vendor,
    /// The gateway's counters.
    pub metrics: Metrics,
    /// Moves the clock of this process.
    hands: Arc<Hands>,
    state: Mutex<Now>,
    /// Held while something is changed: of two buttons at once the second waits.
    turn: tokio::sync::Mutex<()>,
}

struct Now {
    trouble: Trouble,
    ahead: Duration,
    seen: Look,
}

impl Stage {
    /// All is well.
    pub fn new(vendor: Vendor, hands: Arc<Hands>, metrics: Metrics) -> Self {
        let state = Mutex::new(Now { trouble: Trouble::None, ahead: Duration::ZERO, seen: Look::default() });
        Self { vendor, metrics, hands, state, turn: tokio::sync::Mutex::default() }
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
            Vendor::Here(backstage) => backstage.look(),
            Vendor::There(far) => {
                if let Some(look) = far.look().await {
                    self.state.lock().seen = look;
                }
                self.state.lock().seen.clone()
            }
        }
    }

    /// Ends what is wrong and begins this. A fault is for a person. Dropped: what is wrong is unknown until the next call.
    pub async fn set(&self, trouble: Trouble) -> Result<(), String> {
        let _turn = self.turn.lock().await;
        match &self.vendor {
            Vendor::Here(backstage) => backstage.set(trouble).await.map_err(|fault| fault.to_string())?,
            Vendor::There(far) => far.set(trouble).await?,
        }
        self.state.lock().trouble = trouble;
        Ok(())
    }

    /// Every URL that is held now ends. Dropped: the vendor's clock may be ahead of ours until the next call.
    async fn expire(&self) -> Result<(), String> {
        let _turn = self.turn.lock().await;
        let ahead = self.ahead() + LIFE;
        // The other first: what this process asks it then is asked at one time.
        if let Vendor::There(far) = &self.vendor {
            far.clock(ahead).await?;
        }
        self.hands.advance(LIFE);
        self.state.lock().ahead = ahead;
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    trouble: Trouble,
}

/// `POST /demo/trouble` `{"trouble": …}`.
pub(super) async fn trouble(State(sim): State<AppSim>, Json(wanted): Json<Wanted>) -> Response {
    done(sim.0.parts.stage.set(wanted.trouble).await)
}

/// `POST /demo/clock`: six hours go by.
pub(super) async fn clock(State(sim): State<AppSim>) -> Response {
    done(sim.0.parts.stage.expire().await)
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

//! The buttons: what they do to the vendor, the clock and the identity provider.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::AppSim;
use crate::clock::Hands;
use crate::demo::fault::{Fail, reason};
use crate::demo::provider::{self, Faults, ProviderSim, UrlFault};
use crate::demo::serve::{Running, SimFault};
use crate::telemetry::Metrics;

/// As long as a vendor on the internet takes: one sees the difference to a link that is held.
const USUAL: Duration = Duration::from_millis(120);

/// Longer than the demo's gateway waits.
const TOO_SLOW: Duration = Duration::from_secs(20);

/// What the vendor asks for in its 429, in seconds: long enough to be read, short enough to be waited for.
const BUSY_SECS: u32 = 5;

/// The life of a URL: so far the clock goes when one is to expire.
const LIFE: Duration = Duration::from_secs(6 * 3600);

/// What is wrong with the vendor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trouble {
    /// Nothing.
    None,
    /// It answers later than the gateway waits.
    Slow,
    /// Nothing listens there.
    Unreachable,
    /// It answers 429.
    Busy,
    /// It hands out URLs of another host.
    Foreign,
}

/// The buttons, and what they act on.
pub struct Stage {
    /// The vendor.
    pub provider: ProviderSim,
    /// Moves everybody's clock.
    pub hands: Arc<Hands>,
    /// The gateway's counters.
    pub metrics: Metrics,
    address: SocketAddr,
    now: parking_lot::Mutex<Trouble>,
    ahead_s: AtomicU64,
    /// The vendor's API while it can be reached. Held while it is changed: of two buttons at once the second waits.
    api: Mutex<Option<Running<ProviderSim>>>,
}

impl Stage {
    /// All is well. `api`: the vendor's API as it serves now.
    pub fn new(api: Running<ProviderSim>, hands: Arc<Hands>, metrics: Metrics) -> Self {
        let (provider, address) = (api.sim.clone(), api.address());
        provider.set_faults(Faults::slow(USUAL));
        let (now, ahead_s) = (parking_lot::Mutex::new(Trouble::None), AtomicU64::new(0));
        Self { provider, hands, metrics, address, now, ahead_s, api: Mutex::new(Some(api)) }
    }

    /// What is wrong now.
    pub fn trouble(&self) -> Trouble {
        *self.now.lock()
    }

    /// How far the clock is ahead.
    pub fn ahead(&self) -> Duration {
        Duration::from_secs(self.ahead_s.load(Ordering::Relaxed))
    }

    /// Ends what is wrong and begins this. Dropped: what is wrong is unknown until the next call.
    pub async fn set(&self, trouble: Trouble) -> Result<(), SimFault> {
        let mut api = self.api.lock().await;
        self.provider.set_faults(match trouble {
            Trouble::None | Trouble::Unreachable => Faults::slow(USUAL),
            Trouble::Slow => Faults::slow(TOO_SLOW),
            Trouble::Busy => Faults {
                retry_after: Some(BUSY_SECS),
                delay: Some(USUAL),
                ..Faults::failing(Fail::Status(StatusCode::TOO_MANY_REQUESTS))
            },
            Trouble::Foreign => Faults { delay: Some(USUAL), ..Faults::url(UrlFault::WrongHost) },
        });
        if trouble == Trouble::Unreachable {
            if let Some(api) = api.take() {
                api.stop().await;
            }
        } else if api.is_none() {
            *api = Some(provider::spawn(self.address, self.provider.clone()).await?);
        }
        *self.now.lock() = trouble;
        Ok(())
    }

    /// Stops the vendor's API for good.
    pub async fn close(&self) {
        if let Some(api) = self.api.lock().await.take() {
            api.stop().await;
        }
    }

    /// Every URL that is held now ends.
    fn expire(&self) {
        self.hands.advance(LIFE);
        self.ahead_s.fetch_add(LIFE.as_secs(), Ordering::Relaxed);
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    trouble: Trouble,
}

/// `POST /demo/trouble` `{"trouble": …}`.
pub(super) async fn trouble(State(sim): State<AppSim>, Json(wanted): Json<Wanted>) -> Response {
    match sim.0.parts.stage.set(wanted.trouble).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(fault) => reason(StatusCode::INTERNAL_SERVER_ERROR, &fault.to_string()),
    }
}

/// `POST /demo/clock`: six hours go by.
pub(super) async fn clock(State(sim): State<AppSim>) -> StatusCode {
    sim.0.parts.stage.expire();
    StatusCode::NO_CONTENT
}

/// `POST /demo/keys`: the identity provider signs with a new key; tokens of the old one stay good.
pub(super) async fn keys(State(sim): State<AppSim>) -> Response {
    match sim.0.parts.idp.rotate(true) {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(fault) => reason(StatusCode::INTERNAL_SERVER_ERROR, &fault.to_string()),
    }
}

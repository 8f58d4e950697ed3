//! Control of the simulated vendor: its API, and what goes wrong with it. Over HTTP too, for an app that runs in another process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use axum::{Json, Router, middleware};
use http::StatusCode;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::fault::{Fail, reason};
use super::guard::own_site_only;
use super::page::{ICON, no_icon};
use super::provider::{self, Call, CallKind, Faults, ProviderSim, UrlFault};
use super::serve::{self, ServerHandle, SimFault};
use crate::clock::ClockControl;

/// As long as a vendor on the internet takes: one sees the difference to a link that is held.
const USUAL: Duration = Duration::from_millis(120);

/// Longer than the demo's gateway waits.
const TOO_SLOW: Duration = Duration::from_secs(20);

/// What the vendor asks for in its 429, in seconds: long enough to be read, short enough to be waited for.
const BUSY_SECS: u32 = 5;

/// Calls that are shown: more than a person reads.
const CALLS: usize = 40;

/// `GET`: what there is to see, a [`Look`].
pub const LOOK: &str = "/_demo/look";

/// `PUT` a [`Trouble`].
pub const TROUBLE: &str = "/_demo/trouble";

/// `PUT` how far the clock is ahead, in seconds. Less than before: the wall clock goes back, as when somebody sets it; a monotonic one never does.
pub const CLOCK: &str = "/_demo/clock";

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

/// What the vendor was asked. Keys are masked in it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Look {
    /// How often for a URL.
    pub asked: u64,
    /// The last calls of its API, newest first, each a [`Call`] with its number `n`.
    pub calls: Vec<Value>,
}

/// The vendor's API, which can go away and come back.
pub struct VendorControl {
    provider: ProviderSim,
    address: SocketAddr,
    /// The API while it can be reached. Held while it is changed: of two buttons at once the second waits.
    api: tokio::sync::Mutex<Option<ServerHandle<ProviderSim>>>,
}

impl VendorControl {
    /// All is well. `api`: as it serves now.
    pub fn new(api: ServerHandle<ProviderSim>) -> Self {
        let (provider, address) = (api.sim.clone(), api.address());
        provider.set_faults(Faults::slow(USUAL));
        Self { provider, address, api: tokio::sync::Mutex::new(Some(api)) }
    }

    /// Ends what is wrong and begins this. Dropped: what is wrong is unknown until the next call.
    ///
    /// # Errors
    /// The address can't be listened on.
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
        Ok(())
    }

    /// What it was asked so far.
    pub fn look(&self) -> Look {
        #[derive(Serialize)]
        struct Numbered {
            n: u64,
            #[serde(flatten)]
            call: Call,
        }
        let calls = self.provider.last_calls(CALLS, |call| call.kind != CallKind::Page).into_iter();
        // Strings and numbers: none of them can fail to be written.
        let calls = calls.filter_map(|(n, call)| serde_json::to_value(Numbered { n, call }).ok());
        Look { asked: self.provider.mint_count(), calls: calls.collect() }
    }

    /// Stops the API for good.
    pub async fn close(&self) {
        if let Some(api) = self.api.lock().await.take() {
            api.stop().await;
        }
    }
}

/// What another process may turn here.
#[derive(Clone)]
pub struct Switches(Arc<Inner>);

struct Inner {
    vendor_control: Arc<VendorControl>,
    clock_control: Arc<ClockControl>,
    ahead_s: Mutex<u64>,
}

impl Switches {
    /// `clock_control` move the clock of all that runs here.
    pub fn new(vendor_control: Arc<VendorControl>, clock_control: Arc<ClockControl>) -> Self {
        Self(Arc::new(Inner { vendor_control, clock_control, ahead_s: Mutex::new(0) }))
    }
}

/// Serves the switches on a task of its own.
///
/// # Errors
/// The listener can't be used on this runtime.
pub fn spawn_on(listener: TcpListener, switches: Switches) -> Result<ServerHandle<Switches>, SimFault> {
    let address = serve::address_of(&listener)?;
    let (stop, stopped) = watch::channel(false);
    let routes = Router::new()
        .route(LOOK, get(look))
        .route(TROUBLE, put(set_trouble))
        .route(CLOCK, put(set_clock))
        .route_layer(middleware::from_fn(own_site_only))
        .route(ICON, get(no_icon))
        .with_state(switches.clone());
    let task = tokio::spawn(serve::serve(listener, routes, stopped));
    Ok(ServerHandle::new(switches, address, stop, task))
}

async fn look(State(Switches(inner)): State<Switches>) -> Json<Look> {
    Json(inner.vendor_control.look())
}

async fn set_trouble(State(Switches(inner)): State<Switches>, Json(trouble): Json<Trouble>) -> Response {
    match inner.vendor_control.set(trouble).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(fault) => reason(StatusCode::INTERNAL_SERVER_ERROR, &fault.to_string()),
    }
}

async fn set_clock(State(Switches(inner)): State<Switches>, Json(ahead_s): Json<u64>) -> StatusCode {
    let mut now = inner.ahead_s.lock();
    if ahead_s >= *now {
        inner.clock_control.advance(Duration::from_secs(ahead_s - *now));
    } else {
        inner.clock_control.step_wall(-millis(Duration::from_secs(*now - ahead_s)));
    }
    *now = ahead_s;
    StatusCode::NO_CONTENT
}

/// For a clock's hands.
pub(super) fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use http::Method;
    use serde_json::json;

    use super::*;
    use crate::clock::Clock;
    use crate::demo::provider::ProviderOptions;
    use crate::demo::testing::{get, send_json};

    async fn start() -> (ServerHandle<Switches>, SocketAddr, Clock) {
        let (clock, clock_control) = Clock::shifted();
        let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let api = provider::spawn(here, ProviderSim::new(ProviderOptions::default())).await.unwrap();
        let address = api.address();
        let switches = Switches::new(Arc::new(VendorControl::new(api)), clock_control);
        (spawn_on(serve::bind(here).await.unwrap(), switches).unwrap(), address, clock)
    }

    #[tokio::test]
    async fn another_process_moves_the_clock_forth_and_the_wall_clock_back() {
        let (switches, _, clock) = start().await;
        let url = format!("{}{CLOCK}", switches.url());
        let (before, tick) = (clock.now(), clock.tick());
        for (ahead, ticked) in [(6, 6), (6, 6), (0, 6), (12, 18)] {
            assert_eq!(send_json(Method::PUT, &url, &[], json!(ahead * 3600)).await.status, 204);
            let spans = [(clock.now().since(before), ahead), (clock.tick().since(tick), ticked)];
            for (span, hours) in spans {
                assert!((hours * 3600..hours * 3600 + 60).contains(&span.as_secs()), "{span:?}");
            }
        }
    }

    #[tokio::test]
    async fn another_process_sends_the_vendor_away_and_back() {
        let (switches, api, _) = start().await;
        let url = format!("{}{TROUBLE}", switches.url());
        for (trouble, is_there) in [("unreachable", false), ("none", true), ("unreachable", false), ("busy", true)] {
            assert_eq!(send_json(Method::PUT, &url, &[], json!(trouble)).await.status, 204);
            assert_eq!(tokio::net::TcpStream::connect(api).await.is_ok(), is_there, "{trouble}");
        }
        assert_eq!(get(&format!("http://{api}/v2/users?external_user_id=x"), &[]).await.status, 429);
        let look = get(&format!("{}{LOOK}", switches.url()), &[]).await.json();
        assert_eq!((&look["asked"], &look["calls"][0]["kind"]), (&json!(0), &json!("lookup")));
        let foreign = [("sec-fetch-site", "cross-site")];
        assert_eq!(send_json(Method::PUT, &url, &foreign, json!("none")).await.status, 403);
    }
}

//! The simulated vendor: registration, the v1 and v2 APIs, action tokens, the plug-in's pages, and switches for what goes wrong.

mod api;
mod calls;
mod control;
mod faults;
mod page;
mod state;
mod token;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::routing::get;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::watch;
use uuid::Uuid;

pub use self::calls::{Call, CallKind, KeyPlace, SentKey};
pub use self::faults::{ExistingUser, Faults, On, UrlAs, UrlFault};
use self::state::State;
use self::token::TokenKey;
use super::page::{ICON, no_icon};
use super::serve::{self, ServerHandle, SimFault};
use crate::clock::Clock;

/// The life of the vendor's URLs today.
const LIFE: Duration = Duration::from_secs(6 * 3600);

/// As long as it takes to see that something happens.
const SCAN_TIME: Duration = Duration::from_secs(3);

/// How a simulated vendor is set up. No `Debug`: it holds keys.
#[derive(Clone)]
pub struct ProviderOptions {
    /// The API keys accepted; empty: one is made, see [`ProviderSim::keys`].
    pub api_keys: Vec<String>,
    /// Life of a URL.
    pub life: Duration,
    /// What a second registration gets.
    pub existing_user: ExistingUser,
    /// How v2 writes the URL.
    pub url_as: UrlAs,
    /// Scheme, host and port of minted URLs, without a `/` at the end; `None`: the simulator's own address.
    pub plugin_base: Option<String>,
    /// How long a scan takes on the page.
    pub scan_time: Duration,
    /// What goes wrong from the start.
    pub faults: Faults,
    /// Where time comes from.
    pub clock: Clock,
}

impl Default for ProviderOptions {
    fn default() -> Self {
        Self {
            api_keys: Vec::new(),
            life: LIFE,
            existing_user: ExistingUser::default(),
            url_as: UrlAs::default(),
            plugin_base: None,
            scan_time: SCAN_TIME,
            faults: Faults::default(),
            clock: Clock::system(),
        }
    }
}

/// The handle on a simulated vendor. Cheap to clone; all clones are one vendor.
#[derive(Clone)]
pub struct ProviderSim(Arc<Shared>);

struct Shared {
    options: ProviderOptions,
    token_key: TokenKey,
    state: Mutex<State>,
    /// Bumped when faults are set: calls that hang look again.
    faults_set: watch::Sender<u64>,
    /// Bumped when a call arrives, for those who wait for one.
    arrived: watch::Sender<u64>,
    /// `true` while the server stops: calls that wait end.
    stopping: watch::Sender<bool>,
}

impl ProviderSim {
    /// A vendor without users.
    pub fn new(mut options: ProviderOptions) -> Self {
        if options.api_keys.is_empty() {
            options.api_keys.push(format!("sim_{}", Uuid::new_v4().simple()));
        }
        let state = State::new(options.api_keys.clone(), options.faults.clone());
        Self(Arc::new(Shared {
            options,
            token_key: TokenKey::generate(),
            state: Mutex::new(state),
            faults_set: watch::Sender::new(0),
            arrived: watch::Sender::new(0),
            stopping: watch::Sender::new(false),
        }))
    }

    /// Changes what goes wrong. Calls that hang are answered by the new faults.
    pub fn set_faults(&self, faults: Faults) {
        self.0.state.lock().faults = faults;
        self.0.faults_set.send_modify(|version| *version += 1);
    }

    /// What goes wrong now, counts as they are left.
    pub fn faults(&self) -> Faults {
        self.0.state.lock().faults.clone()
    }

    /// The API keys accepted.
    pub fn keys(&self) -> Vec<String> {
        self.0.state.lock().keys.clone()
    }

    /// Accepts these keys and no other.
    pub fn set_keys(&self, keys: Vec<String>) {
        self.0.state.lock().keys = keys;
    }

    /// The last 10,000 calls, oldest first; those to `/_sim` are not among them.
    pub fn calls(&self) -> Vec<Call> {
        self.0.state.lock().calls.iter().cloned().collect()
    }

    /// The last `count` calls of the wanted kind, newest first, each with its number among all calls.
    pub fn last_calls(&self, count: usize, wanted: impl Fn(&Call) -> bool) -> Vec<(u64, Call)> {
        let state = self.0.state.lock();
        let last = state.dropped + state.calls.len() as u64;
        let numbered = state.calls.iter().rev().zip((1..=last).rev());
        numbered.filter(|(call, _)| wanted(call)).take(count).map(|(call, n)| (n, call.clone())).collect()
    }

    /// The calls of one kind, oldest first.
    pub fn calls_of(&self, kind: CallKind) -> Vec<Call> {
        self.calls().into_iter().filter(|call| call.kind == kind).collect()
    }

    /// Calls that asked for a URL, however they were answered; one that hangs counts.
    pub fn mint_count(&self) -> u64 {
        self.0.state.lock().mint_calls
    }

    /// URLs handed out.
    pub fn minted(&self) -> u64 {
        self.0.state.lock().minted
    }

    /// Calls that asked to register a user, however they were answered.
    pub fn registrations(&self) -> u64 {
        self.0.state.lock().register_calls
    }

    /// The external ids of the users who are registered, in order.
    pub fn users(&self) -> Vec<String> {
        let mut ids: Vec<String> = self.0.state.lock().users.keys().cloned().collect();
        ids.sort();
        ids
    }

    /// Deletes a user at the vendor; whether there was one.
    pub fn forget_user(&self, external_user_id: &str) -> bool {
        self.0.state.lock().users.remove(external_user_id).is_some()
    }

    /// Deletes all users.
    pub fn forget_users(&self) {
        self.0.state.lock().users.clear();
    }

    /// As at the start, without faults: no users, no calls, all counts 0, the keys of the options. URLs handed out stay good.
    pub fn clear(&self) {
        let options = &self.0.options;
        self.0.state.lock().clear(options.api_keys.clone());
        self.0.faults_set.send_modify(|version| *version += 1);
    }

    /// Waits until `count` calls have asked for a URL since the last [`clear`](Self::clear). Dropped: nothing.
    pub async fn until_mints(&self, count: u64) {
        let mut arrived = self.0.arrived.subscribe();
        while self.mint_count() < count {
            if arrived.changed().await.is_err() {
                return;
            }
        }
    }

    /// Where minted URLs point: `plugin_base`, or the address served; empty before it is served.
    pub fn plugin_base(&self) -> String {
        self.0.options.plugin_base.clone().unwrap_or_else(|| self.0.state.lock().own_base.clone())
    }
}

/// Serves until `stop` says `true` or its sender is gone; then calls that wait on a fault are answered with 503.
/// Dropped: nothing more is accepted, connections under way end with the runtime.
pub async fn serve(listener: TcpListener, sim: ProviderSim, stop: watch::Receiver<bool>) {
    sim.0.state.lock().own_base = serve::url_of(&listener);
    sim.0.stopping.send_replace(false);
    let clock = sim.0.options.clock.clone();
    // By the simulator's own clock: Valet compares it with its own.
    let dated = axum::middleware::map_response(move |mut response: axum::response::Response| {
        let now = jiff::Timestamp::from_millisecond(clock.now().as_millis()).unwrap_or_default();
        let date = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&now);
        if let Some(date) = date.ok().and_then(|date| http::HeaderValue::from_str(&date).ok()) {
            response.headers_mut().insert(http::header::DATE, date);
        }
        std::future::ready(response)
    });
    let routes = control::routes().route(ICON, get(no_icon)).fallback(api::answer).layer(dated).with_state(sim.clone());
    let watcher = async {
        serve::stopped(stop.clone()).await;
        sim.0.stopping.send_replace(true);
    };
    tokio::join!(serve::serve(listener, routes, stop.clone()), watcher);
}

/// Listens on `address` (port 0: a free one) and serves on a task of its own. Dropped before it returns: nothing is left open.
///
/// # Errors
/// The address can't be had.
///
/// # Examples
/// ```no_run
/// use valet_gateway::demo::serve::SimFault;
/// use valet_gateway::demo::provider::{self, ProviderOptions, ProviderSim};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), SimFault> {
/// let sim = ProviderSim::new(ProviderOptions::default());
/// let vendor = provider::spawn("127.0.0.1:0".parse().expect("an address"), sim).await?;
/// println!("base_url = \"{}\"", vendor.url());
/// # Ok(())
/// # }
/// ```
pub async fn spawn(address: SocketAddr, sim: ProviderSim) -> Result<ServerHandle<ProviderSim>, SimFault> {
    spawn_on(serve::bind(address).await?, sim)
}

/// Serves a listener on a task of its own.
///
/// # Errors
/// The listener can't be used on this runtime.
pub fn spawn_on(listener: TcpListener, sim: ProviderSim) -> Result<ServerHandle<ProviderSim>, SimFault> {
    let address = serve::address_of(&listener)?;
    // Known before the task runs, so that a caller may ask at once.
    sim.0.state.lock().own_base = serve::url_of(&listener);
    let (stop, stopped) = watch::channel(false);
    let task = tokio::spawn(serve(listener, sim.clone(), stopped));
    Ok(ServerHandle::new(sim, address, stop, task))
}

#[cfg(test)]
mod tests;

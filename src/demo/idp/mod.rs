//! The simulated identity provider: discovery, a key set that rotates, and tokens for named users.

mod http;
mod keys;
mod sign_in;
mod sign_out;
mod token;
mod transmitter;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

pub use self::keys::SigningAlgorithm;
use self::keys::SigningKey;
pub use self::token::TokenRequest;
use super::fault::{Fail, span_text};
use super::serve::{self, ServerHandle, SimFault};
use crate::clock::Clock;

/// A usual life of an access token.
const LIFE: Duration = Duration::from_secs(3600);

/// A key set of more keys is no test of anything; the oldest go.
const MAX_KEYS: usize = 16;

/// How a simulated identity provider is set up.
#[derive(Clone, Debug)]
pub struct IdpOptions {
    /// `iss`, and where the key set is said to be; `None`: the address served.
    pub issuer: Option<String>,
    /// `aud` of tokens; several make it an array.
    pub audiences: Vec<String>,
    /// The users who may have a token over HTTP.
    pub users: Vec<String>,
    /// The groups of users that have some: the claim `groups` of their tokens.
    pub groups: BTreeMap<String, Vec<String>>,
    /// Where a browser's sign-in may lead back to, whole and exact; empty: anywhere on this machine.
    pub redirect_uris: Vec<String>,
    /// Clients' back-channel logout URLs: where logout tokens are posted.
    pub logout_urls: Vec<String>,
    /// Receivers of security events: where their tokens are pushed.
    pub events_urls: Vec<String>,
    /// How tokens are signed.
    pub algorithm: SigningAlgorithm,
    /// Life of a token, unless the request says otherwise.
    pub life: Duration,
    /// What goes wrong from the start.
    pub faults: IdpFaults,
    /// Where time comes from.
    pub clock: Clock,
}

impl Default for IdpOptions {
    fn default() -> Self {
        Self {
            issuer: None,
            audiences: vec!["my-app".to_owned()],
            users: vec!["ada".to_owned(), "grace".to_owned()],
            groups: BTreeMap::new(),
            redirect_uris: Vec::new(),
            logout_urls: Vec::new(),
            events_urls: Vec::new(),
            algorithm: SigningAlgorithm::default(),
            life: LIFE,
            faults: IdpFaults::default(),
            clock: Clock::system(),
        }
    }
}

/// What the identity provider does wrong now. Tokens are never hit: a test needs them. In JSON every field may be left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IdpFaults {
    /// Which calls are hit.
    pub on: IdpOn,
    /// How many more calls are hit, then all is well; `None`: every one. Counts down.
    pub times: Option<u32>,
    /// Each answer waits this long first.
    #[serde(with = "span_text")]
    pub delay: Option<Duration>,
    /// An answer that is no use, in place of the right one.
    pub fail: Option<Fail>,
    /// `Retry-After` in seconds beside a status in `fail`.
    pub retry_after: Option<u32>,
}

impl IdpFaults {
    /// Every call for keys or discovery fails in this way.
    pub fn failing(fail: Fail) -> Self {
        Self { fail: Some(fail), ..Self::default() }
    }

    fn claim(&mut self, on: IdpOn) -> Self {
        let hit = self.on == IdpOn::All || self.on == on;
        match &mut self.times {
            _ if !hit || (self.delay.is_none() && self.fail.is_none()) => return Self::default(),
            Some(0) => return Self::default(),
            Some(left) => *left -= 1,
            None => {}
        }
        self.clone()
    }
}

/// Which calls of the identity provider a fault hits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum IdpOn {
    /// Key set and discovery.
    #[default]
    All,
    /// `/jwks.json`.
    Keys,
    /// `/.well-known/openid-configuration`.
    Discovery,
}

/// The handle on a simulated identity provider. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct IdpSim(Arc<Shared>);

struct Shared {
    options: IdpOptions,
    state: Mutex<State>,
    faults_set: watch::Sender<u64>,
    arrived: watch::Sender<u64>,
    stopping: watch::Sender<bool>,
}

struct State {
    /// Newest first: the first signs.
    keys: Vec<Arc<SigningKey>>,
    faults: IdpFaults,
    fetches: u64,
    discoveries: u64,
    own_base: String,
    codes: sign_in::Codes,
}

impl IdpSim {
    /// One for this issuer and audience, with ES256 and the users `ada` and `grace`.
    ///
    /// # Errors
    /// A key can't be made.
    pub fn new(issuer: &str, audience: &str, clock: Clock) -> Result<Self, SimFault> {
        Self::with(IdpOptions {
            issuer: Some(issuer.to_owned()),
            audiences: vec![audience.to_owned()],
            clock,
            ..IdpOptions::default()
        })
    }

    /// One as the options say. Makes its first key: with RSA that takes a part of a second.
    ///
    /// # Errors
    /// A key can't be made.
    pub fn with(options: IdpOptions) -> Result<Self, SimFault> {
        let key = Arc::new(SigningKey::generate(options.algorithm)?);
        let faults = options.faults.clone();
        let state = State {
            keys: vec![key],
            faults,
            fetches: 0,
            discoveries: 0,
            own_base: String::new(),
            codes: sign_in::Codes::default(),
        };
        Ok(Self(Arc::new(Shared {
            options,
            state: Mutex::new(state),
            faults_set: watch::Sender::new(0),
            arrived: watch::Sender::new(0),
            stopping: watch::Sender::new(false),
        })))
    }

    /// `iss`: the option, or the address served; empty before it is served.
    pub fn issuer(&self) -> String {
        self.0.options.issuer.clone().unwrap_or_else(|| self.0.state.lock().own_base.clone())
    }

    /// Signs with a new key from now on. The old one stays in the key set if `keep_old`; tokens that it signed are the same.
    ///
    /// # Errors
    /// A key can't be made.
    pub fn rotate(&self, keep_old: bool) -> Result<(), SimFault> {
        let fresh = Arc::new(SigningKey::generate(self.0.options.algorithm)?);
        let mut state = self.0.state.lock();
        if !keep_old {
            state.keys.clear();
        }
        state.keys.insert(0, fresh);
        state.keys.truncate(MAX_KEYS);
        Ok(())
    }

    /// The key set ([RFC 7517, section 5](https://www.rfc-editor.org/rfc/rfc7517#section-5)), public halves only, newest first.
    pub fn jwks(&self) -> Value {
        let state = self.0.state.lock();
        json!({ "keys": state.keys.iter().map(|key| &key.jwk).collect::<Vec<_>>() })
    }

    /// The name of the key that signs now.
    pub fn kid(&self) -> String {
        self.signer().map(|key| key.kid.clone()).unwrap_or_default()
    }

    fn signer(&self) -> Option<Arc<SigningKey>> {
        self.0.state.lock().keys.first().cloned()
    }

    /// How often the key set was asked for, however that was answered.
    pub fn fetches(&self) -> u64 {
        self.0.state.lock().fetches
    }

    /// How often discovery was asked for, however that was answered.
    pub fn discoveries(&self) -> u64 {
        self.0.state.lock().discoveries
    }

    /// Waits until the key set was asked for `count` times. Dropped: nothing.
    pub async fn until_fetches(&self, count: u64) {
        let mut arrived = self.0.arrived.subscribe();
        while self.fetches() < count {
            if arrived.changed().await.is_err() {
                return;
            }
        }
    }

    /// What goes wrong now, counts as they are left.
    pub fn faults(&self) -> IdpFaults {
        self.0.state.lock().faults.clone()
    }

    /// Changes what goes wrong. Calls that hang are answered by the new faults.
    pub fn set_faults(&self, faults: IdpFaults) {
        self.0.state.lock().faults = faults;
        self.0.faults_set.send_modify(|version| *version += 1);
    }

    /// No faults, counts at 0. Keys stay.
    pub fn clear(&self) {
        let mut state = self.0.state.lock();
        (state.fetches, state.discoveries) = (0, 0);
        drop(state);
        self.set_faults(IdpFaults::default());
    }
}

/// Serves until `stop` says `true` or its sender is gone; then calls that wait on a fault are answered with 503.
/// Dropped: nothing more is accepted, connections under way end with the runtime.
pub async fn serve(listener: TcpListener, sim: IdpSim, stop: watch::Receiver<bool>) {
    sim.0.state.lock().own_base = serve::url_of(&listener);
    sim.0.stopping.send_replace(false);
    let routes = http::routes(sim.clone());
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
/// use valet_gateway::clock::Clock;
/// use valet_gateway::demo::serve::SimFault;
/// use valet_gateway::demo::idp::{self, IdpSim};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), SimFault> {
/// let sim = IdpSim::new("http://idp.localhost", "my-app", Clock::system())?;
/// let idp = idp::spawn("127.0.0.1:0".parse().expect("an address"), sim).await?;
/// println!("keys at {}/jwks.json", idp.url());
/// # Ok(())
/// # }
/// ```
pub async fn spawn(address: SocketAddr, sim: IdpSim) -> Result<ServerHandle<IdpSim>, SimFault> {
    spawn_on(serve::bind(address).await?, sim)
}

/// Serves a listener on a task of its own.
///
/// # Errors
/// The listener can't be used on this runtime.
pub fn spawn_on(listener: TcpListener, sim: IdpSim) -> Result<ServerHandle<IdpSim>, SimFault> {
    let address = serve::address_of(&listener)?;
    // Known before the task runs: a token may be asked for at once.
    sim.0.state.lock().own_base = serve::url_of(&listener);
    let (stop, stopped) = watch::channel(false);
    let task = tokio::spawn(serve(listener, sim.clone(), stopped));
    Ok(ServerHandle::new(sim, address, stop, task))
}

#[cfg(test)]
mod tests;

//! The client of a minter: an edge holds no key and asks who does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request};
use http_body_util::Full;
use parking_lot::Mutex;
use prometheus::IntGauge;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{info, warn};

use super::gate::Gate;
use super::outcome::Fault;
use super::settings::ProviderSettings;
use super::wire::{self, Ask, Denial, Denied, Granted, Health};
use super::{Mint, MintFailure, MintInput, Minted, PluginUrl, RedirectHosts, UrlFault};
use crate::clock::Clock;
use crate::http_client::{Client, ClientFault, Response};
use crate::telemetry::Metrics;

/// How often each minter is asked whether it is there: two of these and its time-out are within the default time of one mint.
const LOOK: Duration = Duration::from_secs(1);

/// A minter that does not say within this that it is there is not.
const LOOK_TIMEOUT: Duration = Duration::from_secs(1);

/// Between two rounds of asking: a connection that had just ended is one of the past by then.
const BREATH: Duration = Duration::from_millis(50);

/// How often each minter is tried for one mint. It holds what it minted for the first try, so the second makes no second call to the vendor.
const ROUNDS: usize = 2;

/// One provider whose key a minter holds. Cheap to clone.
#[derive(Clone)]
pub struct Remote(Arc<Inner>);

/// What a remote provider is made of, beside its settings.
pub struct RemoteParts {
    /// Speaks HTTP/2 and shows the edge's certificate.
    pub client: Client,
    /// `https://host[:port]` of each minter.
    pub origins: Vec<String>,
    /// The names of [`MintInput::claims`], in their order.
    pub claim_names: Vec<String>,
}

struct Inner {
    gate: Gate,
    minters: Box<[Minter]>,
    redirect_hosts: RedirectHosts,
    client: Client,
    /// Places in [`MintInput::claims`] of those that this provider's minter is told, with their names.
    claims: Box<[(Box<str>, usize)]>,
    fingerprint: [u8; 32],
    /// The last refusal that was told.
    told: Mutex<Option<Denial>>,
}

struct Minter {
    origin: Box<str>,
    up: watch::Sender<bool>,
    gauge: IntGauge,
}

/// What one minter says to the edge that greets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Greeting {
    /// It is there; the edge may mint these.
    Welcome(Vec<String>),
    /// It is there, and does not know the edge, or is about to stop.
    Refused(Denial),
    /// It is not there, or one side does not believe the other's certificate.
    Absent,
}

impl Remote {
    /// The minters are taken to be there until one shows that it is not.
    pub fn new(settings: &ProviderSettings, parts: RemoteParts, clock: Clock, metrics: &Metrics) -> Self {
        let RemoteParts { client, origins, claim_names } = parts;
        // Checked with the configuration; one that was not allows nothing.
        let redirect_hosts = RedirectHosts::parse(&settings.redirect_hosts).unwrap_or_default();
        let told = settings.minter.iter().flat_map(|link| &link.claims);
        let place = |name: &String| Some((name.as_str().into(), claim_names.iter().position(|known| known == name)?));
        let minters = origins.iter().map(|origin| {
            let gauge = metrics.minter_up.with_label_values(&[&settings.name, origin]);
            gauge.set(1);
            Minter { origin: origin.as_str().into(), up: watch::Sender::new(true), gauge }
        });
        Self(Arc::new(Inner {
            gate: Gate::new(settings, clock, metrics),
            minters: minters.collect(),
            client,
            claims: told.filter_map(place).collect(),
            fingerprint: fingerprint(&redirect_hosts, settings),
            redirect_hosts,
            told: Mutex::new(None),
        }))
    }

    /// The provider's name.
    pub fn name(&self) -> &str {
        &self.0.gate.name
    }

    /// A mint by the minter's name for it.
    pub fn mint(&self, plugin: &str) -> Arc<dyn Mint> {
        Arc::new(RemoteMint { remote: self.0.clone(), plugin: plugin.into() })
    }

    /// Of what the edge knows: a recipe that changes at the minter changes no lease that an edge holds.
    pub fn fingerprint(&self) -> [u8; 32] {
        self.0.fingerprint
    }

    /// Whether no minter is there, or mints are held back. Brings `valet_degraded` up to date.
    pub fn is_degraded(&self) -> bool {
        self.0.gate.is_degraded(!self.0.minters.iter().any(Minter::is_up))
    }

    /// Asks every minter once, by its origin. Dropped: the rest is not asked.
    pub async fn greet(&self) -> Vec<(String, Greeting)> {
        let mut greetings = Vec::with_capacity(self.0.minters.len());
        for minter in &self.0.minters {
            greetings.push((minter.origin.to_string(), self.0.greet(minter, self.0.gate.timeout).await));
        }
        greetings
    }

    /// Looks after each minter until `stop` turns true or its sender is gone. Dropped: a minter that was down stays so until a mint finds it.
    pub async fn run(self, stop: watch::Receiver<bool>) {
        let mut looks = JoinSet::new();
        for at in 0..self.0.minters.len() {
            let (inner, mut stop) = (self.0.clone(), stop.clone());
            looks.spawn(async move {
                tokio::select! {
                    () = inner.look_after(at) => {}
                    _ = stop.wait_for(|stop| *stop) => {}
                }
            });
        }
        while looks.join_next().await.is_some() {}
    }
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Remote").field(&self.0.gate.name).finish()
    }
}

struct RemoteMint {
    remote: Arc<Inner>,
    plugin: Box<str>,
}

#[async_trait]
impl Mint for RemoteMint {
    async fn mint(&self, input: &MintInput) -> Result<Minted, MintFailure> {
        let verdict = self.remote.gate.pass(self.remote.attempt(&self.plugin, input)).await;
        self.remote.gate.note(&verdict);
        verdict
    }
}

impl Minter {
    fn is_up(&self) -> bool {
        *self.up.borrow()
    }

    fn set(&self, up: bool, provider: &str) {
        let changed = self.up.send_if_modified(|known| std::mem::replace(known, up) != up);
        self.gauge.set(i64::from(up));
        match (changed, up) {
            (true, true) => info!(target: "valet::provider", provider, minter = &*self.origin, "minter is back"),
            (true, false) => warn!(target: "valet::provider", provider, minter = &*self.origin, "minter is gone"),
            (false, _) => {}
        }
    }

    async fn goes_down(&self) {
        let mut up = self.up.subscribe();
        // The sender lives as long as `self`.
        let _ = up.wait_for(|up| !*up).await;
    }
}

/// How one minter answered one ask.
enum Try {
    Settled(Result<Minted, Fault>),
    /// It can't now; another may.
    Next(Fault),
}

impl Inner {
    /// Asks the minters in this user's order until one answers.
    async fn attempt(&self, plugin: &str, input: &MintInput) -> Result<Minted, Fault> {
        let (began, start) = (Instant::now(), self.gate.clock.now());
        let mut order: Vec<&Minter> = self.minters.iter().collect();
        order.sort_by_cached_key(|minter| rank(minter, input));
        let mut fault = Fault::Unreachable;
        for round in 0..ROUNDS {
            // Those that are known to be down come last, and are tried all the same: nobody may have noticed that they are back.
            order.sort_by_key(|minter| !minter.is_up());
            for (nth, minter) in order.iter().enumerate() {
                let left = self.gate.timeout.saturating_sub(began.elapsed());
                let others = order.iter().skip(nth + 1).any(|other| other.is_up());
                match self.ask(minter, plugin, input, left, others, start).await {
                    Try::Settled(verdict) => return verdict,
                    Try::Next(next) => fault = next,
                }
            }
            if round + 1 < ROUNDS {
                tokio::time::sleep(BREATH).await;
            }
        }
        Err(fault)
    }

    async fn ask(
        &self,
        minter: &Minter,
        plugin: &str,
        input: &MintInput,
        left: Duration,
        others: bool,
        start: crate::clock::Timestamp,
    ) -> Try {
        let Ok(request) = self.request(minter, plugin, input, left) else {
            return Try::Settled(Err(Fault::Refused));
        };
        let sent = self.client.send(request, wire::MAX_ANSWER_BYTES, left);
        let answer = tokio::select! {
            answer = sent => answer,
            // One that hangs holds its connections open: its health tells. Worth leaving it only for one that is there.
            () = minter.goes_down(), if others => return Try::Next(Fault::Unreachable),
        };
        match answer {
            Ok(answer) if answer.status == 200 => Try::Settled(self.granted(&answer, start)),
            Ok(answer) => self.denied(minter, &answer),
            Err(ClientFault::Unreachable) => {
                minter.set(false, &self.gate.name);
                Try::Next(Fault::Unreachable)
            }
            Err(ClientFault::TimedOut) => Try::Settled(Err(Fault::TimedOut)),
            Err(ClientFault::TooLarge) => Try::Settled(Err(Fault::Nonsense)),
        }
    }

    fn request(
        &self,
        minter: &Minter,
        plugin: &str,
        input: &MintInput,
        left: Duration,
    ) -> Result<Request<Full<Bytes>>, ()> {
        let errand = &input.errand;
        // The session's credential, to who verifies it again.
        let credential = errand.credential.as_ref().and_then(|text| std::str::from_utf8(text).ok());
        let claims = self.claims.iter().map(|(name, at)| (name.clone(), input.claims.get(*at).cloned().flatten()));
        let ask = Ask {
            plugin: plugin.into(),
            issuer: input.issuer.clone(),
            subject: input.subject.clone(),
            external_id: input.external_id.clone(),
            session: errand.session.clone(),
            share: errand.share,
            claims: claims.collect(),
            language: input.language.clone(),
            reason: errand.reason,
            life_s: errand.life.as_secs(),
            deadline_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
            request_id: errand.request_id.clone(),
            credential: credential.map(Into::into),
        };
        let body = serde_json::to_vec(&ask).map_err(drop)?;
        Request::builder()
            .method(Method::POST)
            .uri(format!("{}{}", minter.origin, wire::MINT))
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .body(Full::new(body.into()))
            .map_err(drop)
    }

    /// A minter is believed in what it holds, not in where it sends browsers.
    fn granted(&self, answer: &Response, start: crate::clock::Timestamp) -> Result<Minted, Fault> {
        let granted: Granted = serde_json::from_slice(&answer.body).map_err(|_| Fault::Nonsense)?;
        self.redirect_hosts.check(&granted.url).map_err(|fault| match fault {
            UrlFault::Nonsense => Fault::Nonsense,
            UrlFault::ForbiddenHost => Fault::ForbiddenHost,
        })?;
        Ok(Minted {
            url: PluginUrl::new(&granted.url),
            ends: granted.ends_at_ms.map(crate::clock::Timestamp::from_millis),
            // From before the ask on: a clock that differs from the minter's prolongs nothing.
            hold_until: Some(start.plus(Duration::from_millis(granted.hold_ms))),
        })
    }

    fn denied(&self, minter: &Minter, answer: &Response) -> Try {
        let Ok(denied) = serde_json::from_slice::<Denied>(&answer.body) else {
            return Try::Next(Fault::Nonsense);
        };
        self.tell(minter, denied.refusal);
        let waiting = |unavailable| Fault::Waiting { unavailable, retry_after: denied.retry_after() };
        Try::Settled(Err(match denied.refusal {
            Denial::Draining => {
                minter.set(false, &self.gate.name);
                return Try::Next(Fault::Unreachable);
            }
            Denial::KeysUnavailable => return Try::Next(waiting(false)),
            Denial::Internal => return Try::Next(Fault::Unreachable),
            Denial::BadRequest
            | Denial::NotFound
            | Denial::NotPermitted
            | Denial::SessionInvalid
            | Denial::SessionExpired
            | Denial::ProviderRefused => Fault::Refused,
            Denial::TooManyRequests => Fault::Limited(denied.retry_after().unwrap_or(LOOK)),
            Denial::ProviderUnreachable => Fault::Unreachable,
            Denial::ProviderTimeout => Fault::TimedOut,
            Denial::ProviderNonsense => Fault::Nonsense,
            Denial::ForbiddenHost => Fault::ForbiddenHost,
            Denial::ProviderBusy => waiting(false),
        }))
    }

    /// What is for the operator to mend is told when it begins.
    fn tell(&self, minter: &Minter, refusal: Denial) {
        if matches!(refusal, Denial::TooManyRequests | Denial::ProviderBusy | Denial::Draining) {
            return;
        }
        if self.told.lock().replace(refusal) != Some(refusal) {
            let (provider, minter, refusal) = (&self.gate.name, &*minter.origin, refusal.label());
            warn!(target: "valet::provider", provider, minter, refusal, "the minter refuses");
        }
    }

    async fn look_after(&self, at: usize) {
        let Some(minter) = self.minters.get(at) else { return };
        let mut tick = tokio::time::interval(LOOK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let greeting = self.greet(minter, LOOK_TIMEOUT).await;
            minter.set(matches!(greeting, Greeting::Welcome(_)), &self.gate.name);
        }
    }

    async fn greet(&self, minter: &Minter, deadline: Duration) -> Greeting {
        let Ok(url) = url::Url::parse(&format!("{}{}", minter.origin, wire::HEALTH)) else { return Greeting::Absent };
        let answer = self.client.get(&url, "application/json", wire::MAX_ANSWER_BYTES, deadline).await;
        let Ok(answer) = answer else { return Greeting::Absent };
        if answer.status == 200 {
            return serde_json::from_slice(&answer.body)
                .map_or(Greeting::Absent, |Health { plugins }| Greeting::Welcome(plugins));
        }
        serde_json::from_slice(&answer.body).map_or(Greeting::Absent, |Denied { refusal, .. }| {
            self.tell(minter, refusal);
            Greeting::Refused(refusal)
        })
    }
}

/// Rendezvous hashing: every edge asks for one user at one minter, as long as it is there, so that the user has one URL.
fn rank(minter: &Minter, input: &MintInput) -> [u8; 32] {
    digest(&[minter.origin.as_bytes(), input.issuer.as_bytes(), input.subject.as_bytes()])
}

fn fingerprint(hosts: &RedirectHosts, settings: &ProviderSettings) -> [u8; 32] {
    let hosts = hosts.canonical();
    let told = settings.minter.iter().flat_map(|link| &link.claims).map(String::as_bytes);
    let parts: Vec<&[u8]> = [b"valet minter 1".as_slice()]
        .into_iter()
        .chain(hosts.iter().map(String::as_bytes))
        .chain([b"claims".as_slice()])
        .chain(told)
        .collect();
    digest(&parts)
}

/// Each part with its length before it.
fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

//! The client of a minter: an edge holds no key and asks who does.

mod fingerprint;
mod minter;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request};
use http_body_util::Full;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::warn;

use self::fingerprint::{fingerprint, rank};
pub use self::minter::HealthStatus;
use self::minter::{LOOK, Minter, State};
use super::admission::Admission;
use super::diagnosis::{Diagnosis, Notes};
use super::outcome::Fault;
use super::settings::ProviderSettings;
use super::spans::CallSpan;
use super::wire::{self, Denial, MintError, MintGrant, MintRequest};
use super::{Mint, MintFailure, MintInput, Minted, PluginUrl, Reason, RedirectHosts, SessionRefusal, Share, UrlFault};
use crate::clock::{Clock, Stopwatch};
use crate::http_client::{Cause, Client, ClientFault, Response};
use crate::session::{ClaimPath, StepUp};
use crate::telemetry::Metrics;

/// Between two rounds of asking: a connection that had just ended is one of the past by then.
const BREATH: Duration = Duration::from_millis(50);

/// How often each minter is tried for one mint. What it minted for the first try it holds for the second, except for asks that share nothing: those
/// are not tried again once they may have arrived.
const ROUNDS: usize = 2;

/// No minter's word makes anybody wait longer.
const MAX_WAIT: Duration = Duration::from_secs(24 * 3600);

/// One provider whose key a minter holds. Cheap to clone.
#[derive(Clone)]
pub struct Remote(Arc<Inner>);

/// What a remote provider is made of, beside its settings.
pub struct RemoteParts {
    /// Speaks HTTP/2 and shows the edge's certificate.
    pub client: Client,
    /// A client with connections of its own, by which the health of minters is watched.
    pub looks: Client,
    /// `https://host[:port]` of each minter.
    pub origins: Vec<String>,
    /// The names of [`MintInput::claims`], in their order.
    pub claim_names: Vec<String>,
}

struct Inner {
    admission: Admission,
    minters: Box<[Minter]>,
    redirect_hosts: RedirectHosts,
    client: Client,
    looks: Client,
    /// Places in [`MintInput::claims`] of those that this provider's minter is told, with their names.
    claims: Box<[(Box<str>, usize)]>,
    fingerprint: [u8; 32],
    /// The last refusal that was told.
    told: Mutex<Option<Denial>>,
}

impl Remote {
    /// The minters are taken to be there until one shows that it is not.
    pub fn new(settings: &ProviderSettings, parts: RemoteParts, clock: Clock, metrics: &Metrics) -> Self {
        let RemoteParts { client, looks, origins, claim_names } = parts;
        let redirect_hosts = RedirectHosts::from(&*settings.redirect_hosts);
        let told = settings.minter.iter().flat_map(|link| &link.claims);
        let place = |claim: &ClaimPath| {
            let name = claim.as_str();
            Some((name.into(), claim_names.iter().position(|known| known == name)?))
        };
        let gauge = |origin: &String| metrics.minter_up.with_label_values(&[&settings.name, origin]);
        let minters = origins.iter().map(|origin| Minter::new(origin, gauge(origin)));
        Self(Arc::new(Inner {
            admission: Admission::new(settings, clock, metrics),
            minters: minters.collect(),
            client,
            looks,
            claims: told.filter_map(place).collect(),
            fingerprint: fingerprint(&redirect_hosts, settings),
            redirect_hosts,
            told: Mutex::new(None),
        }))
    }

    /// The provider's name.
    pub fn name(&self) -> &str {
        &self.0.admission.name
    }

    /// Where it lies in memory: clones lie in one place.
    pub fn place(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
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
        self.0.admission.is_degraded(!self.0.minters.iter().any(Minter::is_up))
    }

    /// Asks every minter once, by its origin. Dropped: the rest is not asked.
    pub async fn greet(&self) -> Vec<(String, HealthStatus)> {
        let mut greetings = Vec::with_capacity(self.0.minters.len());
        for minter in &self.0.minters {
            greetings.push((minter.origin.to_string(), minter.greet(&self.0.looks, self.0.admission.timeout).await));
        }
        greetings
    }

    /// Looks after each minter until `stop` turns true or its sender is gone. Dropped: a minter that was down stays so until a mint finds it.
    pub async fn run(self, stop: watch::Receiver<bool>) {
        let mut looks = JoinSet::new();
        for at in 0..self.0.minters.len() {
            let (inner, mut stop) = (self.0.clone(), stop.clone());
            looks.spawn(async move {
                let Some(minter) = inner.minters.get(at) else { return };
                let tell = |minter: &Minter, denial| inner.tell(minter, denial);
                tokio::select! {
                    () = minter.watch_health(&inner.looks, &inner.admission.name, tell) => {}
                    _ = stop.wait_for(|stop| *stop) => {}
                }
            });
        }
        while looks.join_next().await.is_some() {}
    }
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Remote").field(&self.0.admission.name).finish()
    }
}

struct RemoteMint {
    remote: Arc<Inner>,
    plugin: Box<str>,
}

#[async_trait]
impl Mint for RemoteMint {
    async fn mint(&self, input: &MintInput) -> Result<Minted, MintFailure> {
        let notes = Notes::default();
        let verdict = self.remote.admission.pass(self.remote.attempt(&self.plugin, input, &notes)).await;
        self.remote.admission.note(&verdict, notes.into_inner());
        verdict
    }

    fn why(&self) -> Option<String> {
        self.remote.admission.why()
    }

    fn readmit_token(&self, token: &str) -> Option<PluginUrl> {
        PluginUrl::token(token)
    }

    fn readmit(&self, url: &str) -> Option<PluginUrl> {
        self.remote.redirect_hosts.check(url).ok().map(|()| PluginUrl::new(url))
    }
}

/// One ask, whichever minter is asked.
struct Asked<'a> {
    plugin: &'a str,
    input: &'a MintInput,
    /// Whether another minter is there.
    others: bool,
    start: crate::clock::Timestamp,
    notes: &'a Notes,
}

/// How one minter answered one ask.
enum Try {
    Settled(Result<Minted, Fault>),
    /// It can't now; another may.
    Next(Fault),
}

impl Inner {
    /// Asks the minters in this user's order until one answers.
    async fn attempt(&self, plugin: &str, input: &MintInput, notes: &Notes) -> Result<Minted, Fault> {
        let (began, start) = (Stopwatch::start(), self.admission.clock.now());
        let mut order: Vec<&Minter> = self.minters.iter().collect();
        order.sort_by_cached_key(|minter| rank(minter, input));
        let mut fault = Fault::Unreachable;
        for round in 0..ROUNDS {
            // Those that are known to be down come last, and are tried all the same: nobody may have noticed that they are back.
            order.sort_by_key(|minter| !minter.is_up());
            for (nth, minter) in order.iter().enumerate() {
                let left = self.admission.timeout.saturating_sub(began.elapsed());
                let others = order.iter().skip(nth + 1).any(|other| other.is_up());
                match self.ask(minter, &Asked { plugin, input, others, start, notes }, left).await {
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

    async fn ask(&self, minter: &Minter, asked: &Asked<'_>, left: Duration) -> Try {
        let Asked { plugin, input, others, start, notes } = *asked;
        let note = |cause: &'static str, text: &str| {
            *notes.lock() = Some(Diagnosis::new(cause, format!("the minter {}: {text}", minter.origin)));
        };
        note(Cause::TimedOut.label(), "it did not answer in time");
        let Ok(mut request) = self.request(minter, plugin, input, left) else {
            return Try::Settled(Err(Fault::Refused));
        };
        let host = request.uri().authority().map_or_else(String::new, ToString::to_string);
        let by = (&self.admission.tracer, &self.admission.clock);
        let span = CallSpan::begin(by, input.context.place, ("POST", &host), request.headers_mut());
        // The minter that minted a shared URL holds it: a second ask finds it.
        let context = &input.context;
        let again = context.share != Share::Nobody && context.reason != Reason::Again;
        context.called.note();
        let sent = self.client.send(request, wire::MAX_ANSWER_BYTES, left);
        let answer = tokio::select! {
            answer = sent => answer,
            // One that hangs holds its connections open: its health tells. Worth leaving it only for one that is there.
            () = minter.hangs(), if others && again => return Try::Next(Fault::Unreachable),
        };
        span.end(&answer);
        match answer {
            Ok(answer) if answer.status == 200 => {
                *self.told.lock() = None;
                Try::Settled(self.granted(&answer, start))
            }
            Ok(answer) => {
                let word =
                    serde_json::from_slice(&answer.body).map_or("no word", |MintError { refusal, .. }| refusal.label());
                note("minter", &format!("it refuses with {word} ({})", answer.status));
                self.denied(minter, &answer)
            }
            Err(fault) => {
                note(fault.cause().label(), &fault.cause().to_string());
                match fault {
                    ClientFault::NoConnection(_) => {
                        minter.set(State::Away, &self.admission.name);
                        Try::Next(Fault::Unreachable)
                    }
                    ClientFault::Unreachable(_) if again => Try::Next(Fault::Unreachable),
                    // It may have arrived, and another try would be another mint.
                    ClientFault::Unreachable(_) => Try::Settled(Err(Fault::Unreachable)),
                    ClientFault::TimedOut => Try::Settled(Err(Fault::TimedOut)),
                    ClientFault::TooLarge => Try::Settled(Err(Fault::Nonsense)),
                }
            }
        }
    }

    fn request(
        &self,
        minter: &Minter,
        plugin: &str,
        input: &MintInput,
        left: Duration,
    ) -> Result<Request<Full<Bytes>>, ()> {
        let context = &input.context;
        // The session's credential, to the minter that verifies it again.
        let credential = context.credential.as_ref().and_then(|text| std::str::from_utf8(text).ok());
        let claims = self.claims.iter().map(|(name, at)| (name.clone(), input.claims.get(*at).cloned().flatten()));
        let ask = MintRequest {
            plugin: plugin.into(),
            issuer: input.issuer.clone(),
            subject: input.subject.clone(),
            external_id: input.external_id.clone(),
            session: context.session.clone(),
            share: context.share,
            claims: claims.collect(),
            parameters: input.parameters.iter().cloned().collect(),
            language: input.language.clone(),
            reason: context.reason,
            life_s: context.life.as_secs(),
            max_age_s: context.max_age.as_secs(),
            deadline_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
            request_id: context.request_id.clone(),
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
        let granted: MintGrant = serde_json::from_slice(&answer.body).map_err(|_| Fault::Nonsense)?;
        let url = match (&granted.url, &granted.token) {
            (Some(url), None) => {
                self.redirect_hosts.check(url).map_err(|fault| match fault {
                    UrlFault::Nonsense => Fault::Nonsense,
                    UrlFault::ForbiddenHost => Fault::ForbiddenHost,
                })?;
                PluginUrl::new(url)
            }
            (None, Some(token)) => PluginUrl::token(token).ok_or(Fault::Nonsense)?,
            _ => return Err(Fault::Nonsense),
        };
        Ok(Minted {
            url,
            ends: granted.ends_at_ms.map(crate::clock::Timestamp::from_millis),
            end_unread: granted.ends_at_ms.is_none(),
            // From before the ask on: a clock that differs from the minter's prolongs nothing.
            hold_until: Some(start.plus(Duration::from_millis(granted.hold_ms))),
            uses: granted.uses,
        })
    }

    fn denied(&self, minter: &Minter, answer: &Response) -> Try {
        let Ok(denied) = serde_json::from_slice::<MintError>(&answer.body) else {
            return Try::Next(Fault::Nonsense);
        };
        self.tell(minter, denied.refusal);
        let wait = denied.retry_after().unwrap_or(LOOK).min(MAX_WAIT);
        // The minter's own breaker and bounds hold its vendor's calls back: an ask costs it little, so nobody else has to wait here.
        let fault = match denied.refusal {
            Denial::Draining => {
                minter.set(State::Away, &self.admission.name);
                return Try::Next(Fault::Unreachable);
            }
            Denial::Internal | Denial::StoreUnavailable => return Try::Next(Fault::Unreachable),
            // Another may have the keys already.
            Denial::KeysUnavailable => return Try::Next(Fault::Session(SessionRefusal::KeysUnavailable(wait))),
            Denial::SessionInvalid => return Try::Next(Fault::Session(SessionRefusal::Invalid)),
            Denial::SessionExpired => Fault::Session(SessionRefusal::Expired),
            Denial::ClaimMissing | Denial::Forbidden => Fault::Session(SessionRefusal::NotPermitted),
            Denial::StepUpRequired => Fault::Session(wanted(&denied)),
            Denial::BadRequest | Denial::NotFound | Denial::NoEdge | Denial::NotPermitted | Denial::ProviderRefused => {
                Fault::Refused
            }
            Denial::TooManyRequests => Fault::Limited(wait),
            Denial::ProviderUnreachable => Fault::Unreachable,
            Denial::ProviderTimeout => Fault::TimedOut,
            Denial::ProviderNonsense => Fault::Nonsense,
            Denial::ForbiddenHost => Fault::ForbiddenHost,
            Denial::ProviderBusy => Fault::Busy(wait),
        };
        Try::Settled(Err(fault))
    }

    /// What is for the operator to mend is told when it begins.
    fn tell(&self, minter: &Minter, refusal: Denial) {
        let users = matches!(
            refusal,
            Denial::TooManyRequests
                | Denial::ProviderBusy
                | Denial::Draining
                | Denial::SessionExpired
                | Denial::ClaimMissing
                | Denial::Forbidden
                | Denial::StepUpRequired
        );
        if users {
            return;
        }
        if self.told.lock().replace(refusal) != Some(refusal) {
            let (provider, minter, refusal) = (&self.admission.name, &*minter.origin, refusal.label());
            warn!(target: "valet::provider", provider, minter, refusal, "the minter refuses");
        }
    }
}

/// Which sign-in the minter wants; where it can't be told on, the answer is a denial.
fn wanted(denied: &MintError) -> SessionRefusal {
    let wanted = denied.step_up.as_ref();
    let step_up = wanted.and_then(|wanted| StepUp::new(&wanted.acr_values, wanted.max_age)).and_then(StepUp::interned);
    step_up.map_or(SessionRefusal::NotPermitted, SessionRefusal::StepUp)
}

//! The vendor behind the port: registration, the call that mints, the second key, and when not to call at all.

use std::sync::Arc;

use async_trait::async_trait;
use aws_lc_rs::{digest, hmac};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderName;
use parking_lot::Mutex;
use quick_cache::sync::Cache;
use tracing::warn;

use super::admission::{Admission, TRY_AGAIN};
use super::api_keys::ApiKeys;
use super::auth::Auth;
use super::call::Call;
use super::diagnosis::{Diagnosis, Notes, Step};
use super::needs::uses_subject_hash;
use super::outcome::Fault;
use super::pace::Pace;
use super::quota::Quota;
use super::recipe::{How, MintCall, Recipe, Register};
use super::settings::ProviderSettings;
use super::template::{Answered, Unfit, Values};
use super::token::AccessTokens;
use super::trial;
use super::unread::Unread;
use super::vendor_clock::VendorClock;
use super::{Mint, MintFailure, MintInput, Minted, PluginUrl, Reason};
use crate::clock::{Clock, Tick, Timestamp};
use crate::http_client::{Client, Response};
use crate::secret::SecretCell;
use crate::telemetry::Metrics;

mod person;
mod read;
mod registered;
mod send;
mod take_over;
mod tryout;
mod turn;

pub use self::take_over::SameProvider;
use self::tryout::step;

use self::person::PersonCalls;
pub use self::person::{Person, PersonCall, PersonFault};

/// How many users are remembered as registered; 32 bytes each, and a forgotten one costs one more call.
const REGISTERED: usize = 100_000;

/// What a vendor's calls carry that nobody may see.
pub struct VendorSecrets {
    /// The API keys, in the order in which they are tried.
    pub keys: Vec<Arc<SecretCell>>,
    /// The key of `{subject_hash}`, needed if the recipe uses it.
    pub subject: Option<Arc<SecretCell>>,
    /// `secret_headers`, in the order of their names.
    pub headers: Vec<Arc<SecretCell>>,
}

const UNFIT: &str = "a value of this user can't stand where the recipe puts it; no call was made";

/// One provider of the configuration. Cheap to clone; clones share keys, breaker, memory and limits. Its `Debug` is its name.
#[derive(Clone)]
pub struct Vendor(Arc<Inner>);

struct Inner {
    admission: Arc<Admission>,
    recipe: Recipe,
    needs_subject_hash: bool,
    keys: Arc<ApiKeys>,
    /// Where calls show an access token in place of the key.
    tokens: Option<Arc<AccessTokens>>,
    subject_key: Option<Arc<SecretCell>>,
    secret_headers: Vec<(HeaderName, Arc<SecretCell>)>,
    client: Client,
    /// By the person, and by what else the vendor was told.
    registered: Arc<Cache<UserKey, Arc<Answered>>>,
    person_calls: PersonCalls,
    vendor_clock: VendorClock,
    unread: Unread,
    /// `rate`.
    pace: Option<Arc<Pace>>,
    quota: Quota,
}

impl Vendor {
    /// A vendor of these settings, whose recipe this is.
    pub fn new(
        settings: &ProviderSettings,
        recipe: Recipe,
        secrets: VendorSecrets,
        client: Client,
        clock: Clock,
        metrics: &Metrics,
    ) -> Self {
        let keys = Arc::new(ApiKeys::new(secrets.keys));
        let tokens = match &recipe.parts.auth {
            Auth::Token(grant) => {
                let by = (clock.clone(), settings.timeout.0, settings.name.clone());
                Some(AccessTokens::new((**grant).clone(), keys.clone(), client.clone(), by))
            }
            _ => None,
        };
        Self(Arc::new(Inner {
            keys,
            tokens,
            admission: Arc::new(Admission::new(settings, clock, metrics)),
            vendor_clock: VendorClock::new(&settings.name, metrics),
            unread: Unread::new(&settings.name, metrics),
            pace: settings.rate.map(|rate| Arc::new(Pace::new(rate))),
            quota: Quota::new(&settings.name, settings.quota_header.as_ref(), metrics),
            secret_headers: recipe.parts.secret_headers.iter().cloned().zip(secrets.headers).collect(),
            recipe,
            needs_subject_hash: uses_subject_hash(settings),
            subject_key: secrets.subject,
            client,
            registered: Arc::new(Cache::new(REGISTERED)),
            person_calls: PersonCalls::new(&settings.name, metrics),
        }))
    }

    /// The mint of this name, if the recipe has it.
    pub fn minter(&self, mint: &str) -> Option<Arc<dyn Mint>> {
        let at = self.0.recipe.parts.mints.iter().position(|known| known.name == mint)?;
        Some(Arc::new(Minter { vendor: self.0.clone(), at }))
    }

    /// The provider's name.
    pub fn name(&self) -> &str {
        &self.0.admission.name
    }

    /// The recipe.
    pub fn recipe(&self) -> &Recipe {
        &self.0.recipe
    }

    /// Whether calls are held back now (breaker, `Retry-After`). Brings `valet_degraded{what="provider:NAME"}` up to date: ask before each
    /// reading of the metrics, for a pause ends without an event.
    pub fn is_degraded(&self) -> bool {
        self.0.admission.is_degraded(false)
    }
}

impl std::fmt::Debug for Vendor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Vendor").field(&self.0.admission.name).finish()
    }
}

/// A registration: the person, and what else the vendor was told.
type UserKey = ([u8; 32], [u8; 32]);

fn person_key(issuer: &str, subject: &str) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for text in [issuer, subject] {
        context.update(&(text.len() as u64).to_be_bytes());
        context.update(text.as_bytes());
    }
    let mut key = [0; 32];
    key.copy_from_slice(context.finish().as_ref());
    key
}

struct Minter {
    vendor: Arc<Inner>,
    /// Which of the recipe's mints.
    at: usize,
}

/// One mint under way.
struct Asking<'a> {
    mint: &'a MintCall,
    input: &'a MintInput,
    /// When it began: from then on spans count, and times that are told.
    start: Timestamp,
    subject_hash: Option<String>,
    /// The registrations.
    user: UserKey,
    base_url: String,
    /// When the time-out comes.
    deadline: tokio::time::Instant,
    notes: &'a Notes,
    /// What happened, for `valet recipe try`.
    steps: Option<&'a Mutex<Vec<String>>>,
    /// When its first call was counted.
    prepaid: Mutex<Option<Tick>>,
}

#[async_trait]
impl Mint for Minter {
    async fn mint(&self, input: &MintInput) -> Result<Minted, MintFailure> {
        let notes = Notes::default();
        let verdict = match self.vendor.recipe.parts.mints.get(self.at) {
            Some(mint) => self.vendor.mint(mint, input, &notes, None).await,
            None => Err(MintFailure::Refused),
        };
        self.vendor.admission.note(&verdict, notes.into_inner());
        verdict
    }

    fn why(&self) -> Option<String> {
        self.vendor.admission.why()
    }

    fn take_ahead(&self) -> bool {
        self.vendor.has_room_ahead()
    }

    fn readmit(&self, url: &str) -> Option<PluginUrl> {
        let url = Some(url).filter(|_| !self.is_token());
        url.filter(|url| self.vendor.recipe.parts.redirect_hosts.check(url).is_ok()).map(PluginUrl::new)
    }

    fn readmit_token(&self, token: &str) -> Option<PluginUrl> {
        Some(token).filter(|_| self.is_token()).and_then(PluginUrl::token)
    }
}

impl Minter {
    fn is_token(&self) -> bool {
        self.vendor.recipe.parts.mints.get(self.at).is_some_and(|mint| mint.is_token)
    }
}

impl Inner {
    async fn mint(
        &self,
        mint: &MintCall,
        input: &MintInput,
        notes: &Notes,
        steps: Option<&Mutex<Vec<String>>>,
    ) -> Result<Minted, MintFailure> {
        let prepaid = Mutex::new(input.context.prepaid);
        let asking = Asking { steps, prepaid, ..self.asking(mint, input, notes) };
        // Before a slot and the one probe of the breaker are taken: what can't be sent makes no call.
        let unfit = |Unfit| {
            note(&asking, Diagnosis::new("unfit", UNFIT));
            MintFailure::Refused
        };
        let (register, call) = self.fill(&asking).map_err(unfit)?;
        // At a minter: an edge asks ahead without leave.
        let ahead = input.context.reason == Reason::Ahead && input.context.prepaid.is_none();
        if ahead && matches!(mint.how, How::Call(_)) {
            self.take_leave(&asking)?;
        }
        match &mint.how {
            How::Sign(jwt) if mint.register.is_empty() => {
                self.sign(&asking, jwt, None).map_err(|fault| fault.failure(TRY_AGAIN))
            }
            _ => self.admission.pass(self.attempt(&asking, register, call)).await,
        }
    }

    /// The host alone: what an operator compares with `redirect_hosts`.
    fn tell_host(&self, url: &str) {
        if self.admission.last_failure() != Some(MintFailure::ForbiddenHost) {
            let url = url::Url::parse(url).ok();
            let host = url.as_ref().and_then(url::Url::host_str).unwrap_or_default();
            warn!(target: "valet::provider", provider = self.admission.name, host, "a minted URL leads outside redirect_hosts");
        }
    }

    /// The calls, as far as they need no answer.
    fn fill(&self, asking: &Asking<'_>) -> Result<(Option<Call>, Option<Call>), Unfit> {
        let parts = &self.recipe.parts;
        let values = self.values(asking, None);
        let mint = match &asking.mint.how {
            How::Call(call) if asking.mint.register.is_empty() => Some(call.fill(&parts.base.path, &values)?),
            How::Call(_) => None,
            How::Sign(_) if asking.mint.register.is_empty() => return Ok((None, None)),
            How::Sign(_) => None,
        };
        let register = parts.register.as_ref().map(|register| register.call.fill(&parts.base.path, &values));
        Ok((register.transpose()?, mint))
    }

    fn values<'a>(&'a self, asking: &'a Asking<'_>, register: Option<&'a Answered>) -> Values<'a> {
        Values {
            claims: &self.recipe.claims,
            subject_hash: asking.subject_hash.as_deref(),
            now: asking.start,
            base_url: &asking.base_url,
            register,
            ..Values::of(asking.input)
        }
    }

    /// `{subject_hash}`: base64url HMAC-SHA-256 of issuer, 0x00, subject.
    fn subject_hash(&self, input: &MintInput) -> Option<String> {
        let key = self.subject_key.as_ref()?.current();
        // The key goes into the hash.
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key.expose()));
        context.update(input.issuer.as_bytes());
        context.update(&[0]);
        context.update(input.subject.as_bytes());
        Some(URL_SAFE_NO_PAD.encode(context.sign()))
    }

    /// Registration, if the user is not known; the mint; and both again, if the vendor no longer knows a user known only from memory.
    async fn attempt(&self, asking: &Asking<'_>, register: Option<Call>, call: Option<Call>) -> Result<Minted, Fault> {
        let (register, remembered) = match (&self.recipe.parts.register, register) {
            (Some(register), Some(call)) => (Some((register, call)), self.registered.get(&asking.user)),
            _ => (None, None),
        };
        let is_remembered = remembered.is_some();
        let mut answered = match (&register, remembered) {
            (_, Some(answered)) => Some(answered),
            (Some((register, call)), None) => Some(self.register(asking, register, call).await?),
            (None, None) => None,
        };
        if let How::Sign(jwt) = &asking.mint.how {
            return self.sign(asking, jwt, answered.as_deref());
        }
        let mut answer = self.ask(asking, call.as_ref(), answered.as_deref()).await?;
        self.forget_refused(asking, &answer);
        if let Some((register, register_call)) = &register
            && is_remembered
            && may_have_forgotten(answer.status)
            && !asking.mint.accepts(answer.status, &answer.body)
        {
            answered = Some(self.register(asking, register, register_call).await?);
            answer = self.ask(asking, call.as_ref(), answered.as_deref()).await?;
            self.forget_refused(asking, &answer);
        }
        self.read(asking, &answer, answered.as_deref())
    }

    /// No key is good, or the user is gone and the vendor says it so: the next mint begins with the registration.
    fn forget_refused(&self, asking: &Asking<'_>, answer: &Response) {
        if matches!(answer.status, 401 | 403) {
            self.registered.remove(&asking.user);
        }
    }

    /// The call that mints; where it tells of the registration's answer, it is filled now.
    async fn ask(
        &self,
        asking: &Asking<'_>,
        call: Option<&Call>,
        answered: Option<&Answered>,
    ) -> Result<Response, Fault> {
        match (call, &asking.mint.how) {
            (Some(call), _) => self.send_patiently(asking, call).await,
            (None, How::Call(template)) => {
                let call = template.fill(&self.recipe.parts.base.path, &self.values(asking, answered));
                let call = call.map_err(|Unfit| unfit(asking))?;
                self.send_patiently(asking, &call).await
            }
            (None, How::Sign(_)) => Err(Fault::Refused),
        }
    }

    async fn register(&self, asking: &Asking<'_>, register: &Register, call: &Call) -> Result<Arc<Answered>, Fault> {
        let answer = self.send(asking, call, Step::Register).await?;
        if !register.accepts(answer.status, &answer.body) {
            return Err(self.fault(asking, Step::Register, &answer));
        }
        let json = if register.wanted.is_empty() { None } else { serde_json::from_slice(&answer.body).ok() };
        let answered = Answered::read(json.as_ref(), &register.wanted).map_err(|pointer| {
            note(asking, Diagnosis::without_value(Step::Register, &pointer, json.as_ref()));
            Fault::Nonsense
        })?;
        for pointer in &register.wanted {
            step(asking, || trial::found("register", pointer));
        }
        let answered = Arc::new(answered);
        self.registered.insert(asking.user, answered.clone());
        Ok(answered)
    }

    /// What an answer says that is not the wanted one. Its body is neither logged nor passed on.
    fn fault(&self, asking: &Asking<'_>, step: Step, answer: &Response) -> Fault {
        note(asking, Diagnosis::status(step, answer));
        Fault::of_answer(answer, self.admission.clock.now())
    }
}

/// 4xx, except for too many requests, which is a pause. Some vendors say by 401 or 403 that they do not know the user.
fn may_have_forgotten(status: u16) -> bool {
    (400..500).contains(&status) && status != 429
}

/// What is known of a mint that fails; the last word counts.
fn note(asking: &Asking<'_>, diagnosis: Diagnosis) {
    *asking.notes.lock() = Some(diagnosis);
}

fn unfit(asking: &Asking<'_>) -> Fault {
    note(asking, Diagnosis::new("unfit", UNFIT));
    Fault::Refused
}

#[cfg(test)]
mod tests;

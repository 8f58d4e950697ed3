//! The vendor behind the port: registration, the call that mints, the second key, and when not to call at all.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::{digest, hmac};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::ACCEPT;
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use http_body_util::Full;
use quick_cache::sync::Cache;
use tracing::warn;

use super::answer::{Answer, ExpiryRule};
use super::auth::sensitive;
use super::call::Call;
use super::diagnosis::{Diagnosis, Notes, Step};
use super::gate::Gate;
use super::keys::KeyRing;
use super::needs::uses_subject_hash;
use super::outcome::Fault;
use super::recipe::{MintCall, Recipe, Register, check_header_secret};
use super::redirect_hosts::UrlFault;
use super::retry_after::retry_after;
use super::settings::ProviderSettings;
use super::template::{Unfit, Values};
use super::unread::Unread;
use super::vendor_clock::VendorClock;
use super::{Mint, MintFailure, MintInput, Minted, PluginUrl};
use crate::clock::{Clock, Timestamp};
use crate::http_client::{Cause, Client, ClientFault, Response};
use crate::secret::SecretCell;
use crate::telemetry::Metrics;

/// An answer to a mint is a URL of at most 8 KiB, and one to a registration a user's record: more is not read.
const MAX_ANSWER_BYTES: usize = 128 * 1024;

/// How many users are remembered as registered; 32 bytes each, and a forgotten one costs one more call.
const REGISTERED: usize = 100_000;

/// A URL that ends sooner can't be followed in time.
const TOO_SHORT: Duration = Duration::from_secs(5);

/// What a vendor's calls carry that nobody may see.
pub struct VendorSecrets {
    /// The API keys, in the order in which they are tried.
    pub keys: Vec<Arc<SecretCell>>,
    /// The key of `{subject_hash}`, needed if the recipe uses it.
    pub subject: Option<Arc<SecretCell>>,
    /// `secret_headers`, in the order of their names.
    pub headers: Vec<Arc<SecretCell>>,
}

/// One provider of the configuration. Cheap to clone; clones share keys, breaker, memory and limits. Its `Debug` is its name.
#[derive(Clone)]
pub struct Vendor(Arc<Inner>);

struct Inner {
    gate: Gate,
    recipe: Recipe,
    needs_subject_hash: bool,
    keys: KeyRing,
    subject_key: Option<Arc<SecretCell>>,
    secret_headers: Vec<(HeaderName, Arc<SecretCell>)>,
    client: Client,
    registered: Cache<[u8; 32], ()>,
    vendor_clock: VendorClock,
    unread: Unread,
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
        Self(Arc::new(Inner {
            gate: Gate::new(settings, clock, metrics),
            vendor_clock: VendorClock::new(&settings.name, metrics),
            unread: Unread::new(&settings.name, metrics),
            secret_headers: recipe.parts.secret_headers.iter().cloned().zip(secrets.headers).collect(),
            recipe,
            needs_subject_hash: uses_subject_hash(settings),
            keys: KeyRing::new(secrets.keys),
            subject_key: secrets.subject,
            client,
            registered: Cache::new(REGISTERED),
        }))
    }

    /// The mint of this name, if the recipe has it.
    pub fn minter(&self, mint: &str) -> Option<Arc<dyn Mint>> {
        let at = self.0.recipe.parts.mints.iter().position(|known| known.name == mint)?;
        Some(Arc::new(Minter { vendor: self.0.clone(), at }))
    }

    /// The provider's name.
    pub fn name(&self) -> &str {
        &self.0.gate.name
    }

    /// The recipe.
    pub fn recipe(&self) -> &Recipe {
        &self.0.recipe
    }

    /// Whether calls are held back now (breaker, `Retry-After`). Brings `valet_degraded{what="provider:NAME"}` up to date: ask before each
    /// reading of the metrics, for a pause ends without an event.
    pub fn is_degraded(&self) -> bool {
        self.0.gate.is_degraded(false)
    }
}

impl std::fmt::Debug for Vendor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Vendor").field(&self.0.gate.name).finish()
    }
}

struct Minter {
    vendor: Arc<Inner>,
    /// Which of the recipe's mints.
    at: usize,
}

/// The calls of one mint, filled with a user's values.
struct Calls<'a> {
    mint: &'a MintCall,
    mint_call: Call,
    register: Option<(&'a Register, Call)>,
    /// Who is registered.
    user: [u8; 32],
    notes: &'a Notes,
}

#[async_trait]
impl Mint for Minter {
    async fn mint(&self, input: &MintInput) -> Result<Minted, MintFailure> {
        let notes = Notes::default();
        let verdict = match self.vendor.recipe.parts.mints.get(self.at) {
            Some(mint) => self.vendor.mint(mint, input, &notes).await,
            None => Err(MintFailure::Refused),
        };
        self.vendor.gate.note(&verdict, notes.into_inner());
        verdict
    }

    fn why(&self) -> Option<String> {
        self.vendor.gate.why()
    }

    fn readmit(&self, url: &str) -> Option<PluginUrl> {
        self.vendor.recipe.parts.redirect_hosts.check(url).ok().map(|()| PluginUrl::new(url))
    }
}

impl Inner {
    async fn mint(&self, mint: &MintCall, input: &MintInput, notes: &Notes) -> Result<Minted, MintFailure> {
        // Before a slot and the one probe of the breaker are taken: what can't be sent makes no call.
        let calls = self.fill(mint, input, notes).map_err(|Unfit| {
            *notes.lock() = Some(Diagnosis::new(
                "unfit",
                "a value of this user can't stand where the recipe puts it; no call was made",
            ));
            MintFailure::Refused
        })?;
        self.gate.pass(self.attempt(&calls, self.gate.clock.now())).await
    }

    /// The host alone: what an operator compares with `redirect_hosts`.
    fn tell_host(&self, url: &str) {
        if self.gate.last_failure() != Some(MintFailure::ForbiddenHost) {
            let url = url::Url::parse(url).ok();
            let host = url.as_ref().and_then(url::Url::host_str).unwrap_or_default();
            warn!(target: "valet::provider", provider = self.gate.name, host, "a minted URL leads outside redirect_hosts");
        }
    }

    fn fill<'a>(&'a self, mint: &'a MintCall, input: &MintInput, notes: &'a Notes) -> Result<Calls<'a>, Unfit> {
        let parts = &self.recipe.parts;
        let subject_hash = if self.needs_subject_hash { self.subject_hash(input) } else { None };
        let values = Values { input, claims: &self.recipe.claims, subject_hash: subject_hash.as_deref() };
        let mint_call = mint.call.fill(&parts.base.path, &values)?;
        let register = match &parts.register {
            Some(register) => Some((register, register.call.fill(&parts.base.path, &values)?)),
            None => None,
        };
        Ok(Calls { mint, mint_call, register, user: user(input), notes })
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
    async fn attempt(&self, calls: &Calls<'_>, start: Timestamp) -> Result<Minted, Fault> {
        let Some((register, register_call)) = &calls.register else {
            return self.read(calls, &self.send(calls, &calls.mint_call, Step::Mint).await?, start);
        };
        let remembered = self.registered.get(&calls.user).is_some();
        if !remembered {
            self.register(calls, register, register_call).await?;
        }
        let mut answer = self.send(calls, &calls.mint_call, Step::Mint).await?;
        if matches!(answer.status, 401 | 403) {
            // No key is good, or the user is gone and the vendor says it so: the next mint registers again.
            self.registered.remove(&calls.user);
        }
        if remembered && may_have_forgotten(answer.status) {
            self.register(calls, register, register_call).await?;
            answer = self.send(calls, &calls.mint_call, Step::Mint).await?;
        }
        self.read(calls, &answer, start)
    }

    async fn register(&self, calls: &Calls<'_>, register: &Register, call: &Call) -> Result<(), Fault> {
        let answer = self.send(calls, call, Step::Register).await?;
        if !register.accepts(answer.status, &answer.body) {
            return Err(self.fault(calls, Step::Register, &answer));
        }
        self.registered.insert(calls.user, ());
        Ok(())
    }

    fn read(&self, calls: &Calls<'_>, answer: &Response, start: Timestamp) -> Result<Minted, Fault> {
        let (mint, note) = (calls.mint, |diagnosis| *calls.notes.lock() = Some(diagnosis));
        if !(200..300).contains(&answer.status) {
            return Err(self.fault(calls, Step::Mint, answer));
        }
        let read = Answer::new(&answer.body, &mint.url, &mint.expires);
        let Some(url) = read.url(&mint.url) else {
            note(Diagnosis::without_url(&mint.url, &answer.body));
            return Err(Fault::Nonsense);
        };
        self.recipe.parts.redirect_hosts.check(&url).map_err(|fault| match fault {
            UrlFault::Nonsense => {
                note(Diagnosis::no_url(&answer.body));
                Fault::Nonsense
            }
            UrlFault::ForbiddenHost => {
                note(Diagnosis::new("forbidden_host", "the minted URL leads to a host outside redirect_hosts"));
                self.tell_host(&url);
                Fault::ForbiddenHost
            }
        })?;
        let ends = read.ends(&mint.expires, &url, start);
        let now = self.gate.clock.now();
        // By our clock.
        let ahead = self.vendor_clock.ahead(&answer.headers, now, &self.gate.name);
        let hold_until = ends.filter(|_| !ahead.is_zero()).map(|ends| ends.minus(ahead));
        if hold_until.or(ends).is_some_and(|ends| ends <= now.plus(TOO_SHORT)) {
            note(Diagnosis::new("url_ended", "the minted URL has ended, or ends within 5 s: look at the clocks"));
            return Err(Fault::Nonsense);
        }
        let end_unread = ends.is_none() && mint.expires != ExpiryRule::Fixed;
        if end_unread {
            self.unread.note(&self.gate.name, &mint.name, self.gate.clock.tick());
        }
        Ok(Minted { url: PluginUrl::new(&url), ends, end_unread, hold_until })
    }

    /// What an answer says that is not the wanted one. Its body is neither logged nor passed on.
    fn fault(&self, calls: &Calls<'_>, step: Step, answer: &Response) -> Fault {
        *calls.notes.lock() = Some(Diagnosis::status(step, answer));
        match answer.status {
            429 | 503 => {
                let retry_after = retry_after(&answer.headers, self.gate.clock.now());
                Fault::Waiting { unavailable: answer.status == 503, retry_after }
            }
            400..=499 => Fault::Refused,
            500..=599 => Fault::Unreachable,
            _ => Fault::Nonsense,
        }
    }

    fn add_secret_headers(&self, headers: &mut HeaderMap) -> Result<(), Unfit> {
        for (name, secret) in &self.secret_headers {
            let secret = secret.current();
            check_header_secret(&secret).map_err(|_| Unfit)?;
            // Into a header field of a call to the vendor, and nowhere else.
            headers.insert(name.clone(), sensitive(&[secret.expose()])?);
        }
        Ok(())
    }

    /// One call, with the key that works; on 401 and 403 with the other one.
    async fn send(&self, calls: &Calls<'_>, call: &Call, step: Step) -> Result<Response, Fault> {
        let note = |cause| *calls.notes.lock() = Some(Diagnosis::call(step, cause));
        // Until it is answered: the provider's time-out may come first.
        note(Cause::TimedOut);
        let mut refusal = None;
        for (at, key) in self.keys.in_order() {
            let (mut target, mut headers) = (call.target.clone(), call.headers.clone());
            let applied = self.recipe.parts.auth.apply(&key, &mut target, &mut headers);
            let applied = applied.and_then(|()| self.add_secret_headers(&mut headers));
            if applied.is_ok() {
                headers.entry(ACCEPT).or_insert(HeaderValue::from_static("*/*"));
                // The key's only way out of the process: to the origin of `base_url`, and no redirect is followed.
                let mut request = Request::builder()
                    .method(call.method.clone())
                    .uri(self.recipe.parts.base.origin() + &target)
                    .body(Full::new(call.body.clone()))
                    .map_err(|_| Fault::Refused)?;
                *request.headers_mut() = headers;
                let answer = match step {
                    // Done again it leads to the same: after each start users are registered who are known.
                    Step::Register => self.client.send_repeatable(request, MAX_ANSWER_BYTES, self.gate.timeout).await,
                    Step::Mint => self.client.send(request, MAX_ANSWER_BYTES, self.gate.timeout).await,
                };
                let answer = answer.map_err(|fault| {
                    note(fault.cause());
                    client_fault(fault)
                })?;
                if !matches!(answer.status, 401 | 403) {
                    if answer.status < 500 {
                        self.keys.works(at);
                    }
                    return Ok(answer);
                }
                refusal = Some(answer);
            }
            if applied.is_ok() && self.keys.is_refused(at) {
                warn!(target: "valet::provider", provider = self.gate.name, key = at + 1, "provider refused the API key");
            }
        }
        refusal.ok_or_else(|| {
            *calls.notes.lock() = Some(Diagnosis::new("unfit", "no key can stand where `auth` puts it"));
            Fault::Refused
        })
    }
}

/// 4xx, but for a refused key and too many requests, which say nothing of the user.
fn may_have_forgotten(status: u16) -> bool {
    (400..500).contains(&status) && !matches!(status, 401 | 403 | 429)
}

/// Whom a registration is about: the person, and the name that the vendor was told.
fn user(input: &MintInput) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for text in [&input.issuer, &input.subject, &input.external_id] {
        context.update(&(text.len() as u64).to_be_bytes());
        context.update(text.as_bytes());
    }
    let mut user = [0; 32];
    user.copy_from_slice(context.finish().as_ref());
    user
}

fn client_fault(fault: ClientFault) -> Fault {
    match fault {
        ClientFault::NoConnection(_) | ClientFault::Unreachable(_) => Fault::Unreachable,
        ClientFault::TimedOut => Fault::TimedOut,
        ClientFault::TooLarge => Fault::Nonsense,
    }
}

#[cfg(test)]
mod tests;

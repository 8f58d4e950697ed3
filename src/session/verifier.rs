//! Verifies credentials: the cache of verified tokens, and behind it the verification of a JWT (RFC 7519, RFC 8725).

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use prometheus::{IntCounter, IntGauge};
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::claim_path::ClaimPath;
use super::claims::{ClaimForm, Claims, Validity};
use super::external_id::Name;
use super::field_claim::FieldClaim;
use super::hash::sha256;
use super::issuer::{Checks, Issuer, settle_persons};
use super::json::{self, Object, Selector, Value};
use super::jwks_cache::JwksCache;
use super::jwks_caches::Meant;
use super::keys::Key;
use super::knowledge::Known;
use super::observer::{Observer, Step};
use super::remote::ClientOf;
use super::revocation::{LookedUp, Revocations};
use super::security_event::Transmitter;
use super::settings::{RevocationsUnknown, SessionSettings, SignatureAlgorithm};
use super::token::{Header, Parts};
use super::{Memo, Reason, Session, SessionFault, SessionName, Signed, TARGET, TraitClaims, assertable, shown};
use crate::clock::{Clock, Moment, Timestamp};
use crate::secret::Secret;
use crate::telemetry::{Metrics, Outcome};

/// The label of tokens whose issuer we don't know, and of requests without any.
const UNKNOWN: &str = "unknown";

/// A token of this length counts as one of `session.cache`, a longer one as several: the memory of the cache is bounded by that number
/// times this, whatever tokens look like. Few issuers make longer ones.
const UNIT_BYTES: usize = 2048;

/// What an entry counts.
#[derive(Clone)]
pub(super) struct ByLength;

impl Weighter<Arc<[u8]>, Arc<Verdict>> for ByLength {
    fn weight(&self, token: &Arc<[u8]>, _: &Arc<Verdict>) -> u64 {
        token.len().div_ceil(UNIT_BYTES).max(1) as u64
    }
}

/// Judges credentials by the configured issuers, and remembers those that were good.
pub struct Sessions {
    pub(super) issuers: Box<[Arc<Issuer>]>,
    /// Whose security event tokens are believed.
    pub(super) transmitters: Box<[Transmitter]>,
    claim_names: Box<[(Selector, ClaimForm)]>,
    /// What policies read of a token; `None`: there are none.
    traits: Option<TraitClaims>,
    field_names: Box<[Selector]>,
    assertion_names: Box<[Selector]>,
    skew: Duration,
    /// How long a revocation is remembered: `revocation_life`, by clocks that differ as far as they may.
    pub(super) remembered: Duration,
    max_token_bytes: usize,
    pub(super) subject_key: hmac::Key,
    /// What is read of each token, as text.
    pub(super) reads: Box<str>,
    /// Keyed by the whole token; only verified ones are in it. A token that was used again outlives those that were seen once. The next
    /// configuration's cache has the same bytes.
    pub(super) cache: Cache<Arc<[u8]>, Arc<Verdict>, ByLength>,
    pub(super) revocations: Arc<Revocations>,
    pub(super) known: Arc<Known>,
    pub(super) revocations_unknown: RevocationsUnknown,
    entries: IntGauge,
    unknown: Checks,
    absent: IntCounter,
}

/// The claims that are read of each token, by name or JSON pointer.
#[derive(Clone, Copy, Debug)]
pub struct ClaimNames<'a> {
    /// Those that recipes ask for: [`Session::claims`].
    pub recipes: &'a [String],
    /// Those that apps are told: [`Session::fields`].
    pub fields: &'a [ClaimPath],
    /// Those that assertions carry: [`Session::assertable`].
    pub assertions: &'a [ClaimPath],
}

/// A verified token: good within its life, as long as its key is.
pub(super) struct Verdict {
    pub(super) session: Arc<Session>,
    pub(super) life: Validity,
    pub(super) key: Arc<Key>,
    /// Whose key it is.
    pub(super) jwks: Arc<JwksCache>,
    pub(super) issuer: Arc<Issuer>,
    pub(super) looked_up: LookedUp,
}

/// How a look at a token ended without a session.
pub(super) enum Miss {
    Fault(SessionFault, Option<Arc<Issuer>>),
    /// The token is in order, but none of the keys is the one that it names.
    UnknownKey(Arc<Issuer>, SignatureAlgorithm),
}

impl Sessions {
    /// Reads the issuers, and local keys with them; touches no network. `directory` is where relative paths start, `names` are
    /// the claims that are asked for, `traits` what policies read, `subject_key` is the key of [`Session::log_id`], `client_of` says who fetches an issuer's keys. Every
    /// fault, in the operator's words.
    ///
    /// # Errors
    /// All faults of the issuers, each a line.
    pub fn new(
        settings: &SessionSettings,
        directory: &Path,
        (names, traits): (ClaimNames<'_>, Option<&TraitClaims>),
        subject_key: &Secret,
        client_of: &ClientOf<'_>,
        clock: Clock,
        metrics: &Metrics,
    ) -> Result<Arc<Self>, Vec<String>> {
        let mut faults = Vec::new();
        let expanded = settings.expanded();
        let mut issuers: Vec<Issuer> = Vec::with_capacity(expanded.len());
        for one in &expanded {
            let opened = client_of(one).and_then(|client| Issuer::open(one, directory, &client, &clock, metrics));
            match opened {
                Ok(issuer) if issuers.iter().any(|held| held.name == issuer.name) => {
                    faults.push(format!("session.issuer {:?}: is configured twice", one.issuer));
                }
                Ok(issuer) => issuers.push(issuer),
                Err(more) => faults.extend(more),
            }
        }
        let mut transmitters = Vec::new();
        for one in settings.events.iter().flat_map(|events| &events.transmitters) {
            match Transmitter::open(one, directory, client_of, &clock, metrics) {
                Ok(transmitter) => transmitters.push(transmitter),
                Err(more) => faults.extend(more),
            }
        }
        faults.extend(settle_persons(&expanded, &mut issuers));
        let mut selector = |name: &str| {
            let selector = Selector::parse(name);
            if selector.is_none() {
                faults.push(format!("{{claim:{name}}}: is neither a claim's name nor a JSON pointer"));
            }
            selector
        };
        let mut told = |(claim, form): (&str, ClaimForm)| Some((selector(claim)?, form));
        let claim_names = names.recipes.iter().filter_map(|name| told(ClaimForm::of(name))).collect();
        let selectors = |paths: &[ClaimPath]| paths.iter().map(|path| path.selector().clone()).collect();
        let (field_names, assertion_names) = (selectors(names.fields), selectors(names.assertions));
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok(Arc::new(Self {
            issuers: issuers.into_iter().map(Arc::new).collect(),
            transmitters: transmitters.into(),
            claim_names,
            field_names,
            assertion_names,
            traits: traits.cloned(),
            skew: settings.clock_skew.0,
            remembered: settings.revocation_life.0.saturating_add(settings.clock_skew.0 * 2),
            max_token_bytes: settings.max_token_bytes,
            reads: format!("{names:?} {traits:?} {:?} {}", settings.clock_skew, settings.max_token_bytes).into(),
            // Goes into the hash that stands for a subject in logs.
            subject_key: hmac::Key::new(hmac::HMAC_SHA256, subject_key.expose()),
            cache: Cache::with_weighter(settings.cache.max(1), settings.cache.max(1) as u64, ByLength),
            revocations: Arc::default(),
            known: Arc::default(),
            revocations_unknown: settings.revocations_unknown,
            entries: metrics.session_cache_entries.clone(),
            unknown: Checks::of(UNKNOWN, metrics),
            absent: metrics.session_checks.with_label_values(&[UNKNOWN, Outcome::Absent.label()]),
        }))
    }

    /// The session of a token that was verified before, if it still is one. The hot path: one look-up by bytes, no allocation.
    pub fn cached(&self, token: &[u8], now: Moment) -> Option<Arc<Session>> {
        // Nothing longer is in the cache; a hostile megabyte is not even hashed.
        if token.len() > self.max_token_bytes {
            return None;
        }
        let verdict = self.cache.get(token)?;
        let ended = verdict.key.is_retired() || now.wall >= verdict.life.until;
        if ended || !verdict.looked_up.is_open(self, &verdict.session) {
            self.cache.remove_if(token, |held| Arc::ptr_eq(held, &verdict));
            self.count_entries();
            return None;
        }
        // The wall clock may have been set back; and keys that are too old vouch for nothing.
        if now.wall < verdict.life.from || !verdict.jwks.is_usable_at(|| now.tick) {
            return None;
        }
        verdict.issuer.checks.cached.inc();
        Some(Arc::clone(&verdict.session))
    }

    /// Verifies a token, and remembers it if it is good. Waits only when the token is in order but names an unknown key: at most 2 s,
    /// for a fetch that many share. Dropped, the fetch goes on, and nothing is counted.
    ///
    /// # Errors
    /// It has expired, is invalid, or the keys to judge it by can't be had.
    ///
    /// # Examples
    /// ```no_run
    /// use valet_gateway::clock::Clock;
    /// use valet_gateway::session::{SessionFault, Sessions};
    ///
    /// # async fn judge(sessions: &Sessions, token: &str) -> Result<(), SessionFault> {
    /// let session = sessions.verify(token.as_bytes(), Clock::system().now()).await?;
    /// println!("{} of {}", session.subject(), session.issuer());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn verify(&self, token: &[u8], now: Timestamp) -> Result<Arc<Session>, SessionFault> {
        let mut looked = self.look(token, now, &mut ());
        if let Err(Miss::UnknownKey(issuer, algorithm)) = &looked {
            issuer.jwks_caches.wait_for_unknown(*algorithm).await;
            // Also where there was nothing to wait for: a fetch may have ended since the first look.
            looked = self.look(token, now, &mut ());
        }
        let (fault, issuer) = match looked {
            Ok(session) => return Ok(session),
            Err(Miss::Fault(fault, issuer)) => (fault, issuer),
            Err(Miss::UnknownKey(issuer, algorithm)) => (issuer.jwks_caches.without_key(algorithm), Some(issuer)),
        };
        let checks = issuer.as_ref().map_or(&self.unknown, |issuer| &issuer.checks);
        match fault {
            SessionFault::Expired => checks.expired.inc(),
            SessionFault::Invalid(Reason::Revoked) => checks.revoked.inc(),
            SessionFault::Invalid(_) => checks.invalid.inc(),
            SessionFault::KeysUnavailable(_) => checks.unavailable.inc(),
        }
        let name = issuer.as_ref().map_or(UNKNOWN, |issuer| &issuer.name);
        tracing::debug!(target: TARGET, issuer = %shown(name), ?fault, "no session");
        Err(fault)
    }

    /// The names of the configured issuers.
    pub(super) fn issuers(&self) -> impl Iterator<Item = &str> {
        self.issuers.iter().map(|issuer| &*issuer.name)
    }

    /// How far clocks may differ.
    pub fn skew(&self) -> Duration {
        self.skew
    }

    /// Counts a request that had no credential.
    pub fn count_absent(&self) {
        self.absent.inc();
    }

    /// Counts a request whose credential is not even a token: another scheme, or none in it.
    pub fn count_malformed(&self) {
        self.unknown.invalid.inc();
    }

    /// Judges a token by what is known now; a good one is counted and remembered.
    pub(super) fn look(
        &self,
        token: &[u8],
        now: Timestamp,
        observer: &mut impl Observer,
    ) -> Result<Arc<Session>, Miss> {
        let invalid = |reason| Miss::Fault(SessionFault::Invalid(reason), None);
        if token.len() > self.max_token_bytes {
            return Err(invalid(Reason::TooLong));
        }
        let parts = Parts::read(token).map_err(invalid)?;
        observer.observes(Step::Parts);
        let header = Header::read(&parts.header).map_err(invalid)?;
        observer.observes(Step::Header(&header));
        let payload = json::object(&parts.payload).ok_or_else(|| invalid(Reason::Claims))?;
        let issuer = self.issuer_of(&payload).map_err(invalid)?;
        observer.observes(Step::Issuer(issuer));
        let fault = |fault| Miss::Fault(fault, Some(Arc::clone(issuer)));
        let invalid = |reason| fault(SessionFault::Invalid(reason));

        if !header.is_of(&issuer.types) {
            return Err(invalid(Reason::Type));
        }
        observer.observes(Step::Type);
        let algorithm = header.algorithm.filter(|named| issuer.jwks_caches.names(*named));
        let algorithm = algorithm.ok_or_else(|| invalid(Reason::Algorithm))?;
        observer.observes(Step::Algorithm(algorithm));
        let claims = issuer.rules.judge(&payload, now, self.skew).map_err(invalid)?;
        observer.observes(Step::Claims(&claims, &payload, issuer));
        let name = issuer.name(&claims.subject, &payload).ok_or_else(|| invalid(Reason::ExternalId))?;
        observer.observes(Step::ExternalId);
        let Meant { keys, may_be_newer } = issuer.jwks_caches.meant(header.kid(), algorithm);
        let unknown = || Miss::UnknownKey(Arc::clone(issuer), algorithm);
        if keys.is_empty() {
            return Err(if may_be_newer { unknown() } else { invalid(Reason::Algorithm) });
        }
        observer.observes(Step::Keys(keys.len()));
        let signer = keys.into_iter().find(|(key, _)| key.verifies(algorithm, parts.signed, &parts.signature));
        // Where another entry may have the key that has signed it, it is no more than unknown yet.
        let (key, jwks) = signer.ok_or_else(|| if may_be_newer { unknown() } else { invalid(Reason::Signature) })?;
        observer.observes(Step::Signature);
        // Only who holds a token that was good once learns that it has expired.
        if now >= claims.life.until {
            return Err(fault(SessionFault::Expired));
        }
        let session = Arc::new(self.session(token, issuer, &claims, name, &payload));
        // Read before the list: see `LookedUp::is_open`.
        let looked_up = LookedUp::at(self.revocations.generation());
        if self.is_revoked(&session) {
            return Err(fault(SessionFault::Invalid(Reason::Revoked)));
        }
        issuer.checks.valid.inc();
        if let Some(fault) = session.name_fault() {
            tracing::debug!(target: TARGET, issuer = %shown(&issuer.name), %fault, "no name at the vendor");
        }
        let verdict = Verdict {
            session: Arc::clone(&session),
            life: claims.life,
            key,
            jwks,
            issuer: Arc::clone(issuer),
            looked_up,
        };
        self.cache.insert(token.into(), Arc::new(verdict));
        self.count_entries();
        Ok(session)
    }

    /// The longest token that is read.
    pub(super) fn max_token_bytes(&self) -> usize {
        self.max_token_bytes
    }

    pub(super) fn issuer_of(&self, payload: &Object<'_>) -> Result<&Arc<Issuer>, Reason> {
        let name = payload.get("iss").and_then(Value::text).ok_or(Reason::Claims)?;
        self.issuers.iter().find(|issuer| *issuer.name == *name).ok_or(Reason::UnknownIssuer)
    }

    fn session(&self, token: &[u8], issuer: &Issuer, claims: &Claims<'_>, name: Name, payload: &Object<'_>) -> Session {
        let wanted = |(selector, form): &(Selector, ClaimForm)| form.tell(selector.find(payload)?);
        let (log_id, person) = self.names_of(&issuer.namespace, &claims.subject);
        Session {
            issuer: Arc::clone(&issuer.name),
            namespace: Arc::clone(&issuer.namespace),
            subject: claims.subject.as_ref().into(),
            external_id: name.text,
            name_fault: name.fault,
            log_id,
            person,
            revocable: Some(self.revocable(
                issuer,
                &claims.subject,
                claims.session_id,
                claims.issued_at.map(Timestamp::as_secs),
            )),
            session_name: SessionName::of(claims.session_id, || sha256(token)),
            ends: claims.life.until,
            claims: self.claim_names.iter().map(wanted).collect(),
            fields: self.field_names.iter().map(|selector| FieldClaim::new(selector.find(payload))).collect(),
            assertable: self.assertion_names.iter().map(|selector| assertable::text(selector.find(payload))).collect(),
            traits: self.traits.as_ref().map(|claims| Box::new(claims.read(payload))),
            memo: Memo::default(),
            signed: Signed::default(),
        }
    }

    /// The issuer whose subjects those of this one are: itself, or that of `subjects_of`. `None`: it is not configured.
    pub fn namespace_of(&self, issuer: &str) -> Option<&str> {
        self.issuers.iter().find(|known| *known.name == *issuer).map(|known| &*known.namespace)
    }

    /// The other issuers whose subjects are those of this namespace.
    pub fn sharing(&self, namespace: &str) -> Vec<String> {
        let others = self.issuers.iter().filter(|known| *known.namespace == *namespace && *known.name != *namespace);
        others.map(|known| known.name.to_string()).collect()
    }

    /// Forgets the verified tokens whose session `keep` does not keep.
    pub(super) fn retain_cached(&self, keep: impl Fn(&Session) -> bool) {
        self.cache.retain(|_, verdict| keep(&verdict.session));
        self.count_entries();
    }

    fn count_entries(&self) {
        self.entries.set(i64::try_from(self.cache.len()).unwrap_or(i64::MAX));
    }
}

//! The mint service: judges an edge's request (which edge, what it may ask, whether the session is valid here too), then asks its own lease book.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::TARGET;
use super::audit_log::{self, AuditLog, Entry};
use super::denial::denied;
use super::edge_registry::{Edge, EdgeRegistry};
use super::settings::MinterSettings;
use super::spans;
use crate::clock::{Clock, Stopwatch, Timestamp};
use crate::lease::settings::Reuse;
use crate::lease::{Asked, Book, Freshness, Lease, LeaseKey, LeasePolicy, Opened, Parameters, Scope, Source, Unlisted};
use crate::logging::LineSink;
use crate::policy::{Action, Authorizer, Circumstances, Denied as Unpermitted, Permit};
use crate::provider::wire::{Denial, Health, MintError, MintGrant, MintRequest};
use crate::provider::{MintContext, Reason, Share};
use crate::session::{Asserted, Session, SessionFault, Sessions, Unknown};
use crate::telemetry::{Metrics, Outcome, Place, TraceContext, trace_id};

/// The longest tag that makes sense (RFC 5646, section 4.4.1) is shorter.
const MAX_LANGUAGE: usize = 64;

/// As long as any identity provider's (OpenID Connect Core, section 2).
const MAX_SUBJECT: usize = 255;

/// An edge that waits longer has a browser that waits longer.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// Under this name the metrics count who is no edge.
const UNKNOWN: &str = "unknown";

/// Something that edges may ask for.
#[derive(Clone)]
pub struct Offer {
    /// The plug-in's name, or the mint's.
    pub name: String,
    /// The provider's name.
    pub provider: String,
    /// The name of the provider's mint.
    pub mint: String,
    /// The requests that share a URL; `None`: as the edge says.
    pub reuse: Option<Reuse>,
    /// The rules of time, the mint and its counters.
    pub lease_policy: Arc<LeasePolicy>,
    /// Of the provider.
    pub fingerprint: [u8; 32],
    /// The languages of the plug-in; `None`: whatever is one.
    pub languages: Option<Vec<String>>,
    /// Whether an edge's fault has been told: once is enough.
    pub told: Arc<AtomicBool>,
    /// The parameters of the plug-in.
    pub parameters: Parameters,
    /// Claims that the recipe uses: name, place in [`Session::claims`], whether it may be absent.
    pub claims: Vec<(String, usize, bool)>,
    /// Who asks the policies, by each name under which edges may ask for it.
    pub authorizers: Arc<[(String, Authorizer)]>,
}

/// What a mint service is made of.
pub struct MintServiceParts<'a> {
    /// As configured.
    pub settings: &'a MinterSettings,
    /// What may be asked for.
    pub offers: Vec<Offer>,
    /// Who verifies sessions.
    pub sessions: Arc<Sessions>,
    /// How many claims a session has.
    pub claim_count: usize,
    /// Who holds leases.
    pub book: Arc<Book>,
    /// Time.
    pub clock: Clock,
    /// All counters.
    pub metrics: Metrics,
    /// Where the audit log's lines go.
    pub lines: Option<LineSink>,
}

/// The judge of asks.
pub struct MintService {
    offers: Box<[Offer]>,
    registry: EdgeRegistry,
    verify: bool,
    sessions: Arc<Sessions>,
    claim_count: usize,
    book: Arc<Book>,
    clock: Clock,
    metrics: Metrics,
    audit_log: AuditLog,
}

/// A URL for the edge, and where it came from.
struct Found {
    lease: Arc<Lease>,
    source: Source,
}

impl MintService {
    /// A mint service. Says in the log, and in `valet_degraded`, if it believes edges.
    pub fn new(parts: MintServiceParts<'_>) -> Self {
        let MintServiceParts { settings, offers, sessions, claim_count, book, clock, metrics, lines } = parts;
        let place = |name: &str| find(&offers, name);
        let registry = EdgeRegistry::new(&settings.edges, settings.per_edge, place);
        if !settings.verify_sessions {
            tracing::warn!(target: TARGET, "verify_sessions is off: edges are believed, and one that is taken over mints for anybody");
        }
        let off = i64::from(!settings.verify_sessions);
        metrics.degraded.with_label_values(&["minter.verify_sessions"]).set(off);
        let verify = settings.verify_sessions;
        let audit_log = AuditLog::new(lines);
        Self { offers: offers.into(), registry, verify, sessions, claim_count, book, clock, metrics, audit_log }
    }

    /// The edge with one of these names of a certificate.
    pub(super) fn edge(&self, names: &[Box<str>]) -> Option<Arc<Edge>> {
        self.registry.find(names)
    }

    /// What this edge may mint; a refusal while there are no keys yet to judge sessions by.
    pub(super) fn health(&self, edge: &Edge) -> Result<Health, MintError> {
        if self.verify && !self.sessions.ready().any_had_once() {
            return Err(MintError::now(Denial::KeysUnavailable));
        }
        let offers = edge.plugins().filter_map(|at| self.offers.get(at));
        let mut plugins: Vec<String> = offers.map(|offer| offer.name.clone()).collect();
        plugins.sort_unstable();
        Ok(Health { plugins })
    }

    /// Counts an ask that ended before it could be judged.
    pub(super) fn count(&self, edge: Option<&Edge>, outcome: Outcome) {
        let edge = edge.map_or(UNKNOWN, |edge| &edge.name);
        self.metrics.minter_requests.with_label_values(&[edge, outcome.label()]).inc();
    }

    /// Judges, answers, counts, and writes the audit log's line.
    ///
    /// The caller runs it as a task of its own: an ask whose edge is gone is judged, and stands in the audit log, all the same.
    /// `caller`: where the edge's call stands in a trace. Its word on that is taken: an edge shows a certificate.
    pub(super) async fn answer(
        &self,
        edge: &Edge,
        ask: MintRequest,
        caller: Option<TraceContext>,
    ) -> Result<MintGrant, MintError> {
        let (began, time) = (Stopwatch::start(), self.clock.now());
        let sampled = caller.is_some_and(|caller| caller.sampled) || self.metrics.tracer.samples();
        let place = match caller {
            Some(caller) => Place::below(&caller, sampled),
            None => Place::begin(trace_id(), sampled),
        };
        let at = find(&self.offers, &ask.plugin);
        let offer = at.and_then(|at| self.offers.get(at));
        let mut session = None;
        let verdict = match (at, offer) {
            // Nobody waits for it any more.
            _ if ask.deadline_ms == 0 => Err(MintError::now(Denial::ProviderTimeout)),
            (Some(at), Some(offer)) if edge.may(at) => {
                let wait = Duration::from_millis(ask.deadline_ms).min(MAX_WAIT);
                let judged = tokio::time::timeout(wait, self.judge(edge, offer, (&ask, place), &mut session)).await;
                judged.unwrap_or(Err(MintError::now(Denial::ProviderTimeout)))
            }
            _ => Err(MintError::now(Denial::NotPermitted)),
        };
        let now = self.clock.now();
        let outcome = verdict.as_ref().map_or_else(|denied| denied.refusal.label(), |_| "granted");
        let source = verdict.as_ref().ok().map(|found| found.source.label());
        let counted = verdict.as_ref().map_or_else(|denied| denied.refusal.outcome(), |_| Outcome::Granted).label();
        let counted = source.unwrap_or(counted);
        self.metrics.minter_requests.with_label_values(&[&*edge.name, counted]).inc();
        let id = ask.request_id.as_deref().filter(|id| uuid::Uuid::try_parse(id).is_ok());
        self.audit_log.note(&Entry {
            time: audit_log::time(time),
            request_id: id,
            trace_id: std::str::from_utf8(&place.own.trace_id_text()).unwrap_or_default(),
            edge: &edge.name,
            plugin: offer.map(|offer| offer.name.as_str()),
            provider: offer.map(|offer| offer.provider.as_str()),
            reason: ask.reason.label(),
            outcome,
            source,
            remaining_s: verdict.as_ref().ok().map(|found| found.lease.remaining(now).as_secs()),
            duration_us: audit_log::micros(began.elapsed()),
            subject: session.as_deref().map(Session::log_id),
        });
        let plugin = offer.map(|offer| offer.name.as_str());
        let span = || spans::ask(place, &edge.name, plugin, (counted, time, began.elapsed()));
        self.metrics.tracer.record(span);
        let lease = verdict?.lease;
        let hold = lease.hold(Duration::from_secs(ask.max_age_s), now);
        // To the edge that asked, for this session's user.
        let text = lease.url.expose().to_owned();
        let (url, token) = if lease.url.is_token() { (None, Some(text)) } else { (Some(text), None) };
        Ok(MintGrant {
            url,
            token,
            ends_at_ms: lease.promised().map(Timestamp::as_millis),
            hold_ms: u64::try_from(hold.as_millis()).unwrap_or(u64::MAX),
            uses: lease.uses_of_one_ask(),
        })
    }

    async fn judge(
        &self,
        edge: &Edge,
        offer: &Offer,
        (ask, place): (&MintRequest, Place),
        seen: &mut Option<Arc<Session>>,
    ) -> Result<Found, MintError> {
        let language = ask.language.as_deref();
        if !language.is_none_or(|language| offer.speaks(language)) || !is_subject(&ask.subject) {
            return Err(MintError::now(Denial::BadRequest));
        }
        // An edge that does not tell leases apart by what the vendor is told hands one out for another.
        if let Some((missing, ..)) = offer.claims.iter().find(|(name, ..)| !ask.claims.contains_key(name.as_str())) {
            if !offer.told.swap(true, Ordering::Relaxed) {
                tracing::warn!(target: TARGET, plugin = offer.name, claim = missing, "an edge must name this claim in `minter.claims`");
            }
            return Err(MintError::now(Denial::BadRequest));
        }
        let asked =
            offer.parameters.of_pairs(&ask.parameters).map_err(|Unlisted| MintError::now(Denial::BadRequest))?;
        let session = seen.insert(self.session(offer, ask).await?);
        let has = |at: &usize| session.claims().get(*at).is_some_and(Option::is_some);
        // The edge's answer to its caller is the same for both.
        if session.name_fault().is_some() || !offer.claims.iter().all(|(_, at, optional)| *optional || has(at)) {
            return Err(MintError::now(Denial::ClaimMissing));
        }
        let reuse = stricter(offer.reuse, ask.share);
        // The edge tells leases apart by its own names for people and sessions: where ours are others, one would get another's URL.
        let same_session = reuse != Reuse::Session || ask.session.as_deref() == session.session_id();
        if *ask.external_id != *session.external_id() || !same_session {
            if !offer.told.swap(true, Ordering::Relaxed) {
                tracing::warn!(target: TARGET, plugin = offer.name, "edge and minter differ in the issuer's `external_id` or `session_claim`");
            }
            return Err(MintError::now(Denial::BadRequest));
        }
        let permit = self.permit(edge, offer, ask, session)?;
        self.lease(offer, (ask, place), (session, reuse, &asked), &permit).await
    }

    /// Asks the policies for each ask: what they say to one is no other's answer.
    fn permit(&self, edge: &Edge, offer: &Offer, ask: &MintRequest, session: &Session) -> Result<Permit, MintError> {
        // Found by one of its names, so there is one.
        let named = offer.authorizers.iter().find(|(name, _)| *name == *ask.plugin);
        let (_, authorizer) = named.ok_or_else(|| MintError::now(Denial::Forbidden))?;
        let reason = match ask.reason {
            Reason::Miss => "open",
            Reason::Again => "renew",
            Reason::Ahead => "ahead",
        };
        let asked =
            |now| vec![Circumstances { edge: Some(&edge.name), reason: Some(reason), ..Circumstances::at(now) }];
        authorizer.judge(Action::Mint, Some(session), &self.clock, asked).outcome.map_err(|denied| match denied {
            Unpermitted::Denied | Unpermitted::Failed => MintError::now(Denial::Forbidden),
            Unpermitted::StepUp(step_up) => MintError::until(&step_up),
        })
    }

    async fn lease(
        &self,
        offer: &Offer,
        (ask, place): (&MintRequest, Place),
        (session, reuse, parameters): (&Session, Reuse, &Asked),
        _permit: &Permit,
    ) -> Result<Found, MintError> {
        let language = ask.language.as_deref();
        let scope = Scope::new(session.namespace(), &offer.name, &offer.provider, &offer.mint, &offer.fingerprint);
        let used: Vec<usize> = offer.claims.iter().map(|(_, at, _)| *at).collect();
        let opened = Opened { language, parameters };
        let key = LeaseKey::new(&scope, session, reuse, opened, &used);
        let (book, lease_policy) = (&self.book, &offer.lease_policy);
        let freshness =
            Freshness { life: Duration::from_secs(ask.life_s), max_age: Duration::from_secs(ask.max_age_s) };
        let input = || opened.mint_input(session, MintContext { place: Some(place), ..MintContext::default() });
        let leased = match (reuse, ask.reason) {
            (Reuse::Never, _) => book.once(lease_policy, &key, input).await,
            (_, Reason::Again) => book.renew(lease_policy, &key, input).await,
            (_, reason) => book.obtain_with(lease_policy, &key, freshness, reason, input).await,
        };
        let (lease, source) = leased.map_err(denied)?;
        // It may have ended while others' mint was waited for.
        if self.sessions.is_revoked(session) {
            return Err(MintError::now(Denial::SessionInvalid));
        }
        Ok(Found { lease, source })
    }

    /// The session, by our own keys; and it must be the person that the edge names.
    async fn session(&self, offer: &Offer, ask: &MintRequest) -> Result<Arc<Session>, MintError> {
        if !self.verify {
            if !is_subject(&ask.external_id) {
                return Err(MintError::now(Denial::BadRequest));
            }
            return Ok(Arc::new(self.sessions.assert(Asserted {
                issuer: &ask.issuer,
                subject: &ask.subject,
                external_id: &ask.external_id,
                session_id: ask.session.as_deref(),
                credential: ask.credential.as_deref(),
                claims: self.claims(offer, ask),
            })));
        }
        let Some(token) = ask.credential.as_deref() else { return Err(MintError::now(Denial::SessionInvalid)) };
        if !self.sessions.knows_revocations() {
            let known = self.sessions.until_revocations_are_known().await;
            known.map_err(|Unknown| MintError::now(Denial::StoreUnavailable))?;
        }
        let now = self.clock.moment();
        let session = match self.sessions.cached(token.as_bytes(), now) {
            Some(session) => session,
            None => self.sessions.verify(token.as_bytes(), now.wall).await.map_err(|fault| match fault {
                SessionFault::Expired => MintError::now(Denial::SessionExpired),
                SessionFault::Invalid(_) => MintError::now(Denial::SessionInvalid),
                SessionFault::KeysUnavailable(wait) => MintError::for_now(Denial::KeysUnavailable, wait),
            })?,
        };
        let same = (session.namespace(), session.subject()) == (&*ask.issuer, &*ask.subject);
        if same { Ok(session) } else { Err(MintError::now(Denial::SessionInvalid)) }
    }

    /// The edge's word for the claims, in our order.
    fn claims(&self, offer: &Offer, ask: &MintRequest) -> Box<[Option<Box<str>>]> {
        let mut claims: Box<[Option<Box<str>>]> = vec![None; self.claim_count].into();
        for (name, at, _) in &offer.claims {
            if let Some(place) = claims.get_mut(*at) {
                let said = ask.claims.get(name.as_str()).cloned().flatten();
                *place = said.filter(|value| !value.is_empty());
            }
        }
        claims
    }
}

/// A plug-in by its name, else a mint by its own.
fn find(offers: &[Offer], name: &str) -> Option<usize> {
    let by_name = offers.iter().position(|offer| offer.name == name);
    by_name.or_else(|| {
        let mut by_mint = offers.iter().enumerate().filter(|(_, offer)| offer.mint == name);
        // Of two nobody knows which is meant.
        by_mint.next().filter(|_| by_mint.next().is_none()).map(|(at, _)| at)
    })
}

/// What the minter says and what the edge says: the one that shares less.
fn stricter(ours: Option<Reuse>, theirs: Share) -> Reuse {
    match (ours, theirs) {
        (Some(Reuse::Never), _) | (_, Share::Nobody) => Reuse::Never,
        (Some(Reuse::Session), _) | (_, Share::Session) => Reuse::Session,
        (Some(Reuse::User) | None, Share::User) => Reuse::User,
    }
}

impl Offer {
    fn speaks(&self, language: &str) -> bool {
        match &self.languages {
            Some(languages) => languages.iter().any(|known| known == language),
            None => is_language(language),
        }
    }
}

/// What can be a language tag (RFC 5646, section 2.1) in any vendor's reading.
fn is_language(text: &str) -> bool {
    (1..=MAX_LANGUAGE).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

fn is_subject(text: &str) -> bool {
    (1..=MAX_SUBJECT).contains(&text.len()) && !text.chars().any(char::is_control)
}

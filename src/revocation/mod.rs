//! Taking back: whatever ends a session before its token does comes here. The list of [`Sessions`] refuses the token, the lease book drops the leases,
//! and a mint that is under way for the session is neither kept nor sent.

mod leases;
mod mint;
mod providers;

use std::sync::Arc;
use std::time::Duration;

use prometheus::IntCounterVec;
use tracing::{info, warn};

pub use self::leases::Dropped;
pub use self::mint::Revocable;
pub use self::providers::Forgotten;
use self::providers::Providers;
use crate::clock::{Clock, Timestamp};
use crate::lease::store::{Listener, Lost};
use crate::lease::{Book, Scope};
use crate::provider::Provider;
use crate::session::{Full, Knowledge, Revocation, Sessions};
use crate::telemetry::{Metrics, Outcome, Recent};

/// The `tracing` target of this module.
const TARGET: &str = "valet::revocation";

/// The longest subject or session claim that a token may have (OpenID Connect Core, section 2).
const MAX_NAME: usize = 255;

/// Where a revocation came from: the label `source` of `valet_revocations_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// An administrator.
    Api,
    /// An identity provider, by a logout token.
    Logout,
    /// A transmitter of security events.
    Event,
    /// Another node, by the store.
    Store,
}

impl Source {
    const ALL: [Self; 4] = [Self::Api, Self::Logout, Self::Event, Self::Store];

    /// The label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Logout => "logout",
            Self::Event => "event",
            Self::Store => "store",
        }
    }
}

/// What may become of a call that ends sessions.
const OUTCOMES: [Outcome; 4] = [Outcome::Applied, Outcome::Ignored, Outcome::Refused, Outcome::Unwritten];

/// Whose leases a scope holds.
pub struct PluginScope {
    /// The scope.
    pub scope: Scope,
    /// The plug-in's name.
    pub plugin: String,
    /// The namespace of its subjects.
    pub issuer: String,
    /// Each session has leases of its own (`reuse = "session"`).
    pub by_session: bool,
}

/// Which sessions end. With both names: the sessions with that session claim, and the subject's sessions without one.
#[derive(Clone, Debug, Default)]
pub struct Ended {
    /// The issuer, as configured.
    pub issuer: String,
    /// All sessions of this subject.
    pub subject: Option<String>,
    /// The tokens with this session claim.
    pub session: Option<String>,
    /// Sessions of the subject that began later than this second stay. `None`: now.
    pub until: Option<Timestamp>,
}

/// Why a revocation is not in force everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotRevoked {
    /// No such issuer is configured; or no name that a token could have is given.
    Nobody,
    /// The list is full: it is not in force.
    Full,
    /// It is in force here. The store can't be asked; this node tells it when it is back.
    Unwritten,
}

/// What a [`Revoker`] is made of.
pub struct RevokerParts {
    /// What refuses the tokens.
    pub sessions: Arc<Sessions>,
    /// The lease book.
    pub book: Arc<Book>,
    /// Each plug-in's leases of each issuer.
    pub scopes: Vec<PluginScope>,
    /// The same under the own names of issuers whose subjects are another's: a store may have some from before they were.
    pub former_scopes: Vec<PluginScope>,
    /// The vendors that are told.
    pub providers: Arc<[Provider]>,
    /// `session.revocation_life`.
    pub life: Duration,
    /// Time.
    pub clock: Clock,
}

/// Ends sessions.
pub struct Revoker {
    sessions: Arc<Sessions>,
    book: Arc<Book>,
    scopes: Box<[PluginScope]>,
    former_scopes: Box<[PluginScope]>,
    providers: Providers,
    life: Duration,
    clock: Clock,
    counts: IntCounterVec,
    recent: Recent,
}

impl Revoker {
    /// Ends no session yet.
    pub fn new(parts: RevokerParts, metrics: &Metrics) -> Arc<Self> {
        let RevokerParts { sessions, book, scopes, former_scopes, providers, life, clock } = parts;
        let counts = metrics.revocations.clone();
        for source in Source::ALL {
            for outcome in OUTCOMES {
                drop(counts.with_label_values(&[source.label(), outcome.label()]));
            }
        }
        let providers = Providers::new(providers);
        let recent = metrics.recent.clone();
        let (scopes, former_scopes) = (scopes.into(), former_scopes.into());
        Arc::new(Self { sessions, book, scopes, former_scopes, providers, life, clock, counts, recent })
    }

    /// Each plug-in's leases of each issuer.
    pub fn scopes(&self) -> &[PluginScope] {
        &self.scopes
    }

    /// Ends these sessions: when it returns they are refused, and what belonged to them is dropped. Counted.
    ///
    /// Dropped: it goes on.
    ///
    /// # Errors
    /// See [`NotRevoked`].
    pub async fn end(self: &Arc<Self>, source: Source, ended: Ended) -> Result<(), NotRevoked> {
        self.spawned(source, None, vec![ended]).await
    }

    /// Ends sessions by the word of a token that works once: a second time it gets the same answer and has no effect. `token`: its issuer and `jti`.
    ///
    /// Dropped: it goes on.
    ///
    /// # Errors
    /// See [`NotRevoked`].
    pub async fn end_by_token(
        self: &Arc<Self>,
        source: Source,
        token: (String, String),
        ended: Vec<Ended>,
    ) -> Result<(), NotRevoked> {
        if ended.is_empty() || self.sessions.has_seen(&token.0, &token.1) {
            self.count(source, Outcome::Ignored);
            // What was not written then may not be written yet.
            let owed = self.book.store().is_some_and(|store| store.owes_revocations());
            return if owed { Err(NotRevoked::Unwritten) } else { Ok(()) };
        }
        self.spawned(source, Some(token), ended).await
    }

    async fn spawned(
        self: &Arc<Self>,
        source: Source,
        token: Option<(String, String)>,
        ended: Vec<Ended>,
    ) -> Result<(), NotRevoked> {
        let this = self.clone();
        let all = async move {
            let mut done = Ok(());
            let Some((last, before)) = ended.split_last() else { return done };
            for ended in before {
                done = done.and(this.apply(source, ended, None).await);
            }
            // The token has had its effect when all are noted: one for which there was no room may come again.
            let token = token.filter(|_| done != Err(NotRevoked::Full));
            done.and(this.apply(source, last, token.as_ref()).await)
        };
        // A task that panicked may have done half of it.
        let done = tokio::spawn(all).await.unwrap_or(Err(NotRevoked::Full));
        let outcome = match done {
            Ok(()) => Outcome::Applied,
            Err(NotRevoked::Unwritten) => Outcome::Unwritten,
            Err(NotRevoked::Nobody | NotRevoked::Full) => Outcome::Refused,
        };
        self.count(source, outcome);
        done
    }

    /// Counts a call that can't be read.
    ///
    /// # Errors
    /// Always [`NotRevoked::Nobody`].
    pub fn refuse(&self, source: Source) -> Result<(), NotRevoked> {
        self.count(source, Outcome::Refused);
        Err(NotRevoked::Nobody)
    }

    /// Counts a call.
    pub fn count(&self, source: Source, outcome: Outcome) {
        self.counts.with_label_values(&[source.label(), outcome.label()]).inc();
    }

    async fn apply(&self, source: Source, ended: &Ended, token: Option<&(String, String)>) -> Result<(), NotRevoked> {
        let mut what = self.revocation(ended).ok_or(NotRevoked::Nobody)?;
        what.token = token.cloned();
        self.note(&what)?;
        let what = Arc::new(what);
        // Before the leases go: they know the names.
        self.providers.revoke(self.persons(&what));
        self.forget_session(&what);
        self.whole_owners(&what).for_each(|owner| _ = self.book.leases().forget_here(&owner));
        // The others hear of the end before the store forgets: whatever one of them puts there afterwards it finds in its memory when it hears.
        let written = match self.book.store() {
            Some(store) => store.revoke(&what).await.is_ok(),
            None => true,
        };
        let told = self.drop_leases(&what).await;
        let subject = what.subject.as_deref().map(|subject| self.sessions.log_id(&what.namespace, subject));
        info!(target: TARGET, source = source.label(), subject, by_session = what.session.is_some(), "sessions ended");
        if written && told { Ok(()) } else { Err(NotRevoked::Unwritten) }
    }

    fn note(&self, what: &Revocation) -> Result<bool, NotRevoked> {
        self.sessions.revoke(what.clone(), self.clock.now()).map_err(|Full| {
            warn!(target: TARGET, "the list of revocations is full: nothing was revoked");
            NotRevoked::Full
        })
    }

    fn revocation(&self, ended: &Ended) -> Option<Revocation> {
        let namespace = self.sessions.namespace_of(&ended.issuer)?;
        let is_name = |name: &String| (1..=MAX_NAME).contains(&name.len()) && !name.chars().any(char::is_control);
        let mut names = ended.subject.iter().chain(&ended.session).peekable();
        names.peek()?;
        if !names.all(is_name) {
            return None;
        }
        let now = self.clock.now();
        let until = ended.until.unwrap_or(now);
        Some(Revocation {
            namespace: namespace.to_owned(),
            sharing: self.sessions.sharing(namespace),
            subject: ended.subject.clone(),
            session: ended.session.clone(),
            until: until.as_secs(),
            expires: self.expires(now.max(until)),
            token: None,
        })
    }

    /// Erases a person: ends the sessions, forgets what is remembered of registrations, mints and tokens, and asks each provider to forget.
    /// What became of the revocation, and of each provider. Counted as a revocation.
    ///
    /// Dropped: it goes on.
    ///
    /// # Errors
    /// [`NotRevoked::Nobody`] and [`NotRevoked::Full`]: nothing was done.
    pub async fn erase(
        self: &Arc<Self>,
        issuer: String,
        subject: String,
    ) -> Result<(Result<(), NotRevoked>, Vec<(String, Forgotten)>), NotRevoked> {
        let ended = Ended { issuer, subject: Some(subject), ..Ended::default() };
        let what = self.revocation(&ended).ok_or(NotRevoked::Nobody);
        let what = what.inspect_err(|_| self.count(Source::Api, Outcome::Refused))?;
        let persons = self.persons(&what);
        let revoked = self.end(Source::Api, ended).await;
        if let Err(NotRevoked::Nobody | NotRevoked::Full) = revoked {
            return revoked.map(|()| (Ok(()), Vec::new()));
        }
        let subject = what.subject.as_deref().unwrap_or_default();
        self.sessions.forget_tokens(&what.namespace, subject);
        self.recent.forget(&self.sessions.log_id(&what.namespace, subject));
        self.book.leases().forget_mints(&what.namespace, subject, self.owners(&what));
        let this = self.clone();
        let (namespace, subject) = (what.namespace.clone(), subject.to_owned());
        let asked = tokio::spawn(async move { this.providers.forget((&namespace, &subject), &persons).await });
        Ok((revoked, asked.await.unwrap_or_default()))
    }

    /// Takes over the revocations that a store has kept from before this process.
    ///
    /// # Errors
    /// The store can't be read.
    pub fn take_over(&self) -> Result<(), Lost> {
        let Some(store) = self.book.store() else { return Ok(()) };
        for what in store.kept_revocations()? {
            self.learn(&what);
        }
        Ok(())
    }

    /// Puts in force what was revoked before this process served: nobody has called it, so nothing is counted.
    pub fn learn(&self, what: &Revocation) {
        self.hear(what);
    }

    /// What the process before has noted, remembered as long as if it had been noted here: that one's configuration may have remembered it less long
    /// than tokens live by this one's.
    pub fn as_noted_here(&self, mut what: Revocation) -> Revocation {
        what.expires = what.expires.max(self.expires(Timestamp::from_secs(what.until)));
        what
    }

    /// When what ends sessions that began not later than `until` can be forgotten: a token that began then, on a clock that is ahead as far as it may
    /// be, and lives as long as any, is not valid any more.
    fn expires(&self, until: Timestamp) -> i64 {
        until.plus(self.life + self.sessions.skew() * 2).as_secs()
    }

    /// What became of it; `None`: it has ended, or was known.
    fn hear(&self, what: &Revocation) -> Option<Outcome> {
        if what.expires < self.clock.now().as_secs() {
            return None;
        }
        match self.note(what) {
            Ok(true) => {
                self.forget_session(what);
                self.whole_owners(what).for_each(|owner| self.book.forget_ended(&owner));
                Some(Outcome::Applied)
            }
            // It came from here, or by two ways.
            Ok(false) => None,
            Err(_) => Some(Outcome::Refused),
        }
    }
}

impl Listener for Revoker {
    fn forget(&self, owner: &[u8]) {
        self.book.leases().forget_here(owner);
    }

    fn revoke(&self, what: Revocation) {
        if let Some(outcome) = self.hear(&what) {
            self.count(Source::Store, outcome);
        }
    }

    fn known(&self, knowledge: Knowledge) {
        self.sessions.set_knowledge(knowledge);
    }

    fn revocations(&self) -> Vec<Arc<Revocation>> {
        self.sessions.revocations()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::ShardedRecords;
    use crate::secret::Secret;
    use crate::session::{ClaimNames, ClientFault, KeyAnswer, KeyClient};

    const ISSUER: &str = "https://idp.example";

    /// Who has no keys.
    struct Nobody;

    #[async_trait::async_trait]
    impl KeyClient for Nobody {
        async fn get(&self, _: &url::Url, _: usize, _: Duration) -> Result<KeyAnswer, ClientFault> {
            Err(ClientFault::TimedOut)
        }
    }

    /// A revoker whose list holds so many, and names one issuer.
    fn revoker(most: usize) -> Arc<Revoker> {
        let settings = toml::from_str(&format!(
            "[[issuer]]\nissuer = \"{ISSUER}\"\naudiences = [\"a\"]\nalgorithms = [\"ES256\"]\nkeys = {{ jwks_url = \"{ISSUER}/keys\" }}\n"
        ));
        let (clock, metrics) = (Clock::manual(Timestamp::from_secs(1_000)).0, Metrics::new("0", "test").unwrap());
        let names = ClaimNames { recipes: &[], fields: &[], assertions: &[] };
        let client_of = |_: &_| -> Result<Arc<dyn KeyClient>, Vec<String>> { Ok(Arc::new(Nobody)) };
        let key = Secret::new(b"the key of this test".to_vec());
        let folder = std::path::Path::new(".");
        let made = Sessions::new(&settings.unwrap(), folder, (names, None), &key, &client_of, clock.clone(), &metrics);
        let mut sessions = made.ok().unwrap();
        Sessions::bound_revocations(&mut sessions, most);
        let parts = RevokerParts {
            sessions,
            book: Book::new(ShardedRecords::default(), 1, clock.clone(), &metrics),
            scopes: Vec::new(),
            former_scopes: Vec::new(),
            providers: Arc::new([]),
            life: Duration::from_secs(3600),
            clock,
        };
        Revoker::new(parts, &metrics)
    }

    #[tokio::test]
    async fn a_token_of_which_a_part_had_no_room_comes_again_and_has_its_effect() {
        let token = || (ISSUER.to_owned(), "jti".to_owned());
        let of = |subject: Option<&str>, session: Option<&str>| Ended {
            issuer: ISSUER.into(),
            subject: subject.map(Into::into),
            session: session.map(Into::into),
            ..Ended::default()
        };
        for whole in [false, true] {
            let revoker = revoker(if whole { 2 } else { 1 });
            for round in 0..2 {
                let ended = vec![of(None, Some("ada")), of(Some("ada"), None)];
                let done = revoker.end_by_token(Source::Event, token(), ended).await;
                assert_eq!(done, if whole { Ok(()) } else { Err(NotRevoked::Full) }, "{round}");
            }
            assert_eq!(revoker.sessions.has_seen(ISSUER, "jti"), whole);
        }
    }
}

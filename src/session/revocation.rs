//! The list of revocations: sessions that ended before their tokens do.
//!
//! It is asked on each request, also for tokens in the cache of verified ones, at the price of comparing one number: a cached verdict remembers the
//! generation of the list at which it was last looked up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_lc_rs::{hmac, rand};
use dashmap::DashMap;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;

use super::hash::{keyed, short};
use super::issuer::Issuer;
use super::{Session, Sessions};
use crate::clock::Timestamp;

/// Entries that the list holds, 300 to 400 bytes each. No entry is dropped before its end, so beyond this a revocation is refused.
pub const MAX_REVOCATIONS: usize = 1_000_000;

/// How many ended entries each insertion takes out: the list is swept as it grows, without a pause.
const SWEPT: usize = 4;

/// One revocation, as other nodes learn it and as a store keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// Whose subjects and sessions it speaks of: [`Session::namespace`].
    #[serde(rename = "i")]
    pub namespace: String,
    /// The other issuers whose subjects they were at the call. Each one's are ended under its own name too, so that they stay ended when a later
    /// configuration says something else of whose subjects are whose.
    #[serde(rename = "n", default, skip_serializing_if = "Vec::is_empty")]
    pub sharing: Vec<String>,
    /// Without `session`: ends the subject's sessions that began not later than `until`; a session without `iat` began at no known time, and ends too.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Ends the tokens with this session claim, whenever they were issued. With `subject` also that subject's sessions without a session claim that
    /// began not later than `until`.
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The second that bounds it, Unix time.
    #[serde(rename = "u")]
    pub until: i64,
    /// When it can be forgotten, Unix time in seconds: no token that it ends is valid then.
    #[serde(rename = "e")]
    pub expires: i64,
    /// Issuer and `jti` of the token that asked for it: that token has no effect a second time.
    #[serde(rename = "j", default, skip_serializing_if = "Option::is_none")]
    pub token: Option<(String, String)>,
}

/// The list is full: nothing was noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

type Key = [u8; 16];

/// What the list knows a session by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revocable {
    /// Within the namespace.
    named: Named,
    /// Within its own issuer, where that is another: what was noted there stays in force when the issuer gets another namespace.
    own: Option<Named>,
    /// `iat`, in Unix seconds.
    issued_at: Option<i64>,
}

/// The names of a session within an issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Named {
    person: Key,
    /// The session claim.
    session: Option<Key>,
}

/// What is noted of one person, in Unix seconds; `i64::MIN`: nothing.
#[derive(Clone, Copy)]
struct Person {
    /// All sessions that began not later than this have ended.
    all: i64,
    /// Sessions without a session claim that began not later than this have ended.
    unnamed: i64,
    expires: i64,
}

/// See the module. One configuration's sessions hand it to the next one's: what began before a reload is ended by what is noted behind it.
pub(super) struct Revocations {
    /// Of the list's own, for names are looked up in it by sessions of several configurations, whose keys of hashes in logs may differ.
    key: hmac::Key,
    persons: DashMap<Key, Person>,
    /// The ended session claims, and when each can be forgotten.
    sessions: DashMap<Key, i64>,
    /// Tokens that have had their effect, likewise.
    tokens: DashMap<Key, i64>,
    /// Every entry, by its end. Never locked while an entry of the maps is held.
    ends: Mutex<BTreeMap<(i64, Key), Arc<Revocation>>>,
    /// Counts the entries noted. Stored after the maps have the entry: whoever reads the number finds the entry.
    generation: AtomicU64,
    changes: watch::Sender<u64>,
    /// Where each is told, if anybody wants it.
    taps: Mutex<Vec<UnboundedSender<Arc<Revocation>>>>,
    longer: Mutex<Longer>,
    most: usize,
}

/// A configuration has made the life of revocations longer: what was noted by the one before stays beyond its end.
#[derive(Clone, Copy, Default)]
struct Longer {
    /// By so many seconds.
    by: i64,
    /// Until this second: nothing that was noted before is of use then.
    until: i64,
}

impl Longer {
    fn at(self, now: i64) -> i64 {
        if now <= self.until { self.by } else { 0 }
    }
}

impl Default for Revocations {
    fn default() -> Self {
        let mut key = [0; 32];
        // A machine without randomness can't do TLS either.
        let _ = rand::fill(&mut key);
        Self {
            // Tells names apart in this list alone, and goes nowhere.
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
            persons: DashMap::default(),
            sessions: DashMap::default(),
            tokens: DashMap::default(),
            ends: Mutex::default(),
            generation: AtomicU64::new(0),
            changes: watch::Sender::new(0),
            taps: Mutex::default(),
            longer: Mutex::default(),
            most: MAX_REVOCATIONS,
        }
    }
}

/// The keys under which one revocation is noted: of each issuer one.
struct Keys {
    entry: Key,
    persons: Vec<Key>,
    sessions: Vec<Key>,
    token: Option<Key>,
}

impl Revocations {
    /// How many revocations have been noted.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// `false`: it was noted before.
    fn note(&self, keys: &Keys, what: &Arc<Revocation>) -> Result<bool, Full> {
        {
            let mut ends = self.ends.lock();
            if ends.contains_key(&(what.expires, keys.entry)) {
                return Ok(false);
            }
            if ends.len() >= self.most {
                return Err(Full);
            }
            ends.insert((what.expires, keys.entry), Arc::clone(what));
        }
        let later = |map: &DashMap<Key, i64>, key: Key| {
            let mut expires = map.entry(key).or_insert(what.expires);
            *expires = (*expires).max(what.expires);
        };
        for session in &keys.sessions {
            later(&self.sessions, *session);
        }
        if let Some(token) = keys.token {
            later(&self.tokens, token);
        }
        let (all, unnamed) = if keys.sessions.is_empty() { (what.until, i64::MIN) } else { (i64::MIN, what.until) };
        for person in &keys.persons {
            let fresh = Person { all, unnamed, expires: what.expires };
            let mut entry = self.persons.entry(*person).or_insert(fresh);
            entry.all = entry.all.max(all);
            entry.unnamed = entry.unnamed.max(unnamed);
            entry.expires = entry.expires.max(what.expires);
        }
        // After the maps: a verdict that is stamped with the new number was looked up in them.
        let generation = self.generation.fetch_add(1, Ordering::AcqRel) + 1;
        self.changes.send_modify(|told| *told = (*told).max(generation));
        // Whoever listens no more is told nothing any more.
        self.taps.lock().retain(|tap| tap.send(Arc::clone(what)).is_ok());
        Ok(true)
    }

    /// Takes out some of the entries that have ended.
    fn sweep(&self, now: Timestamp, keys: impl Fn(&Revocation) -> Keys) {
        let now = now.as_secs();
        let now = now - self.longer.lock().at(now);
        for _ in 0..SWEPT {
            let ended = {
                let mut ends = self.ends.lock();
                match ends.first_key_value() {
                    Some(((end, _), _)) if *end < now => ends.pop_first().map(|(_, what)| what),
                    _ => None,
                }
            };
            let Some(what) = ended else { return };
            let keys = keys(&what);
            let ended = |_: &Key, expires: &i64| *expires < now;
            for key in &keys.sessions {
                self.sessions.remove_if(key, ended);
            }
            for key in &keys.persons {
                self.persons.remove_if(key, |_, person| person.expires < now);
            }
            keys.token.map(|key| self.tokens.remove_if(&key, ended));
        }
    }

    /// From now on each is remembered for `life`, and so longer by `by` than those noted so far were to be.
    pub(super) fn prolong(&self, by: Duration, life: Duration, now: Timestamp) {
        let seconds = |span: Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
        let mut longer = self.longer.lock();
        // Each was to be remembered for some time already, so none needs more than the whole life beyond it.
        let by = longer.at(now.as_secs()).saturating_add(seconds(by)).min(seconds(life));
        *longer = Longer { by, until: now.plus(life).as_secs() };
    }

    fn keys_of(&self, what: &Revocation) -> Keys {
        let whole = serde_json::to_string(what).unwrap_or_default();
        let of_each = |kind, name: Option<&str>| -> Vec<Key> {
            name.into_iter().flat_map(|name| what.issuers().map(move |issuer| self.keyed(issuer, kind, name))).collect()
        };
        Keys {
            entry: self.keyed("", Kind::Entry, &whole),
            persons: of_each(Kind::Person, what.subject.as_deref()),
            sessions: of_each(Kind::Session, what.session.as_deref()),
            token: what.token.as_ref().map(|(issuer, jti)| self.keyed(issuer, Kind::Token, jti)),
        }
    }

    fn keyed(&self, namespace: &str, kind: Kind, name: &str) -> Key {
        short(&keyed(&self.key, namespace, kind as u8, name))
    }

    /// Whether this session has ended.
    fn ends(&self, session: &Revocable) -> bool {
        let ends = |named: &Named| self.ends_by(named, session.issued_at);
        ends(&session.named) || session.own.as_ref().is_some_and(ends)
    }

    fn ends_by(&self, named: &Named, issued_at: Option<i64>) -> bool {
        if named.session.is_some_and(|key| self.sessions.contains_key(&key)) {
            return true;
        }
        self.persons.get(&named.person).is_some_and(|entry| {
            let until = if named.session.is_none() { entry.all.max(entry.unnamed) } else { entry.all };
            until != i64::MIN && issued_at.is_none_or(|issued| issued <= until)
        })
    }
}

impl Revocation {
    /// Under whose names it is noted.
    pub fn issuers(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&*self.namespace).chain(self.sharing.iter().map(String::as_str))
    }
}

impl Sessions {
    /// Notes a revocation; `false`: it was noted before. From its return on no request opens a session that it ends.
    ///
    /// # Errors
    /// The list holds [`MAX_REVOCATIONS`] entries that have not ended.
    pub fn revoke(&self, what: Revocation, now: Timestamp) -> Result<bool, Full> {
        let list = &self.revocations;
        list.sweep(now, |ended| list.keys_of(ended));
        list.note(&list.keys_of(&what), &Arc::new(what))
    }

    /// As if the list held so many.
    #[cfg(test)]
    pub(crate) fn bound_revocations(sessions: &mut Arc<Self>, most: usize) {
        let list = Arc::get_mut(sessions).and_then(|sessions| Arc::get_mut(&mut sessions.revocations));
        list.expect("nobody else has them yet").most = most;
    }

    /// Whether this session was revoked. Asked again before something is sent that was waited for.
    pub fn is_revoked(&self, session: &Session) -> bool {
        session.revocable.as_ref().is_some_and(|session| self.has_ended(session))
    }

    /// Whether the session that is known by this was revoked.
    pub fn has_ended(&self, session: &Revocable) -> bool {
        self.revocations.generation() > 0 && self.revocations.ends(session)
    }

    /// Whether the token with this `jti` has had its effect.
    pub fn has_seen(&self, issuer: &str, jti: &str) -> bool {
        self.revocations.tokens.contains_key(&self.revocations.keyed(issuer, Kind::Token, jti))
    }

    /// Every revocation that has not been forgotten, for a store that may have lost some.
    pub fn revocations(&self) -> Vec<Arc<Revocation>> {
        self.revocations.ends.lock().values().cloned().collect()
    }

    /// From now on each new revocation is told there too, until its receiver is dropped.
    pub fn tell_of_revocations(&self, sender: UnboundedSender<Arc<Revocation>>) {
        self.revocations.taps.lock().push(sender);
    }

    /// Changes with each revocation.
    pub fn revocation_changes(&self) -> watch::Receiver<u64> {
        self.revocations.changes.subscribe()
    }

    /// What the list knows a session of this issuer by.
    pub(super) fn revocable(
        &self,
        issuer: &Issuer,
        subject: &str,
        session: Option<&str>,
        issued_at: Option<i64>,
    ) -> Revocable {
        let list = &self.revocations;
        let within = |issuer: &str| Named {
            person: list.keyed(issuer, Kind::Person, subject),
            session: session.map(|name| list.keyed(issuer, Kind::Session, name)),
        };
        let own = (issuer.name != issuer.namespace).then(|| within(&issuer.name));
        Revocable { named: within(&issuer.namespace), own, issued_at }
    }
}

/// What a key is of.
#[derive(Clone, Copy)]
enum Kind {
    Person = 0,
    Session = 1,
    Token = 2,
    Entry = 3,
}

/// The generation at which a cached verdict was last found unrevoked.
#[derive(Default)]
pub(super) struct LookedUp(AtomicU64);

impl LookedUp {
    pub(super) fn at(generation: u64) -> Self {
        Self(AtomicU64::new(generation))
    }

    /// Whether the session is still unrevoked: one comparison while nothing was revoked since the last look.
    pub(super) fn is_open(&self, sessions: &Sessions, session: &Session) -> bool {
        // Read before the list: an entry that comes during the look has a higher number, and is found by the next look.
        let generation = sessions.revocations.generation();
        if self.0.load(Ordering::Relaxed) == generation {
            return true;
        }
        if sessions.is_revoked(session) {
            return false;
        }
        self.0.store(generation, Ordering::Relaxed);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADA: Key = [1; 16];
    const ONE: Key = [2; 16];

    fn revocation(session: bool, until: i64) -> (Keys, Arc<Revocation>) {
        let what = Revocation {
            namespace: "https://idp.example".into(),
            sharing: Vec::new(),
            subject: Some("ada".into()),
            session: session.then(|| "s1".into()),
            until,
            expires: until + 86_400,
            token: None,
        };
        let entry = [u8::try_from(until % 251).unwrap(); 16];
        let keys =
            Keys { entry, persons: vec![ADA], sessions: session.then_some(ONE).into_iter().collect(), token: None };
        (keys, Arc::new(what))
    }

    fn ended(list: &Revocations, person: Key, session: Option<Key>, issued_at: Option<i64>) -> bool {
        list.ends(&Revocable { named: Named { person, session }, own: None, issued_at })
    }

    #[test]
    fn sessions_that_began_not_later_than_the_second_have_ended_and_later_ones_stay() {
        let list = Revocations::default();
        let (keys, what) = revocation(false, 1000);
        assert_eq!(list.note(&keys, &what), Ok(true));
        assert_eq!(list.note(&keys, &what), Ok(false), "the second time it changes nothing");
        assert_eq!(list.generation(), 1);
        for (issued, gone) in [(Some(999), true), (Some(1000), true), (Some(1001), false), (None, true)] {
            assert_eq!(ended(&list, ADA, None, issued), gone, "{issued:?}");
            assert_eq!(ended(&list, ADA, Some(ONE), issued), gone, "{issued:?}");
            assert!(!ended(&list, ONE, None, issued), "another person");
        }
        // An earlier one that is heard later takes nothing back.
        let (keys, what) = revocation(false, 500);
        assert_eq!(list.note(&keys, &what), Ok(true));
        assert!(ended(&list, ADA, None, Some(1000)));
    }

    #[test]
    fn a_named_session_ends_whenever_its_tokens_were_issued_and_unnamed_ones_of_its_subject_with_it() {
        let list = Revocations::default();
        let (keys, what) = revocation(true, 1000);
        list.note(&keys, &what).unwrap();
        assert!(ended(&list, ADA, Some(ONE), Some(5000)));
        assert!(ended(&list, ADA, None, Some(1000)));
        assert!(!ended(&list, ADA, None, Some(1001)));
        assert!(!ended(&list, ADA, Some([3; 16]), Some(1)), "another session of the same person stays");
        let list = Revocations::default();
        list.note(&Keys { persons: Vec::new(), ..keys }, &what).unwrap();
        assert!(ended(&list, ADA, Some(ONE), Some(5000)));
        assert!(!ended(&list, ADA, None, Some(1)));
    }

    #[test]
    fn a_session_ends_by_its_issuers_own_name_as_by_the_namespace() {
        let (named, own) = (Named { person: [7; 16], session: None }, Named { person: ADA, session: Some(ONE) });
        let session = Revocable { named, own: Some(own), issued_at: Some(1000) };
        for by_session in [false, true] {
            let list = Revocations::default();
            assert!(!list.ends(&session));
            let (keys, what) = revocation(by_session, 1000);
            list.note(&keys, &what).unwrap();
            assert!(list.ends(&session) && !list.ends(&Revocable { own: None, ..session }), "{by_session}");
        }
    }

    #[test]
    fn a_store_keeps_under_whose_names_it_is_noted_and_what_names_one_issuer_is_written_without() {
        let (_, alone) = revocation(false, 1000);
        let text = serde_json::to_string(&*alone).unwrap();
        assert!(!text.contains("\"n\""), "{text}");
        assert_eq!(serde_json::from_str::<Revocation>(&text).unwrap(), *alone);
        let shared = Revocation { sharing: vec!["https://new.example".into()], ..Revocation::clone(&alone) };
        let read: Revocation = serde_json::from_str(&serde_json::to_string(&shared).unwrap()).unwrap();
        assert_eq!(read.issuers().collect::<Vec<_>>(), ["https://idp.example", "https://new.example"]);
        assert_eq!(Revocations::default().keys_of(&read).persons.len(), 2);
    }

    #[test]
    fn what_has_ended_is_swept_and_a_full_list_refuses_rather_than_forgets() {
        let list = Revocations { most: 3, ..Revocations::default() };
        let at = |n: u8, until| {
            let (keys, what) = revocation(false, until);
            (Keys { entry: [n; 16], persons: vec![[n; 16]], ..keys }, what)
        };
        for n in 0..3 {
            let (keys, what) = at(n, 1000);
            list.note(&keys, &what).unwrap();
        }
        let (keys, what) = at(9, 1000);
        assert_eq!(list.note(&keys, &what), Err(Full));
        assert!(ended(&list, [0; 16], None, Some(1)));
        let count = std::cell::Cell::new(0);
        let keys_of = |_: &Revocation| {
            count.set(count.get() + 1);
            at(count.get() - 1, 1000).0
        };
        list.sweep(Timestamp::from_secs(1000 + 86_400), keys_of);
        assert_eq!(count.get(), 0, "until its end each stays");
        list.sweep(Timestamp::from_secs(1000 + 86_401), keys_of);
        assert_eq!((count.get(), list.persons.len()), (3, 0));
        let (keys, what) = at(9, 90_000);
        assert_eq!(list.note(&keys, &what), Ok(true));
        assert!(ended(&list, [9; 16], None, Some(1)));
    }
}

//! Session tickets of TLS ([RFC 8446, section 4.6.1](https://www.rfc-editor.org/rfc/rfc8446#section-4.6.1),
//! [RFC 5077, section 4](https://www.rfc-editor.org/rfc/rfc5077#section-4)): sealed with keys in memory that change every six hours. A reload leaves
//! them alone, and a process that takes over gets them, so that clients resume past both.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::rand;
use parking_lot::Mutex;
use rustls::server::ProducesTickets;
use serde::{Deserialize, Serialize};

use crate::clock::{Clock, Timestamp};
use crate::secret::Secret;

/// A key seals for so long, and opens for as long again.
const TURN: Duration = Duration::from_secs(6 * 60 * 60);

/// Bytes that tell which key sealed a ticket.
const NAME: usize = 16;

/// The keys of all listeners of a process that resume sessions.
pub(super) struct Tickets {
    clock: Clock,
    /// Held for moments, and never while something is sealed or opened.
    keys: Mutex<Keys>,
}

/// The key that seals, and the one before it.
#[derive(Clone)]
struct Keys {
    current: Arc<Key>,
    before: Option<Arc<Key>>,
}

struct Key {
    name: [u8; NAME],
    secret: Secret,
    cipher: RandomizedNonceKey,
    begun: Timestamp,
}

/// A key on its way to the process that takes over.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HandedKey {
    #[serde(with = "crate::units::base64_bytes")]
    name: Vec<u8>,
    #[serde(with = "crate::units::base64_bytes")]
    secret: Vec<u8>,
    /// Unix time in seconds.
    begun: i64,
}

impl Key {
    fn new(name: &[u8], secret: Secret, begun: Timestamp) -> Option<Self> {
        // Goes into the cipher.
        let cipher = RandomizedNonceKey::new(&AES_256_GCM, secret.expose()).ok()?;
        Some(Self { name: name.try_into().ok()?, secret, cipher, begun })
    }

    fn random(begun: Timestamp) -> Option<Self> {
        let (mut name, mut secret) = ([0; NAME], vec![0; 32]);
        rand::fill(&mut name).ok()?;
        rand::fill(&mut secret).ok()?;
        Self::new(&name, Secret::new(secret), begun)
    }

    /// Whether it was begun less than this many turns ago, and not in a future to which the clock was set.
    fn is_within(&self, turns: u32, now: Timestamp) -> bool {
        self.begun <= now && now < self.begun.plus(TURN * turns)
    }
}

impl Tickets {
    /// A first key; `None`: there is no randomness to be had.
    pub fn new(clock: Clock) -> Option<Arc<Self>> {
        let current = Arc::new(Key::random(clock.now())?);
        Some(Arc::new(Self { clock, keys: Mutex::new(Keys { current, before: None }) }))
    }

    /// The keys as they are handed over.
    pub fn hand_over(&self) -> Vec<HandedKey> {
        let keys = self.keys.lock().clone();
        // Goes to the process that takes over, through a socket that only our user can open.
        let handed = |key: &Arc<Key>| HandedKey {
            name: key.name.to_vec(),
            secret: key.secret.expose().to_vec(),
            begun: key.begun.as_secs(),
        };
        std::iter::once(&keys.current).chain(&keys.before).map(handed).collect()
    }

    /// Goes on with the keys of the process before; what is none changes nothing.
    pub fn take_over(&self, handed: Vec<HandedKey>) {
        let key = |handed: HandedKey| {
            Key::new(&handed.name, Secret::new(handed.secret), Timestamp::from_secs(handed.begun)).map(Arc::new)
        };
        let mut taken = handed.into_iter().filter_map(key);
        if let Some(current) = taken.next() {
            *self.keys.lock() = Keys { current, before: taken.next() };
        }
    }

    /// The key that seals now; the next one where its turn is over.
    fn current(&self, now: Timestamp) -> Option<Arc<Key>> {
        let mut keys = self.keys.lock();
        if !keys.current.is_within(1, now) {
            let next = Arc::new(Key::random(now)?);
            keys.before = Some(std::mem::replace(&mut keys.current, next));
        }
        Some(keys.current.clone())
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tickets(…)")
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(2 * TURN.as_secs()).unwrap_or(u32::MAX)
    }

    /// Name, nonce, and the sealed state behind them; the name is bound to it.
    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let key = self.current(self.clock.now())?;
        let mut sealed = plain.to_vec();
        let nonce = key.cipher.seal_in_place_append_tag(Aad::from(key.name), &mut sealed).ok()?;
        Some([&key.name[..], nonce.as_ref(), &sealed].concat())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_at_checked(NAME)?;
        let (nonce, sealed) = rest.split_at_checked(NONCE_LEN)?;
        let (keys, now) = (self.keys.lock().clone(), self.clock.now());
        let key = std::iter::once(keys.current).chain(keys.before).find(|key| key.name == name)?;
        let key = Some(key).filter(|key| key.is_within(2, now))?;
        let mut plain = sealed.to_vec();
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let length = key.cipher.open_in_place(nonce, Aad::from(key.name), &mut plain).ok()?.len();
        plain.truncate(length);
        Some(plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATE: &[u8] = b"the state of a session";

    fn tickets() -> (Arc<Tickets>, Arc<crate::clock::ClockControl>) {
        let (clock, control) = Clock::manual(Timestamp::from_secs(1_000_000));
        (Tickets::new(clock).expect("randomness"), control)
    }

    #[test]
    fn a_ticket_opens_until_the_turn_after_its_keys_has_ended() {
        let (tickets, control) = tickets();
        let first = tickets.encrypt(STATE).unwrap();
        assert!(!first.windows(8).any(|part| part == &STATE[..8]));
        control.advance(TURN - Duration::from_secs(1));
        let last = tickets.encrypt(STATE).unwrap();
        assert_eq!(first[..NAME], last[..NAME]);
        control.advance(Duration::from_secs(1));
        let next = tickets.encrypt(STATE).unwrap();
        assert_ne!(first[..NAME], next[..NAME]);
        control.advance(TURN - Duration::from_secs(1));
        for ticket in [&first, &last, &next] {
            assert_eq!(tickets.decrypt(ticket).as_deref(), Some(STATE));
        }
        control.advance(Duration::from_secs(1));
        assert_eq!((tickets.decrypt(&last), tickets.decrypt(&next).as_deref()), (None, Some(STATE)));
        // Two turns without a ticket: the key is over though nothing took its place.
        control.advance(TURN);
        assert_eq!(tickets.decrypt(&next), None);
    }

    #[test]
    fn what_was_changed_or_sealed_elsewhere_opens_nothing() {
        let ((tickets, _), (others, _)) = (tickets(), tickets());
        let ticket = tickets.encrypt(STATE).unwrap();
        for place in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[place] ^= 1;
            assert_eq!(tickets.decrypt(&changed), None, "byte {place}");
            assert_eq!(tickets.decrypt(&ticket[..place]), None, "{place} bytes");
        }
        assert_eq!(others.decrypt(&ticket), None);
        assert_ne!(tickets.encrypt(STATE).unwrap(), ticket);
    }

    #[test]
    fn who_takes_over_opens_the_tickets_of_before_and_is_told_no_other_key_by_nonsense() {
        let ((old, control), (new, _)) = (tickets(), tickets());
        let first = old.encrypt(STATE).unwrap();
        control.advance(TURN);
        let second = old.encrypt(STATE).unwrap();
        let handed = serde_json::to_string(&old.hand_over()).unwrap();
        new.take_over(serde_json::from_str(&handed).unwrap());
        assert_eq!(new.decrypt(&first).as_deref(), Some(STATE));
        // The clock of the new one stands before the second key: a clock that was set back ends a key.
        assert_eq!(new.decrypt(&second), None);
        let own = new.encrypt(STATE).unwrap();
        for nonsense in [vec![], vec![HandedKey { name: vec![1], secret: vec![2; 32], begun: 0 }]] {
            new.take_over(nonsense);
            assert_eq!(new.decrypt(&own).as_deref(), Some(STATE));
        }
    }
}

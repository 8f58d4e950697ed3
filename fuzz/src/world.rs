//! Valet's sessions over a pretended identity provider, and what is asserted of each look at a token.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::{digest, hmac};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::runtime::{Builder, Runtime};
use url::Url;
use valet_gateway::clock::{Clock, ClockControl, Moment, Tick, Timestamp};
use valet_gateway::secret::Secret;
use valet_gateway::session::settings::{IssuerSettings, SessionSettings};
use valet_gateway::session::{
    ClaimNames, ClientFault, KeyAnswer, KeyClient, Session, SessionFault, SessionName, Sessions, Sources,
};
use valet_gateway::telemetry::Metrics;

use super::issuers::{CLAIM_NAMES, KEYS_URL, NOW, SECRETS, Signer, settings};
use super::keys::{Keys, compact, mac};
use super::model::{self, Expected, Person};

/// A token that opens a session at [`NOW`].
pub struct Good {
    signer: Signer,
    header: String,
    payload: String,
    pub token: Vec<u8>,
}

impl Good {
    pub fn judge(&self, now: i64) -> Expected {
        model::judge(self.signer, self.header.as_bytes(), self.payload.as_bytes(), self.token.len(), now)
    }
}

/// A pretended identity provider that counts what it is asked.
struct Idp {
    asked: AtomicUsize,
    keys: Vec<u8>,
}

#[async_trait]
impl KeyClient for Idp {
    async fn get(&self, url: &Url, _: usize, _: Duration) -> Result<KeyAnswer, ClientFault> {
        assert_eq!(url.as_str(), KEYS_URL, "a token says where keys are");
        self.asked.fetch_add(1, Ordering::SeqCst);
        Ok(KeyAnswer { status: 200, target: None, body: self.keys.clone() })
    }
}

pub struct World {
    pub keys: Keys,
    pub sources: Sources,
    strangers: Keys,
    goods: Vec<Good>,
    sessions: Arc<Sessions>,
    clock_control: Arc<ClockControl>,
    idp: Arc<Idp>,
    runtime: Runtime,
}

/// A moment of the wall clock while keys are fresh.
fn moment(millis: i64) -> Moment {
    Moment { wall: Timestamp::from_millis(millis), tick: Tick::from_millis(0) }
}

impl World {
    pub fn new() -> Self {
        let (keys, strangers) = (Keys::of(1), Keys::of(2));
        let settings: SessionSettings = serde_json::from_value(settings()).expect("settings");
        let folder = tempfile::tempdir().expect("a folder for the secrets");
        for (name, secret) in SECRETS {
            std::fs::write(folder.path().join(name), secret).expect("a secret is written");
        }
        let (clock, clock_control) = Clock::manual(Timestamp::from_millis(NOW));
        let metrics = Metrics::new("0", "fuzz").expect("metrics");
        let idp = Arc::new(Idp { asked: AtomicUsize::new(0), keys: keys.published().to_string().into_bytes() });
        let client_of = |_: &IssuerSettings| Ok(Arc::clone(&idp) as Arc<dyn KeyClient>);
        let names = CLAIM_NAMES.map(str::to_owned);
        let fields = names.clone().map(|name| name.parse().expect("a claim's name"));
        let names = ClaimNames { recipes: &names, fields: &fields, assertions: &[] };
        let subject_key = Secret::new(b"subject key".to_vec());
        let sessions =
            Sessions::new(&settings, folder.path(), (names, None), &subject_key, &client_of, clock, &metrics)
                .unwrap_or_else(|faults| panic!("{faults:#?}"));
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
        let faults = runtime.block_on(sessions.fetch_all());
        assert!(faults.is_empty(), "{faults:#?}");

        let good = |signer: Signer| {
            let (header, payload) = (signer.header(), signer.payload());
            let token = compact(header.as_bytes(), payload.as_bytes(), |signed| keys.sign(signer, signed));
            Good { signer, header, payload, token }
        };
        let goods = Signer::ALL.map(good).into();
        let sources = Sources::from(&*settings.sources);
        let world = Self { keys, sources, strangers, goods, sessions, clock_control, idp, runtime };
        for good in world.goods() {
            let expected = good.judge(NOW);
            assert!(matches!(expected, Expected::Opens(_)), "{:?}", good.signer);
            world.check(&good.token, NOW, &expected);
        }
        world
    }

    pub fn goods(&self) -> impl Iterator<Item = &Good> {
        self.goods.iter()
    }

    pub fn good(&self, signer: Signer) -> &Good {
        self.goods.iter().find(|good| good.signer == signer).expect("each signer has one")
    }

    /// From now on an unknown key may be asked for again.
    pub fn let_the_cool_down_pass(&self) {
        self.clock_control.advance(Duration::from_millis(1));
    }

    /// A signature that none of the issuers' keys makes of this text.
    pub fn forge(&self, how: u8, signed: &[u8]) -> Vec<u8> {
        let sha256 = |secret: &[u8]| mac(hmac::HMAC_SHA256, secret, signed);
        match how {
            b'0' => self.strangers.sign(Signer::Es256, signed),
            b'1' => self.strangers.sign(Signer::EdDsa, signed),
            // What is public as a shared secret.
            b'2' => sha256(self.keys.point()),
            b'3' => sha256(&self.idp.keys),
            b'4' => sha256(b""),
            b'5' => sha256(b"0123456789abcdef0123456789abcde"),
            b'6' => vec![0; 64],
            b'7' => Vec::new(),
            // One of the right length, of another text.
            b'8' => self.keys.sign(Signer::Es256, b"other"),
            b'9' => self.keys.sign(Signer::Hs256, b"other"),
            // By the right secret, and an algorithm that its issuer does not use.
            b'a' => mac(hmac::HMAC_SHA512, SECRETS[0].1.as_bytes(), signed),
            // Half of the right one.
            other => {
                let signer = Signer::of(other);
                let mut whole = self.keys.sign(signer, signed);
                whole.truncate(whole.len() / 2);
                whole
            }
        }
    }

    /// Looks at a token as the gateway does, and fails unless it comes to what is expected.
    pub fn check(&self, token: &[u8], now: i64, expected: &Expected) {
        let asked = self.idp.asked.load(Ordering::SeqCst);
        let cached = self.sessions.cached(token, moment(now));
        let seen = match cached {
            Some(session) => Seen::Opens(session),
            None => self.verify(token, now),
        };
        match (&seen, expected) {
            (Seen::Opens(session), Expected::Opens(person)) => {
                assert_same(session, person);
                if let SessionName::Token(name) = session.session_name() {
                    assert_eq!(name, digest::digest(&digest::SHA256, token).as_ref());
                }
                self.check_life(token, now, person);
            }
            (Seen::Expired, Expected::Expired) | (Seen::Refused(_), Expected::Refused) => {}
            _ => panic!("at {now} expected {expected:?}, saw {seen}: {}", String::from_utf8_lossy(token)),
        }
        match self.idp.asked.load(Ordering::SeqCst) - asked {
            0 => {}
            1 if names_unknown_key(token) => {}
            times => panic!("keys were asked for {times} times by {}", String::from_utf8_lossy(token)),
        }
    }

    /// Sees to it that a good token is remembered.
    pub fn remember(&self, token: &[u8]) {
        let is_cached = self.sessions.cached(token, moment(NOW)).is_some();
        assert!(is_cached || matches!(self.verify(token, NOW), Seen::Opens(_)), "a good token opens nothing");
    }

    fn verify(&self, token: &[u8], now: i64) -> Seen {
        match self.runtime.block_on(self.sessions.verify(token, Timestamp::from_millis(now))) {
            Ok(session) => Seen::Opens(session),
            Err(SessionFault::Expired) => Seen::Expired,
            Err(fault) => Seen::Refused(fault),
        }
    }

    /// Both sides of both edges, from memory and by verifying.
    fn check_life(&self, token: &[u8], now: i64, person: &Person) {
        let is_cached = |at: i64| match self.sessions.cached(token, moment(at)) {
            Some(session) => {
                assert_same(&session, person);
                true
            }
            None => false,
        };
        assert!(is_cached(now), "a good token is not remembered");
        if let Some(from) = person.from {
            assert!(is_cached(from), "{person:?} is not remembered at its beginning");
            assert!(!is_cached(from - 1), "{person:?} is remembered before its beginning");
            assert!(matches!(self.verify(token, from - 1), Seen::Refused(_)), "{person:?} opens before its beginning");
        }
        assert!(is_cached(person.until - 1), "{person:?} is not remembered until its end");
        assert!(!is_cached(person.until), "{person:?} is remembered after its end");
        assert!(matches!(self.verify(token, person.until), Seen::Expired), "{person:?} opens after its end");
    }
}

/// What came of a token.
enum Seen {
    Opens(Arc<Session>),
    Expired,
    Refused(SessionFault),
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opens(session) => write!(f, "a session of {:?} at {:?}", session.subject(), session.issuer()),
            Self::Expired => f.write_str("expired"),
            Self::Refused(fault) => write!(f, "{fault:?}"),
        }
    }
}

fn assert_same(session: &Session, person: &Person) {
    assert_eq!(session.issuer(), person.issuer);
    assert_eq!(session.subject(), person.subject);
    assert_eq!(session.external_id(), person.external_id);
    assert_eq!(session.name_fault().is_some(), person.name_is_unclear);
    assert_eq!(session.session_id(), person.session_id.as_deref());
    let claims: Vec<_> = session.claims().iter().map(|claim| claim.as_deref().map(str::to_owned)).collect();
    assert_eq!(claims, person.claims);
}

fn names_unknown_key(token: &[u8]) -> bool {
    let header = token.split(|byte| *byte == b'.').next().unwrap_or_default();
    URL_SAFE_NO_PAD.decode(header).is_ok_and(|header| model::names_unknown_key(&header))
}

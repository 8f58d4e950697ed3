//! Rate limits and concurrency limits: how much one client address, one person and one tenant may ask of this node.
//!
//! The address is asked before anything else of a request, the person when the session is known. A request that one limit refuses uses up no
//! other: its tokens are given back. All limits read the monotonic clock and remember a bounded number of keys.

mod connections;
mod mints;
mod rate;
pub mod settings;
mod tokens;
mod window;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use prometheus::IntCounter;

pub use self::connections::{ConnectionLimiter, ConnectionPermit, prefix};
pub use self::mints::MintShares;
use self::rate::RateLimit;
pub use self::rate::{TokenBucket, nanos};
use self::settings::LimitsSettings;
pub use self::tokens::Tokens;
use self::window::WindowLimit;
use crate::clock::{Clock, Tick};
use crate::telemetry::Metrics;

/// Moments that are remembered of an address's refused credentials.
const INVALID_STEPS: usize = 8;

/// One person, as a key: see [`Session::person`](crate::session::Session::person).
pub type PersonKey = [u8; 16];

/// `[limits]` of requests, in force.
pub struct Limits {
    settings: LimitsSettings,
    per_subject: Option<(Arc<RateLimit<PersonKey>>, IntCounter)>,
    per_address: Option<(Arc<RateLimit<IpAddr>>, IntCounter)>,
    invalid_per_address: Option<(Arc<WindowLimit<IpAddr>>, IntCounter)>,
}

/// What one request has taken of the limits.
#[derive(Default)]
pub struct Taken {
    address: Option<IpAddr>,
    person: Option<PersonKey>,
}

impl Limits {
    /// Without settings no request is refused.
    pub fn new(settings: &LimitsSettings, clock: &Clock, metrics: &Metrics) -> Self {
        let refused = |limit: &str| metrics.limited.with_label_values(&[limit]);
        Self {
            settings: settings.clone(),
            per_subject: settings.per_subject.map(|rate| (Arc::new(RateLimit::new(rate)), refused("per_subject"))),
            per_address: settings.per_address.map(|rate| (Arc::new(RateLimit::new(rate)), refused("per_address"))),
            invalid_per_address: settings
                .invalid_per_address
                .map(|count| (Arc::new(WindowLimit::new(count, INVALID_STEPS, clock)), refused("invalid_per_address"))),
        }
    }

    /// The limits of a new configuration, where those before have counted already: a limit whose settings are the same goes on counting.
    pub fn following(&self, settings: &LimitsSettings, clock: &Clock, metrics: &Metrics) -> Self {
        let mut limits = Self::new(settings, clock, metrics);
        if settings.per_subject == self.settings.per_subject {
            limits.per_subject.clone_from(&self.per_subject);
        }
        if settings.per_address == self.settings.per_address {
            limits.per_address.clone_from(&self.per_address);
        }
        if settings.invalid_per_address == self.settings.invalid_per_address {
            limits.invalid_per_address.clone_from(&self.invalid_per_address);
        }
        limits
    }

    /// Takes one request of this address (an IPv6 address counts with its /64), or says how long until one would pass. `None`: a peer on a Unix
    /// socket has no address, and is not limited by it.
    ///
    /// # Errors
    /// How long until the address may ask again.
    pub fn take_address(&self, address: Option<IpAddr>, now: Tick, taken: &mut Taken) -> Result<(), Duration> {
        let (Some((limit, refused)), Some(address)) = (&self.per_address, address) else { return Ok(()) };
        let key = prefix(address);
        limit.take(&key, now).inspect_err(|_| refused.inc())?;
        taken.address = Some(key);
        Ok(())
    }

    /// Takes one request of this person, or says how long until one would pass.
    ///
    /// # Errors
    /// How long until the person may ask again.
    pub fn take_person(&self, person: &PersonKey, now: Tick, taken: &mut Taken) -> Result<(), Duration> {
        let Some((limit, refused)) = &self.per_subject else { return Ok(()) };
        limit.take(person, now).inspect_err(|_| refused.inc())?;
        taken.person = Some(*person);
        Ok(())
    }

    /// Gives back what a request took that another limit has refused.
    pub fn give_back(&self, taken: &mut Taken) {
        if let (Some((limit, _)), Some(key)) = (&self.per_address, taken.address.take()) {
            limit.give_back(&key);
        }
        if let (Some((limit, _)), Some(key)) = (&self.per_subject, taken.person.take()) {
            limit.give_back(&key);
        }
    }

    /// Whether a credential of this address that was not verified before may be read; else how long until one may.
    ///
    /// # Errors
    /// How long until credentials of the address are read again.
    pub fn check_invalid(&self, address: Option<IpAddr>) -> Result<(), Duration> {
        let (Some((limit, refused)), Some(address)) = (&self.invalid_per_address, address) else { return Ok(()) };
        limit.check(&prefix(address)).inspect_err(|_| refused.inc())
    }

    /// Notes a refused credential of this address.
    pub fn note_invalid(&self, address: Option<IpAddr>) {
        if let (Some((limit, _)), Some(address)) = (&self.invalid_per_address, address) {
            limit.note(&prefix(address));
        }
    }
}

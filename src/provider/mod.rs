//! The vendor as a port: what is asked of it, what may come back, and the client that holds the key.

mod answer;
mod auth;
mod body;
mod breaker;
mod call;
mod fingerprint;
mod keys;
mod needs;
mod outcome;
mod preset;
mod recipe;
mod redirect_hosts;
mod retry_after;
pub mod settings;
mod template;
mod vendor;

use std::time::Duration;

use async_trait::async_trait;
use zeroize::Zeroizing;

pub use self::needs::{claim_names, claim_names_of, mint_names, uses_subject_hash};
pub use self::preset::preset_names;
pub use self::recipe::{Recipe, compile};
pub use self::redirect_hosts::{RedirectHosts, UrlFault};
pub use self::vendor::Vendor;
use crate::clock::Timestamp;

/// A vendor's temporary authenticated URL. It carries an action token, so it is a secret: no `Display`, no useful `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct PluginUrl(Zeroizing<Box<str>>);

impl PluginUrl {
    /// Takes a URL that has passed `redirect_hosts`; only this module makes one.
    pub(in crate::provider) fn new(text: &str) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// A URL out of nothing, for tests and benches of what holds it.
    pub(crate) fn unchecked(text: &str) -> Self {
        Self::new(text)
    }

    /// The only way out: into the one `Location` or JSON answer, or (sealed) into a store.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for PluginUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PluginUrl(…)")
    }
}

/// For whom a URL is asked. Made by the gateway from a session.
#[derive(Clone, PartialEq, Eq)]
pub struct MintInput {
    /// `{subject}`.
    pub external_id: Box<str>,
    /// `iss` and subject as the gateway knows them: the key of the memory of registrations, and of `{subject_hash}`.
    pub issuer: Box<str>,
    /// See `issuer`.
    pub subject: Box<str>,
    /// `{language}`, one of the plug-in's `languages`.
    pub language: Option<Box<str>>,
    /// The claims that recipes of this configuration name, in the configuration's order; `None`: absent, empty or not a string.
    pub claims: Box<[Option<Box<str>>]>,
}

/// What a vendor gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Minted {
    /// The URL, byte for byte.
    pub url: PluginUrl,
    /// The URL's own end, if it says one.
    pub ends: Option<Timestamp>,
}

/// Why there is no URL. Labels of `valet_mints_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MintFailure {
    /// The vendor answered 4xx; or a value can't stand where the recipe puts it, and no call was made.
    Refused,
    /// No connection, or it broke, or 5xx.
    Unreachable,
    /// No answer within `timeout`.
    TimedOut,
    /// An answer that is no URL, or one that has ended.
    Nonsense,
    /// A URL to a host outside `redirect_hosts`.
    ForbiddenHost,
    /// `max_in_flight`, an open breaker, or the vendor's own 429 or 503; try again after this long.
    Busy(Duration),
}

/// Mints plug-in URLs for one `(provider, mint)` pair.
#[async_trait]
pub trait Mint: Send + Sync {
    /// Asks the vendor once for a fresh URL: registration, retry with the second key and reading the answer included, never longer than
    /// the provider's `timeout`. Counts `valet_mints_total` (all outcomes but `ok` and `short`, which the lease book knows).
    ///
    /// Dropped: the connection to the vendor is closed; a registration that the vendor already did stays done. The lease book never drops it
    /// because a caller left.
    async fn mint(&self, input: &MintInput) -> Result<Minted, MintFailure>;
}

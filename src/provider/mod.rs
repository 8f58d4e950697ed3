//! The vendor as a port: what is asked of it, what may come back, and the client that holds the key.

mod admission;
mod answer;
mod api_keys;
mod auth;
mod base_url;
mod body;
mod breaker;
mod call;
mod describe;
mod diagnosis;
mod encoding;
mod fingerprint;
mod grant;
mod http_date;
mod jwt;
mod key_field;
mod mint_context;
mod needs;
mod outcome;
mod pace;
mod preset;
mod quota;
mod recipe;
mod redirect_hosts;
mod remote;
mod retry_after;
pub mod settings;
mod signature;
mod spans;
mod template;
mod token;
mod trial;
mod unread;
mod vendor;
mod vendor_clock;
pub mod wire;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use zeroize::Zeroizing;

pub use self::base_url::BaseUrl;
pub use self::describe::describe;
pub use self::mint_context::{Called, MintContext, Reason, Share};
pub use self::needs::{
    claim_names, claim_names_of, gives_token, mint_names, parameter_names_of, requires, uses_subject_hash,
};
#[cfg(test)]
pub(crate) use self::pace::Pace;
pub use self::preset::preset_names;
pub use self::recipe::{Recipe, check_header_secret, compile, key_fault};
pub use self::redirect_hosts::{RedirectHost, RedirectHosts, UrlFault};
pub use self::remote::{HealthStatus, Remote, RemoteParts};
pub use self::template::{has_neighbours, has_value, is_whole_number};
pub use self::trial::Trial;
pub use self::vendor::{Person, PersonCall, PersonFault, SameProvider, Vendor, VendorSecrets};
use crate::clock::Timestamp;
use crate::session::StepUp;

/// A vendor's temporary authenticated URL, or the token of a plug-in that is no page. Either is a secret: no `Display`, no useful `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct PluginUrl {
    text: Zeroizing<Box<str>>,
    is_token: bool,
}

/// A token is a JWT of some claims; what is longer is something else.
const MAX_TOKEN: usize = 16 * 1024;

impl PluginUrl {
    /// Takes a URL that has passed `redirect_hosts`; only this module makes one.
    pub(in crate::provider) fn new(text: &str) -> Self {
        Self { text: Zeroizing::new(text.into()), is_token: false }
    }

    /// Takes a token, if the text can be one.
    pub(in crate::provider) fn token(text: &str) -> Option<Self> {
        let fits = (1..=MAX_TOKEN).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        fits.then(|| Self { text: Zeroizing::new(text.into()), is_token: true })
    }

    /// Whether it is a token, which no browser is sent to.
    pub fn is_token(&self) -> bool {
        self.is_token
    }

    /// A URL out of nothing, for tests and benches of what holds it. What ships has no such way.
    #[cfg(any(test, feature = "simulators"))]
    pub(crate) fn unchecked(text: &str) -> Self {
        Self::new(text)
    }

    /// The only way out: into the one `Location` or JSON answer, or (sealed) into a store.
    pub fn expose(&self) -> &str {
        &self.text
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
    /// The namespace of the subject (`iss`, or the issuer that `subjects_of` names) and the subject, as the gateway knows them: the key of the
    /// memory of registrations, and of `{subject_hash}`.
    pub issuer: Box<str>,
    /// See `issuer`.
    pub subject: Box<str>,
    /// `{language}`, one of the plug-in's `languages`.
    pub language: Option<Box<str>>,
    /// The claims that recipes of this configuration name, in the configuration's order; `None`: absent, empty or not a string.
    pub claims: Box<[Option<Box<str>>]>,
    /// `{param:NAME}`: the plug-in's parameters, each with the value that was asked for, sorted by name.
    pub parameters: Box<[(Box<str>, Box<str>)]>,
    /// What only a minter is told.
    pub context: MintContext,
}

/// What a vendor gave, or a minter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Minted {
    /// The URL, byte for byte.
    pub url: PluginUrl,
    /// The URL's own end, if it says one.
    pub ends: Option<Timestamp>,
    /// It should say one: the recipe names a place for it, and nothing that can be read stood there.
    pub end_unread: bool,
    /// Not to be held longer, whatever the URL says: it was minted a while ago.
    pub hold_until: Option<Timestamp>,
    /// It may be used so often and no more; `None`: nobody counts.
    pub uses: Option<u32>,
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
    /// `mints_per` of the session's tenant, `mints_per_subject`, or a bound of the minter; not remembered, for the next session may be of another
    /// tenant. Try again after this long.
    Limited(Duration),
    /// The minter does not take this session: not remembered, for the next one is another.
    Session(SessionRefusal),
    /// No mint was tried: the shared store can't be asked, and nobody may mint alone.
    StoreLost,
}

/// One `[[provider]]`: a vendor whose key we hold, or a minter that holds it.
#[derive(Clone)]
pub enum Provider {
    /// We hold the key.
    Vendor(Vendor),
    /// A minter holds it.
    Remote(Remote),
}

impl Provider {
    /// As configured.
    pub fn name(&self) -> &str {
        match self {
            Self::Vendor(vendor) => vendor.name(),
            Self::Remote(remote) => remote.name(),
        }
    }

    /// The mint of this name; `None` if the recipe has no such mint. What a minter has only it knows.
    pub fn mint(&self, name: &str) -> Option<Arc<dyn Mint>> {
        match self {
            Self::Vendor(vendor) => vendor.minter(name),
            Self::Remote(remote) => Some(remote.mint(name)),
        }
    }

    /// Of everything here that decides what a URL is.
    pub fn fingerprint(&self) -> [u8; 32] {
        match self {
            Self::Vendor(vendor) => vendor.recipe().fingerprint(),
            Self::Remote(remote) => remote.fingerprint(),
        }
    }

    /// Whether mints are held back now. Brings `valet_degraded{what="provider:NAME"}` up to date: ask before each reading of the metrics, for
    /// a pause ends without an event.
    pub fn is_degraded(&self) -> bool {
        match self {
            Self::Vendor(vendor) => vendor.is_degraded(),
            Self::Remote(remote) => remote.is_degraded(),
        }
    }
}

impl Provider {
    /// Tells the vendor something about a person, once; `None`: the recipe has no such call, or a minter has the recipe. Counted when it is the last try.
    ///
    /// Dropped: the vendor may have done it or not.
    ///
    /// # Errors
    /// The vendor refused, or can't be asked.
    pub async fn call_about(&self, call: PersonCall, person: &Person) -> Option<Result<(), PersonFault>> {
        match self {
            Self::Vendor(vendor) => vendor.call_about(call, person).await,
            Self::Remote(_) => None,
        }
    }

    /// Whether there is such a call.
    pub fn has_call(&self, call: PersonCall) -> bool {
        match self {
            Self::Vendor(vendor) => vendor.has_call(call),
            Self::Remote(_) => false,
        }
    }

    /// Counts how a call about a person ended, all tries together.
    pub fn count_call(&self, call: PersonCall, done: bool) {
        if let Self::Vendor(vendor) = self {
            vendor.count_call(call, done);
        }
    }

    /// Forgets that the vendor has this person registered.
    pub fn forget_registration(&self, issuer: &str, subject: &str) {
        if let Self::Vendor(vendor) = self {
            vendor.forget_registration(issuer, subject);
        }
    }
}

/// What a minter has against a session that the edge took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SessionRefusal {
    /// It was good once.
    Expired,
    /// Any other fault.
    Invalid,
    /// It was ended here while its mint was under way.
    Revoked,
    /// It lacks a claim that the vendor must be told, or the minter's policies forbid it.
    NotPermitted,
    /// The minter's policies want a stronger or more recent sign-in.
    StepUp(&'static StepUp),
    /// The issuer's keys can't be had there; try again after this long.
    KeysUnavailable(Duration),
}

impl MintFailure {
    /// Whether it answers others who want the same lease, for a moment: what is about one session, or the share of its tenant, does not.
    pub fn is_everybodys(self) -> bool {
        !matches!(self, Self::Session(_) | Self::Limited(_))
    }

    /// As metrics and the audit log call it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Refused | Self::Session(_) => "refused",
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timeout",
            Self::Nonsense => "nonsense",
            Self::ForbiddenHost => "forbidden_host",
            Self::Busy(_) | Self::Limited(_) => "busy",
            Self::StoreLost => "store_lost",
        }
    }
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

    /// The mint that this one bounds, where it is no mint of its own: it answers for all but [`Self::mint`] and what is overridden.
    fn inner(&self) -> Option<&dyn Mint> {
        None
    }

    /// What was wrong with the last mint of this provider that failed, in the operator's words and without a value of an answer; `None`: nothing is
    /// known beyond the failure's kind.
    fn why(&self) -> Option<String> {
        self.inner()?.why()
    }

    /// Asks for leave to mint for a lease that still serves; the mint then says so by [`MintContext`]'s `prepaid`. `false`: not now, for the vendor's
    /// calls are left to callers that wait.
    fn take_ahead(&self) -> bool {
        self.inner().is_none_or(|inner| inner.take_ahead())
    }

    /// Takes a URL back that was kept elsewhere, judged as a fresh one; `None`: it would not be sent on today.
    fn readmit(&self, url: &str) -> Option<PluginUrl> {
        self.inner()?.readmit(url)
    }

    /// A token that was kept, judged again; `None`: this mint gives none today.
    fn readmit_token(&self, token: &str) -> Option<PluginUrl> {
        self.inner()?.readmit_token(token)
    }

    /// Whether the session that this is for has ended since: what was minted for it is not kept.
    fn is_void(&self, input: &MintInput) -> bool {
        self.inner().is_some_and(|inner| inner.is_void(input))
    }
}

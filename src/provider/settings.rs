//! `[[provider]]`: the vendor, its key, and the recipe of its calls.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::de::IntoDeserializer as _;
use serde::de::value::SeqAccessDeserializer;
use serde::{Deserialize, Deserializer, Serialize, de};

use super::pace::MAX_RATE;
use super::{BaseUrl, RedirectHost};
use crate::certificate::CertificateFiles;
use crate::http_client::settings::ProxySettings;
use crate::secret::SecretSource;
use crate::secret::SecretSources;
use crate::session::ClaimPath;
use crate::setting::FieldFault;
use crate::units::Span;
use crate::web::{FieldName, Origin};

mod auth;
mod calls;

pub use self::auth::{AuthSettings, ClientAuth, HmacSettings, LoginSettings, Oauth2Settings, Sigv4Settings};
pub use self::calls::{AcceptIf, JwtSettings, MintSettings, RegisterSettings, RetrySettings, RevokeSettings};

/// `[[provider]]`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProviderSettings {
    /// The name by which plug-ins, metrics and logs know it.
    pub name: String,
    /// A recipe that Valet brings, such as `intelliprove-v2` or `onfido`.
    pub preset: Option<String>,
    /// Where the API is; the key is sent to this scheme, host and port only. Required, but with `minter`, and where all mints are signed here.
    pub base_url: Option<BaseUrl>,
    /// The API key; of two, the second is tried when the vendor answers 401 or 403 to the first. Required, but with `minter`.
    pub api_key: Option<SecretSources>,
    /// The minters, where this process is an edge that holds no key: in place of `base_url`, `api_key` and the recipe.
    pub minter: Option<MinterLink>,
    /// Where the key goes in a call. A preset brings its own.
    pub auth: Option<AuthSettings>,
    /// Header fields of each call, with `{…}` values.
    pub headers: Option<BTreeMap<String, String>>,
    /// Header fields of each call that are secrets, beside the key.
    #[serde(default)]
    pub secret_headers: BTreeMap<String, SecretSource>,
    /// The hosts to which a minted URL may point: `host`, `host:port`, `*.suffix`. Required, but where all mints are tokens.
    #[serde(default)]
    pub redirect_hosts: Vec<RedirectHost>,
    /// A file with the certificates (PEM) of the authorities that sign `base_url`'s certificate, instead of the machine's own.
    pub ca: Option<PathBuf>,
    /// The HTTP proxy through which `base_url` is called.
    pub proxy: Option<ProxySettings>,
    /// One mint: connecting, registration, retries and reading the answer together.
    #[serde(default = "default_timeout")]
    pub timeout: Span,
    /// More mints at once are refused.
    #[serde(default = "default_max_in_flight")]
    pub max_in_flight: usize,
    /// Calls to `base_url` in any second, at most. A mint that somebody waits for waits for its turn, within `timeout`; renewals ahead of the end
    /// get half of it, spread over time. No bound when left out.
    pub rate: Option<u32>,
    /// The header field of answers that says how many calls are left, if its name is not one of the usual ones.
    pub quota_header: Option<FieldName>,
    /// When to stop asking a vendor that is down.
    #[serde(default)]
    pub breaker: BreakerSettings,
    /// The key of `{subject_hash}`; without it `log.subject_key`.
    pub subject_key: Option<SecretSource>,
    /// Makes sure that the user exists.
    pub register: Option<RegisterSettings>,
    /// The calls that mint, by name.
    #[serde(default)]
    pub mint: BTreeMap<String, MintSettings>,
    /// The call when a person's sessions end, at sign-out or by revocation.
    pub revoke: Option<RevokeSettings>,
    /// The call that erases a person.
    pub forget: Option<RevokeSettings>,
}

/// Shorter than this no vendor answers over the internet.
const MIN_TIMEOUT: Span = Span(std::time::Duration::from_millis(100));
/// Longer than this no browser waits.
const MAX_TIMEOUT: Span = Span::secs(60);

impl ProviderSettings {
    /// What is wrong with the bounds and names that stand for themselves; the recipe's own faults `compile` finds.
    pub fn faults(&self) -> Vec<FieldFault> {
        let mut faults = Vec::new();
        let mut demand = |good: bool, path: &str, message: &str| {
            if !good {
                faults.push(FieldFault::at(path, message));
            }
        };
        let breaker = self.breaker;
        demand((MIN_TIMEOUT..=MAX_TIMEOUT).contains(&self.timeout), "timeout", "expected \"100ms\" to \"60s\"");
        demand(self.max_in_flight > 0, "max_in_flight", "at least 1");
        demand(breaker.failures > 0, "breaker.failures", "at least 1");
        demand(!breaker.within.0.is_zero(), "breaker.within", "must be longer than nothing");
        demand(!breaker.pause.0.is_zero(), "breaker.pause", "must be longer than nothing");
        let rate = self.rate.is_none_or(|rate| (1..=MAX_RATE).contains(&rate));
        demand(rate, "rate", "expected 1 to 10000 calls a second; left out, there is no bound");
        faults
    }
}

/// `minter`: the way to the minters of one provider, over HTTP/2 with mutual TLS.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MinterLink {
    /// `https://host:port` of the minter; of several each user has one, and the others stand in for it.
    pub url: OneOrMore<Origin>,
    /// The authorities (PEM) that sign the minters' certificates.
    pub ca: PathBuf,
    /// The certificate by which minters know this edge, with those between it and the authority (PEM).
    pub certificate: PathBuf,
    /// Its key (PEM).
    pub key: PathBuf,
    /// The claims that the minter's recipe uses: leases that differ in them are different ones.
    #[serde(default)]
    pub claims: Vec<ClaimPath>,
}

impl MinterLink {
    /// This edge's certificate and key.
    pub fn identity(&self) -> CertificateFiles {
        CertificateFiles { chain: self.certificate.clone(), key: self.key.clone() }
    }
}

/// One, or a list of them; written as a text, or a list of texts.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum OneOrMore<T> {
    /// One.
    One(T),
    /// Several.
    List(Vec<T>),
}

impl<T> OneOrMore<T> {
    /// The entries, one or several.
    pub fn as_slice(&self) -> &[T] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::List(list) => list,
        }
    }
}

/// By hand, so that a fault names the key and not the Rust enum.
impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMore<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> de::Visitor<'de> for Visitor<T> {
            type Value = OneOrMore<T>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a text or a list of texts")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<OneOrMore<T>, E> {
                T::deserialize(text.into_deserializer()).map(OneOrMore::One)
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, list: A) -> Result<OneOrMore<T>, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(OneOrMore::List)
            }
        }
        deserializer.deserialize_any(Visitor(PhantomData))
    }
}

/// `breaker`: after `failures` (unreachable, timed out, 5xx) `within` this time, no call for `pause`.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BreakerSettings {
    /// How many failures open it.
    pub failures: u32,
    /// The window in which they are counted.
    pub within: Span,
    /// How long it stays open; then one call tries.
    pub pause: Span,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self { failures: 20, within: Span::secs(10), pause: Span::secs(5) }
    }
}

fn default_timeout() -> Span {
    Span::secs(5)
}
fn default_max_in_flight() -> usize {
    256
}

//! `[session]` and `[[session.issuer]]`.

mod jwks_url;
mod sign_out;

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize, de};

use super::claim_path::ClaimPath;
use super::external_id::ExternalIdTemplate;
use super::sources::Source;
use crate::http_client::settings::ProxySettings;
use crate::secret::SecretSource;
use crate::units::Span;
use crate::web::LoginUrl;

pub use self::jwks_url::JwksUrl;
pub use self::sign_out::{EventsSettings, LogoutSettings, TransmitterSettings};
pub use super::external_id::TENANT;

/// `[session]`: where credentials are read, and how sessions are judged.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SessionSettings {
    /// Where a credential is looked for, in order: `header:NAME` or `cookie:NAME`.
    #[serde(default = "default_sources")]
    pub sources: Vec<Source>,
    /// Tolerance at both ends of a token's life, at most 5 minutes.
    #[serde(default = "default_clock_skew")]
    pub clock_skew: Span,
    /// Longer credentials are refused unread.
    #[serde(default = "default_max_token_bytes")]
    pub max_token_bytes: usize,
    /// How many verified tokens are kept.
    #[serde(default = "default_cache")]
    pub cache: usize,
    /// Where a navigation without a session is sent: a path, or an http(s) URL.
    pub login_url: Option<LoginUrl>,
    /// How long a revocation is remembered, at least as long as any token lives.
    #[serde(default = "default_revocation_life")]
    pub revocation_life: Span,
    /// What becomes of requests with a session while the shared store can't be asked for revocations.
    #[serde(default)]
    pub revocations_unknown: RevocationsUnknown,
    /// Where identity providers say that somebody has signed out.
    pub logout: Option<LogoutSettings>,
    /// Where transmitters say what has happened to people's sessions.
    pub events: Option<EventsSettings>,
    /// The issuers whose tokens open a session.
    #[serde(default, rename = "issuer")]
    pub issuers: Vec<IssuerSettings>,
}

impl Default for SessionSettings {
    fn default() -> Self {
        Self {
            sources: default_sources(),
            clock_skew: default_clock_skew(),
            max_token_bytes: default_max_token_bytes(),
            cache: default_cache(),
            login_url: None,
            revocation_life: default_revocation_life(),
            revocations_unknown: RevocationsUnknown::Serve,
            logout: None,
            events: None,
            issuers: Vec::new(),
        }
    }
}

/// `session.revocations_unknown`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RevocationsUnknown {
    /// They are judged by the revocations that this node knows.
    #[default]
    Serve,
    /// They are refused.
    Refuse,
}

/// `[[session.issuer]]`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IssuerSettings {
    /// Exactly the tokens' `iss`. With `tenants` it holds `{tenant}`: one issuer for each of them.
    pub issuer: String,
    /// What stands for `{tenant}` in `issuer`, and in `keys.jwks_url`, `subjects_of` and `external_id` where they hold it.
    #[serde(default)]
    pub tenants: Vec<String>,
    /// Another configured issuer: the subjects of this one are the same persons as those of that one. One lease, one registration.
    pub subjects_of: Option<String>,
    /// A token must be for one of these.
    pub audiences: Vec<String>,
    /// Whom its logout tokens must be for; left out, one of `audiences`.
    pub logout_audiences: Option<Vec<String>>,
    /// The signature algorithms that are accepted. Not needed where each entry of `keys` has its own.
    #[serde(default)]
    pub algorithms: Vec<SignatureAlgorithm>,
    /// Where the keys come from: one place, or a list of them.
    pub keys: IssuerKeys,
    /// A file with the certificates (PEM) of the authorities that sign the identity provider's certificate, instead of the machine's own.
    pub ca: Option<PathBuf>,
    /// The HTTP proxy through which keys are fetched.
    pub proxy: Option<ProxySettings>,
    /// The claim that names the subject: a name, or a JSON pointer that starts with `/`.
    #[serde(default = "default_subject_claim")]
    pub subject_claim: ClaimPath,
    /// The claim that names the session at the identity provider.
    #[serde(default = "default_session_claim")]
    pub session_claim: ClaimPath,
    /// The claim that is compared with `audiences`.
    #[serde(default = "default_audience_claim")]
    pub audience_claim: ClaimPath,
    /// The name under which vendors know the subject: text with `{sub}` (the subject) and `{claim:NAME}`.
    pub external_id: Option<ExternalIdTemplate>,
    /// The token types (`typ` of the header) that open a session, in any case, with or without `application/`. A token without one counts
    /// as `JWT`.
    #[serde(default = "default_types")]
    pub types: Vec<String>,
    /// How long after its `iat` a token opens a session at most, whatever its `exp`; a token without `iat` is then refused.
    pub max_age: Option<Span>,
    /// Whether a token that is bound to a key (`cnf`, RFC 7800) opens a session. The proof of possession is not checked.
    #[serde(default)]
    pub accept_bound: bool,
    /// Which of `tenants` it is, after [`IssuerSettings::expanded`].
    #[serde(skip)]
    pub tenant: Option<String>,
}

impl SessionSettings {
    /// The issuers as tokens name them: one for each tenant.
    pub fn expanded(&self) -> Vec<IssuerSettings> {
        self.issuers.iter().flat_map(IssuerSettings::expanded).collect()
    }

    /// The issuers that have subjects of their own, as tokens name them.
    pub fn namespaces(&self) -> Vec<String> {
        let own = self.expanded().into_iter().filter(|issuer| issuer.subjects_of.is_none());
        own.map(|issuer| issuer.issuer).collect()
    }

    /// The issuers whose subjects are another's, as tokens name them.
    pub fn sharing(&self) -> Vec<String> {
        let others = self.expanded().into_iter().filter(|issuer| issuer.subjects_of.is_some());
        others.map(|issuer| issuer.issuer).collect()
    }
}

impl IssuerSettings {
    /// One for each of `tenants`, or itself.
    pub fn expanded(&self) -> Vec<Self> {
        if self.tenants.is_empty() {
            return vec![self.clone()];
        }
        self.tenants.iter().map(|tenant| self.of_tenant(tenant)).collect()
    }

    fn of_tenant(&self, tenant: &str) -> Self {
        let filled = |text: &String| text.replace(TENANT, tenant);
        let mut one = self.clone();
        one.issuer = filled(&self.issuer);
        one.subjects_of = self.subjects_of.as_ref().map(filled);
        one.external_id = self.external_id.as_ref().map(|template| template.of_tenant(tenant));
        for keys in one.keys.as_mut_slice() {
            keys.jwks_url = keys.jwks_url.as_ref().map(|url| url.of_tenant(tenant));
        }
        one.tenants = Vec::new();
        one.tenant = Some(tenant.to_owned());
        one
    }

    /// Each entry of `keys`, with the algorithms that it verifies: its own, or those of the issuer.
    pub fn key_entries(&self) -> impl Iterator<Item = (&KeysSettings, &[SignatureAlgorithm])> {
        let entry = |keys| (keys, KeysSettings::algorithms(keys).unwrap_or(&self.algorithms));
        self.keys.as_slice().iter().map(entry)
    }
}

/// Signature algorithms (RFC 7518, RFC 8037). `none` can't be named. `EdDSA` means Ed25519, and may be written so (RFC 9864).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[allow(missing_docs)] // The names are the documentation.
pub enum SignatureAlgorithm {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    #[serde(alias = "Ed25519")]
    EdDSA,
    HS256,
    HS384,
    HS512,
}

/// `keys`: one entry, or a list of them.
#[derive(Clone, Debug, JsonSchema)]
#[serde(untagged)]
pub enum IssuerKeys {
    /// One entry.
    One(KeysSettings),
    /// Several beside each other. An algorithm is verified only with the entries that name it.
    List(Vec<KeysSettings>),
}

impl IssuerKeys {
    /// The entries in their order.
    pub fn as_slice(&self) -> &[KeysSettings] {
        match self {
            Self::One(keys) => std::slice::from_ref(keys),
            Self::List(list) => list,
        }
    }

    fn as_mut_slice(&mut self) -> &mut [KeysSettings] {
        match self {
            Self::One(keys) => std::slice::from_mut(keys),
            Self::List(list) => list,
        }
    }

    /// Whether they are written as a list.
    pub fn is_list(&self) -> bool {
        matches!(self, Self::List(_))
    }
}

/// By hand, so that a fault names the key and not the Rust enum.
impl<'de> Deserialize<'de> for IssuerKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = IssuerKeys;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a table such as { discovery = true }, or a list of such tables")
            }
            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<IssuerKeys, A::Error> {
                KeysSettings::deserialize(MapAccessDeserializer::new(map)).map(IssuerKeys::One)
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, list: A) -> Result<IssuerKeys, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(IssuerKeys::List)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// `keys`: exactly one of `discovery`, `jwks_url`, `jwks_file`, `pem_file`, `secret`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KeysSettings {
    /// `true`: the key set's address is read from the issuer's `/.well-known/openid-configuration`.
    pub discovery: Option<bool>,
    /// Address of the key set (RFC 7517), `https://`, and `http://` on loopback alone.
    pub jwks_url: Option<JwksUrl>,
    /// A file with a key set.
    pub jwks_file: Option<PathBuf>,
    /// A file with one public key or certificate, PEM.
    pub pem_file: Option<PathBuf>,
    /// The shared secret of HS256, HS384, HS512.
    pub secret: Option<SecretSource>,
    /// How old fetched keys get before they are fetched again: a removed key is trusted no longer than this.
    pub refresh: Option<Span>,
    /// The least time from one attempt to fetch to the next, so that unknown `kid`s and failures don't flood the identity provider.
    pub cooldown: Option<Span>,
    /// How long keys are believed after the last fetch that succeeded.
    pub max_stale: Option<Span>,
    /// The algorithms that these keys verify; left out, those of the issuer.
    pub algorithms: Option<Vec<SignatureAlgorithm>>,
}

impl KeysSettings {
    /// Its own `algorithms`, if it has any.
    pub fn algorithms(&self) -> Option<&[SignatureAlgorithm]> {
        self.algorithms.as_deref()
    }

    /// `refresh`, or its default.
    pub fn refresh(&self) -> Span {
        self.refresh.unwrap_or(Span::secs(5 * 60))
    }

    /// `cooldown`, or its default.
    pub fn cooldown(&self) -> Span {
        self.cooldown.unwrap_or(Span::secs(30))
    }

    /// `max_stale`, or its default: an outage of the identity provider is survived, a takeover of its old keys is not. Never shorter than
    /// `refresh`.
    pub fn max_stale(&self) -> Span {
        self.max_stale.unwrap_or(Span::secs(60 * 60).max(self.refresh()))
    }
}

fn default_sources() -> Vec<Source> {
    vec![Source::Authorization, Source::Cookie((*b"session").into())]
}
fn default_clock_skew() -> Span {
    Span::secs(30)
}
fn default_max_token_bytes() -> usize {
    8192
}
fn default_cache() -> usize {
    100_000
}
fn default_revocation_life() -> Span {
    Span::secs(24 * 3600)
}
fn default_types() -> Vec<String> {
    vec!["JWT".into(), "at+jwt".into()]
}
fn default_subject_claim() -> ClaimPath {
    ClaimPath::named("sub")
}
fn default_session_claim() -> ClaimPath {
    ClaimPath::named("sid")
}
fn default_audience_claim() -> ClaimPath {
    ClaimPath::named("aud")
}

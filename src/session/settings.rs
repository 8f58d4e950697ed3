//! `[session]` and `[[session.issuer]]`.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::http_client::settings::ProxySettings;
use crate::secret::SecretSource;
use crate::units::Span;

/// `[session]`: where credentials are read, and how sessions are judged.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SessionSettings {
    /// Where a credential is looked for, in order: `header:NAME` or `cookie:NAME`.
    #[serde(default = "default_sources")]
    pub sources: Vec<String>,
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
    pub login_url: Option<String>,
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
            issuers: Vec::new(),
        }
    }
}

/// `[[session.issuer]]`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IssuerSettings {
    /// Exactly the tokens' `iss`.
    pub issuer: String,
    /// A token must be for one of these.
    pub audiences: Vec<String>,
    /// The signature algorithms that are accepted.
    pub algorithms: Vec<SignatureAlgorithm>,
    /// Where the keys come from.
    pub keys: KeysSettings,
    /// A file with the certificates (PEM) of the authorities that sign the identity provider's certificate, instead of the machine's own.
    pub ca: Option<PathBuf>,
    /// The HTTP proxy through which keys are fetched.
    pub proxy: Option<ProxySettings>,
    /// The claim that names the subject: a name, or a JSON pointer that starts with `/`.
    #[serde(default = "default_subject_claim")]
    pub subject_claim: String,
    /// The claim that names the session at the identity provider.
    #[serde(default = "default_session_claim")]
    pub session_claim: String,
    /// The claim that is compared with `audiences`.
    #[serde(default = "default_audience_claim")]
    pub audience_claim: String,
    /// The name under which vendors know the subject: text with `{sub}` (the subject) and `{claim:NAME}`.
    pub external_id: Option<String>,
    /// The token types (`typ` of the header) that open a session, in any case, with or without `application/`. A token without one counts
    /// as `JWT`.
    #[serde(default = "default_types")]
    pub types: Vec<String>,
    /// How long after its `iat` a token opens a session at most, whatever its `exp`; a token without `iat` is then refused.
    pub max_age: Option<Span>,
    /// Whether a token that is bound to a key (`cnf`, RFC 7800) opens a session. The proof of possession is not checked.
    #[serde(default)]
    pub accept_bound: bool,
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

/// `keys`: exactly one of `discovery`, `jwks_url`, `jwks_file`, `pem_file`, `secret`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KeysSettings {
    /// `true`: the key set's address is read from the issuer's `/.well-known/openid-configuration`.
    pub discovery: Option<bool>,
    /// Address of the key set (RFC 7517), `https://` but on loopback.
    pub jwks_url: Option<String>,
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
}

impl KeysSettings {
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

fn default_sources() -> Vec<String> {
    vec!["header:authorization".into(), "cookie:session".into()]
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
fn default_types() -> Vec<String> {
    vec!["JWT".into(), "at+jwt".into()]
}
fn default_subject_claim() -> String {
    "sub".into()
}
fn default_session_claim() -> String {
    "sid".into()
}
fn default_audience_claim() -> String {
    "aud".into()
}

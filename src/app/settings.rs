//! `[[app]]`: a web application behind the gateway.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::assertion::settings::AppAssertionSettings;
use crate::session::ClaimPath;
use crate::units::{Bytes, Span};
use crate::web::{FieldName, HostRule, LoginUrl, Origin};

/// `[[app]]`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AppSettings {
    /// The name by which metrics and logs know it.
    pub name: String,
    /// Only requests to this host, if set: `app.example.com`, or `*.example.com` for one or more labels before it.
    pub host: Option<HostRule>,
    /// The start of its paths, on segment boundaries.
    #[serde(default = "default_path")]
    pub path: String,
    /// Whether another proxy carries its requests, and asks at `/.valet/authorize` about each: in place of `upstreams`.
    #[serde(default)]
    pub authorize: bool,
    /// Where it is: `host:port` (or `http://…`), `https://host:port`, `h2c://host:port` (HTTP/2 without TLS), or `unix:/path` (HTTP/1.1 over a
    /// Unix socket). A name is asked for again every 10 s; each of its addresses is an upstream.
    #[serde(default)]
    pub upstreams: Vec<String>,
    /// How an upstream is chosen.
    #[serde(default)]
    pub balance: Balance,
    /// Whether a request needs a session.
    #[serde(default)]
    pub session: SessionNeed,
    /// Further identity headers, and the claims that they carry: a claim's name, or a JSON pointer.
    #[serde(default)]
    pub claims: BTreeMap<FieldName, ClaimPath>,
    /// A signed word on the session, in `x-auth-assertion`. Off when left out.
    pub assertion: Option<AppAssertionSettings>,
    /// Whether the credential goes on to the app: for the one that signs people in and must see its own cookie.
    #[serde(default)]
    pub pass_credential: bool,
    /// Whether a path may hold `%2f`.
    #[serde(default)]
    pub encoded_slash: bool,
    /// Origins whose pages may call the app: their preflights are answered by the gateway, and they may read its refusals.
    #[serde(default)]
    pub allowed_origins: Vec<Origin>,
    /// Where a navigation without a session is sent, instead of `session.login_url`.
    pub login_url: Option<LoginUrl>,
    /// A larger request body is refused.
    #[serde(default = "default_max_body")]
    pub max_body: Bytes,
    /// A connection to an upstream is due in this time, TLS included.
    #[serde(default = "default_connect_timeout")]
    pub connect_timeout: Span,
    /// The app's first byte, and each next one, is due in this time; and it must take each piece of a request's body in it.
    #[serde(default = "default_read_timeout")]
    pub read_timeout: Span,
    /// A connection to the app that is not used is closed after this.
    #[serde(default = "default_idle_timeout")]
    pub idle_timeout: Span,
    /// A WebSocket over which neither side sends anything is closed after this.
    #[serde(default = "default_websocket_timeout")]
    pub websocket_timeout: Span,
    /// What ends a WebSocket beside its own ends.
    #[serde(default)]
    pub websocket_ends_with: WebsocketEnd,
    /// A file with the certificates (PEM) of the authorities that sign the app's certificate, instead of the machine's own.
    pub ca: Option<PathBuf>,
    /// The name that the app's certificate must be for, and that the app is asked by (SNI), where it is not that of the upstream.
    pub server_name: Option<String>,
    /// The certificate by which the app knows the gateway.
    pub client_certificate: Option<ClientCertificateSettings>,
    /// What a request tells the app otherwise than the client did.
    #[serde(default)]
    pub request: RequestSettings,
    /// How the app is asked whether it is well. Without it only clients' requests reach it.
    pub health: Option<HealthSettings>,
    /// When an upstream that fails is left alone for a while.
    #[serde(default)]
    pub ejection: EjectionSettings,
}

/// `balance`: how an upstream is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Balance {
    /// One after the other.
    #[default]
    RoundRobin,
    /// The one with the fewest requests under way.
    LeastConnections,
    /// One upstream for each subject while it is well; without a session one for each client's address.
    Subject,
}

/// `session`: whether a request needs a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SessionNeed {
    /// No session, no app.
    #[default]
    Required,
    /// The app learns the subject if there is one. An expired credential counts as none.
    Optional,
    /// Nothing is verified, and the app learns nobody. The credential is cut out all the same.
    None,
}

/// `websocket_ends_with`: what ends a WebSocket beside its own ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WebsocketEnd {
    /// Nothing: a request that was let in stays.
    #[default]
    Connection,
    /// The end of the session that opened it: its token's life is over.
    Session,
}

impl SessionNeed {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Optional => "optional",
            Self::None => "none",
        }
    }
}

/// `client_certificate`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientCertificateSettings {
    /// A file with the certificate and those that lead to its authority, PEM.
    pub chain: PathBuf,
    /// A file with its private key, PEM.
    pub key: PathBuf,
}

/// `[app.request]`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RequestSettings {
    /// The `Host` that the app is told in place of the client's, with or without a port. `X-Forwarded-Host` keeps the client's.
    pub host: Option<String>,
}

/// `[app.health]`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HealthSettings {
    /// Asked with `GET`; any 2xx means that it is well.
    #[serde(default = "default_health_path")]
    pub path: String,
    /// `Host` of the question; without it that of `[app.request]`, and else the upstream's own name (`localhost` of a Unix socket).
    pub host: Option<String>,
    /// From one question to the next.
    #[serde(default = "default_health_interval")]
    pub interval: Span,
    /// An answer is due in this time.
    #[serde(default = "default_health_timeout")]
    pub timeout: Span,
    /// So many good answers in a row, and it is well again.
    #[serde(default = "default_healthy")]
    pub healthy: u32,
    /// So many bad ones in a row, and it gets no requests.
    #[serde(default = "default_unhealthy")]
    pub unhealthy: u32,
}

/// `ejection`: so many failures in a row (no connection, no answer in time, a broken one), and the upstream gets no requests for `pause`.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EjectionSettings {
    /// How many failures in a row.
    pub failures: u32,
    /// For how long.
    pub pause: Span,
}

impl Default for EjectionSettings {
    fn default() -> Self {
        Self { failures: 5, pause: Span::secs(10) }
    }
}

impl Default for HealthSettings {
    fn default() -> Self {
        Self {
            path: default_health_path(),
            host: None,
            interval: default_health_interval(),
            timeout: default_health_timeout(),
            healthy: default_healthy(),
            unhealthy: default_unhealthy(),
        }
    }
}

fn default_path() -> String {
    "/".into()
}
fn default_max_body() -> Bytes {
    Bytes(8 << 30)
}
fn default_connect_timeout() -> Span {
    Span::secs(3)
}
fn default_read_timeout() -> Span {
    Span::secs(60)
}
fn default_idle_timeout() -> Span {
    // Node closes idle connections after 5 s: below that no request meets a closed one.
    Span::secs(4)
}
fn default_websocket_timeout() -> Span {
    Span::secs(3600)
}
fn default_health_path() -> String {
    "/health".into()
}
fn default_health_interval() -> Span {
    Span::secs(5)
}
fn default_health_timeout() -> Span {
    Span::secs(2)
}
fn default_healthy() -> u32 {
    2
}
fn default_unhealthy() -> u32 {
    3
}

//! `[[plugin]]`, `[server]`, `[[listener]]`: what the data plane is told.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::certificate::CertificateFiles;
use crate::lease::settings::{MintsPerSubject, ParameterSettings, Reuse};
use crate::meant::did_you_mean;
use crate::setting::{FieldFault, TextSetting, text_setting};
use crate::units::{ListenAddress, Span};
use crate::web::{HostName, LoginUrl, Origin};

/// `[server]`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServerSettings {
    /// Worker threads; 0: one per core.
    #[serde(default)]
    pub threads: usize,
    /// The origin under which browsers know this gateway, such as `https://app.example.com`. Required, except for a minter alone.
    pub public_url: Option<Origin>,
    /// How long a drain may take at most; it ends when nothing is under way.
    #[serde(default = "default_drain")]
    pub drain: Span,
    /// For this long `/readyz` says no before the listeners stop accepting.
    #[serde(default = "default_drain_delay")]
    pub drain_delay: Span,
    /// The proxies before this gateway: networks (`10.0.0.0/8`), addresses, or `unix:` for listeners on Unix sockets. What they say of where a
    /// request came from is believed; what anybody else says is not.
    #[serde(default)]
    pub trusted_proxies: Vec<String>,
    /// Connections of one client address at once; one more is closed. Off when left out.
    pub connections_per_address: Option<usize>,
    /// Requests under way to apps and waiting for mints at once; one more is refused with 503. Reckoned from the file descriptors when left out.
    pub max_requests: Option<usize>,
    /// A client's connection without a request is closed after this long.
    #[serde(default = "default_idle_timeout")]
    pub idle_timeout: Span,
    /// A request's body to an app must go on within this.
    #[serde(default = "default_body_stall")]
    pub body_stall: Span,
    /// A client must take a piece of an app's answer within this.
    #[serde(default = "default_write_stall")]
    pub write_stall: Span,
    /// Where `valet run --upgrade` takes over from this process: a Unix socket for this user alone, in a folder that nobody else can write into. Off when
    /// left out.
    pub upgrade_socket: Option<PathBuf>,
    /// Whether a change of the configuration file, of a file that it names or of the directory of policies is put in force by itself, as SIGHUP does.
    /// Looked at every 2 s; a change counts when the next look finds no other.
    #[serde(default)]
    pub watch: bool,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            threads: 0,
            public_url: None,
            drain: default_drain(),
            drain_delay: default_drain_delay(),
            trusted_proxies: Vec::new(),
            connections_per_address: None,
            max_requests: None,
            idle_timeout: default_idle_timeout(),
            body_stall: default_body_stall(),
            write_stall: default_write_stall(),
            upgrade_socket: None,
            watch: false,
        }
    }
}

/// `[[listener]]`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListenerSettings {
    /// `ADDRESS:PORT`, `[IPv6]:PORT` or `unix:/path`.
    pub address: ListenAddress,
    /// The `FileDescriptorName=` of a socket of systemd: where the process is given one of this name, `address` is not bound.
    pub name: Option<String>,
    /// What is asked there.
    #[serde(default)]
    pub kind: ListenerKind,
    /// Certificates for TLS, chosen by the name that the client asks for; the first one for all other names. Without them the listener speaks
    /// plain HTTP.
    #[serde(default)]
    pub tls: Vec<CertificateFiles>,
    /// `https`: each request is answered with 308 to the same path and query at `server.public_url`, and with nothing else.
    pub redirect: Option<RedirectTo>,
    /// The oldest version of TLS that is spoken.
    #[serde(default)]
    pub min_tls: TlsVersion,
    /// `Strict-Transport-Security` on every answer: for this long browsers use TLS alone for this host. Off when left out.
    pub hsts: Option<Span>,
    /// The authorities that sign the certificates of clients, in PEM (mutual TLS). Clients are asked for none when left out.
    pub client_ca: Option<PathBuf>,
    /// Whether a client has to show one, `required` when left out. One of another authority ends the handshake in either case.
    pub client_certificate: Option<ClientCertificate>,
    /// Each connection begins with the PROXY protocol (version 1 or 2) and comes from one of `server.trusted_proxies`.
    #[serde(default)]
    pub proxy_protocol: bool,
}

/// `kind` of a listener: what is asked there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ListenerKind {
    /// Requests.
    #[default]
    Http,
    /// Envoy's questions about requests (gRPC, `envoy.service.auth.v3`), in the clear or over TLS, by `server.trusted_proxies` and loopback.
    ExtAuthz,
}

/// Where a listener sends each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RedirectTo {
    /// The origin of `server.public_url`.
    Https,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum TlsVersion {
    /// RFC 5246.
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    /// RFC 8446.
    #[serde(rename = "1.3")]
    Tls13,
}

/// Whether a client shows a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ClientCertificate {
    /// One without is refused in the handshake.
    #[default]
    Required,
    /// One without is let in.
    Optional,
}

/// `[[plugin]]`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PluginSettings {
    /// The name by which metrics, logs and the JSON answer know it.
    pub name: String,
    /// The provider that mints its URLs.
    pub provider: String,
    /// Which of the provider's mints.
    pub mint: String,
    /// The whole path.
    pub path: String,
    /// Only requests to this host, if set.
    pub host: Option<HostName>,
    /// For whom a URL is used again.
    pub reuse: Reuse,
    /// A URL is never held longer, at most 6 hours.
    #[serde(default = "default_max_age")]
    pub max_age: Span,
    /// Life that every held URL still has when it is sent.
    #[serde(default = "default_min_remaining")]
    pub min_remaining: Span,
    /// When less is left, answer at once and mint in the background. Off when left out.
    pub refresh_ahead: Option<Span>,
    /// The languages that may be asked for. Off when left out.
    #[serde(default)]
    pub languages: Vec<String>,
    /// The query parameters that say what is opened, each with the values that it may have.
    #[serde(default)]
    pub parameters: BTreeMap<String, ParameterSettings>,
    /// Origins whose pages may read the JSON answer.
    #[serde(default)]
    pub allowed_origins: Vec<Origin>,
    /// Who may frame it: `same-origin`, `same-site`, origins, `any`.
    #[serde(default = "default_embed")]
    pub embed: Vec<Embedder>,
    /// Features of browsers that its page uses, such as `camera`: what `GET /api/embed-policy` tells the pages that embed it to allow.
    #[serde(default = "default_permissions")]
    pub permissions: Vec<String>,
    /// The bound on mints of one subject.
    #[serde(default)]
    pub mints_per_subject: MintsPerSubject,
    /// Where a navigation without a session is sent, instead of `session.login_url`.
    pub login_url: Option<LoginUrl>,
}

/// An entry of `embed`: whose pages may frame a plug-in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Embedder {
    /// Pages of the plug-in's own origin.
    SameOrigin,
    /// Pages of the plug-in's site.
    SameSite,
    /// All pages.
    Any,
    /// Pages of this origin.
    Origin(Origin),
}

text_setting!(Embedder);

impl TextSetting for Embedder {
    const EXAMPLE: &'static str = "same-site";

    fn read(text: &str) -> Result<Self, FieldFault> {
        match text {
            "same-origin" => Ok(Self::SameOrigin),
            "same-site" => Ok(Self::SameSite),
            "any" => Ok(Self::Any),
            _ => Origin::read(text).map(Self::Origin).map_err(|_| {
                let meant = did_you_mean(text, &["same-origin", "same-site", "any"]);
                FieldFault::of_value(format!(
                    "expected \"same-origin\", \"same-site\", \"any\" or an origin such as \"https://app.example.com\"{meant}"
                ))
            }),
        }
    }
}

impl std::fmt::Display for Embedder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::SameOrigin => f.write_str("same-origin"),
            Self::SameSite => f.write_str("same-site"),
            Self::Any => f.write_str("any"),
            Self::Origin(origin) => origin.fmt(f),
        }
    }
}

fn default_drain() -> Span {
    Span::secs(30)
}
fn default_drain_delay() -> Span {
    Span::secs(0)
}
/// Longer than the idle time-outs of common balancers (60 s), so that they close first and never meet a closed connection.
fn default_idle_timeout() -> Span {
    Span::secs(75)
}
fn default_body_stall() -> Span {
    Span::secs(10)
}
/// For at most 64 KiB: over 2 KiB a second, which the slowest phone has.
fn default_write_stall() -> Span {
    Span::secs(30)
}
pub(crate) fn default_max_age() -> Span {
    Span::secs(6 * 3600)
}
pub(crate) fn default_min_remaining() -> Span {
    Span::secs(300)
}
fn default_permissions() -> Vec<String> {
    vec!["camera".into()]
}
fn default_embed() -> Vec<Embedder> {
    vec![Embedder::SameSite]
}

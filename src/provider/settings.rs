//! `[[provider]]`: the vendor, its key, and the recipe of its calls.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::http_client::settings::ProxySettings;
use crate::secret::SecretSource;
use crate::secret::SecretSources;
use crate::units::Span;

/// `[[provider]]`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProviderSettings {
    /// The name by which plug-ins, metrics and logs know it.
    pub name: String,
    /// A recipe that Valet brings: `intelliprove-v2` or `intelliprove-v1`.
    pub preset: Option<String>,
    /// Where the API is; the key is sent to this scheme, host and port only.
    pub base_url: String,
    /// The API key; of two, the second is tried when the vendor answers 401 or 403 to the first.
    pub api_key: SecretSources,
    /// Where the key goes in a call. A preset brings its own.
    pub auth: Option<AuthSettings>,
    /// The hosts to which a minted URL may point: `host`, `host:port`, `*.suffix`.
    pub redirect_hosts: Vec<String>,
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
    /// The call at logout. It is checked; logout is not there yet, so nothing makes it today.
    pub revoke: Option<RevokeSettings>,
}

/// `auth`: exactly one of `header`, `bearer`, `query`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AuthSettings {
    /// The name of the header that is the key.
    pub header: Option<String>,
    /// `true`: `Authorization: Bearer KEY`.
    pub bearer: Option<bool>,
    /// The name of the query parameter that is the key.
    pub query: Option<String>,
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

/// `[provider.register]`. Beside a preset single keys replace the preset's.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RegisterSettings {
    /// The HTTP method.
    pub method: Option<String>,
    /// The path below `base_url`, with `{…}` values.
    pub path: Option<String>,
    /// Query parameters, with `{…}` values.
    pub query: Option<BTreeMap<String, String>>,
    /// Header fields, with `{…}` values.
    pub headers: Option<BTreeMap<String, String>>,
    /// A JSON body, with `{…}` values in its strings.
    pub json: Option<serde_json::Value>,
    /// The statuses that mean that the user exists now.
    pub accept: Option<Vec<u16>>,
    /// Further answers that mean that the user exists.
    pub accept_if: Option<Vec<AcceptIf>>,
}

/// An answer that counts as accepted.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AcceptIf {
    /// The status.
    pub status: u16,
    /// Text in the body.
    pub body_contains: String,
}

/// `[provider.mint.NAME]`. Beside a preset single keys replace the preset's.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MintSettings {
    /// The HTTP method.
    pub method: Option<String>,
    /// The path below `base_url`, with `{…}` values.
    pub path: Option<String>,
    /// Query parameters, with `{…}` values.
    pub query: Option<BTreeMap<String, String>>,
    /// Header fields, with `{…}` values.
    pub headers: Option<BTreeMap<String, String>>,
    /// A JSON body, with `{…}` values in its strings.
    pub json: Option<serde_json::Value>,
    /// Where the URL stands in the answer: `text`, or `json:/pointer`.
    pub url: Option<String>,
    /// Where its end stands: `jwt:PARAMETER`, `json:/pointer`, `fixed`.
    pub expires: Option<String>,
}

/// `[provider.revoke]`. Beside a preset single keys replace the preset's.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RevokeSettings {
    /// The HTTP method.
    pub method: Option<String>,
    /// The path below `base_url`, with `{…}` values.
    pub path: Option<String>,
    /// Query parameters, with `{…}` values.
    pub query: Option<BTreeMap<String, String>>,
    /// Header fields, with `{…}` values.
    pub headers: Option<BTreeMap<String, String>>,
    /// A JSON body, with `{…}` values in its strings.
    pub json: Option<serde_json::Value>,
}

fn default_timeout() -> Span {
    Span::secs(5)
}
fn default_max_in_flight() -> usize {
    256
}

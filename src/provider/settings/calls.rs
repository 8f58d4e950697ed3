//! `[provider.register]`, `[provider.mint.NAME]`, `[provider.revoke]`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

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
    /// The fields of a form (`application/x-www-form-urlencoded`), with `{…}` values, in place of `json`.
    pub form: Option<BTreeMap<String, String>>,
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
    /// The fields of a form (`application/x-www-form-urlencoded`), with `{…}` values, in place of `json`.
    pub form: Option<BTreeMap<String, String>>,
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
    /// The fields of a form (`application/x-www-form-urlencoded`), with `{…}` values, in place of `json`.
    pub form: Option<BTreeMap<String, String>>,
}

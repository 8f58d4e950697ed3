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

impl AcceptIf {
    pub(in crate::provider) fn is_sound(&self) -> bool {
        (200..=599).contains(&self.status) && !self.body_contains.is_empty()
    }

    pub(in crate::provider) fn matches(&self, status: u16, body: &[u8]) -> bool {
        // Vendors change the case of their words and mean the same.
        let (body, text) = (body.to_ascii_lowercase(), self.body_contains.to_ascii_lowercase());
        self.status == status && memchr::memmem::find(&body, text.as_bytes()).is_some()
    }
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
    /// Where the URL stands in the answer: `text`, or `json:/pointer`; or an address with `{…}` values in it.
    pub url: Option<String>,
    /// In place of `url`, where what is minted is a token for a page's script: `json:/pointer`, `text`, or `jwt`, the one that is signed here.
    pub token: Option<String>,
    /// A JWT that is signed here with `api_key`, in place of a call.
    pub jwt: Option<JwtSettings>,
    /// Where its end stands: `jwt:PARAMETER`, `json:/pointer`, `fixed`; of a token `jwt`.
    pub expires: Option<String>,
    /// Where it stands how often a URL may be used: `jwt:PARAMETER:/pointer` into the claims of that parameter's JWT, or `json:/pointer` into the answer; of a
    /// token `jwt:/pointer`. It is handed out so often and no more. Uncounted when left out.
    pub uses: Option<String>,
    /// Answers beside 2xx that hold what is minted.
    pub accept_if: Option<Vec<AcceptIf>>,
    /// When the call is made once more, within `timeout`.
    pub retry: Option<RetrySettings>,
}

/// `retry` of a mint.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetrySettings {
    /// So many calls in all.
    pub attempts: u32,
    /// After which of these: `unreachable`, or a status such as `503`.
    pub on: Vec<String>,
}

/// `jwt` of a mint.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JwtSettings {
    /// `HS256`, `RS256`, `ES256` and their kind.
    pub algorithm: String,
    /// Members of the header beside `alg` and `typ`, with `{…}` values.
    #[serde(default = "empty")]
    pub header: serde_json::Value,
    /// The claims, with `{…}` values.
    pub claims: serde_json::Value,
}

fn empty() -> serde_json::Value {
    serde_json::Value::Object(serde_json::Map::new())
}

/// `[provider.revoke]` and `[provider.forget]`. Beside a preset single keys replace the preset's.
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

//! `auth`: how a call shows the API key.

use schemars::JsonSchema;
use serde::Deserialize;

/// `auth`: exactly one of `header`, `bearer`, `query`, `basic`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AuthSettings {
    /// The name of the header field that is the key.
    pub header: Option<String>,
    /// Text before the key in that header field, such as `Token token=`.
    pub prefix: Option<String>,
    /// `true`: `Authorization: Bearer KEY`.
    pub bearer: Option<bool>,
    /// The name of the query parameter that is the key.
    pub query: Option<String>,
    /// The user name of `Authorization: Basic`; the key is the password.
    pub basic: Option<String>,
}

//! `[admin]`.

use schemars::JsonSchema;
use serde::Deserialize;

/// `[admin]`: health and metrics.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AdminSettings {
    /// `ADDRESS:PORT`, `[IPv6]:PORT` or `unix:/path`.
    pub address: String,
}

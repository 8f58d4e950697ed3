//! `[admin]`.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::secret::SecretSource;
use crate::units::ListenAddress;

/// `[admin]`: health and metrics.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AdminSettings {
    /// `ADDRESS:PORT`, `[IPv6]:PORT` or `unix:/path`.
    pub address: ListenAddress,
    /// Its holder may see leases and mints, and drop leases (`Authorization: Bearer …`). Without it the `/api/` routes are 404.
    pub token: Option<SecretSource>,
}

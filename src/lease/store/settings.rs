//! The part of `[leases]` that is about a store behind the memory.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::provider::settings::OneOrMore;
use crate::secret::SecretSource;
use crate::units::Span;

/// `leases.on_store_loss`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnStoreLoss {
    /// This node mints for itself.
    Local,
    /// What is not held in memory is refused.
    Refuse,
}

/// `[leases.redis]`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RedisSettings {
    /// `redis://host:port/database`, or `rediss://` for TLS; several are the nodes of a cluster, or sentinels with `sentinel_master`.
    pub urls: OneOrMore<String>,
    /// The name under which the sentinels know the master.
    pub sentinel_master: Option<String>,
    /// The user (ACL).
    pub username: Option<String>,
    /// The password.
    pub password: Option<SecretSource>,
    /// The authorities (PEM) that sign the servers' certificates, instead of the machine's own.
    pub ca: Option<PathBuf>,
    /// What each key begins with. Nodes with the same one share.
    #[serde(default = "default_prefix")]
    pub prefix: String,
    /// How long one call to the store may take.
    #[serde(default = "default_timeout")]
    pub timeout: Span,
}

fn default_prefix() -> String {
    "valet:".into()
}
fn default_timeout() -> Span {
    Span(std::time::Duration::from_millis(500))
}

//! `[leases]`, and the lease rules of a `[[plugin]]`.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::store::settings::{OnStoreLoss, RedisSettings};
use crate::secret::SecretSource;
use crate::units::Span;

/// `[leases]`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LeasesSettings {
    /// Where leases are kept.
    pub store: StoreKind,
    /// At this many the leases that end soonest go.
    pub capacity: usize,
    /// The keys that seal what leaves the process, 32 bytes in base64 each: the first seals, all open. Required with a store.
    pub seal_keys: Vec<SecretSource>,
    /// The key of the names in a store, 32 bytes in base64; without it the last of `seal_keys`.
    pub name_key: Option<SecretSource>,
    /// What is done while the store can't be asked.
    pub on_store_loss: OnStoreLoss,
    /// The shared store.
    pub redis: Option<RedisSettings>,
    /// The file of the durable store.
    pub path: Option<PathBuf>,
}

impl Default for LeasesSettings {
    fn default() -> Self {
        Self {
            store: StoreKind::Memory,
            capacity: 1_000_000,
            seal_keys: Vec::new(),
            name_key: None,
            on_store_loss: OnStoreLoss::Local,
            redis: None,
            path: None,
        }
    }
}

/// `leases.store`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StoreKind {
    /// In this process; a restart mints anew.
    Memory,
    /// In a file of this process, too; a restart finds them again.
    File,
    /// In Redis or Valkey, too, where other nodes find them.
    Redis,
}

/// For whom a plug-in URL is used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reuse {
    /// One URL for each user.
    User,
    /// One URL for each session of a user.
    Session,
    /// A URL for each request.
    Never,
}

/// `mints_per_subject`: at most `count` mints of one subject for one plug-in `within` this time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MintsPerSubject {
    /// How many.
    pub count: u32,
    /// In how long.
    pub within: Span,
}

impl Default for MintsPerSubject {
    fn default() -> Self {
        Self { count: 30, within: Span::secs(3600) }
    }
}

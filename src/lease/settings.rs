//! `[leases]`, and the lease rules of a `[[plugin]]`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Span;

/// `[leases]`.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LeasesSettings {
    /// Where leases are kept.
    pub store: StoreKind,
    /// At this many the leases that end soonest go.
    pub capacity: usize,
}

impl Default for LeasesSettings {
    fn default() -> Self {
        Self { store: StoreKind::Memory, capacity: 1_000_000 }
    }
}

/// `leases.store`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StoreKind {
    /// In this process; a restart mints anew.
    Memory,
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
#[serde(deny_unknown_fields)]
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

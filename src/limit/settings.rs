//! `[limits]`: how much one client, one person or one tenant may ask.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Span;

/// `[limits]`. Each limit is off when left out.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsSettings {
    /// Requests of one person, with whatever token.
    pub per_subject: Option<RateSettings>,
    /// Requests of one client address; an IPv6 address counts with its /64.
    pub per_address: Option<RateSettings>,
    /// Refused credentials of one client address. Beyond it a token that was not verified before is refused unread.
    pub invalid_per_address: Option<CountSettings>,
    /// Mints for one value of a claim: a tenant's share of the vendor's quota.
    pub mints_per: Option<MintShareSettings>,
}

/// A token bucket: so many requests a second in the long run, so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateSettings {
    /// A second.
    pub rate: u32,
    /// At once.
    pub burst: u32,
}

/// A sliding window: at most `count` events in any span of `within`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CountSettings {
    /// How many.
    pub count: u32,
    /// In how long.
    pub within: Span,
}

/// `limits.mints_per`: a sliding window for each value of a claim.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MintShareSettings {
    /// A claim's name or a JSON pointer. Sessions without it share one count.
    pub claim: String,
    /// How many mints.
    pub count: u32,
    /// In how long.
    pub within: Span,
}

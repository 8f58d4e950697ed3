//! `[limits]`: how much one client, one person or one tenant may ask.

use std::ops::RangeInclusive;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::tokens::Tokens;
use crate::session::ClaimPath;
use crate::setting::FieldFault;
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
    pub rate: Tokens,
    /// At once.
    pub burst: Tokens,
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
    pub claim: ClaimPath,
    /// How many mints.
    pub count: u32,
    /// In how long.
    pub within: Span,
}

/// Refused credentials older than this say nothing of an address: others have it by then.
const INVALID_WITHIN: RangeInclusive<Span> = Span::secs(1)..=Span::secs(86_400);
/// Vendors count by the month at most.
const MINTS_WITHIN: RangeInclusive<Span> = Span::secs(1)..=Span::secs(31 * 86_400);

impl LimitsSettings {
    /// What is wrong with them.
    pub fn faults(&self) -> Vec<FieldFault> {
        let mut faults = Vec::new();
        if let Some(CountSettings { count, within }) = self.invalid_per_address {
            faults.extend(window("invalid_per_address", count, within, &INVALID_WITHIN));
        }
        if let Some(MintShareSettings { count, within, .. }) = self.mints_per {
            faults.extend(window("mints_per", count, within, &MINTS_WITHIN));
        }
        faults
    }
}

fn window(key: &str, count: u32, within: Span, bounds: &RangeInclusive<Span>) -> Vec<FieldFault> {
    let few = (count == 0).then(|| FieldFault::at(format!("{key}.count"), "at least 1"));
    let out_of_bounds = (!bounds.contains(&within)).then(|| {
        FieldFault::at(format!("{key}.within"), format!("expected \"{}\" to \"{}\"", bounds.start(), bounds.end()))
    });
    few.into_iter().chain(out_of_bounds).collect()
}

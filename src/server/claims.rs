//! The claims that a configuration asks for.

use std::sync::Arc;

use crate::clock::Clock;
use crate::config::Config;
use crate::limit::MintShares;
use crate::provider;
use crate::session::ClaimPath;
use crate::telemetry::Metrics;

/// `limits.mints_per`, if it is set.
pub(super) fn mint_shares(
    config: &Config,
    claim_names: &[String],
    before: Option<&MintShares>,
    (clock, metrics): (&Clock, &Metrics),
) -> Option<Arc<MintShares>> {
    let settings = config.limits.mints_per.as_ref()?;
    let place = |name: &str| claim_names.iter().position(|known| known == name);
    let [text, json] = forms(&settings.claim);
    Some(MintShares::following(before, settings, [place(&text)?, place(&json)?], clock, metrics))
}

/// The claims of all recipes, and that of `limits.mints_per`.
pub(super) fn claim_names(config: &Config) -> Vec<String> {
    let recipes = config.providers.iter().flat_map(provider::claim_names).map(|(name, _)| name);
    each_once(recipes.chain(config.limits.mints_per.iter().flat_map(|share| forms(&share.claim))))
}

/// The claim that names a tenant, as its text and as JSON: a number is a tenant's name, too.
fn forms(claim: &ClaimPath) -> [String; 2] {
    [claim.to_string(), format!("{claim}#")]
}

/// The claims that apps are told.
pub(super) fn field_names(config: &Config) -> Vec<ClaimPath> {
    each_once(config.apps.iter().flat_map(|app| app.claims.values().cloned()))
}

/// The claims that assertions carry.
pub(super) fn assertion_names(config: &Config) -> Vec<ClaimPath> {
    each_once(config.apps.iter().filter_map(|app| app.assertion.as_ref()).flat_map(|told| told.claims.iter().cloned()))
}

/// Sorted.
fn each_once<T: Ord>(names: impl Iterator<Item = T>) -> Vec<T> {
    let mut names: Vec<T> = names.collect();
    names.sort_unstable();
    names.dedup();
    names
}

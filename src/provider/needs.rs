//! What a provider's calls ask for, told before any recipe is compiled.

use std::collections::{BTreeMap, BTreeSet};

use super::call::CallSource;
use super::preset::{Source, effective};
use super::recipe::{mint_source, register_source, revoke_source};
use super::settings::ProviderSettings;
use super::template::{Template, Value};

/// The provider's mints, a preset's included, sorted. Empty for an unknown preset.
pub fn mint_names(settings: &ProviderSettings) -> Vec<String> {
    effective(settings).map(|source| source.mint.into_keys().collect()).unwrap_or_default()
}

/// Whether any call of the provider needs `subject_key`.
pub fn uses_subject_hash(settings: &ProviderSettings) -> bool {
    effective(settings).is_ok_and(|source| values(&source, None).contains(&Value::SubjectHash))
}

/// Every claim that a call of the provider names, sorted, and whether it may be absent. A claim that is required once is required.
pub fn claim_names(settings: &ProviderSettings) -> Vec<(String, bool)> {
    told(settings)
        .unwrap_or_else(|| effective(settings).map(|source| claims(values(&source, None))).unwrap_or_default())
}

/// [`claim_names`] of registration and this mint alone: what one mint needs.
pub fn claim_names_of(settings: &ProviderSettings, mint: &str) -> Vec<(String, bool)> {
    told(settings)
        .unwrap_or_else(|| effective(settings).map(|source| claims(values(&source, Some(mint)))).unwrap_or_default())
}

/// What a minter is told: whether it needs them it says itself.
fn told(settings: &ProviderSettings) -> Option<Vec<(String, bool)>> {
    let link = settings.minter.as_ref()?;
    Some(link.claims.iter().map(|name| (name.clone(), true)).collect())
}

fn claims(values: Vec<Value>) -> Vec<(String, bool)> {
    let mut claims = BTreeMap::new();
    for value in values {
        if let Value::Claim { name, optional } = value {
            *claims.entry(String::from(name)).or_insert(true) &= optional;
        }
    }
    claims.into_iter().collect()
}

/// The values in all calls, or in registration and one mint. Templates that can't be read have none.
fn values(source: &Source, only: Option<&str>) -> Vec<Value> {
    let mut calls: Vec<CallSource<'_>> = source.register.iter().map(register_source).collect();
    calls.extend(
        source.mint.iter().filter(|(name, _)| only.is_none_or(|only| only == *name)).map(|(_, mint)| mint_source(mint)),
    );
    if only.is_none() {
        calls.extend(source.revoke.iter().map(revoke_source));
    }
    let common = source.headers.iter().flat_map(BTreeMap::values).map(String::as_str);
    let texts: BTreeSet<&str> = calls.iter().flat_map(CallSource::texts).chain(common).collect();
    texts
        .into_iter()
        .filter_map(|text| Template::parse(text).ok())
        .flat_map(|t| t.values().cloned().collect::<Vec<_>>())
        .collect()
}

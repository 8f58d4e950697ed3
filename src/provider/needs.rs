//! What a provider's calls ask for, told before any recipe is compiled.

use std::collections::{BTreeMap, BTreeSet};

use super::call::{CallSource, mint_source, register_source, revoke_source};
use super::preset::{Source, effective};
use super::settings::ProviderSettings;
use super::template::{Template, Value};

/// What a recipe asks of the provider's other keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Needs {
    /// Something is called, so `auth` says how.
    pub(super) calls: bool,
    /// It is called below `base_url`, or a URL is.
    pub(super) base_url: bool,
    /// Something that is minted is a URL.
    pub(super) urls: bool,
}

impl Needs {
    pub(super) fn of(source: &Source) -> Self {
        let mut mints = source.mint.values();
        let calls = source.register.is_some()
            || source.revoke.is_some()
            || source.forget.is_some()
            || mints.any(|mint| mint.jwt.is_none());
        let at_base = |(value, _): (Value, bool)| value == Value::BaseUrl;
        Self {
            calls: calls || source.mint.is_empty(),
            base_url: calls || source.mint.is_empty() || values(source, None).into_iter().any(at_base),
            urls: source.mint.is_empty() || source.mint.values().any(|mint| mint.token.is_none()),
        }
    }
}

/// Whether `auth`, `base_url` and `redirect_hosts` are required, in this order.
pub fn requires(settings: &ProviderSettings) -> (bool, bool, bool) {
    effective(settings).map_or((true, true, true), |source| {
        let Needs { calls, base_url, urls } = Needs::of(&source);
        (calls, base_url, urls)
    })
}

/// The provider's mints, a preset's included, sorted. Empty for an unknown preset.
pub fn mint_names(settings: &ProviderSettings) -> Vec<String> {
    effective(settings).map(|source| source.mint.into_keys().collect()).unwrap_or_default()
}

/// Whether any call of the provider needs `subject_key`.
pub fn uses_subject_hash(settings: &ProviderSettings) -> bool {
    effective(settings).is_ok_and(|source| values(&source, None).iter().any(|(value, _)| *value == Value::SubjectHash))
}

/// Whether this mint wants to know of the registration's answer.
pub(super) fn uses_registration(source: &Source, mint: &str) -> bool {
    values(source, Some(mint)).iter().any(|(value, _)| matches!(value, Value::Register(_)))
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
    Some(link.claims.iter().map(|claim| (claim.to_string(), true)).collect())
}

fn claims(values: Vec<(Value, bool)>) -> Vec<(String, bool)> {
    let mut claims = BTreeMap::new();
    for (value, _) in values {
        if let Value::Claim { name, optional } = value {
            *claims.entry(String::from(name)).or_insert(true) &= optional;
        }
    }
    claims.into_iter().collect()
}

/// The values in all calls, or in registration and one mint, and whether each keeps its type. Templates that can't be read have none.
fn values(source: &Source, only: Option<&str>) -> Vec<(Value, bool)> {
    let mints = || source.mint.iter().filter(|(name, _)| only.is_none_or(|only| only == *name)).map(|(_, mint)| mint);
    let mut calls: Vec<CallSource<'_>> = source.register.iter().map(register_source).collect();
    calls.extend(mints().map(mint_source));
    if only.is_none() {
        calls.extend(source.revoke.iter().chain(&source.forget).map(revoke_source));
    }
    let mut texts: BTreeSet<&str> = calls.iter().flat_map(CallSource::texts).collect();
    texts.extend(source.headers.iter().flat_map(BTreeMap::values).map(String::as_str));
    texts.extend(mints().filter_map(|mint| mint.url.as_deref()));
    let mut signed = Vec::new();
    for jwt in mints().filter_map(|mint| mint.jwt.as_ref()) {
        super::body::texts(&jwt.claims, &mut signed);
        super::body::texts(&jwt.header, &mut signed);
    }
    texts.extend(signed);
    texts
        .into_iter()
        .filter_map(|text| Template::parse(text).ok())
        .flat_map(|t| t.values().map(|value| (value.clone(), t.is_typed())).collect::<Vec<_>>())
        .collect()
}

/// The parameters of a plug-in that registration and this mint name, and whether each must be a whole number. `None`: a minter knows.
pub fn parameter_names_of(settings: &ProviderSettings, mint: &str) -> Option<Vec<(String, bool)>> {
    if settings.minter.is_some() {
        return None;
    }
    let source = effective(settings).ok()?;
    let mut names: BTreeMap<String, bool> = BTreeMap::new();
    for (value, typed) in values(&source, Some(mint)) {
        if let Value::Param(name) = value {
            *names.entry(String::from(name)).or_default() |= typed;
        }
    }
    Some(names.into_iter().collect())
}

/// Whether what this mint gives is a token; `None`: a minter knows.
pub fn gives_token(settings: &ProviderSettings, mint: &str) -> Option<bool> {
    if settings.minter.is_some() {
        return None;
    }
    effective(settings).ok()?.mint.get(mint).map(|mint| mint.token.is_some())
}

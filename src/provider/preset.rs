//! Recipes that Valet brings, and how the operator's own keys go over them.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::settings::{AuthSettings, MintSettings, ProviderSettings, RegisterSettings, RevokeSettings};

const PRESETS: [(&str, &str); 10] = [
    ("intelliprove-v2", include_str!("presets/intelliprove-v2.toml")),
    ("intelliprove-v1", include_str!("presets/intelliprove-v1.toml")),
    ("intelliprove-widgets", include_str!("presets/intelliprove-widgets.toml")),
    ("jumio", include_str!("presets/jumio.toml")),
    ("metabase", include_str!("presets/metabase.toml")),
    ("onfido", include_str!("presets/onfido.toml")),
    ("plaid", include_str!("presets/plaid.toml")),
    ("stripe-portal", include_str!("presets/stripe-portal.toml")),
    ("sumsub", include_str!("presets/sumsub.toml")),
    ("superset", include_str!("presets/superset.toml")),
];

/// The names that `preset` may have.
pub fn preset_names() -> Vec<&'static str> {
    PRESETS.iter().map(|(name, _)| *name).collect()
}

/// The calls of a provider, as a file would write them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Source {
    pub(super) auth: Option<AuthSettings>,
    pub(super) headers: Option<BTreeMap<String, String>>,
    pub(super) register: Option<RegisterSettings>,
    pub(super) mint: BTreeMap<String, MintSettings>,
    pub(super) revoke: Option<RevokeSettings>,
    pub(super) forget: Option<RevokeSettings>,
}

/// `preset` names none of [`preset_names`].
pub(super) struct UnknownPreset;

/// The operator's calls over those of the preset, if there is one. A single key replaces the preset's: `query`, `headers` and `json` are one
/// key each, so that a parameter can be left out, and `auth` is one, for it has only one form at a time.
pub(super) fn effective(settings: &ProviderSettings) -> Result<Source, UnknownPreset> {
    let mut source = match &settings.preset {
        Some(name) => preset(name).ok_or(UnknownPreset)?,
        None => Source::default(),
    };
    if let Some(auth) = &settings.auth {
        source.auth = Some(auth.clone());
    }
    if settings.headers.is_some() {
        source.headers.clone_from(&settings.headers);
    }
    if let Some(register) = &settings.register {
        source.register = Some(register_over(register, source.register.unwrap_or_default()));
    }
    for (name, mint) in &settings.mint {
        let base = source.mint.remove(name).unwrap_or_default();
        source.mint.insert(name.clone(), mint_over(mint, base));
    }
    if let Some(revoke) = &settings.revoke {
        source.revoke = Some(revoke_over(revoke, source.revoke.unwrap_or_default()));
    }
    if let Some(forget) = &settings.forget {
        source.forget = Some(revoke_over(forget, source.forget.unwrap_or_default()));
    }
    Ok(source)
}

/// A preset that can't be read counts as unknown; a test reads them all.
fn preset(name: &str) -> Option<Source> {
    let (_, text) = PRESETS.iter().find(|(known, _)| *known == name)?;
    toml::from_str(text).ok()
}

fn over<T: Clone>(own: &Option<T>, base: Option<T>) -> Option<T> {
    own.clone().or(base)
}

fn register_over(own: &RegisterSettings, base: RegisterSettings) -> RegisterSettings {
    RegisterSettings {
        method: over(&own.method, base.method),
        path: over(&own.path, base.path),
        query: over(&own.query, base.query),
        headers: over(&own.headers, base.headers),
        json: over(&own.json, base.json),
        form: over(&own.form, base.form),
        accept: over(&own.accept, base.accept),
        accept_if: over(&own.accept_if, base.accept_if),
    }
}

fn mint_over(own: &MintSettings, base: MintSettings) -> MintSettings {
    MintSettings {
        method: over(&own.method, base.method),
        path: over(&own.path, base.path),
        query: over(&own.query, base.query),
        headers: over(&own.headers, base.headers),
        json: over(&own.json, base.json),
        form: over(&own.form, base.form),
        // One takes the place of the other.
        url: if own.token.is_some() { own.url.clone() } else { over(&own.url, base.url) },
        token: if own.url.is_some() { own.token.clone() } else { over(&own.token, base.token) },
        jwt: over(&own.jwt, base.jwt),
        expires: over(&own.expires, base.expires),
        uses: over(&own.uses, base.uses),
        accept_if: over(&own.accept_if, base.accept_if),
        retry: over(&own.retry, base.retry),
    }
}

fn revoke_over(own: &RevokeSettings, base: RevokeSettings) -> RevokeSettings {
    RevokeSettings {
        method: over(&own.method, base.method),
        path: over(&own.path, base.path),
        query: over(&own.query, base.query),
        headers: over(&own.headers, base.headers),
        json: over(&own.json, base.json),
        form: over(&own.form, base.form),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_can_be_read() {
        for name in preset_names() {
            let source = preset(name).unwrap();
            assert!(!source.mint.is_empty(), "{name}");
        }
        assert!(preset("intelliprove-v3").is_none());
    }
}

//! `[[provider]]`.

use super::{Report, name, remote, route};
use crate::config::Config;
use crate::config::tree::Place;
use crate::meant::did_you_mean;
use crate::provider::settings::ProviderSettings;
use crate::provider::{self, BaseUrl};
use crate::secret::SecretSources;
use crate::setting::FieldFault;

/// What the recipe's compiler finds, except what this file says itself, at better places: the key's path below the provider, such as
/// `mint.embed.url`, and the message.
fn recipe_faults(settings: &ProviderSettings) -> Vec<FieldFault> {
    let ours = |key: &str| {
        let top = key.split('.').next().unwrap_or(key);
        (key == "auth" && settings.auth.is_none() && settings.preset.is_none())
            || key == "mint"
            || ["base_url", "preset", "redirect_hosts"].contains(&top)
    };
    let faults = provider::compile(settings).err().unwrap_or_default();
    faults.into_iter().filter(|fault| !ours(&fault.path)).collect()
}

pub(super) fn check(config: &Config, report: &mut Report<'_>) {
    let providers = Place::root().key("provider");
    let places = || config.providers.iter().enumerate().map(|(i, settings)| (providers.index(i), settings));
    report.unique(places().map(|(p, s)| (p.key("name"), &s.name)), "another provider has this name");
    for (place, settings) in places() {
        report.note(&place.key("name"), name(&settings.name));
        redirect_hosts(settings, &place, report);
        report.fields(&place, settings.faults());
        if let Some(link) = &settings.minter {
            remote::check(link, settings.timeout, &place, report);
            continue;
        }
        // One with a fault in `minter` was meant to be an edge's.
        if report.written(&place.key("minter")) {
            continue;
        }
        base(settings, &place, report);
        recipe(settings, &place, report);
        api_key(settings, &place, report);
        secret_headers(settings, &place, report);
        let is_plain = settings.base_url.as_ref().is_some_and(BaseUrl::is_plain);
        route::check(settings.ca.as_deref(), settings.proxy.as_ref(), is_plain, &place, report);
        subject_hash(settings, &place, config.log.subject_key.is_some(), report);
        side_by_side(settings, report);
        // The compiler reads all of the recipe: one with a hole would get faults about what was made up.
        if ["preset", "auth", "headers", "secret_headers", "register", "mint", "revoke", "forget"]
            .iter()
            .all(|key| report.sound(&place.key(key)))
        {
            report.fields(&place, recipe_faults(settings));
        }
    }
}

fn base(settings: &ProviderSettings, place: &Place, report: &mut Report<'_>) {
    let (_, required, _) = provider::requires(settings);
    if settings.base_url.is_none() && required {
        report.fault(&place.key("base_url"), "is required");
    }
}

fn recipe(settings: &ProviderSettings, place: &Place, report: &mut Report<'_>) {
    match &settings.preset {
        Some(preset) if !provider::preset_names().contains(&preset.as_str()) => {
            let names = provider::preset_names();
            let message = format!("expected one of {}{}", quoted(&names), did_you_mean(preset, &names));
            report.fault(&place.key("preset"), message);
        }
        Some(_) => {}
        None if !report.sound(&place.key("preset")) => {}
        None => {
            if settings.auth.is_none() && provider::requires(settings).0 {
                report.fault(&place.key("auth"), "is required without a preset");
            }
            if settings.mint.is_empty() {
                report.fault(&place.key("mint"), "without a preset at least one [provider.mint.NAME] is required");
            }
        }
    }
    for mint in settings.mint.keys() {
        report.note(&place.key("mint").key(mint), name(mint));
    }
}

fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}

fn api_key(settings: &ProviderSettings, provider: &Place, report: &mut Report<'_>) {
    let place = provider.key("api_key");
    let Some(settings_key) = &settings.api_key else {
        return report.fault(&place, "is required");
    };
    let sources = settings_key.as_slice();
    if !(1..=2).contains(&sources.len()) {
        report.fault(&place, "expected one source of the key, or a list of two");
    }
    let in_a_list = matches!(settings_key, SecretSources::List(_));
    for (i, source) in sources.iter().enumerate() {
        let place = if in_a_list { place.index(i) } else { place.clone() };
        let Some(secret) = report.secret(&place, source) else { continue };
        if let Some(fault) = provider::key_fault(settings, &secret).filter(|_| report.sound(&provider.key("auth"))) {
            report.fault(&place, fault);
        }
    }
}

fn secret_headers(settings: &ProviderSettings, provider: &Place, report: &mut Report<'_>) {
    let place = provider.key("secret_headers");
    for (name, source) in &settings.secret_headers {
        let place = place.key(name);
        if let Some(secret) = report.secret(&place, source) {
            report.note(&place, provider::check_header_secret(&secret));
        }
    }
}

fn redirect_hosts(settings: &ProviderSettings, provider: &Place, report: &mut Report<'_>) {
    if settings.redirect_hosts.is_empty() && provider::requires(settings).2 {
        report.fault(&provider.key("redirect_hosts"), "at least one host is required");
    }
}

/// `{subject_hash}` without a key would differ from process to process, and the vendor would know each person many times.
fn subject_hash(settings: &ProviderSettings, place: &Place, has_log_key: bool, report: &mut Report<'_>) {
    if let Some(source) = &settings.subject_key {
        report.secret(&place.key("subject_key"), source);
    }
    let keys = [place.key("subject_key"), Place::root().key("log").key("subject_key")];
    if settings.subject_key.is_some() || has_log_key || !keys.iter().all(|key| report.sound(key)) {
        return;
    }
    for (dotted, text) in templates(settings) {
        if provider::has_value(&text, "subject_hash") {
            let place = dotted.iter().fold(place.clone(), |place, key| place.key(key));
            report.fault(&place, "`{subject_hash}` needs a key: set `subject_key` of the provider or of [log]");
        }
    }
}

/// Valet itself keeps such persons apart; but a vendor that takes the text for a name does not.
fn side_by_side(settings: &ProviderSettings, report: &mut Report<'_>) {
    for (keys, text) in templates(settings) {
        if provider::has_neighbours(&text) {
            report.warnings.push(format!(
                "provider.{} (provider {}): two values stand side by side, so `a` and `bc` read as `ab` and `c`; put fixed text between them",
                keys.join("."),
                settings.name
            ));
        }
    }
}

/// Each text of a recipe that may hold `{…}`, with the keys that lead to it.
fn templates(settings: &ProviderSettings) -> Vec<(Vec<String>, String)> {
    let mut found = Vec::new();
    let mut call = |at: &[&str], path: &Option<String>, maps: [(&str, &Option<_>); 3], json: &Option<_>| {
        let below = |key: &str| at.iter().copied().chain([key]).map(str::to_owned).collect::<Vec<_>>();
        found.extend(path.iter().map(|path| (below("path"), path.clone())));
        for (key, map) in maps {
            let map: &Option<std::collections::BTreeMap<String, String>> = map;
            for (name, text) in map.iter().flatten() {
                let mut keys = below(key);
                keys.push(name.clone());
                found.push((keys, text.clone()));
            }
        }
        for text in json.iter().flat_map(strings) {
            found.push((below("json"), text));
        }
    };
    call(&[], &None, [("headers", &settings.headers), ("query", &None), ("form", &None)], &None);
    if let Some(c) = &settings.register {
        call(&["register"], &c.path, [("query", &c.query), ("headers", &c.headers), ("form", &c.form)], &c.json);
    }
    for (name, c) in &settings.mint {
        call(&["mint", name], &c.path, [("query", &c.query), ("headers", &c.headers), ("form", &c.form)], &c.json);
    }
    if let Some(c) = &settings.revoke {
        call(&["revoke"], &c.path, [("query", &c.query), ("headers", &c.headers), ("form", &c.form)], &c.json);
    }
    if let Some(c) = &settings.forget {
        call(&["forget"], &c.path, [("query", &c.query), ("headers", &c.headers), ("form", &c.form)], &c.json);
    }
    for (name, mint) in &settings.mint {
        let at = |keys: &[&str]| ["mint", name].iter().chain(keys).map(|key| (*key).to_owned()).collect::<Vec<_>>();
        found.extend(mint.url.iter().map(|url| (at(&["url"]), url.clone())));
        if let Some(jwt) = &mint.jwt {
            found.extend(strings(&jwt.header).into_iter().map(|text| (at(&["jwt", "header"]), text)));
            found.extend(strings(&jwt.claims).into_iter().map(|text| (at(&["jwt", "claims"]), text)));
        }
    }
    found
}

fn strings(json: &serde_json::Value) -> Vec<String> {
    match json {
        serde_json::Value::String(text) => vec![text.clone()],
        serde_json::Value::Array(list) => list.iter().flat_map(strings).collect(),
        serde_json::Value::Object(map) => map.values().flat_map(strings).collect(),
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => Vec::new(),
    }
}

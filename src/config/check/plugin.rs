//! `[[plugin]]`.

use percent_encoding::percent_decode_str;

use super::{Report, is_visible, name};
use crate::config::Config;
use crate::config::tree::Place;
use crate::gateway::settings::PluginSettings;
use crate::gateway::standing_path;
use crate::lease::settings::{ParameterValue, Reuse};
use crate::meant::did_you_mean;
use crate::units::Span;

/// Vendors' URLs live 6 hours at most; tokens with years of life were seen on test accounts, so the cap is ours to keep.
const MAX_AGE: Span = Span::secs(6 * 3600);
/// A window longer than a day would keep counters of persons who have long left.
const MINTS_WITHIN: std::ops::RangeInclusive<Span> = Span::secs(1)..=Span::secs(24 * 3600);

pub(super) fn check(config: &Config, report: &mut Report<'_>) {
    let plugins = Place::root().key("plugin");
    if config.plugins.is_empty() && config.apps.is_empty() && config.minter.is_none() && report.sound(&plugins) {
        report.warnings.push("no [[plugin]] and no [[app]]: there is nothing to open".into());
    }
    let places = || config.plugins.iter().enumerate().map(|(i, settings)| (plugins.index(i), settings));
    report.unique(places().map(|(p, s)| (p.key("name"), &s.name)), "another plug-in has this name");
    let routes = places().filter(|(place, _)| report.sound(&place.key("host")));
    let routes: Vec<_> = routes.map(|(p, s)| (p.key("path"), (standing_path(&s.path), s.host.as_ref()))).collect();
    report.unique(routes, "another plug-in has this path, for the same host");
    for (place, settings) in places() {
        report.note(&place.key("name"), name(&settings.name));
        report.note(&place.key("path"), path(&settings.path));
        mint(config, settings, &place, report);
        times(settings, &place, report);
        browsers(settings, &place, report);
        parameters(config, settings, &place, report);
        let per_subject = place.key("mints_per_subject");
        if settings.mints_per_subject.count == 0 {
            report.fault(&per_subject.key("count"), "at least 1");
        }
        if !MINTS_WITHIN.contains(&settings.mints_per_subject.within) {
            report.fault(&per_subject.key("within"), "expected \"1s\" to \"24h\"");
        }
    }
}

/// A path as browsers and proxies leave it: what is judged is what is asked for.
pub(super) fn path(text: &str) -> Result<(), &'static str> {
    if !text.starts_with('/') {
        return Err("expected a path that starts with `/`");
    }
    if !is_visible(text.as_bytes()) || text.contains(['?', '#', '\\']) {
        return Err("a path has visible ASCII without `?`, `#` and `\\`; percent-encode the rest");
    }
    if text.contains("//") {
        return Err("a path has no `//`");
    }
    let hex = |code: &str| code.get(..2).is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
    if !text.split('%').skip(1).all(hex) {
        return Err("`%` goes before two hexadecimal digits");
    }
    for segment in text.split('/') {
        let decoded: Vec<u8> = percent_decode_str(segment).collect();
        if decoded.iter().any(|b| b.is_ascii_control() || matches!(b, b'/' | b'\\' | b'%')) {
            return Err("`%2f`, `%5c`, `%25` and control characters are not allowed in a path");
        }
        let before_semicolon = decoded.split(|b| *b == b';').next().unwrap_or_default();
        if matches!(before_semicolon, b"." | b"..") {
            return Err("a path has no `.` and `..` segments");
        }
        if std::str::from_utf8(&decoded).is_err() {
            return Err("a path is UTF-8 after decoding");
        }
    }
    let whole = percent_decode_str(text).decode_utf8_lossy();
    if whole == "/.valet" || whole.starts_with("/.valet/") {
        return Err("paths below `/.valet/` are Valet's own");
    }
    Ok(())
}

fn mint(config: &Config, settings: &PluginSettings, place: &Place, report: &mut Report<'_>) {
    let providers = Place::root().key("provider");
    let found = config.providers.iter().position(|provider| provider.name == settings.provider);
    let Some(index) = found else {
        let all_known = (0..config.providers.len()).all(|i| report.sound(&providers.index(i).key("name")));
        if all_known && !report.is_hole(&providers) {
            let names: Vec<&str> = config.providers.iter().map(|provider| provider.name.as_str()).collect();
            let there = if names.is_empty() { String::new() } else { format!("; there are: {}", names.join(", ")) };
            let meant = did_you_mean(&settings.provider, &names);
            report.fault(&place.key("provider"), format!("there is no [[provider]] with this name{there}{meant}"));
        }
        return;
    };
    let provider = &config.providers[index];
    if provider.minter.is_some() {
        // The names are the minter's.
        return report.note(&place.key("mint"), name(&settings.mint));
    }
    let names = crate::provider::mint_names(provider);
    let at = providers.index(index);
    let known = report.sound(&at.key("preset")) && !report.is_hole(&at.key("mint"));
    // An unknown preset, or no mint at all, is a fault of the provider.
    if known && !names.is_empty() && !names.contains(&settings.mint) && report.sound(&place.key("provider")) {
        let listed: Vec<&str> = names.iter().map(String::as_str).collect();
        let meant = did_you_mean(&settings.mint, &listed);
        report
            .fault(&place.key("mint"), format!("the provider has no such mint; it has: {}{meant}", listed.join(", ")));
    }
}

fn times(settings: &PluginSettings, place: &Place, report: &mut Report<'_>) {
    let PluginSettings { max_age, min_remaining, refresh_ahead, reuse, .. } = settings;
    let [at_age, at_remaining, at_ahead] = ["max_age", "min_remaining", "refresh_ahead"].map(|key| place.key(key));
    if *max_age == Span::secs(0) || *max_age > MAX_AGE {
        report.fault(&at_age, "expected more than nothing and at most \"6h\"");
    } else if min_remaining >= max_age && report.sound(&at_age) {
        let default = if report.written(&at_remaining) { "" } else { " (left out, it is \"5m\")" };
        report.fault(&at_remaining, format!("must be shorter than max_age, \"{max_age}\"{default}"));
    }
    let Some(ahead) = refresh_ahead else { return };
    if *reuse == Reuse::Never && report.sound(&place.key("reuse")) {
        report.fault(&at_ahead, "has no meaning with reuse = \"never\": nothing is kept that could be refreshed");
    }
    if ahead <= min_remaining && report.sound(&at_remaining) {
        report.fault(&at_ahead, format!("must be longer than min_remaining, \"{min_remaining}\""));
    }
    if ahead >= max_age && report.sound(&at_age) {
        report.fault(&at_ahead, format!("must be shorter than max_age, \"{max_age}\""));
    }
}

/// More values than these nobody lists; each may be a lease of its own.
const MAX_VALUES: usize = 1000;

fn parameters(config: &Config, settings: &PluginSettings, plugin: &Place, report: &mut Report<'_>) {
    let place = plugin.key("parameters");
    let provider = config.providers.iter().find(|provider| provider.name == settings.provider);
    let wanted = provider.and_then(|provider| crate::provider::parameter_names_of(provider, &settings.mint));
    for (name, parameter) in &settings.parameters {
        let place = place.key(name);
        if name == "language" {
            report.fault(&place, "`language` has its own key: `languages`");
        }
        if name.is_empty() {
            report.fault(&place, "a parameter needs a name");
        }
        if !(1..=MAX_VALUES).contains(&parameter.values().len()) {
            report.fault(&place, "expected 1 to 1000 values");
        }
        let texts: Vec<String> = parameter.values().iter().map(ParameterValue::text).collect();
        if let Some((_, twice)) = texts.iter().enumerate().find(|(i, text)| texts[..*i].contains(text)) {
            report.fault(&place, format!("the value {twice:?} stands there twice"));
        }
        if texts.iter().any(|text| text.is_empty() || text.len() > 256 || text.chars().any(char::is_control)) {
            report.fault(&place, "a value has 1 to 256 bytes and no control characters");
        }
        if let Some(default) = parameter.default()
            && !texts.contains(&default.text())
        {
            report.fault(&place.key("default"), "is none of the values");
        }
        match wanted.as_ref().map(|wanted| wanted.iter().find(|(known, _)| known == name)) {
            Some(None) => report
                .fault(&place, format!("the mint has no `{{param:{name}}}`, so it would open the same for each value")),
            Some(Some((_, true))) if !texts.iter().all(|text| crate::provider::is_whole_number(text)) => {
                report.fault(&place, format!("the mint has `{{param:{name}#}}`: expected whole numbers"));
            }
            Some(Some(_)) | None => {}
        }
    }
    let missing = wanted.into_iter().flatten().find(|(name, _)| !settings.parameters.contains_key(name));
    if let Some((name, _)) = missing
        && report.sound(&place)
        && report.sound(&plugin.key("mint"))
    {
        let at = if report.written(&place) { place } else { plugin.key("mint") };
        report.fault(
            &at,
            format!("the mint has `{{param:{name}}}`: list its values, as in `parameters = {{ {name} = [\"…\"] }}`"),
        );
    }
}

fn browsers(settings: &PluginSettings, place: &Place, report: &mut Report<'_>) {
    let languages = place.key("languages");
    for (i, language) in settings.languages.iter().enumerate() {
        if !is_visible(language.as_bytes()) || language.len() > 64 {
            report.fault(&languages.index(i), "expected a language such as \"en\"");
        }
    }
    let lower = settings.languages.iter().enumerate().map(|(i, l)| (languages.index(i), l.to_ascii_lowercase()));
    report.unique(lower, "this language stands in the list already");
    let permissions = place.key("permissions");
    for (i, name) in settings.permissions.iter().enumerate() {
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-') {
            report.fault(&permissions.index(i), "expected a feature of browsers such as \"camera\"");
        }
    }
}

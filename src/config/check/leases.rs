//! `[leases]`: the store behind the memory.

use super::{Report, is_visible};
use crate::config::Config;
use crate::config::tree::Place;
use crate::http_client::authorities;
use crate::lease::settings::StoreKind;
use crate::lease::store::settings::RedisSettings;
use crate::lease::store::{Way, check_key};
use crate::provider::settings::OneOrMore;
use crate::secret::SecretSource;
use crate::units::Span;

/// Leases are kept in memory, about 1 KiB each.
const MAX_LEASES: usize = 1_000_000_000;
/// From a store on the same machine to one that nobody should wait for.
const TIMEOUT: std::ops::RangeInclusive<Span> = Span(std::time::Duration::from_millis(10))..=Span::secs(10);
/// Each key in the store begins with it.
const MAX_PREFIX: usize = 64;

pub(super) fn check(config: &Config, report: &mut Report<'_>) {
    let (leases, place) = (&config.leases, Place::root().key("leases"));
    if !(1..=MAX_LEASES).contains(&leases.capacity) {
        report.fault(&place.key("capacity"), "expected 1 to 1000000000");
    }
    if !report.sound(&place.key("store")) {
        return;
    }
    belongs(config, &place, report);
    if leases.store == StoreKind::Memory {
        return;
    }
    let keys = place.key("seal_keys");
    if leases.seal_keys.is_empty() {
        report.fault(&keys, "at least one key is required: what leaves the process is sealed");
    }
    for (i, source) in leases.seal_keys.iter().enumerate() {
        key(source, &keys.index(i), report);
    }
    if let Some(source) = &leases.name_key {
        key(source, &place.key("name_key"), report);
    }
    match leases.store {
        StoreKind::Memory => {}
        StoreKind::File => match &leases.path {
            None => report.fault(&place.key("path"), "is required with store = \"file\""),
            Some(path) => {
                let whole = report.directory.join(path);
                if !whole.parent().is_some_and(|folder| folder.as_os_str().is_empty() || folder.is_dir()) {
                    report.fault(&place.key("path"), format!("{}: there is no such folder", whole.display()));
                }
            }
        },
        StoreKind::Redis => match &leases.redis {
            None => report.fault(&place.key("redis"), "is required with store = \"redis\""),
            Some(settings) => redis(settings, &place.key("redis"), report),
        },
    }
}

/// Keys of a store that is not the one.
fn belongs(config: &Config, place: &Place, report: &mut Report<'_>) {
    let store = config.leases.store;
    for (key, wanted) in [
        ("redis", &[StoreKind::Redis][..]),
        ("path", &[StoreKind::File]),
        ("seal_keys", &[StoreKind::Redis, StoreKind::File]),
        ("name_key", &[StoreKind::Redis, StoreKind::File]),
        ("on_store_loss", &[StoreKind::Redis, StoreKind::File]),
    ] {
        if report.written(&place.key(key)) && !wanted.contains(&store) {
            let names: Vec<&str> = wanted.iter().map(|kind| word(*kind)).collect();
            report.fault(&place.key(key), format!("has a meaning with store = {} only", names.join(" or ")));
        }
    }
}

fn word(kind: StoreKind) -> &'static str {
    match kind {
        StoreKind::Memory => "\"memory\"",
        StoreKind::File => "\"file\"",
        StoreKind::Redis => "\"redis\"",
    }
}

fn key(source: &SecretSource, place: &Place, report: &mut Report<'_>) {
    if let Some(secret) = report.secret(place, source) {
        report.note(place, check_key(&secret));
    }
}

fn redis(settings: &RedisSettings, place: &Place, report: &mut Report<'_>) {
    let (urls, at) = (settings.urls.as_slice(), place.key("urls"));
    if urls.is_empty() {
        report.fault(&at, "at least one address is required");
    }
    let in_a_list = matches!(settings.urls, OneOrMore::List(_));
    let at = |i| if in_a_list { at.index(i) } else { at.clone() };
    for (i, url) in urls.iter().enumerate() {
        report.note(&at(i), Way::try_url(url));
    }
    report.unique(urls.iter().enumerate().map(|(i, url)| (at(i), url)), "this address stands in the list already");
    if settings.sentinel_master.as_ref().is_some_and(String::is_empty) {
        report.fault(&place.key("sentinel_master"), "must not be empty");
    }
    if let Some(source) = &settings.password {
        report.secret(&place.key("password"), source);
    } else if settings.username.is_some() {
        report.fault(&place.key("username"), "a user has a password: set `password`, too");
    }
    if let Some(ca) = &settings.ca {
        report.note(&place.key("ca"), authorities(&report.directory.join(ca)).map(drop));
        if !urls.iter().any(|url| url.starts_with("rediss:")) {
            report.fault(&place.key("ca"), "has a meaning for `rediss://` addresses only");
        }
    }
    // In a cluster braces say which part of a key chooses the server.
    if !is_visible(settings.prefix.as_bytes())
        || settings.prefix.contains(['{', '}'])
        || settings.prefix.len() > MAX_PREFIX
    {
        report.fault(&place.key("prefix"), "expected 1 to 64 visible ASCII characters without braces");
    }
    if !TIMEOUT.contains(&settings.timeout) {
        report.fault(&place.key("timeout"), "expected \"10ms\" to \"10s\"");
    }
}

//! `[session]` and `[[session.issuer]]`.

use super::{Report, persons, route};
use crate::config::Config;
use crate::config::tree::Place;
use crate::session::settings::{IssuerSettings, JwksUrl, KeysSettings, SessionSettings};
use crate::session::{bare_type, try_jwks_file, try_pem_file, try_secret};
use crate::units::Span;
use crate::web::{is_local, secure_url};

/// A clock that is further off is broken; a longer tolerance would be a longer life for every stolen token.
const MAX_CLOCK_SKEW: Span = Span::secs(300);
/// Below this no JWT fits; above it none fits into a request's head, which has 32 KiB, beside the fields that browsers add.
const TOKEN_BYTES: std::ops::RangeInclusive<usize> = 256..=24_576;
/// More often is no use to anybody; more seldom, and a key that was taken out for a reason is trusted for days.
const REFRESH: std::ops::RangeInclusive<Span> = Span::secs(10)..=Span::secs(24 * 3600);
/// From an identity provider on the same machine to one that must not be asked often.
const COOL_DOWN: std::ops::RangeInclusive<Span> = Span::secs(1)..=Span::secs(3600);
/// An outage over a week-end is survived; after a week nobody knows whose the keys are.
const MAX_STALE: std::ops::RangeInclusive<Span> = Span::secs(60)..=Span::secs(7 * 24 * 3600);
/// Shorter, and a token is too old before it is used; longer is no bound.
const MAX_AGE: std::ops::RangeInclusive<Span> = Span::secs(60)..=Span::secs(366 * 24 * 3600);
/// Shorter, and a session that was ended opens again with its old token; longer fills the list.
const REVOCATION_LIFE: std::ops::RangeInclusive<Span> = Span::secs(60)..=Span::secs(366 * 24 * 3600);
/// Where nothing bounds a token's age, most live no longer than this.
const LONG_ENOUGH: Span = Span::secs(24 * 3600);
/// Logout tokens (OpenID Connect Back-Channel Logout), security events (RFC 8417), DPoP proofs (RFC 9449), introspection answers (RFC 9701).
const NO_SESSIONS: [&str; 4] = ["logout+jwt", "secevent+jwt", "dpop+jwt", "token-introspection+jwt"];
/// Verified tokens are kept in memory, about 1 KiB each.
const MAX_CACHE: usize = 100_000_000;
/// More than a move from one set of keys to another needs; a token without `kid` may cost a try with each.
const MAX_ENTRIES: usize = 8;

pub(super) fn check(config: &Config, report: &mut Report<'_>) {
    let place = Place::root().key("session");
    let session = &config.session;
    // A minter that believes its edges judges no session.
    let judges = !config.listeners.is_empty() || config.minter.as_ref().is_none_or(|minter| minter.verify_sessions);
    if judges && !report.written(&place) {
        return report.fault(&place, "is required");
    }
    sources(session, &place.key("sources"), report);
    if session.clock_skew > MAX_CLOCK_SKEW {
        report.fault(&place.key("clock_skew"), "at most \"5m\"");
    }
    if !TOKEN_BYTES.contains(&session.max_token_bytes) {
        report.fault(&place.key("max_token_bytes"), "expected 256 to 24576");
    }
    if !(1..=MAX_CACHE).contains(&session.cache) {
        report.fault(&place.key("cache"), "expected 1 to 100000000");
    }
    let issuers = place.key("issuer");
    if session.issuers.is_empty() && judges {
        report.fault(&issuers, "at least one [[session.issuer]] is required");
    }
    for (i, settings) in session.issuers.iter().enumerate() {
        issuer(settings, &issuers.index(i), report);
    }
    revocation_life(session, &place.key("revocation_life"), report);
    persons::check(&session.issuers, &issuers, report);
}

fn revocation_life(session: &SessionSettings, place: &Place, report: &mut Report<'_>) {
    let life = session.revocation_life;
    if !REVOCATION_LIFE.contains(&life) {
        let (shortest, longest) = (REVOCATION_LIFE.start(), REVOCATION_LIFE.end());
        return report.fault(place, format!("expected \"{shortest}\" to \"{longest}\""));
    }
    for issuer in &session.issuers {
        match issuer.max_age {
            Some(max_age) if life < max_age && MAX_AGE.contains(&max_age) => report.fault(
                place,
                format!("shorter than max_age of {:?}: a token would open a session that was ended", issuer.issuer),
            ),
            None if life < LONG_ENOUGH => report.warnings.push(format!(
                "session.revocation_life: below \"24h\", and {:?} has no max_age: a token that lives longer opens a session that was ended",
                issuer.issuer
            )),
            _ => {}
        }
    }
}

fn sources(session: &SessionSettings, place: &Place, report: &mut Report<'_>) {
    if session.sources.is_empty() {
        report.fault(place, "at least one source is required");
    }
    let sources = session.sources.iter().enumerate().map(|(i, source)| (place.index(i), source));
    report.unique(sources, "this source stands in the list already");
}

fn issuer(settings: &IssuerSettings, place: &Place, report: &mut Report<'_>) {
    if settings.issuer.is_empty() {
        report.fault(&place.key("issuer"), "must not be empty");
    }
    let audiences = place.key("audiences");
    if settings.audiences.is_empty() {
        report.fault(&audiences, "at least one audience is required");
    }
    for (i, _) in settings.audiences.iter().enumerate().filter(|(_, audience)| audience.is_empty()) {
        report.fault(&audiences.index(i), "must not be empty");
    }
    types(settings, &place.key("types"), report);
    if settings.max_age.is_some_and(|age| !MAX_AGE.contains(&age)) {
        report.fault(&place.key("max_age"), format!("expected \"{}\" to \"{}\"", MAX_AGE.start(), MAX_AGE.end()));
    }
    keys(settings, place, report);
}

fn types(settings: &IssuerSettings, place: &Place, report: &mut Report<'_>) {
    if settings.types.is_empty() {
        report.fault(place, "at least one type is required");
    }
    for (i, typ) in settings.types.iter().enumerate() {
        let bare = bare_type(typ);
        if NO_SESSIONS.iter().any(|known| bare.eq_ignore_ascii_case(known)) {
            report.fault(&place.index(i), "tokens of this type are signed for another end, and open no session");
        } else if bare.is_empty() || !bare.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b)) {
            report.fault(&place.index(i), "expected a type such as \"at+jwt\"");
        }
    }
}

/// What an entry of `keys` verifies. A public key must never be taken for an HMAC secret, so the two families never meet in one entry.
fn algorithms(
    settings: &IssuerSettings,
    keys: &KeysSettings,
    (issuer, entry): (&Place, &Place),
    report: &mut Report<'_>,
) {
    let (named, place) = match &keys.algorithms {
        Some(own) => (own, entry.key("algorithms")),
        None => (&settings.algorithms, issuer.key("algorithms")),
    };
    if !report.sound(&entry.key("algorithms")) {
        return;
    }
    if named.is_empty() && (keys.algorithms.is_some() || report.written(&place)) {
        report.fault(&place, "at least one algorithm is required");
    } else if named.is_empty() && report.found.iter().all(|found| found.place != place) {
        report.fault(&place, "is required");
    }
    if !report.sound(entry) {
        return;
    }
    let with_secret = keys.secret.is_some();
    for (i, algorithm) in named.iter().enumerate() {
        let message = match (algorithm.is_symmetric(), with_secret) {
            (true, false) => "this algorithm needs `keys = { secret = … }`",
            (false, true) => "with `keys.secret` only HS256, HS384 and HS512 can be used",
            (true, true) | (false, false) => continue,
        };
        let place = place.index(i);
        if !settings.keys.is_list() {
            report.fault(&place, message);
        } else if report.found.iter().all(|found| found.place != place) {
            report.fault(&place, format!("{message}; give each entry of `keys` its own `algorithms`"));
        }
    }
}

pub(super) fn keys(settings: &IssuerSettings, issuer: &Place, report: &mut Report<'_>) {
    let place = issuer.key("keys");
    let entries = settings.keys.as_slice();
    if !(1..=MAX_ENTRIES).contains(&entries.len()) {
        report.fault(&place, format!("expected 1 to {MAX_ENTRIES} entries"));
    }
    for (i, entry) in entries.iter().enumerate() {
        let place = if settings.keys.is_list() { place.index(i) } else { place.clone() };
        algorithms(settings, entry, (issuer, &place), report);
        key_entry(settings, entry, &place, report);
    }
    if entries.iter().all(|entry| entry.algorithms.is_some()) {
        let verified =
            |algorithm| entries.iter().any(|entry| entry.algorithms().is_some_and(|own| own.contains(algorithm)));
        for algorithm in settings.algorithms.iter().filter(|algorithm| !verified(algorithm)) {
            let issuer = &settings.issuer;
            report
                .warnings
                .push(format!("session.issuer \"{issuer}\": no entry of `keys` names {algorithm:?}: it opens nothing"));
        }
    }
    way(settings, issuer, report);
    if entries.iter().any(|entry| entry.discovery == Some(true)) && report.sound(&place) {
        let is_safe = |name: &str| {
            secure_url(name).is_ok_and(|url| url.host().is_some_and(|host| url.scheme() == "https" || is_local(&host)))
        };
        let sound = settings.tenants.iter().all(|tenant| persons::is_tenant(tenant));
        if sound && !settings.expanded().iter().all(|one| is_safe(&one.issuer)) {
            let message = "with `keys.discovery` the issuer must be an `https://` URL (`http://` on loopback only)";
            report.fault(&issuer.key("issuer"), message);
        }
    }
}

fn key_entry(settings: &IssuerSettings, keys: &KeysSettings, place: &Place, report: &mut Report<'_>) {
    let KeysSettings { discovery, jwks_url, jwks_file, pem_file, secret, .. } = keys;
    let algorithms = keys.algorithms().unwrap_or(&settings.algorithms);
    let discovery = *discovery == Some(true);
    let given = [discovery, jwks_url.is_some(), jwks_file.is_some(), pem_file.is_some(), secret.is_some()];
    if given.iter().filter(|given| **given).count() != 1 {
        let message = "expected exactly one of `discovery = true`, `jwks_url`, `jwks_file`, `pem_file`, `secret`";
        report.fault(place, message);
    }
    pace(keys, discovery || jwks_url.is_some(), place, report);
    if let Some(path) = jwks_file {
        let path = report.directory.join(path);
        let read = try_jwks_file(&path, algorithms);
        match read {
            Ok(left_out) => report.warnings.extend(left_out),
            Err(fault) => report.fault(&place.key("jwks_file"), fault),
        }
    }
    if let Some(path) = pem_file {
        let path = report.directory.join(path);
        let read = try_pem_file(&path, algorithms);
        report.note(&place.key("pem_file"), read);
    }
    if let Some(source) = secret {
        let place = place.key("secret");
        if let Some(secret) = report.secret(&place, source) {
            report.note(&place, try_secret(&secret, algorithms));
        }
    }
}

/// How keys are fetched.
fn way(settings: &IssuerSettings, place: &Place, report: &mut Report<'_>) {
    let (ca, proxy) = (settings.ca.as_deref(), settings.proxy.as_ref());
    let addresses: Vec<String> = settings
        .keys
        .as_slice()
        .iter()
        .filter_map(|keys| match keys.discovery {
            Some(true) => Some(settings.issuer.clone()),
            _ => keys.jwks_url.as_ref().map(JwksUrl::to_string),
        })
        .collect();
    // Of several one that goes in the clear is at fault for all.
    let is_plain = addresses.iter().any(|address| address.to_ascii_lowercase().starts_with("http://"));
    match addresses.is_empty() {
        false => route::check(ca, proxy, is_plain, place, report),
        true => {
            for (key, given) in [("ca", ca.is_some()), ("proxy", proxy.is_some())] {
                if given {
                    report.fault(&place.key(key), "has a meaning for fetched keys only: `discovery` or `jwks_url`");
                }
            }
        }
    }
}

/// When keys are fetched.
fn pace(settings: &KeysSettings, fetched: bool, place: &Place, report: &mut Report<'_>) {
    let (refresh, max_stale) = (settings.refresh(), settings.max_stale());
    for (key, given, bounds) in [
        ("refresh", settings.refresh, REFRESH),
        ("cooldown", settings.cooldown, COOL_DOWN),
        ("max_stale", settings.max_stale, MAX_STALE),
    ] {
        let Some(given) = given else { continue };
        if !fetched {
            report.fault(&place.key(key), "has a meaning for fetched keys only: `discovery` or `jwks_url`");
        } else if !bounds.contains(&given) {
            report.fault(&place.key(key), format!("expected \"{}\" to \"{}\"", bounds.start(), bounds.end()));
        } else if key == "max_stale" && max_stale < refresh {
            report.fault(&place.key(key), format!("must not be shorter than refresh, \"{refresh}\""));
        }
    }
}

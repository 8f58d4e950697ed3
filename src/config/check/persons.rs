//! Whose subjects are whose: `tenants`, `subjects_of` and `external_id` of `[[session.issuer]]`.

use super::Report;
use crate::config::tree::Place;
use crate::meant::did_you_mean;
use crate::session::settings::{IssuerSettings, JwksUrl, TENANT};
use crate::session::{ExternalIdTemplate, alike};

/// Each has a key set of its own that is fetched, and series of its own in the metrics.
const MAX_TENANTS: usize = 256;
/// Longer than any identity provider's id of a tenant.
const MAX_TENANT: usize = 128;
const TWO_FOR_ONE: &str = "the vendor would take two persons for one";

/// One issuer as tokens name it, and where it stands in the file.
struct One {
    at: usize,
    settings: IssuerSettings,
}

pub(super) fn check(issuers: &[IssuerSettings], place: &Place, report: &mut Report<'_>) {
    let mut all = Vec::new();
    for (at, settings) in issuers.iter().enumerate() {
        // What is made of a faulty template would only be told of twice.
        if tenants(settings, &place.index(at), report) {
            all.extend(settings.expanded().into_iter().map(|settings| One { at, settings }));
        }
    }
    let names = all.iter().map(|one| (place.index(one.at).key("issuer"), one.settings.issuer.clone()));
    report.unique(names, "this issuer stands in the file already");
    subjects_of(&all, place, report);
    with_tenant(&all, place, report);
    external_ids(&all, place, report);
}

/// Whether `{tenant}` and `tenants` are in order.
fn tenants(settings: &IssuerSettings, issuer: &Place, report: &mut Report<'_>) -> bool {
    let before = report.found.len();
    let (place, name) = (issuer.key("tenants"), issuer.key("issuer"));
    let templated = settings.issuer.contains(TENANT);
    if settings.issuer.replace(TENANT, "").contains(['{', '}']) {
        report.fault(&name, format!("of values in braces only `{TENANT}` is known here"));
    }
    match (templated, settings.tenants.is_empty()) {
        (true, true) => report.fault(&name, format!("`{TENANT}` needs `tenants = [\"…\"]` beside it")),
        (false, false) => report.fault(
            &place,
            format!(
                "have a meaning with `{TENANT}` in `issuer` only, such as \"https://login.example.com/{TENANT}/v2.0\""
            ),
        ),
        (false, true) if report.written(&place) => report.fault(&place, "at least one tenant is required"),
        _ => {}
    }
    if settings.tenants.len() > MAX_TENANTS {
        report.fault(&place, format!("at most {MAX_TENANTS}"));
    }
    for (i, tenant) in settings.tenants.iter().enumerate() {
        if !is_tenant(tenant) {
            report.fault(
                &place.index(i),
                "expected 1 to 128 letters, digits, `-`, `.`, `_`, `~`: it becomes part of an address",
            );
        }
    }
    let entries = settings.tenants.iter().enumerate().map(|(i, tenant)| (place.index(i), tenant));
    report.unique(entries, "this tenant stands in the list already");
    for (i, keys) in settings.keys.as_slice().iter().enumerate() {
        if settings.tenants.is_empty() && keys.jwks_url.as_ref().is_some_and(JwksUrl::holds_tenant) {
            let keys = issuer.key("keys");
            let at = if settings.keys.is_list() { keys.index(i) } else { keys };
            report.fault(&at.key("jwks_url"), format!("`{TENANT}` needs `tenants = [\"…\"]` beside it"));
        }
    }
    if settings.tenants.is_empty() && settings.external_id.as_ref().is_some_and(ExternalIdTemplate::holds_tenant) {
        report.fault(&issuer.key("external_id"), format!("`{TENANT}` needs `tenants = [\"…\"]` beside it"));
    }
    if settings.tenants.len() > 1 {
        several(settings, issuer, report);
    }
    report.found.len() == before
}

/// Whether it can be part of an address without changing what else stands there (RFC 3986, sections 2.3 and 5.2.4).
pub(super) fn is_tenant(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    (1..=MAX_TENANT).contains(&text.len()) && text.bytes().all(plain) && text != "." && text != ".."
}

/// Tenants number their people each for himself.
fn several(settings: &IssuerSettings, issuer: &Place, report: &mut Report<'_>) {
    match (&settings.subjects_of, &settings.external_id) {
        (Some(of), _) if !of.contains(TENANT) => report.fault(
            &issuer.key("subjects_of"),
            format!("with several `tenants` it needs `{TENANT}`: one subject of two tenants would be one person"),
        ),
        (Some(_), _) => {}
        (None, Some(id)) if id.names_tenant() => {}
        (None, _) => report.fault(
            &issuer.key("external_id"),
            format!("with several `tenants` it needs `{{claim:tid}}` or `{TENANT}`: {TWO_FOR_ONE}"),
        ),
    }
}

/// What can be said only with the tenant in its place; of several tenants one line is enough.
fn with_tenant(all: &[One], place: &Place, report: &mut Report<'_>) {
    for One { at, settings } in all.iter().filter(|one| one.settings.tenant.is_some()) {
        let issuer = place.index(*at);
        let id = issuer.key("external_id");
        let told = settings.external_id.as_ref().is_none_or(|id| id.tells_persons_apart(settings.tenant.as_deref()));
        if !told && report.found.iter().all(|found| found.place != id) {
            report.fault(&id, "all persons of a tenant would have one name at the vendor: add `{sub}`, or `{claim:NAME}` of another claim");
        }
        for (i, entry) in settings.keys.as_slice().iter().enumerate() {
            let keys = issuer.key("keys");
            let url = if settings.keys.is_list() { keys.index(i) } else { keys }.key("jwks_url");
            let good = entry.jwks_url.as_ref().is_none_or(|url| url.url().is_some());
            if !good && report.found.iter().all(|found| found.place != url) {
                report.fault(&url, format!("is no URL with one of `tenants` in place of `{TENANT}`"));
            }
        }
    }
}

fn subjects_of(all: &[One], place: &Place, report: &mut Report<'_>) {
    for One { at, settings } in all {
        let Some(of) = &settings.subjects_of else { continue };
        let issuer = place.index(*at);
        if settings.external_id.is_some() {
            report.fault(&issuer.key("external_id"), "has no meaning beside `subjects_of`: that issuer's counts");
        }
        let target = all.iter().find(|other| other.settings.issuer == *of);
        let fault =
            match target {
                _ if *of == settings.issuer => Some("names this issuer itself".to_owned()),
                None => Some(format!("no [[session.issuer]] is \"{of}\"{}", nearest_issuer(of, settings, all))),
                Some(other) => other.settings.subjects_of.as_ref().map(|root| {
                    format!("that issuer has `subjects_of` itself; name the one that it names, \"{root}\"")
                }),
            };
        // Of several tenants one line is enough.
        let at = issuer.key("subjects_of");
        if let Some(fault) = fault.filter(|_| report.found.iter().all(|found| found.place != at)) {
            report.fault(&at, fault);
        }
    }
}

/// The other issuer whose name was probably meant.
fn nearest_issuer(of: &str, settings: &IssuerSettings, all: &[One]) -> String {
    let names = all.iter().map(|other| &*other.settings.issuer).filter(|name| *name != settings.issuer);
    did_you_mean(of, &names.collect::<Vec<_>>())
}

/// With two issuers the vendor must not take two persons for one.
fn external_ids(all: &[One], place: &Place, report: &mut Report<'_>) {
    let own: Vec<&One> = all.iter().filter(|one| one.settings.subjects_of.is_none()).collect();
    if own.len() < 2 {
        return;
    }
    let at = |one: &One| place.index(one.at).key("external_id");
    let written = own.iter().filter(|one| report.sound(&at(one)) && one.settings.external_id.is_some());
    let written: Vec<&One> = written.copied().collect();
    let templates: Vec<_> = written
        .iter()
        .filter_map(|one| Some((one.settings.external_id.as_ref()?, one.settings.tenant.as_deref())))
        .collect();
    let missing = own.iter().filter(|one| one.settings.external_id.is_none());
    let mut faults: Vec<(Place, String)> =
        missing.map(|one| (at(one), format!("is required with two or more issuers: {TWO_FOR_ONE}"))).collect();
    for (earlier, later) in alike(&templates) {
        let (Some((other, _)), Some(first), Some((template, _)), Some(one)) =
            (templates.get(earlier), written.get(earlier), templates.get(later), written.get(later))
        else {
            continue;
        };
        faults.push((at(one), match other == template {
            true => format!("the issuer {:?} has the same `external_id`: {TWO_FOR_ONE}", first.settings.issuer),
            false => format!(
                "gives the same names as that of the issuer {:?}, \"{other}\": give one of them a fixed beginning of its own",
                first.settings.issuer
            ),
        }));
    }
    // Of several tenants one line is enough.
    faults.dedup_by(|one, other| one.0 == other.0);
    for (place, message) in faults {
        report.fault(&place, message);
    }
}

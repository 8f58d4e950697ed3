//! `minter` of a `[[provider]]`: an edge, which holds no key.

use super::Report;
use super::listener::certificate;
use crate::config::tree::Place;
use crate::http_client::{Identity, Route};
use crate::provider::settings::{MinterLink, OneOrMore};
use crate::units::Span;

/// After this a minter that hangs is known to hang.
const NOTICED: Span = Span::secs(3);

/// What the minter has, and an edge has not.
const THE_MINTERS: [&str; 14] = [
    "auth",
    "base_url",
    "ca",
    "forget",
    "headers",
    "mint",
    "preset",
    "proxy",
    "quota_header",
    "rate",
    "register",
    "revoke",
    "secret_headers",
    "subject_key",
];

pub(super) fn check(link: &MinterLink, timeout: Span, provider: &Place, report: &mut Report<'_>) {
    if report.written(&provider.key("api_key")) {
        report.fault(&provider.key("api_key"), "an edge holds no API key: the minter has it; take one of the two out");
    }
    for key in THE_MINTERS {
        if report.written(&provider.key(key)) {
            report.fault(&provider.key(key), "is the minter's business: `minter` stands in its place");
        }
    }
    let place = provider.key("minter");
    urls(link, &place.key("url"), report);
    if link.url.as_slice().len() > 1 && timeout < NOTICED {
        report.warnings.push(format!(
            "{}: with less than \"3s\" one mint ends before a minter that hangs is noticed, and the other is not asked",
            provider.key("timeout").dotted()
        ));
    }
    certificates(link, &place, report);
    let claims = place.key("claims");
    report.unique(
        link.claims.iter().enumerate().map(|(i, claim)| (claims.index(i), claim)),
        "this claim stands in the list already",
    );
}

fn urls(link: &MinterLink, place: &Place, report: &mut Report<'_>) {
    let urls = link.url.as_slice();
    if urls.is_empty() {
        report.fault(place, "at least one minter is required");
    }
    let at = |i| if is_list(link) { place.index(i) } else { place.clone() };
    for (i, url) in urls.iter().enumerate() {
        if !url.is_https() {
            report.fault(&at(i), "a minter is asked over TLS: expected https://");
        }
    }
    report.unique(urls.iter().enumerate().map(|(i, url)| (at(i), url)), "this minter stands in the list already");
}

fn is_list(link: &MinterLink) -> bool {
    matches!(link.url, OneOrMore::List(_))
}

fn certificates(link: &MinterLink, place: &Place, report: &mut Report<'_>) {
    if ["certificate", "key", "ca"].iter().any(|key| !report.sound(&place.key(key))) {
        return;
    }
    let place = place.clone();
    fn rename(key: &str) -> &str {
        if key == "chain" { "certificate" } else { key }
    }
    let Some(certificate) = certificate(&link.identity(), &place, &rename, report) else { return };
    if certificate.names.is_empty() {
        let shown = report.directory.join(&link.certificate).display().to_string();
        report.warnings.push(format!(
            "{shown}: this certificate has no DNS name (subjectAltName); a minter knows an edge by it, or by a URI"
        ));
    }
    let Ok(identity) = Identity::open(link.identity(), report.directory) else { return };
    if let Err(fault) = Route::to_our_own(&link.ca, std::sync::Arc::new(identity), report.directory) {
        report.fields(&place, [fault]);
    }
}

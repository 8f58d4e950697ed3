//! `minter` of a `[[provider]]`: an edge, which holds no key.

use super::origin::origin;
use super::session::claim_path;
use super::{Report, files};
use crate::config::tree::Place;
use crate::http_client::{Identity, Route};
use crate::provider::settings::{MinterLink, OneOrMore};

/// What the minter has, and an edge has not.
const THE_MINTERS: [&str; 9] =
    ["auth", "base_url", "ca", "mint", "preset", "proxy", "register", "revoke", "subject_key"];

pub(super) fn check(link: &MinterLink, provider: &Place, report: &mut Report<'_>) {
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
    certificates(link, &place, report);
    let claims = place.key("claims");
    for (i, claim) in link.claims.iter().enumerate() {
        report.note(&claims.index(i), claim_path(claim));
    }
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
        match origin(url) {
            Ok(()) if url.starts_with("https://") => {}
            Ok(()) => report.fault(&at(i), "a minter is asked over TLS: expected https://"),
            Err(message) => report.fault(&at(i), message),
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
    let identity = match Identity::open(link.identity(), report.directory) {
        Ok(identity) => identity,
        Err(faults) => {
            for fault in faults {
                let (key, message) = fault.parts();
                report.fault(&place.key(if key == "chain" { "certificate" } else { key }), message);
            }
            return;
        }
    };
    report.warnings.extend(files::readable_by_others(&report.directory.join(&link.key)));
    if let Err(fault) = Route::to_our_own(&link.ca, std::sync::Arc::new(identity), report.directory) {
        report.fault(&place.key(fault.key), fault.message);
    }
}

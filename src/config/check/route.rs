//! `ca` and `proxy` of issuers and providers.

use std::path::Path;

use super::Report;
use crate::config::tree::Place;
use crate::http_client::Route;
use crate::http_client::settings::ProxySettings;
use crate::secret::SecretSource;

/// Why the way that they describe can't be gone. `is_plain`: the address is `http://`; `owner` is where the two keys stand.
pub(super) fn check(
    ca: Option<&Path>,
    proxy: Option<&ProxySettings>,
    is_plain: bool,
    owner: &Place,
    report: &mut Report<'_>,
) {
    if ["ca", "proxy"].iter().any(|key| !report.sound(&owner.key(key))) {
        return;
    }
    if let Err(faults) = Route::open(ca, proxy, report.directory) {
        report.fields(owner, faults);
    }
    if let Some(source @ SecretSource::File(_)) = proxy.and_then(ProxySettings::credentials) {
        // A second reading, for the warning alone; a fault of it was said above.
        let place = owner.key("proxy").key("credentials");
        if source.read(report.directory).is_ok() {
            report.secret(&place, source);
        }
    }
    if is_plain {
        for (key, given) in [("ca", ca.is_some()), ("proxy", proxy.is_some())] {
            if given {
                report.fault(&owner.key(key), "has a meaning for `https://` addresses only");
            }
        }
    }
}

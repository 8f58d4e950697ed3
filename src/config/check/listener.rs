//! `[[listener]]` beyond its address: certificates, and the proxies before it.

use super::{Report, files};
use crate::certificate::{Certificate, CertificateFiles};
use crate::clock::Clock;
use crate::config::Config;
use crate::config::tree::Place;
use crate::gateway::Trusted;
use crate::gateway::settings::{ListenerKind, ListenerSettings};
use crate::http_client::authorities;
use crate::setting::FieldFault;
use crate::units::ListenAddress;
use crate::web::Origin;

pub(super) fn check(config: &Config, report: &mut Report<'_>) {
    let trusted = trusted(&config.server.trusted_proxies, report);
    if !config.listeners.is_empty() && config.listeners.iter().all(|listener| listener.redirect.is_some()) {
        report.warnings.push("every [[listener]] redirects: nothing else is answered".into());
    }
    let named = config.listeners.iter().enumerate().filter_map(|(i, listener)| {
        Some((Place::root().key("listener").index(i).key("name"), listener.name.as_ref()?))
    });
    report.unique(named, "another listener has this name");
    for (i, listener) in config.listeners.iter().enumerate() {
        let place = Place::root().key("listener").index(i);
        if listener.proxy_protocol {
            announced(listener, &trusted, &place, report);
        }
        if listener.kind == ListenerKind::ExtAuthz && !config.apps.iter().any(|app| app.authorize) {
            let address = &listener.address;
            report
                .warnings
                .push(format!("listener {address}: nothing may be asked there: no app has `authorize = true`"));
        }
        if listener.kind == ListenerKind::ExtAuthz {
            for key in ["redirect", "hsts"].map(|key| place.key(key)) {
                if report.written(&key) {
                    report.fault(&key, "is for requests of clients: a listener of the kind `ext_authz` has none");
                }
            }
        }
        security(listener, &place, report);
        redirect(config, listener, &place, report);
        let place = place.key("tls");
        if listener.tls.is_empty() && report.written(&place) {
            report.fault(&place, "expected at least one certificate; without any the listener would speak plain HTTP");
        }
        for (n, pair) in listener.tls.iter().enumerate() {
            let place = place.index(n);
            if certificate(pair, &place, &|key| key, report).is_some_and(|certificate| certificate.names.is_empty()) {
                let shown = report.directory.join(&pair.chain).display().to_string();
                report
                    .warnings
                    .push(format!("{shown}: this certificate has no name (subjectAltName); browsers refuse it"));
            }
        }
    }
}

/// What is said of TLS where there is none would be believed and not done.
fn security(listener: &ListenerSettings, place: &Place, report: &mut Report<'_>) {
    let plain = !report.written(&place.key("tls"));
    let uncalled = "belongs to a listener with `tls`: this one speaks plain HTTP";
    for key in ["min_tls", "hsts", "client_ca"] {
        let place = place.key(key);
        if plain && report.written(&place) {
            // RFC 6797, section 7.2: not over a connection that is not secure.
            report.fault(&place, uncalled);
        }
    }
    let (ca, asked) = (place.key("client_ca"), place.key("client_certificate"));
    if !report.written(&ca) && report.written(&asked) {
        report.fault(&asked, "says whether a client must show a certificate of `client_ca`, which is not there");
    }
    if let (Some(path), false, true) = (&listener.client_ca, plain, report.sound(&ca)) {
        report.note(&ca, authorities(&report.directory.join(path)).map(drop));
    }
}

fn redirect(config: &Config, listener: &ListenerSettings, place: &Place, report: &mut Report<'_>) {
    let key = place.key("redirect");
    if listener.redirect.is_none() {
        return;
    }
    if report.written(&place.key("tls")) {
        report.fault(&key, "a listener that redirects to https speaks plain HTTP: it has no `tls`");
    }
    let public_url = Place::root().key("server").key("public_url");
    if report.sound(&public_url) && !config.server.public_url.as_ref().is_some_and(Origin::is_https) {
        report.fault(&key, "server.public_url, where it would lead, is not https://");
    }
}

fn trusted(entries: &[String], report: &mut Report<'_>) -> Trusted {
    let place = Place::root().key("server").key("trusted_proxies");
    for (i, entry) in entries.iter().enumerate() {
        let place = place.index(i);
        match Trusted::entry(entry) {
            Err(fault) => report.fault(&place, fault),
            Ok(Some(network)) if network.prefix_len() == 0 && report.sound(&place) => report.warnings.push(format!(
                "server.trusted_proxies: \"{entry}\" is everybody: whoever reaches a listener can say that it is somebody else"
            )),
            Ok(_) => {}
        }
    }
    let places = entries.iter().enumerate().map(|(i, entry)| (place.index(i), entry));
    report.unique(places, "this entry stands in the list already");
    Trusted::new(entries)
}

/// Somebody must be able to get in.
fn announced(listener: &ListenerSettings, trusted: &Trusted, place: &Place, report: &mut Report<'_>) {
    let trusts = Place::root().key("server").key("trusted_proxies");
    if !report.sound(&trusts) || !report.sound(&place.key("address")) {
        return;
    }
    let message = match matches!(listener.address, ListenAddress::Unix(_)) {
        true if !trusted.holds_unix() => "only trusted proxies may connect: add \"unix:\" to server.trusted_proxies",
        false if !trusted.holds_networks() => "only trusted proxies may connect: name them in server.trusted_proxies",
        _ => return,
    };
    report.fault(&place.key("proxy_protocol"), message);
}

/// Reads it. Warns of a key that others can read, and of dates.
/// `rename`: what the file calls `chain` and `key`.
pub(super) fn certificate(
    pair: &CertificateFiles,
    place: &Place,
    rename: &dyn for<'k> Fn(&'k str) -> &'k str,
    report: &mut Report<'_>,
) -> Option<Certificate> {
    if !report.sound(place) {
        return None;
    }
    let certificate = match Certificate::read(pair, report.directory) {
        Ok(certificate) => certificate,
        Err(faults) => {
            let named = |fault: FieldFault| FieldFault::at(rename(&fault.path), fault.message);
            report.fields(place, faults.into_iter().map(named));
            return None;
        }
    };
    report.warnings.extend(files::readable_by_others(&report.directory.join(&pair.key)));
    let shown = report.directory.join(&pair.chain).display().to_string();
    // The dates are no fault: an operator with an old certificate still wants to start.
    let now = Clock::system().now();
    if certificate.ends <= now {
        report.warnings.push(format!("{shown}: this certificate ended at {}", certificate.ends.rfc3339()));
    } else if now < certificate.begins {
        report.warnings.push(format!("{shown}: this certificate begins at {}", certificate.begins.rfc3339()));
    }
    Some(certificate)
}

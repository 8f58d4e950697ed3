//! `[[listener]]` beyond its address: the certificates.

use super::{Report, files};
use crate::clock::Clock;
use crate::config::tree::Place;
use crate::gateway::Certificate;
use crate::gateway::settings::{CertificateFiles, ListenerSettings};

pub(super) fn check(listeners: &[ListenerSettings], report: &mut Report<'_>) {
    for (i, listener) in listeners.iter().enumerate() {
        let place = Place::root().key("listener").index(i).key("tls");
        if listener.tls.is_empty() && report.written(&place) {
            report.fault(&place, "expected at least one certificate; without any the listener would speak plain HTTP");
        }
        for (n, pair) in listener.tls.iter().enumerate() {
            certificate(pair, &place.index(n), report);
        }
    }
}

fn certificate(pair: &CertificateFiles, place: &Place, report: &mut Report<'_>) {
    if !report.sound(place) {
        return;
    }
    let certificate = match Certificate::read(pair, report.directory) {
        Ok(certificate) => certificate,
        Err(faults) => {
            for fault in faults {
                let (key, message) = fault.parts();
                report.fault(&place.key(key), message);
            }
            return;
        }
    };
    report.warnings.extend(files::readable_by_others(&report.directory.join(&pair.key)));
    let shown = report.directory.join(&pair.chain).display().to_string();
    // The dates are no fault: who has an old certificate still wants to start.
    let now = Clock::system().now();
    if certificate.ends <= now {
        report.warnings.push(format!("{shown}: this certificate ended at {}", certificate.ends.rfc3339()));
    } else if now < certificate.begins {
        report.warnings.push(format!("{shown}: this certificate begins at {}", certificate.begins.rfc3339()));
    }
    if certificate.names.is_empty() {
        report.warnings.push(format!("{shown}: this certificate has no name (subjectAltName); browsers refuse it"));
    }
}

//! Why an upstream did not answer: told apart by what Pingora says, counted, and said once in a while.

use std::io;
use std::time::Duration;

use parking_lot::Mutex;
use pingora::{Error, ErrorType};
use prometheus::IntCounter;
use rustls::{AlertDescription, CertificateError};

use super::TARGET;
use crate::clock::Tick;
use crate::http_client::{Cause, UNFIT, UNFIT_NAMES, of_tls};
use crate::telemetry::Metrics;

/// No upstream of the app has an address.
pub const NO_ADDRESS: ErrorType = ErrorType::Custom("NoAddress");

/// One line for each cause in this time: a thousand requests a second fail alike.
const PAUSE: Duration = Duration::from_secs(60);

/// What an error of Pingora's tells of the upstream.
pub fn cause_of(error: &Error) -> Cause {
    match error.etype() {
        etype if *etype == NO_ADDRESS => Cause::Dns,
        ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout => Cause::ConnectTimedOut,
        ErrorType::ReadTimedout | ErrorType::WriteTimedout => Cause::TimedOut,
        ErrorType::ConnectRefused => Cause::Refused,
        ErrorType::ConnectNoRoute | ErrorType::ConnectError | ErrorType::SocketError => Cause::NoRoute,
        ErrorType::TLSHandshakeFailure | ErrorType::InvalidCert => by_text(&error.to_string()),
        ErrorType::InvalidHTTPHeader | ErrorType::H1Error | ErrorType::InvalidH2 | ErrorType::H2Downgrade => {
            Cause::NotHttp
        }
        // Chunks that are none, by Pingora's own names.
        ErrorType::Custom("InvalidChunk" | "InvalidTrailerEnd") => Cause::NotHttp,
        ErrorType::ConnectionClosed => Cause::Broken,
        _ => broken_off(inner(error)),
    }
}

/// What a fault of a connection that stood tells of the upstream.
pub fn cause_of_break(fault: &io::Error) -> Cause {
    broken_off(Cause::find(fault))
}

/// What a fault of a stream of HTTP/2 tells of the upstream.
pub fn cause_of_stream(fault: &h2::Error) -> Cause {
    broken_off(Cause::find(fault))
}

/// A silence that the kernel ended was no answer that is late: the connection is gone.
fn broken_off(found: Option<Cause>) -> Cause {
    found.filter(|cause| *cause != Cause::TimedOut).unwrap_or(Cause::Broken)
}

/// What the errors below it tell.
fn inner(error: &Error) -> Option<Cause> {
    let below = error.cause.as_deref()?;
    match below.downcast_ref::<Box<Error>>() {
        Some(error) => inner(error),
        None => Cause::find(below),
    }
}

/// A failed handshake: Pingora keeps no more of it than its text, which is compared with what rustls says of each.
fn by_text(text: &str) -> Cause {
    let said = |fault: &rustls::Error| text.contains(&fault.to_string());
    let certificate = [
        CertificateError::UnknownIssuer,
        CertificateError::BadSignature,
        CertificateError::NotValidForName,
        CertificateError::Expired,
        CertificateError::NotValidYet,
    ];
    let alerts = [
        AlertDescription::CertificateRequired,
        AlertDescription::UnknownCA,
        AlertDescription::BadCertificate,
        AlertDescription::CertificateUnknown,
        AlertDescription::CertificateExpired,
        AlertDescription::CertificateRevoked,
        AlertDescription::AccessDenied,
    ];
    let plain = "received corrupt message of type ";
    let [authority, version_1] = UNFIT_NAMES;
    let texts = [
        (authority, Cause::CertificateUnfit),
        (version_1, Cause::CertificateUnfit),
        ("certificate does not allow extended key usage", Cause::CertificateUnfit),
        ("certificate not valid for name ", Cause::WrongName),
        ("certificate expired: ", Cause::CertificateEnded),
        ("certificate not valid yet: ", Cause::CertificateEnded),
        (plain, Cause::PlainPort),
        ("tls handshake eof", Cause::Broken),
    ];
    let faults = certificate.map(rustls::Error::InvalidCertificate).into_iter();
    let mut faults = faults.chain(alerts.map(rustls::Error::AlertReceived));
    let by_fault = faults.find(said).map(|fault| of_tls(&fault));
    by_fault
        .or_else(|| texts.into_iter().find(|(part, _)| text.contains(part)).map(|(_, cause)| cause))
        .unwrap_or(Cause::Tls)
}

/// In the operator's words, with the key of `[[app]]` to look at.
pub(super) fn words(cause: Cause) -> &'static str {
    match cause {
        Cause::Dns => "its name has no address (DNS): look at `upstreams`",
        Cause::Refused => "nobody listens there (connection refused): look at `upstreams`, or start the app",
        Cause::NoRoute => "there is no way to it through the network, or no socket of its path: look at `upstreams`",
        Cause::UnknownAuthority => "its certificate is of an unknown authority: name that authority by `ca`",
        Cause::WrongName => "its certificate is for another name: say by `server_name` which one it has",
        Cause::CertificateEnded => "its certificate has ended, or does not count yet",
        Cause::CertificateUnfit => UNFIT,
        Cause::CertificateRefused => "it does not take our certificate, or wants one: look at `client_certificate`",
        Cause::PlainPort => "it speaks no TLS on that port: leave out https:// in `upstreams`",
        Cause::Tls => "the TLS handshake failed",
        Cause::Proxy => "the proxy does not lead to it",
        Cause::Broken => "the connection broke off before the answer was whole",
        Cause::NotHttp => {
            "its answer can't be read as HTTP: an app that speaks TLS is written https:// in `upstreams`, one that speaks HTTP/2 alone h2c://"
        }
        Cause::ConnectTimedOut => "it accepted no connection within `connect_timeout`",
        Cause::TimedOut => "it did not answer within `read_timeout`",
        Cause::TooLarge => "its answer is too long",
    }
}

/// What one app's upstreams failed by.
pub(super) struct Failures {
    causes: [Noted; Cause::ALL.len()],
}

struct Noted {
    count: IntCounter,
    last: Mutex<Last>,
}

#[derive(Default)]
struct Last {
    said: Option<Tick>,
    /// How many there were since.
    unsaid: u64,
}

impl Last {
    /// Whether a line is due: how many were left out since the last one.
    fn say(&mut self, now: Tick) -> Option<u64> {
        if self.said.is_some_and(|said| now.since(said) < PAUSE) {
            self.unsaid += 1;
            return None;
        }
        self.said = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }
}

impl Failures {
    /// All at zero.
    pub(super) fn new(app: &str, metrics: &Metrics) -> Self {
        let noted = |cause: Cause| Noted {
            count: metrics.upstream_failures.with_label_values(&[app, cause.label()]),
            last: Mutex::default(),
        };
        Self { causes: Cause::ALL.map(noted) }
    }

    /// Counts it, and says it unless the same was said a moment ago. `upstream`: which one, as logs name it.
    pub(super) fn note(&self, app: &str, upstream: Option<&str>, cause: Cause, now: Tick) {
        let Some(noted) = Cause::ALL.iter().position(|one| *one == cause).and_then(|at| self.causes.get(at)) else {
            return;
        };
        noted.count.inc();
        let Some(more) = noted.last.lock().say(now) else { return };
        let (cause, why) = (cause.label(), words(cause));
        tracing::warn!(target: TARGET, app, upstream, cause, why, more, "request to the app failed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_failure_is_said_once_a_minute_with_how_many_there_were() {
        let (mut last, at) = (Last::default(), |millis| Tick::from_millis(millis));
        let said = [0, 1, 59_999, 60_000, 60_001, 200_000].map(|millis| last.say(at(millis)));
        assert_eq!(said, [Some(0), None, None, Some(2), None, Some(1)]);
    }

    #[test]
    fn each_cause_has_words_that_stand_alone() {
        let mut all: Vec<&str> = Cause::ALL.iter().map(|cause| words(*cause)).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), Cause::ALL.len());
        for key in
            ["`ca`", "`server_name`", "`client_certificate`", "`connect_timeout`", "`read_timeout`", "`upstreams`"]
        {
            assert!(all.iter().any(|words| words.contains(key)), "{key}");
        }
    }
}

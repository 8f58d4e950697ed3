//! What holds for every request of a connection, whatever it says itself: the rules of its listener, and the certificate that the client showed.

use std::fmt::Write as _;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The rules of one listener. The default has none.
#[derive(Debug, Default)]
pub struct ListenerPolicy {
    redirect_to: Option<Box<str>>,
    hsts: Option<Box<str>>,
}

impl ListenerPolicy {
    /// `redirect_to`: the origin to which each request is redirected. `hsts`: how long browsers are to use TLS alone for this host.
    pub fn new(redirect_to: Option<String>, hsts: Option<Duration>) -> Self {
        let hsts = hsts.map(|span| format!("max-age={}", span.as_secs()).into());
        Self { redirect_to: redirect_to.map(Into::into), hsts }
    }
}

/// One connection of a listener.
#[derive(Debug, Default)]
pub(in crate::gateway) struct ListenerConnection {
    policy: Arc<ListenerPolicy>,
    /// Set once, by the handshake.
    client_certificate: OnceLock<Box<str>>,
    /// Requests of it that are on their way to apps or wait for a mint.
    pub under_way: AtomicUsize,
}

impl ListenerConnection {
    pub fn new(policy: Arc<ListenerPolicy>) -> Arc<Self> {
        Arc::new(Self { policy, ..Self::default() })
    }

    /// Remembers the certificate that the client proved to hold, in DER.
    pub fn set_client_certificate(&self, der: &[u8]) {
        // A handshake ends once: it can't be set already.
        let _ = self.client_certificate.set(byte_sequence(der));
    }

    /// As the field of [RFC 9440, section 2.1](https://www.rfc-editor.org/rfc/rfc9440#section-2.1), has it; `None`: the client showed none.
    pub fn client_certificate(&self) -> Option<&str> {
        self.client_certificate.get().map(AsRef::as_ref)
    }

    /// The origin to which each request is redirected.
    pub fn redirect_to(&self) -> Option<&str> {
        self.policy.redirect_to.as_deref()
    }

    /// The value of `Strict-Transport-Security` ([RFC 6797, section 6.1](https://www.rfc-editor.org/rfc/rfc6797#section-6.1)) on each answer.
    pub fn hsts(&self) -> Option<&str> {
        self.policy.hsts.as_deref()
    }
}

/// A byte sequence of a structured field (RFC 8941, section 3.3.5).
fn byte_sequence(bytes: &[u8]) -> Box<str> {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4 + 2);
    text.push(':');
    STANDARD.encode_string(bytes, &mut text);
    text.push(':');
    text.into()
}

/// Where a request for `target` is sent instead: the same path and query at another origin, byte for byte. `None`: the target has no path.
pub(in crate::gateway) fn moved(target: &str, origin: &str) -> Option<String> {
    let rest = match target {
        "*" => "",
        path if path.starts_with('/') => path,
        absolute => {
            let (_, behind) = absolute.split_once("://")?;
            &behind[behind.find(['/', '?']).unwrap_or(behind.len())..]
        }
    };
    // A URI has no other characters, and a fragment is no part of a request (RFC 9112, section 3.2).
    if !rest.bytes().all(|b| b.is_ascii_graphic() && b != b'#') {
        return None;
    }
    let mut location = String::with_capacity(origin.len() + rest.len() + 1);
    let slash = if rest.starts_with('/') { "" } else { "/" };
    let _ = write!(location, "{origin}{slash}{rest}");
    Some(location)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_keeps_path_and_query_and_leads_to_no_other_host() {
        for (target, path) in [
            ("/", "/"),
            ("/a/b?c=d&e=/f?g", "/a/b?c=d&e=/f?g"),
            ("//evil.example/x", "//evil.example/x"),
            ("/\\evil.example", "/\\evil.example"),
            ("/%2e%2e/%00", "/%2e%2e/%00"),
            ("http://other.example/a?b", "/a?b"),
            ("http://other.example?b", "/?b"),
            ("http://other.example", "/"),
            ("*", "/"),
        ] {
            let location = moved(target, "https://app.example.com");
            assert_eq!(location, Some(format!("https://app.example.com{path}")), "{target}");
        }
        for target in ["other.example:443", "evil", "/a#b", "/\u{e9}", "/a b", "http://other.example/#x"] {
            assert_eq!(moved(target, "https://app.example.com"), None, "{target}");
        }
    }

    #[test]
    fn a_certificate_is_told_as_rfc_9440_has_it() {
        let connection = ListenerConnection::default();
        assert_eq!(connection.client_certificate(), None);
        connection.set_client_certificate(&[0x30, 0x82, 0xff, 0xfe]);
        assert_eq!(connection.client_certificate(), Some(":MIL//g==:"));
    }

    #[test]
    fn hsts_is_whole_seconds() {
        let hsts = |span| ListenerConnection::new(Arc::new(ListenerPolicy::new(None, span))).hsts().map(str::to_owned);
        assert_eq!(hsts(Some(Duration::from_secs(365 * 86_400))).as_deref(), Some("max-age=31536000"));
        assert_eq!(hsts(Some(Duration::ZERO)).as_deref(), Some("max-age=0"));
        assert_eq!(hsts(None), None);
    }
}

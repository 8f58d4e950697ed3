//! Origins, written as browsers send them.

use std::fmt;

use url::Url;

use super::host::{HostName, without_port};
use super::secure_url;
use crate::setting::{FieldFault, TextSetting, text_setting};

/// An origin as browsers write it in `Origin` ([RFC 6454, section 6.2](https://www.rfc-editor.org/rfc/rfc6454#section-6.2)): scheme, host and port, in lower case, without the scheme's own port. `https`, or
/// `http` on loopback and `*.localhost`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    text: Box<str>,
    /// Where the host begins in it.
    host_at: usize,
}

impl Origin {
    /// Its text, `https://app.example.com:8443`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// `https` or `http`.
    pub fn is_https(&self) -> bool {
        self.text.starts_with("https:")
    }

    /// `host` or `host:port`.
    pub fn authority(&self) -> &str {
        &self.text[self.host_at..]
    }

    /// The host alone.
    pub fn host(&self) -> &str {
        without_port(self.authority())
    }

    /// The origin of another host, with the same scheme and port.
    pub(crate) fn at(&self, host: &HostName) -> String {
        let (scheme, authority) = self.text.split_at(self.host_at);
        let port = authority.rsplit_once(':').map(|(_, port)| port).filter(|_| !authority.ends_with(']'));
        port.map_or_else(|| format!("{scheme}{host}"), |port| format!("{scheme}{host}:{port}"))
    }

    /// Whether a URL is of this origin.
    pub(crate) fn is_of(&self, url: &Url) -> bool {
        url.origin().ascii_serialization() == *self.text
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

text_setting!(Origin);

impl TextSetting for Origin {
    const EXAMPLE: &'static str = "https://app.example.com";

    fn read(text: &str) -> Result<Self, FieldFault> {
        let fault = |message: String| Err(FieldFault::of_value(message));
        let url = secure_url(text).map_err(FieldFault::of_value)?;
        let canonical = url.origin().ascii_serialization();
        if text.contains('*') {
            return fault("an origin has no `*`; name each one".into());
        }
        if text == canonical {
            return Ok(Self { text: text.into(), host_at: url.scheme().len() + "://".len() });
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return fault("expected an origin such as \"https://app.example.com\", without path or query".into());
        }
        fault(format!("write the origin as \"{canonical}\""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_written_as_browsers_send_it() {
        for good in [
            "https://spa.example.com",
            "https://spa.example.com:8443",
            "http://localhost:3000",
            "http://a.localhost",
            "http://127.0.0.1:1",
            "http://[::1]:8080",
        ] {
            assert_eq!(Origin::read(good).unwrap().as_str(), good);
        }
        let fault = |text: &str| Origin::read(text).unwrap_err().message;
        assert_eq!(fault("https://SPA.example.com"), "write the origin as \"https://spa.example.com\"");
        assert_eq!(fault("https://a.example:443"), "write the origin as \"https://a.example\"");
        assert_eq!(fault("https://a.example/"), "write the origin as \"https://a.example\"");
        for bad in [
            "http://a.example",
            "https://*.example.com",
            "https://a.example/x",
            "https://a.example?",
            "https://u@a.example",
            "https://@a.example",
            "null",
            "ftp://a.example",
            "https://a.example\t",
            "https:a.example",
            "https://",
        ] {
            assert!(Origin::read(bad).is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn the_parts_of_an_origin_are_those_that_are_written() {
        let other = HostName::read("other.example").unwrap();
        for (text, authority, host, at) in [
            ("https://a.example", "a.example", "a.example", "https://other.example"),
            ("https://a.example:8443", "a.example:8443", "a.example", "https://other.example:8443"),
            ("http://[::1]", "[::1]", "[::1]", "http://other.example"),
            ("http://[::1]:8080", "[::1]:8080", "[::1]", "http://other.example:8080"),
        ] {
            let origin = Origin::read(text).unwrap();
            assert_eq!((origin.authority(), origin.host(), &*origin.at(&other)), (authority, host, at), "{text}");
            assert_eq!(origin.is_https(), text.starts_with("https"), "{text}");
        }
    }
}

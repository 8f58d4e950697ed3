//! Hosts, as settings name them and as requests do: one comparison for all routes.

use std::fmt;

use url::{Host, Url};

use crate::setting::{FieldFault, TextSetting, text_setting};

/// A host without a port: a name in lower case and Punycode, or an IP address (an IPv6 address in brackets).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostName(Box<str>);

impl HostName {
    /// That of a URL, without the dot of the root at its end; `None` where the URL has no host.
    pub(crate) fn of(url: &Url) -> Option<Self> {
        url.host_str().map(|host| Self(host.strip_suffix('.').unwrap_or(host).into()))
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a `Host` field names it: in any case, with any port, with or without the dot of the root at the end of the name.
    pub fn is(&self, sent: &str) -> bool {
        self.0.eq_ignore_ascii_case(without_port(sent))
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_setting!(HostName);

impl TextSetting for HostName {
    const EXAMPLE: &'static str = "app.example.com";

    fn read(text: &str) -> Result<Self, FieldFault> {
        let host = parse(text).ok_or(FieldFault::of_value("expected a host name such as \"app.example.com\""))?;
        Ok(Self(host.to_string().into()))
    }
}

/// The hosts of a route: one, or all below a domain.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostRule {
    /// This one.
    Exact(HostName),
    /// `*.` before it: one or more labels, never the bare domain.
    Below(HostName),
}

impl HostRule {
    /// Whether a `Host` field names one of them, read as [`HostName::is`] reads it.
    pub fn covers(&self, sent: &str) -> bool {
        match self {
            Self::Exact(own) => own.is(sent),
            Self::Below(domain) => {
                let bare = without_port(sent);
                // Where the labels before the domain end, with their dot; the dot alone is no label.
                let labels = bare.len().checked_sub(domain.0.len()).filter(|end| *end > 1);
                let rest = labels.and_then(|end| bare.get(end - 1..)).and_then(|rest| rest.strip_prefix('.'));
                rest.is_some_and(|rest| domain.0.eq_ignore_ascii_case(rest))
            }
        }
    }

    /// The order of routes: the greatest is the most specific.
    pub(crate) fn weight(&self) -> (u8, usize) {
        match self {
            Self::Exact(_) => (2, 0),
            Self::Below(domain) => (1, domain.0.len()),
        }
    }

    /// One of the hosts.
    pub(crate) fn example(&self) -> String {
        match self {
            Self::Exact(own) => own.to_string(),
            Self::Below(domain) => format!("any.{domain}"),
        }
    }
}

impl fmt::Display for HostRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(own) => own.fmt(f),
            Self::Below(domain) => write!(f, "*.{domain}"),
        }
    }
}

text_setting!(HostRule);

impl TextSetting for HostRule {
    const EXAMPLE: &'static str = HostName::EXAMPLE;

    fn read(text: &str) -> Result<Self, FieldFault> {
        let fault = |message| Err(FieldFault::of_value(message));
        let domain = text.strip_prefix("*.");
        match (domain, parse(domain.unwrap_or(text))) {
            (None, Some(host)) => Ok(Self::Exact(HostName(host.to_string().into()))),
            (Some(_), Some(Host::Domain(name))) => Ok(Self::Below(HostName(name.into()))),
            (Some(_), Some(_)) => fault("`*.` goes before a domain, not before an IP address"),
            (_, None) => fault("expected a host name such as \"app.example.com\" or \"*.example.com\""),
        }
    }
}

/// A host name or IP address, of any case and script.
fn parse(text: &str) -> Option<Host> {
    let host = Host::parse(text).ok()?;
    let bad = |label: &str| label.is_empty() || label.contains('*');
    match &host {
        Host::Domain(name) if name.split('.').any(bad) || name.len() > 253 => None,
        Host::Domain(_) | Host::Ipv4(_) | Host::Ipv6(_) => Some(host),
    }
}

/// A `Host` without its port, and without the dot of the root at the end of the name (RFC 3986, section 3.2.2): `[::1]:80` is `[::1]`.
pub(crate) fn without_port(host: &str) -> &str {
    let bare = match host.rfind(':') {
        Some(colon) if !host.ends_with(']') => &host[..colon],
        Some(_) | None => host,
    };
    bare.strip_suffix('.').unwrap_or(bare)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_compared_in_one_form() {
        let is = |setting: &str, sent: &str| HostName::read(setting).unwrap().is(sent);
        for sent in ["app.test", "APP.test", "app.test:8443", "app.test.", "app.test.:8443"] {
            assert!(is("App.Test", sent), "{sent}");
        }
        for sent in ["", "app", "app.test..", "an.app.test", "app.tes", "app.test:1:2"] {
            assert!(!is("app.test", sent), "{sent}");
        }
        assert!(is("bücher.example", "xn--bcher-kva.example:8443"));
        assert!(is("[::1]", "[::1]:8080") && is("[0:0::1]", "[::1]") && is("127.1", "127.0.0.1"));
        for wrong in ["", "a b", "a:80", "*", "*.a.example", "a..b", "a.", ".a", "a/b", "u@a", &"a.".repeat(127)] {
            assert!(HostName::read(wrong).is_err(), "{wrong:?} was taken");
        }
    }

    #[test]
    fn a_rule_is_exact_or_below_a_domain() {
        let covers = |rule: &str, host: &str| HostRule::read(rule).unwrap().covers(host);
        for host in ["app.example.com", "APP.example.com", "app.example.com:8443", "app.example.com."] {
            assert!(covers("App.Example.com", host), "{host}");
            assert!(covers("*.example.com", host), "{host}");
        }
        for host in ["example.com", ".example.com", "appexample.com", "app.example.com.evil", "", "é.example.co"] {
            assert!(!covers("*.example.com", host), "{host}");
            assert!(!covers("app.example.com", host), "{host}");
        }
        assert!(covers("*.example.com", "a.b.example.com"));
        assert!(covers("*.bücher.example", "a.xn--bcher-kva.example"));
        assert!(covers("[::1]", "[::1]:8080"));
        for wrong in ["*", "*.", "*.*.a", "a.*.b", "*.127.0.0.1", "*.[::1]", "*a.example"] {
            assert!(HostRule::read(wrong).is_err(), "{wrong:?} was taken");
        }
    }
}

//! `redirect_hosts`, against open redirects: the only hosts to which a minted URL may send a browser.

mod browser;

use std::fmt;

use url::{Host, Url};

use crate::setting::{FieldFault, TextSetting, text_setting};
use crate::web::is_local;

/// A longer URL would not pass the header limits of common servers and proxies on the way.
const MAX_URL_BYTES: usize = 8 * 1024;

/// The hosts that are allowed. An empty list allows nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RedirectHosts(Box<[RedirectHost]>);

/// Why a minted URL is not sent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UrlFault {
    /// Not a URL of the plain form that every reader takes in the same way.
    Nonsense,
    /// A host, port or scheme outside `redirect_hosts`.
    ForbiddenHost,
}

/// An entry of `redirect_hosts`: `host`, `host:port`, `*.suffix`, `*.suffix:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedirectHost {
    /// In the form in which the URL parser writes it: lower case, Punycode, IPv6 in brackets.
    host: Box<str>,
    wildcard: bool,
    port: Option<u16>,
}

impl From<&[RedirectHost]> for RedirectHosts {
    fn from(entries: &[RedirectHost]) -> Self {
        Self(entries.into())
    }
}

impl RedirectHosts {
    /// Judges a URL as it came from the vendor. What is allowed opens, in any browser, the host that was judged.
    ///
    /// # Errors
    /// It is no URL of the plain form, or leads to another host.
    pub fn check(&self, text: &str) -> Result<(), UrlFault> {
        let url = plain(text).ok_or(UrlFault::Nonsense)?;
        let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else {
            return Err(UrlFault::Nonsense);
        };
        let local = is_local(&host);
        let own_port = match url.scheme() {
            "https" => 443,
            "http" if local => 80,
            _ => return Err(UrlFault::Nonsense),
        };
        let name = host.to_string();
        let allowed = self.0.iter().any(|pattern| {
            let port_fits = match pattern.port {
                Some(wanted) => port == wanted,
                None => local || port == own_port,
            };
            port_fits && pattern.covers(&name)
        });
        if allowed { Ok(()) } else { Err(UrlFault::ForbiddenHost) }
    }

    /// The entries in one agreed form, sorted, without repetition.
    pub(super) fn canonical(&self) -> Vec<String> {
        let mut entries: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        entries.sort();
        entries.dedup();
        entries
    }
}

/// The parsed URL, if it is `scheme://host[:port]` and what follows, and the parser found in it exactly the host and port that are written.
/// So nothing is decoded, repaired or skipped here that another reader might take otherwise.
fn plain(text: &str) -> Option<Url> {
    if text.len() > MAX_URL_BYTES || !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\') {
        return None;
    }
    let (scheme, rest) = text.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?.to_ascii_lowercase();
    let url = Url::parse(text).ok()?;
    let (host, port) = split_port(&authority)?;
    let same = scheme.eq_ignore_ascii_case(url.scheme())
        && url.username().is_empty()
        && url.password().is_none()
        && url.host_str() == Some(host)
        && port.is_none_or(|port| url.port_or_known_default() == Some(port));
    (same && !host.split('.').any(str::is_empty)).then_some(url)
}

/// `host` or `host:port`; an IPv6 address in brackets. The port in its shortest form, not 0.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let after_brackets = authority.rfind(']').map_or(0, |at| at + 1);
    match authority.get(after_brackets..)?.find(':') {
        None => Some((authority, None)),
        Some(colon) => {
            let (host, port) = authority.split_at(after_brackets + colon);
            let digits = &port[1..];
            let number: u16 = digits.parse().ok()?;
            (number > 0 && number.to_string() == digits).then_some((host, Some(number)))
        }
    }
}

text_setting!(RedirectHost);

impl TextSetting for RedirectHost {
    const EXAMPLE: &'static str = "embed.example.com";

    fn read(text: &str) -> Result<Self, FieldFault> {
        Self::parse(text).map_err(FieldFault::of_value)
    }
}

impl RedirectHost {
    fn parse(entry: &str) -> Result<Self, &'static str> {
        const EXPECTED: &str = "expected `host`, `host:port` or `*.suffix`";
        let entry = entry.to_lowercase();
        if entry.contains(['/', '?', '#', '@', '\\']) {
            return Err(EXPECTED);
        }
        let (name, port) =
            split_port(&entry).ok_or("a port is a number from 1 to 65535, without a zero at its beginning")?;
        let (name, wildcard) = match name.strip_prefix("*.") {
            Some(suffix) => (suffix, true),
            None => (name, false),
        };
        if name.contains('*') || name.len() > 253 || name.split('.').any(str::is_empty) {
            return Err(EXPECTED);
        }
        let host = Host::parse(name).map_err(|_| EXPECTED)?;
        let text = host.to_string();
        // An address in another form (`2130706433`) or a name with escapes: what is meant should be written.
        if name.is_ascii() && text != name {
            return Err("not in the form in which a browser writes this host");
        }
        if wildcard {
            match &host {
                Host::Domain(name) if is_public_suffix(name) => {
                    return Err(
                        "`*.` before a public suffix would allow everybody's hosts; name the vendor's own domain",
                    );
                }
                Host::Domain(_) => {}
                Host::Ipv4(_) | Host::Ipv6(_) => return Err("`*.` goes before a domain, not before an IP address"),
            }
        }
        Ok(Self { host: text.into(), wildcard, port })
    }

    /// `*.` is one or more labels, never the bare domain.
    fn covers(&self, host: &str) -> bool {
        match (self.wildcard, host.strip_suffix(&*self.host)) {
            (false, _) => *self.host == *host,
            (true, Some(labels)) => labels.len() > 1 && labels.ends_with('.'),
            (true, None) => false,
        }
    }
}

impl fmt::Display for RedirectHost {
    /// In one agreed form.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let star = if self.wildcard { "*." } else { "" };
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        write!(f, "{star}{}{port}", self.host)
    }
}

/// A name of the Public Suffix List, or a top-level name that it does not know; `localhost` is nobody's to register.
fn is_public_suffix(name: &str) -> bool {
    name != "localhost" && psl::suffix_str(name).is_none_or(|suffix| suffix == name)
}

#[cfg(test)]
mod tests;

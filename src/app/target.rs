//! An entry of `upstreams`: how it is written, and what it means.

use std::net::{IpAddr, SocketAddr};
use std::os::unix::net::SocketAddr as UnixSocketAddr;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use url::Host;

use super::address::Address;

const EXPECTED: &str = "expected `host:port`, `https://host:port`, `h2c://host:port` or `unix:/path`";

const SOCKET: &str = "expected an absolute path after `unix:`, such as `unix:/run/app.sock`";

/// What an upstream speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    /// HTTP/1.1 in the clear.
    Http,
    /// HTTP/2 or HTTP/1.1 over TLS, as the upstream chooses.
    Https,
    /// HTTP/2 in the clear ([RFC 9113, section 3.3](https://www.rfc-editor.org/rfc/rfc9113#section-3.3)).
    H2c,
}

/// An entry of `upstreams`.
#[derive(Debug)]
pub(super) struct Target {
    /// As configured.
    pub(super) text: Arc<str>,
    pub(super) scheme: Scheme,
    pub(super) endpoint: Endpoint,
}

/// Where an entry of `upstreams` leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// A name or an IP address, and a port.
    Net(Host<String>, u16),
    /// The absolute path of a Unix socket.
    Unix(Arc<str>),
}

impl Target {
    /// Reads one entry. The fault holds nothing of the entry.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self {
                text: text.into(),
                scheme: Scheme::Http,
                endpoint: Endpoint::Unix(socket(path)?.into()),
            });
        }
        let (scheme, authority) = match text.split_once("://") {
            None => (Scheme::Http, text),
            Some(("http", authority)) => (Scheme::Http, authority),
            Some(("https", authority)) => (Scheme::Https, authority),
            Some(("h2c", authority)) => (Scheme::H2c, authority),
            Some(_) => return Err(EXPECTED),
        };
        if authority.starts_with("unix:") {
            return Err("over a Unix socket HTTP/1.1 without TLS is spoken, and nothing else: write `unix:/path`");
        }
        if authority.contains('@') {
            return Err("an upstream has no user name or password");
        }
        if authority.contains(['/', '\\', '?', '#']) {
            return Err("an upstream is a host and a port, without a path");
        }
        let (host, port) = split(authority)?;
        let port = match (port, scheme) {
            (Some(port), _) => number(port).ok_or("a port is a number from 1 to 65535")?,
            (None, Scheme::Https) => 443,
            (None, Scheme::Http) if text.starts_with("http://") => 80,
            (None, Scheme::Http | Scheme::H2c) => return Err(EXPECTED),
        };
        let target = Self { text: text.into(), scheme, endpoint: Endpoint::Net(read_host(host)?, port) };
        if scheme == Scheme::Https && ServerName::try_from(target.sni()).is_err() {
            return Err("no certificate can be for this name");
        }
        Ok(target)
    }

    /// The address, or the name and port to ask DNS for: only a name needs asking.
    pub(super) fn lookup(&self) -> Result<Address, (&str, u16)> {
        match &self.endpoint {
            Endpoint::Net(Host::Domain(name), port) => Err((name, *port)),
            Endpoint::Net(Host::Ipv4(ip), port) => Ok(Address::Ip(SocketAddr::new(IpAddr::V4(*ip), *port))),
            Endpoint::Net(Host::Ipv6(ip), port) => Ok(Address::Ip(SocketAddr::new(IpAddr::V6(*ip), *port))),
            Endpoint::Unix(path) => Ok(Address::Unix(Arc::clone(path))),
        }
    }

    /// Whether both are the same place, whatever is spoken there.
    pub(super) fn is_alike(&self, other: &Self) -> bool {
        self.endpoint == other.endpoint
    }

    /// What its certificate must be for: the host without the dot at the end of an absolute name, an IPv6 address without brackets.
    pub(super) fn sni(&self) -> String {
        match &self.endpoint {
            Endpoint::Net(Host::Domain(name), _) => name.trim_end_matches('.').to_owned(),
            Endpoint::Net(Host::Ipv4(ip), _) => ip.to_string(),
            Endpoint::Net(Host::Ipv6(ip), _) => ip.to_string(),
            Endpoint::Unix(_) => String::new(),
        }
    }

    /// What a request's `Host` calls it: without the port where the scheme has it anyway. A socket has the name of this machine.
    pub(super) fn authority(&self) -> String {
        match (&self.endpoint, self.scheme) {
            (Endpoint::Net(host, 80), Scheme::Http) | (Endpoint::Net(host, 443), Scheme::Https) => host.to_string(),
            (Endpoint::Net(host, port), _) => format!("{host}:{port}"),
            (Endpoint::Unix(_), _) => "localhost".into(),
        }
    }
}

/// The path of a Unix socket, as the kernel takes it.
fn socket(path: &str) -> Result<&str, &'static str> {
    if !path.starts_with('/') || path.starts_with("//") || path.ends_with('/') {
        return Err(SOCKET);
    }
    // A path of no such length, or with a zero in it.
    UnixSocketAddr::from_pathname(path)
        .map_err(|_| "a socket's path has at most 107 bytes, and none of them is zero")?;
    Ok(path)
}

/// The host (an IPv6 address with its brackets) and what follows its colon.
fn split(authority: &str) -> Result<(&str, Option<&str>), &'static str> {
    let after_brackets = authority.strip_prefix('[').and_then(|rest| rest.find(']')).map_or(0, |end| end + 2);
    let (brackets, rest) = authority.split_at(after_brackets);
    let (name, port) = rest.rsplit_once(':').map_or((rest, None), |(name, port)| (name, Some(port)));
    match (brackets, name) {
        ("", "") => Err(EXPECTED),
        ("", name) if name.contains(':') => Err("an IPv6 address stands in brackets, as in `[::1]:3000`"),
        ("", name) => Ok((name, port)),
        (brackets, "") => Ok((brackets, port)),
        _ => Err(EXPECTED),
    }
}

/// Digits alone: the parser of the standard library would take a `+` too.
pub(super) fn number(text: &str) -> Option<u16> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?.filter(|port| *port != 0)
}

/// Names with underscores, as of containers, are names too. An IPv4 address has four decimal parts: other forms are a slip more often than meant.
pub(super) fn read_host(text: &str) -> Result<Host<String>, &'static str> {
    const NO_HOST: &str = "expected a host name or an IP address";
    let labels = text.strip_suffix('.').unwrap_or(text).split('.');
    let is_name = |label: &str| {
        !label.is_empty() && label.chars().all(|c| !c.is_ascii() || c.is_ascii_alphanumeric() || "-_".contains(c))
    };
    if !text.starts_with('[') && !labels.into_iter().all(is_name) {
        return Err(NO_HOST);
    }
    match Host::parse(text).map_err(|_| NO_HOST)? {
        Host::Ipv4(ip) if ip.to_string() != text => Err("an IPv4 address has four parts, as in `10.0.0.7`"),
        host => Ok(host),
    }
}

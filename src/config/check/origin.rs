//! Addresses, hosts, URLs and origins.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

pub(super) use crate::web::{host, is_local, secure_url};

use crate::web::web_url;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Address {
    Ip(SocketAddr),
    Unix(String),
}

/// `sun_path` of Linux holds 108 bytes, the zero at its end among them.
const MAX_SOCKET_PATH: usize = 107;

impl Address {
    /// `ADDRESS:PORT`, `[IPv6]:PORT` or `unix:/path`.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        if let Some(path) = text.strip_prefix("unix:") {
            if !Path::new(path).is_absolute() || path.ends_with('/') || path.contains('\0') {
                return Err("expected an absolute path after `unix:`, such as \"unix:/run/valet.sock\"");
            }
            if path.len() > MAX_SOCKET_PATH {
                return Err("a socket's path has at most 107 bytes");
            }
            return Ok(Self::Unix(path.into()));
        }
        text.parse()
            .map(Self::Ip)
            .map_err(|_| "expected an address such as \"127.0.0.1:8080\", \"[::1]:8080\" or \"unix:/run/valet.sock\"")
    }

    /// Whether both can't be had at once. Port 0 is a fresh one each time; `0.0.0.0` takes the port of all IPv4 addresses, and `[::]` that of
    /// all addresses, unless the machine keeps the families apart (`net.ipv6.bindv6only`).
    pub(super) fn collides(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Unix(a), Self::Unix(b)) => a == b,
            (Self::Ip(a), Self::Ip(b)) => {
                let (one, other) = (a.ip().to_canonical(), b.ip().to_canonical());
                let takes = |any: IpAddr, other: IpAddr| {
                    any.is_unspecified() && (any.is_ipv4() == other.is_ipv4() || any.is_ipv6() && takes_both_families())
                };
                a.port() == b.port() && a.port() != 0 && (one == other || takes(one, other) || takes(other, one))
            }
            _ => false,
        }
    }
}

/// Whether `[::]` takes IPv4 connections too. Linux says it in a file; where there is none we do not know, and say nothing.
fn takes_both_families() -> bool {
    std::fs::read_to_string("/proc/sys/net/ipv6/bindv6only").is_ok_and(|text| text.trim() == "0")
}

/// Exactly an origin as browsers send it (RFC 6454): lower case, no default port, no slash at its end.
pub(super) fn origin(text: &str) -> Result<(), String> {
    let url = secure_url(text)?;
    let canonical = url.origin().ascii_serialization();
    if text.contains('*') {
        return Err("an origin has no `*`; name each one".into());
    }
    if text == canonical {
        return Ok(());
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err("expected an origin such as \"https://app.example.com\", without path or query".into());
    }
    Err(format!("write the origin as \"{canonical}\""))
}

/// Where a browser is sent to sign in: a path of our own host, or an http(s) URL.
pub(super) fn login_url(text: &str) -> Result<(), String> {
    if !super::is_visible(text.as_bytes()) || text.contains('\\') {
        return Err("expected a path or URL of visible ASCII without `\\`; percent-encode the rest".into());
    }
    if text.starts_with('/') {
        let foreign = text.starts_with("//");
        return if foreign { Err("a path that starts with `//` is another host".into()) } else { Ok(()) };
    }
    web_url(text).map(drop).map_err(|_| "expected a path that starts with `/`, or an http(s) URL".into())
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
            assert_eq!(origin(good), Ok(()), "{good}");
        }
        assert_eq!(origin("https://SPA.example.com"), Err("write the origin as \"https://spa.example.com\"".into()));
        assert_eq!(origin("https://a.example:443"), Err("write the origin as \"https://a.example\"".into()));
        assert_eq!(origin("https://a.example/"), Err("write the origin as \"https://a.example\"".into()));
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
            assert!(origin(bad).is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn addresses_that_can_not_be_had_together_collide() {
        let collide = |a: &str, b: &str| Address::parse(a).unwrap().collides(&Address::parse(b).unwrap());
        assert!(collide("127.0.0.1:80", "127.0.0.1:80"));
        assert!(collide("0.0.0.0:80", "127.0.0.1:80"));
        assert!(collide("unix:/a", "unix:/a"));
        assert!(collide("[::]:80", "[::1]:80"));
        assert!(collide("[::ffff:127.0.0.1]:80", "127.0.0.1:80"));
        assert!(!collide("0.0.0.0:80", "[::1]:80"));
        if takes_both_families() {
            assert!(collide("[::]:80", "0.0.0.0:80"));
            assert!(collide("127.0.0.1:80", "[::]:80"));
        }
        assert!(!collide("127.0.0.1:80", "127.0.0.2:80"));
        assert!(!collide("127.0.0.1:80", "[::1]:80"));
        assert!(!collide("127.0.0.1:0", "127.0.0.1:0"));
        assert!(Address::parse(&format!("unix:/{}", "a".repeat(106))).is_ok());
        assert!(Address::parse(&format!("unix:/{}", "a".repeat(107))).is_err());
    }

    #[test]
    fn a_login_url_stays_on_our_host_or_names_another_in_full() {
        for good in ["/login", "/", "/login?x=1", "https://login.example.com/start", "http://login.example.com"] {
            assert_eq!(login_url(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "login",
            "//evil.example",
            "/\\evil.example",
            "/lo gin",
            "/a\r\nb",
            "javascript:alert(1)",
            "https:evil",
        ] {
            assert!(login_url(bad).is_err(), "{bad:?} was taken");
        }
    }
}

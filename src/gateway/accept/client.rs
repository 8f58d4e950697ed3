//! The client's address behind trusted proxies: `X-Forwarded-For`, or `Forwarded` (RFC 7239), read from the right.

use std::net::{IpAddr, SocketAddr};

use crate::gateway::accept::forwarded::{ForwardedChain, split};
use crate::gateway::accept::trusted::Trusted;

/// The client behind `peer`, a trusted proxy: going back from it, the first address that is no proxy's; the farthest, if all are. `None`: what the
/// proxies say can't be read that far, and the peer itself counts.
///
/// `X-Forwarded-For` is read alone where it is there: a proxy that writes the one passes the other on as the client sent it.
pub(in crate::gateway) fn address(chain: &ForwardedChain<'_>, trusted: &Trusted) -> Option<IpAddr> {
    let hops: Vec<Option<IpAddr>> = match chain.forwarded_for.is_empty() {
        false => chain.forwarded_for.iter().flat_map(|value| value.split(|b| *b == b',')).map(plain).collect(),
        true => chain.forwarded.iter().flat_map(|value| elements(value)).collect(),
    };
    let mut farthest = None;
    for hop in hops.into_iter().rev() {
        let hop = hop?;
        farthest = Some(hop);
        if !trusted.holds(hop) {
            break;
        }
    }
    farthest
}

/// An entry of `X-Forwarded-For`: an address, some proxies add a port.
fn plain(entry: &[u8]) -> Option<IpAddr> {
    node(std::str::from_utf8(entry.trim_ascii()).ok()?)
}

/// `192.0.2.43`, `192.0.2.43:47011`, `[2001:db8::1]`, `[2001:db8::1]:47011` or `2001:db8::1`; `unknown` and made-up names are no addresses.
fn node(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let address = match bare {
        Some(v6) => IpAddr::V6(v6.parse().ok()?),
        None => text.parse().or_else(|_| text.parse().map(|socket: SocketAddr| socket.ip())).ok()?,
    };
    Some(address.to_canonical())
}

/// The `for` of each element of a `Forwarded` value (RFC 7239, section 4).
fn elements(value: &[u8]) -> Vec<Option<IpAddr>> {
    let Ok(text) = std::str::from_utf8(value) else { return vec![None] };
    let Some(elements) = split(text, ',') else { return vec![None] };
    let origin = |element: &str| {
        let pairs = split(element, ';')?;
        let mut origins = pairs.into_iter().filter_map(|pair| {
            let (name, value) = pair.split_once('=')?;
            name.trim().eq_ignore_ascii_case("for").then_some(value.trim())
        });
        let (origin, None) = (origins.next()?, origins.next()) else { return None };
        // No address holds a quote or a backslash: what remains after unquoting is none either.
        node(origin.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(origin))
    };
    elements.into_iter().map(origin).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(fields: &[(&str, &str)]) -> Option<String> {
        let trusted = Trusted::new(&["10.0.0.0/8".to_owned(), "fd00::/8".to_owned()]);
        let chain = ForwardedChain::read(fields.iter().map(|(name, value)| (*name, value.as_bytes())));
        address(&chain, &trusted).map(|address| address.to_string())
    }

    #[test]
    fn the_client_is_the_last_address_before_our_proxies() {
        for (value, address) in [
            ("203.0.113.7", Some("203.0.113.7")),
            ("203.0.113.7, 10.0.0.2", Some("203.0.113.7")),
            // What the client wrote itself stands farther away.
            ("1.1.1.1, 203.0.113.7", Some("203.0.113.7")),
            ("10.0.0.9, 203.0.113.7, 10.0.0.2,10.0.0.3", Some("203.0.113.7")),
            ("nonsense, 203.0.113.7, 10.0.0.2", Some("203.0.113.7")),
            // All are ours: somebody inside.
            ("10.0.0.9, 10.0.0.2", Some("10.0.0.9")),
            ("203.0.113.7:4711", Some("203.0.113.7")),
            ("2001:db8::1", Some("2001:db8::1")),
            ("[2001:db8::1]", Some("2001:db8::1")),
            ("[2001:db8::1]:4711, fd00::2", Some("2001:db8::1")),
            ("::ffff:203.0.113.7", Some("203.0.113.7")),
            ("203.0.113.7, ::ffff:10.0.0.2", Some("203.0.113.7")),
            // Nothing that can be believed.
            ("", None),
            (",", None),
            ("203.0.113.7,", None),
            ("unknown", None),
            ("_hidden", None),
            ("203.0.113.7, unknown, 10.0.0.2", None),
            ("203.0.113", None),
            ("203.0.113.7:", None),
            ("203.0.113.7:99999", None),
            ("2001:db8::1%eth0", None),
            ("[203.0.113.7]", None),
            ("203.0.113.7 10.0.0.2", None),
        ] {
            assert_eq!(client(&[("X-Forwarded-For", value)]).as_deref(), address, "{value}");
        }
    }

    #[test]
    fn several_lines_are_one_list() {
        let lines = [("X-Forwarded-For", "1.1.1.1, 203.0.113.7"), ("Cookie", "a=b"), ("x-forwarded-for", "10.0.0.2")];
        assert_eq!(client(&lines).as_deref(), Some("203.0.113.7"));
        let lines = [("X-Forwarded-For", "203.0.113.7"), ("X-Forwarded-For", "nonsense")];
        assert_eq!(client(&lines), None);
        let lines = [("Forwarded", "for=1.1.1.1"), ("Forwarded", "for=203.0.113.7;proto=https, for=10.0.0.2")];
        assert_eq!(client(&lines).as_deref(), Some("203.0.113.7"));
    }

    #[test]
    fn forwarded_is_read_where_x_forwarded_for_is_absent() {
        for (value, address) in [
            ("for=203.0.113.7", Some("203.0.113.7")),
            ("For=\"203.0.113.7:4711\"; Proto=http ; by=10.0.0.1", Some("203.0.113.7")),
            ("for=\"[2001:db8:cafe::17]:4711\"", Some("2001:db8:cafe::17")),
            ("for=1.1.1.1, proto=https;for=203.0.113.7, for=10.0.0.2", Some("203.0.113.7")),
            ("host=\"a,b;for=1.1.1.1\";for=203.0.113.7", Some("203.0.113.7")),
            ("host=\"a\\\",for=1.1.1.1\";for=203.0.113.7", Some("203.0.113.7")),
            ("for=unknown", None),
            ("for=_gazonk", None),
            ("for=\"_SEVKISEK\", for=10.0.0.2", None),
            ("for=203.0.113.7;for=203.0.113.8", None),
            ("proto=https", None),
            ("for=\"203.0.113.7", None),
            ("for=", None),
            ("", None),
        ] {
            assert_eq!(client(&[("Forwarded", value)]).as_deref(), address, "{value}");
        }
        let both = [("Forwarded", "for=1.1.1.1"), ("X-Forwarded-For", "203.0.113.7")];
        assert_eq!(client(&both).as_deref(), Some("203.0.113.7"));
        let both = [("Forwarded", "for=1.1.1.1"), ("X-Forwarded-For", "")];
        assert_eq!(client(&both), None);
    }

    #[test]
    fn nothing_said_is_no_client() {
        assert_eq!(client(&[("Host", "a")]), None);
    }
}

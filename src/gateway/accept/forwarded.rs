//! Forwarding headers for apps: `X-Forwarded-*`, and `Forwarded` (RFC 7239).
//!
//! Written afresh for each request. What came in is kept, and added to, only where it came from a trusted proxy: anybody else could write it.

use smallvec::SmallVec;

/// The values of one field: mostly it is there once, if at all.
type Values<'h> = SmallVec<[&'h [u8]; 1]>;

/// What a request says of where it came from; empty where it did not come from a trusted proxy.
#[derive(Clone, Debug, Default)]
pub struct ForwardedChain<'h> {
    pub(in crate::gateway) forwarded_for: Values<'h>,
    pub(in crate::gateway) forwarded: Values<'h>,
    proto: Values<'h>,
    host: Values<'h>,
    port: Values<'h>,
}

impl<'h> ForwardedChain<'h> {
    /// From the fields of a request that a trusted proxy passed on.
    pub fn read(fields: impl IntoIterator<Item = (&'h str, &'h [u8])>) -> Self {
        let mut chain = Self::default();
        for (name, value) in fields {
            // The length tells most names apart before letters are compared.
            let list = match name.len() {
                15 if name.eq_ignore_ascii_case("x-forwarded-for") => &mut chain.forwarded_for,
                9 if name.eq_ignore_ascii_case("forwarded") => &mut chain.forwarded,
                17 if name.eq_ignore_ascii_case("x-forwarded-proto") => &mut chain.proto,
                16 if name.eq_ignore_ascii_case("x-forwarded-host") => &mut chain.host,
                16 if name.eq_ignore_ascii_case("x-forwarded-port") => &mut chain.port,
                _ => continue,
            };
            list.push(value);
        }
        chain
    }
}

/// What we know ourselves.
#[derive(Clone, Copy, Debug)]
pub struct Connection<'a> {
    /// The address of the peer that is connected, or was announced by the PROXY protocol, as it is written; `None` on a Unix socket.
    pub peer: Option<&'a str>,
    /// Whether the connection has TLS.
    pub tls: bool,
    /// `Host`, checked; may be empty (HTTP/1.0).
    pub host: &'a str,
}

/// Gives the fields to set, each once: a name, and the parts of its value one behind the other.
pub fn fields(chain: &ForwardedChain<'_>, connection: Connection<'_>, mut field: impl FnMut(&'static str, &[&[u8]])) {
    let proto = scheme(chain).unwrap_or(if connection.tls { "https" } else { "http" });
    let host = only(&chain.host).filter(|host| crate::gateway::http1::head::is_host(host)).unwrap_or(connection.host);
    let port = only(&chain.port).filter(|port| port.parse::<u16>().is_ok_and(|number| number > 0));
    let port = port.or_else(|| port_of(host)).unwrap_or(if proto == "https" { "443" } else { "80" });
    let all_for = list(&chain.forwarded_for, connection.peer.as_slice());
    if !all_for.is_empty() {
        field("x-forwarded-for", &all_for);
    }
    field("x-forwarded-proto", &[proto.as_bytes()]);
    if !host.is_empty() {
        field("x-forwarded-host", &[host.as_bytes()]);
    }
    field("x-forwarded-port", &[port.as_bytes()]);
    field("forwarded", &list(&chain.forwarded, &element(connection)));
}

/// The scheme that the client used, as the proxies before us say: the first entry of `X-Forwarded-Proto`, and without any such field the first `proto`
/// of `Forwarded`. In a list each proxy stands behind the one before it, so that the first entry is of the one that the client reached, if that one
/// overwrites what clients send. A proxy that writes an `X-Forwarded-` field passes `Forwarded` on as the client sent it: then nobody vouches for it.
pub(in crate::gateway) fn scheme(chain: &ForwardedChain<'_>) -> Option<&'static str> {
    match chain.proto.as_slice() {
        [] if chain.forwarded_for.is_empty() => {
            chain.forwarded.iter().find_map(|value| proto_of(std::str::from_utf8(value).ok()?))
        }
        [one] => known_scheme(std::str::from_utf8(one).ok()?.split(',').next()?),
        _ => None,
    }
}

/// A proxy may name the protocol of a WebSocket (RFC 6455, section 3), which stands on HTTP's.
pub(in crate::gateway) fn known_scheme(text: &str) -> Option<&'static str> {
    let text = text.trim();
    let is = |names: [&str; 2]| names.iter().any(|name| text.eq_ignore_ascii_case(name));
    if is(["https", "wss"]) {
        Some("https")
    } else if is(["http", "ws"]) {
        Some("http")
    } else {
        None
    }
}

/// The first `proto` of a `Forwarded` value (RFC 7239, section 5.4).
fn proto_of(value: &str) -> Option<&'static str> {
    let pairs = split(value, ',')?.into_iter().filter_map(|element| split(element, ';')).flatten();
    let mut protos = pairs.filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("proto").then_some(value.trim())
    });
    let first = protos.next()?;
    known_scheme(first.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(first))
}

/// The parts between separators outside quoted strings (RFC 9110, section 5.6.4); `None`: a quote is not closed.
pub(in crate::gateway) fn split(text: &str, separator: char) -> Option<Vec<&str>> {
    let (mut parts, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            c if c == separator && !quoted => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    (!quoted).then_some(parts)
}

/// The value of the only field, where it is text.
fn only<'h>(values: &[&'h [u8]]) -> Option<&'h str> {
    let [one] = values else { return None };
    std::str::from_utf8(one).ok()
}

/// Parts of a value. Where nothing was said, those of our own element.
type Parts<'p> = SmallVec<[&'p [u8]; 9]>;

/// What was said, and then the element that these parts make. Values that are no visible ASCII are left out: no list that a reader could take
/// apart in two ways.
fn list<'p>(values: &[&'p [u8]], more: &[&'p str]) -> Parts<'p> {
    let values = values.iter().filter_map(|value| std::str::from_utf8(value).ok()).map(str::trim);
    let values = values.filter(|value| !value.is_empty() && value.bytes().all(|b| matches!(b, 0x20..=0x7e)));
    let mut parts = Parts::new();
    for value in values {
        if !parts.is_empty() {
            parts.push(b", ");
        }
        parts.push(value.as_bytes());
    }
    if !parts.is_empty() && !more.is_empty() {
        parts.push(b", ");
    }
    parts.extend(more.iter().map(|part| part.as_bytes()));
    parts
}

/// `example.com:8443` → `8443`.
fn port_of(host: &str) -> Option<&str> {
    let (_, port) = host.split_at_checked(memchr::memrchr(b':', host.as_bytes())? + 1)?;
    (!port.is_empty() && port.bytes().all(|b| b.is_ascii_digit())).then_some(port)
}

/// The parts of our own element (RFC 7239, section 4): what is no token stands in quotes.
fn element(connection: Connection<'_>) -> SmallVec<[&str; 9]> {
    let mut parts = SmallVec::new();
    match connection.peer {
        None => parts.push("for=unknown"),
        Some(v6) if v6.contains(':') => parts.extend(["for=\"[", v6, "]\""]),
        Some(v4) => parts.extend(["for=", v4]),
    }
    match connection.host {
        "" => {}
        host if host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b)) => {
            parts.extend([";host=", host]);
        }
        // Checked to hold neither quote nor backslash.
        host => parts.extend([";host=\"", host, "\""]),
    }
    parts.push(if connection.tls { ";proto=https" } else { ";proto=http" });
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(
        chain: &[(&'static str, &'static str)],
        peer: Option<&str>,
        tls: bool,
        host: &str,
    ) -> Vec<(&'static str, String)> {
        let chain = ForwardedChain::read(chain.iter().map(|(name, value)| (*name, value.as_bytes())));
        let mut told = Vec::new();
        fields(&chain, Connection { peer, tls, host }, |name, parts| {
            told.push((name, String::from_utf8(parts.concat()).unwrap()));
        });
        told
    }

    fn pairs(list: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
        list.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
    }

    #[test]
    fn without_a_proxy_all_is_what_we_know() {
        assert_eq!(
            told(&[], Some("203.0.113.7"), true, "app.example.com"),
            pairs(&[
                ("x-forwarded-for", "203.0.113.7"),
                ("x-forwarded-proto", "https"),
                ("x-forwarded-host", "app.example.com"),
                ("x-forwarded-port", "443"),
                ("forwarded", "for=203.0.113.7;host=app.example.com;proto=https"),
            ])
        );
        assert_eq!(
            told(&[], Some("2001:db8::1"), false, "app.example.com:8080"),
            pairs(&[
                ("x-forwarded-for", "2001:db8::1"),
                ("x-forwarded-proto", "http"),
                ("x-forwarded-host", "app.example.com:8080"),
                ("x-forwarded-port", "8080"),
                ("forwarded", "for=\"[2001:db8::1]\";host=\"app.example.com:8080\";proto=http"),
            ])
        );
    }

    #[test]
    fn a_proxys_words_are_kept_and_its_address_is_added() {
        let chain = [
            ("X-Forwarded-For", "203.0.113.7"),
            ("x-forwarded-for", "10.0.0.3"),
            ("X-Forwarded-Proto", "https"),
            ("X-Forwarded-Host", "app.example.com"),
            ("X-Forwarded-Port", "8443"),
            ("Forwarded", "for=203.0.113.7;proto=https"),
            ("X-Forwarded-Server", "not ours"),
        ];
        assert_eq!(
            told(&chain, Some("10.0.0.2"), false, "inner.example"),
            pairs(&[
                ("x-forwarded-for", "203.0.113.7, 10.0.0.3, 10.0.0.2"),
                ("x-forwarded-proto", "https"),
                ("x-forwarded-host", "app.example.com"),
                ("x-forwarded-port", "8443"),
                ("forwarded", "for=203.0.113.7;proto=https, for=10.0.0.2;host=inner.example;proto=http"),
            ])
        );
    }

    #[test]
    fn what_can_not_be_meant_is_written_afresh() {
        let chain = [
            ("X-Forwarded-For", "\u{7f}"),
            ("X-Forwarded-Proto", "gopher"),
            ("X-Forwarded-Host", "a b"),
            ("X-Forwarded-Port", "0"),
            ("Forwarded", " "),
        ];
        assert_eq!(told(&chain, Some("10.0.0.2"), true, "a.example"), told(&[], Some("10.0.0.2"), true, "a.example"));
        let twice = [("X-Forwarded-Proto", "https"), ("X-Forwarded-Proto", "http")];
        assert_eq!(told(&twice, None, false, "a.example"), told(&[], None, false, "a.example"));
    }

    #[test]
    fn the_scheme_that_a_proxy_names_counts_in_each_form() {
        for (name, value, scheme) in [
            ("X-Forwarded-Proto", "HTTPS", "https"),
            ("X-Forwarded-Proto", "https, http", "https"),
            ("X-Forwarded-Proto", "https,http,http", "https"),
            ("X-Forwarded-Proto", "http, https", "http"),
            ("X-Forwarded-Proto", " Https ", "https"),
            ("X-Forwarded-Proto", "wss", "https"),
            ("X-Forwarded-Proto", "ftp, https", "http"),
            ("X-Forwarded-Proto", "", "http"),
            ("Forwarded", "proto=https", "https"),
            ("Forwarded", "for=203.0.113.7;Proto=\"HTTPS\", for=10.0.0.3;proto=http", "https"),
            ("Forwarded", "for=\"a;proto=https\"", "http"),
            ("Forwarded", "for=203.0.113.7", "http"),
            ("Forwarded", "proto=\"https", "http"),
        ] {
            let told = told(&[(name, value)], Some("10.0.0.2"), false, "a.example");
            let port = if scheme == "https" { "443" } else { "80" };
            for (field, expected) in [("x-forwarded-proto", scheme), ("x-forwarded-port", port)] {
                assert!(told.contains(&(field, expected.to_owned())), "{name}: {value}: {told:?}");
            }
        }
        let both = told(&[("Forwarded", "proto=https"), ("X-Forwarded-Proto", "http")], None, false, "a.example");
        assert!(both.contains(&("x-forwarded-proto", "http".to_owned())), "{both:?}");
        let passed_on = [("X-Forwarded-For", "203.0.113.7"), ("Forwarded", "proto=https")];
        let told = told(&passed_on, Some("10.0.0.2"), false, "a.example");
        assert!(told.contains(&("x-forwarded-proto", "http".to_owned())), "{told:?}");
    }

    #[test]
    fn behind_a_unix_socket_nobody_has_an_address() {
        let alone = told(&[], None, false, "");
        assert_eq!(
            alone,
            pairs(&[
                ("x-forwarded-proto", "http"),
                ("x-forwarded-port", "80"),
                ("forwarded", "for=unknown;proto=http")
            ])
        );
        assert_eq!(told(&[("X-Forwarded-For", "203.0.113.7")], None, false, "")[0].1, "203.0.113.7");
    }

    #[test]
    fn hosts_with_brackets_have_their_ports_found() {
        for (host, port) in [("[::1]:8080", "8080"), ("[::1]", "80"), ("a", "80")] {
            let told = told(&[], None, false, host);
            assert!(told.contains(&("x-forwarded-port", port.to_owned())), "{told:?}");
        }
    }
}

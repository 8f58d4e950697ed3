//! `server.trusted_proxies`: the proxies whose forwarding headers and PROXY protocol count.

use std::net::IpAddr;

use ipnet::IpNet;

/// How an entry for listeners on Unix sockets is written.
const UNIX: &str = "unix:";

/// The proxies before us.
#[derive(Clone, Debug, Default)]
pub struct Trusted {
    networks: Box<[IpNet]>,
    unix: bool,
}

impl Trusted {
    /// Entries that [`Trusted::entry`] takes; others count as none.
    pub fn new(entries: &[String]) -> Self {
        let networks = entries.iter().filter_map(|entry| Self::entry(entry).ok().flatten());
        Self { networks: networks.collect(), unix: entries.iter().any(|entry| entry == UNIX) }
    }

    /// A network (`10.0.0.0/8`, `fd00::/8`), an address, or `unix:`, which is no network.
    ///
    /// # Errors
    /// In an operator's words: what is expected of an entry.
    pub fn entry(text: &str) -> Result<Option<IpNet>, String> {
        if text == UNIX {
            return Ok(None);
        }
        let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        let Ok(network) = network else {
            return Err("expected a network such as \"10.0.0.0/8\" or \"fd00::/8\", an address, or \"unix:\"".into());
        };
        if network.addr().to_canonical() != network.addr() {
            return Err("write IPv4 networks as such; peers that come over IPv6 are compared as IPv4".into());
        }
        if network.addr() != network.network() {
            return Err(format!("write the network as \"{}\"", network.trunc()));
        }
        Ok(Some(network))
    }

    /// Whether any network or address is.
    pub fn holds_networks(&self) -> bool {
        !self.networks.is_empty()
    }

    /// Whether this address is a proxy's. Canonical: an IPv4 address in IPv6 is an IPv4 address.
    pub(in crate::gateway) fn holds(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&address))
    }

    /// Whether who connects through a Unix socket is a proxy: who may open the socket, its folder says.
    pub fn holds_unix(&self) -> bool {
        self.unix
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_addresses_and_unix_are_entries() {
        let trusted = Trusted::new(&["10.0.0.0/8", "192.0.2.7", "fd00::/8", "unix:"].map(str::to_owned));
        for (address, held) in [
            ("10.0.0.0", true),
            ("10.255.255.255", true),
            ("9.255.255.255", false),
            ("11.0.0.0", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("fdff::1", true),
            ("fe00::1", false),
        ] {
            assert_eq!(trusted.holds(address.parse().unwrap()), held, "{address}");
        }
        assert!(trusted.holds_unix() && trusted.holds_networks());
        let nobody = Trusted::new(&[]);
        assert!(!nobody.holds_unix() && !nobody.holds_networks());
    }

    #[test]
    fn an_entry_means_what_it_says() {
        for wrong in ["", "10.0.0.0/33", "10.0.0/8", "localhost", "unix:/run/a.sock", "10.0.0.0-10.0.0.9", "*"] {
            assert!(Trusted::entry(wrong).is_err(), "{wrong}");
        }
        assert_eq!(Trusted::entry("10.1.2.3/8"), Err("write the network as \"10.0.0.0/8\"".into()));
        assert!(Trusted::entry("::ffff:10.0.0.0/104").is_err());
        assert!(Trusted::entry("0.0.0.0/0").is_ok());
    }
}

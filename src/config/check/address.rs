//! Which addresses can't be had together.

use std::net::IpAddr;

use crate::units::ListenAddress;

/// Whether both can't be had at once. Port 0 is a fresh one each time; `0.0.0.0` takes the port of all IPv4 addresses, and `[::]` that of all addresses,
/// unless the machine keeps the families apart (`net.ipv6.bindv6only`).
pub(super) fn collide(one: &ListenAddress, other: &ListenAddress) -> bool {
    match (one, other) {
        (ListenAddress::Unix(one), ListenAddress::Unix(other)) => one == other,
        (ListenAddress::Tcp(one), ListenAddress::Tcp(other)) => {
            let (one, other) = (one.socket_address(), other.socket_address());
            let (ip, other_ip) = (one.ip().to_canonical(), other.ip().to_canonical());
            let takes = |any: IpAddr, other: IpAddr| {
                any.is_unspecified() && (any.is_ipv4() == other.is_ipv4() || any.is_ipv6() && takes_both_families())
            };
            let same_ip = ip == other_ip || takes(ip, other_ip) || takes(other_ip, ip);
            one.port() == other.port() && one.port() != 0 && same_ip
        }
        (ListenAddress::Unix(_), ListenAddress::Tcp(_)) | (ListenAddress::Tcp(_), ListenAddress::Unix(_)) => false,
    }
}

/// Whether `[::]` takes IPv4 connections too. Linux says it in a file; where there is none we do not know, and say nothing.
fn takes_both_families() -> bool {
    std::fs::read_to_string("/proc/sys/net/ipv6/bindv6only").is_ok_and(|text| text.trim() == "0")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setting::TextSetting as _;

    #[test]
    fn addresses_that_can_not_be_had_together_collide() {
        let collide = |a: &str, b: &str| collide(&ListenAddress::read(a).unwrap(), &ListenAddress::read(b).unwrap());
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
        assert!(!collide("127.0.0.1:80", "unix:/a"));
    }
}

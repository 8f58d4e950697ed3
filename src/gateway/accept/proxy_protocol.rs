//! The PROXY protocol, versions 1 and 2 (HAProxy's `proxy-protocol.txt`): a proxy says, before anything else, for whom it connects.

use std::net::{IpAddr, SocketAddr};

use ppp::{v1, v2};
use tokio::io::{AsyncRead, AsyncReadExt};

/// A whole line of version 1, its end included.
const MAX_LINE: usize = 107;

/// Signature, command, family and length of version 2.
const FIXED: usize = 16;

/// What may follow them: the addresses and what proxies add (TLS versions, names of private links). Proxies are told to stay below 536 bytes.
const MAX_BLOCK: usize = 4096;

/// Room for the first read: any line, and most blocks.
const ROOM: usize = 256;

/// What stands at the start of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gateway) enum ProxyHeader {
    /// It is for this client.
    For(SocketAddr),
    /// It is the proxy's own, or for nobody whose address is known.
    Own,
    /// No announcement: not one that we know, or none at all.
    Malformed,
    /// The connection ended without a byte.
    Gone,
}

/// Reads the announcement, and gives the bytes that came behind it, too.
///
/// Dropped: what was read is lost.
pub(in crate::gateway) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> (ProxyHeader, Vec<u8>) {
    let mut seen = Vec::with_capacity(ROOM);
    loop {
        match stream.read_buf(&mut seen).await {
            Ok(some) if some > 0 => {}
            _ if seen.is_empty() => return (ProxyHeader::Gone, seen),
            _ => return (ProxyHeader::Malformed, seen),
        }
        match length(&seen) {
            Err(Malformed) => return (ProxyHeader::Malformed, seen),
            Ok(Some(length)) => {
                let rest = seen.split_off(length);
                return (parse(&seen), rest);
            }
            Ok(None) => {}
        }
    }
}

struct Malformed;

/// The length of the announcement that `seen` begins with; `None`: more of it must come. The first byte that fits neither version is the last.
fn length(seen: &[u8]) -> Result<Option<usize>, Malformed> {
    let begins = |prefix: &[u8]| seen.starts_with(prefix) || prefix.starts_with(seen);
    if begins(b"PROXY ") {
        let line = &seen[..seen.len().min(MAX_LINE)];
        return match memchr::memmem::find(line, b"\r\n") {
            Some(at) => Ok(Some(at + 2)),
            None if seen.len() >= MAX_LINE => Err(Malformed),
            None => Ok(None),
        };
    }
    if !begins(v2::PROTOCOL_PREFIX) {
        return Err(Malformed);
    }
    let Some([high, low]) = seen.get(FIXED - 2..FIXED) else { return Ok(None) };
    let block = usize::from(u16::from_be_bytes([*high, *low]));
    if block > MAX_BLOCK {
        return Err(Malformed);
    }
    Ok(Some(FIXED + block).filter(|whole| seen.len() >= *whole))
}

fn parse(whole: &[u8]) -> ProxyHeader {
    if whole.starts_with(v2::PROTOCOL_PREFIX) {
        return match v2::Header::try_from(whole) {
            Err(_) => ProxyHeader::Malformed,
            Ok(v2::Header { command: v2::Command::Local, .. }) => ProxyHeader::Own,
            Ok(header) => match (header.protocol, header.addresses) {
                (v2::Protocol::Stream, v2::Addresses::IPv4(a)) => client(a.source_address.into(), a.source_port),
                (v2::Protocol::Stream, v2::Addresses::IPv6(a)) => client(a.source_address.into(), a.source_port),
                (v2::Protocol::Stream, v2::Addresses::Unix(_)) => ProxyHeader::Own,
                (v2::Protocol::Unspecified, _) | (_, v2::Addresses::Unspecified) => ProxyHeader::Own,
                (v2::Protocol::Datagram, _) => ProxyHeader::Malformed,
            },
        };
    }
    match v1::Header::try_from(whole) {
        Err(_) => ProxyHeader::Malformed,
        Ok(header) => match header.addresses {
            v1::Addresses::Unknown => ProxyHeader::Own,
            v1::Addresses::Tcp4(a) => client(a.source_address.into(), a.source_port),
            v1::Addresses::Tcp6(a) => client(a.source_address.into(), a.source_port),
        },
    }
}

fn client(address: IpAddr, port: u16) -> ProxyHeader {
    ProxyHeader::For(SocketAddr::new(address.to_canonical(), port))
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    /// What is announced when these bytes come in pieces of this size, and what is left for others.
    async fn heard(bytes: &[u8], size: usize) -> (ProxyHeader, Vec<u8>) {
        let (mut near, mut far) = tokio::io::duplex(64 * 1024);
        let pieces: Vec<Vec<u8>> = bytes.chunks(size).map(<[u8]>::to_vec).collect();
        let writer = tokio::spawn(async move {
            for piece in pieces {
                near.write_all(&piece).await.unwrap();
                tokio::task::yield_now().await;
            }
        });
        let (announced, mut rest) = read(&mut far).await;
        writer.await.unwrap();
        far.read_to_end(&mut rest).await.unwrap();
        (announced, rest)
    }

    fn block(command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
        [v2::PROTOCOL_PREFIX, &[command, family], &length, payload].concat()
    }

    const V4: [u8; 12] = [203, 0, 113, 7, 10, 0, 0, 1, 0x12, 0x67, 1, 0xbb];

    fn is_for(text: &str) -> ProxyHeader {
        ProxyHeader::For(text.parse().unwrap())
    }

    #[tokio::test]
    async fn both_versions_are_read_and_what_follows_is_left_wherever_packets_end() {
        let mut v6 = [0; 36];
        v6[..16].copy_from_slice(&"2001:db8::1".parse::<std::net::Ipv6Addr>().unwrap().octets());
        v6[33] = 80;
        let mapped = [&"::ffff:203.0.113.7".parse::<std::net::Ipv6Addr>().unwrap().octets()[..], &v6[16..]].concat();
        for (bytes, announced) in [
            (b"PROXY TCP4 203.0.113.7 10.0.0.1 4711 443\r\n".to_vec(), is_for("203.0.113.7:4711")),
            (b"PROXY TCP6 2001:db8::1 fd00::1 4711 443\r\n".to_vec(), is_for("[2001:db8::1]:4711")),
            (b"PROXY TCP6 ::ffff:203.0.113.7 fd00::1 4711 443\r\n".to_vec(), is_for("203.0.113.7:4711")),
            (b"PROXY UNKNOWN\r\n".to_vec(), ProxyHeader::Own),
            (b"PROXY UNKNOWN 203.0.113.7 10.0.0.1 4711 443\r\n".to_vec(), ProxyHeader::Own),
            (block(0x21, 0x11, &V4), is_for("203.0.113.7:4711")),
            // A NOOP of three bytes behind the addresses.
            (block(0x21, 0x11, &[&V4[..], &[4, 0, 3, 1, 2, 3]].concat()), is_for("203.0.113.7:4711")),
            (block(0x21, 0x11, &[&V4[..], &[0; MAX_BLOCK - 12]].concat()), is_for("203.0.113.7:4711")),
            (block(0x21, 0x21, &v6), is_for("[2001:db8::1]:80")),
            (block(0x21, 0x21, &mapped), is_for("203.0.113.7:80")),
            (block(0x20, 0x11, &V4), ProxyHeader::Own),
            (block(0x20, 0x00, b""), ProxyHeader::Own),
            (block(0x21, 0x00, b"whatever"), ProxyHeader::Own),
            (block(0x21, 0x31, &[0; 216]), ProxyHeader::Own),
        ] {
            let all = [&bytes[..], b"GET / HTTP/1.1\r\n"].concat();
            for size in [1, 2, 7, 15, 16, 17, 40, all.len()] {
                assert_eq!(heard(&all, size).await, (announced, b"GET / HTTP/1.1\r\n".to_vec()), "{size}: {bytes:?}");
            }
        }
    }

    #[tokio::test]
    async fn anything_else_is_malformed() {
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(MAX_LINE));
        for bytes in [
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03aaaaaaaaaaaaaa".to_vec(),
            b"PROXY".to_vec(),
            b"PROXY TCP4 203.0.113.7 10.0.0.1 4711 443".to_vec(),
            b"PROXY TCP4 203.0.113.7 10.0.0.1 4711 443\nGET / HTTP/1.1\r\n\r\n".to_vec(),
            b"PROXY TCP4 203.0.113.7 10.0.0.1 4711\r\nGET / HTTP/1.1\r\n\r\n".to_vec(),
            b"PROXY TCP4 203.0.113.7 10.0.0.1 04711 443\r\n".to_vec(),
            b"PROXY TCP4 203.0.113.7 10.0.0.1 4711 443 x\r\n".to_vec(),
            b"PROXY TCP4 2001:db8::1 10.0.0.1 4711 443\r\n".to_vec(),
            b"PROXY  TCP4 203.0.113.7 10.0.0.1 4711 443\r\n".to_vec(),
            b"PROXYX UNKNOWN\r\n..........".to_vec(),
            b"proxy unknown\r\n..........".to_vec(),
            long.into_bytes(),
            block(0x21, 0x11, &V4)[..20].to_vec(),
            block(0x21, 0x11, &V4[..11]),
            block(0x21, 0x12, &V4),
            block(0x11, 0x11, &V4),
            block(0x22, 0x11, &V4),
            block(0x21, 0x41, &V4),
            block(0x21, 0x11, &[0; MAX_BLOCK + 1]),
        ] {
            for size in [1, 16, bytes.len()] {
                assert_eq!(heard(&bytes, size).await.0, ProxyHeader::Malformed, "{size}: {bytes:?}");
            }
        }
        assert_eq!(heard(b"", 1).await.0, ProxyHeader::Gone);
    }
}

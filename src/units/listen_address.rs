//! Addresses to listen on, as operators write them.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;

use crate::setting::{FieldFault, TextSetting, text_setting};

/// `sun_path` of Linux holds 108 bytes, the zero at its end among them (unix(7)).
const MAX_SOCKET_PATH: usize = 107;

/// What stands before the path of a Unix socket.
const UNIX: &str = "unix:";

/// Where to listen: an IP address with a port, or a Unix socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// `ADDRESS:PORT` or `[IPv6]:PORT`.
    Tcp(TcpAddress),
    /// `unix:/path`.
    Unix(UnixAddress),
}

/// `ADDRESS:PORT` or `[IPv6]:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpAddress {
    text: Box<str>,
    at: SocketAddr,
}

/// `unix:/path`, the path absolute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnixAddress(Box<str>);

impl ListenAddress {
    /// As it is written: by this text it is named, and known to a process that takes over.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Tcp(address) => address.as_str(),
            Self::Unix(address) => &address.0,
        }
    }
}

impl TcpAddress {
    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What it means.
    pub fn socket_address(&self) -> SocketAddr {
        self.at
    }

    fn parse(text: &str) -> Option<Self> {
        Some(Self { text: text.into(), at: text.parse().ok()? })
    }
}

impl UnixAddress {
    /// The path of the socket.
    pub fn path(&self) -> &Path {
        Path::new(&self.0[UNIX.len()..])
    }

    fn parse(text: &str) -> Option<Result<Self, &'static str>> {
        let path = text.strip_prefix(UNIX)?;
        Some(match path {
            _ if !path.starts_with('/') || path.ends_with('/') || path.contains('\0') => {
                Err("expected an absolute path after `unix:`, such as \"unix:/run/valet.sock\"")
            }
            _ if path.len() > MAX_SOCKET_PATH => Err("a socket's path has at most 107 bytes"),
            _ => Ok(Self(text.into())),
        })
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for TcpAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

text_setting!(ListenAddress);

impl TextSetting for ListenAddress {
    const EXAMPLE: &'static str = "127.0.0.1:0";

    fn read(text: &str) -> Result<Self, FieldFault> {
        match UnixAddress::parse(text) {
            Some(read) => read.map(Self::Unix).map_err(FieldFault::of_value),
            None => TcpAddress::parse(text).map(Self::Tcp).ok_or(FieldFault::of_value(
                "expected an address such as \"127.0.0.1:8080\", \"[::1]:8080\" or \"unix:/run/valet.sock\"",
            )),
        }
    }
}

text_setting!(TcpAddress);

impl TextSetting for TcpAddress {
    const EXAMPLE: &'static str = "127.0.0.1:0";

    fn read(text: &str) -> Result<Self, FieldFault> {
        let fault = match text.starts_with(UNIX) {
            true => "expected an address such as \"10.0.0.5:8444\": edges come over the network",
            false => "expected an address such as \"10.0.0.5:8444\" or \"[::1]:8444\"",
        };
        Self::parse(text).ok_or(FieldFault::of_value(fault))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_kept_as_it_is_written() {
        for good in ["127.0.0.1:8080", "[::0:1]:80", "0.0.0.0:0", "unix:/run/valet.sock"] {
            assert_eq!(ListenAddress::read(good).unwrap().as_str(), good);
        }
        for bad in [
            "",
            "127.0.0.1",
            "localhost:80",
            ":80",
            "127.0.0.1:65536",
            "unix:",
            "unix:valet.sock",
            "unix:/run/",
            "unix:/a\0b",
        ] {
            assert!(ListenAddress::read(bad).is_err(), "{bad:?} was taken");
            assert!(TcpAddress::read(bad).is_err(), "{bad:?} was taken");
        }
        assert!(TcpAddress::read("unix:/run/valet.sock").is_err());
    }

    #[test]
    fn the_path_of_a_socket_has_107_bytes_and_not_108() {
        let socket = |bytes: usize| ListenAddress::read(&format!("unix:/{}", "a".repeat(bytes - 1)));
        let Ok(ListenAddress::Unix(longest)) = socket(107) else { panic!("it was refused") };
        assert_eq!(longest.path().as_os_str().len(), 107);
        assert!(socket(108).is_err());
    }
}

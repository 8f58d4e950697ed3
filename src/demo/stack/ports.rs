//! Five ports in a row, or any free ones; all on loopback.

use std::net::{Ipv4Addr, SocketAddr};

use socket2::{Domain, Socket, Type};
use tokio::net::TcpListener;

use super::DemoFault;
use crate::demo::serve;

/// What the five are for, in their order.
#[derive(Clone, Copy)]
pub(super) enum Place {
    /// The gateway, which browsers open.
    Gateway,
    App,
    /// The plug-ins' pages.
    Pages,
    Idp,
    /// The vendor's API.
    Api,
}

/// The first of the five; 0: any free ones.
#[derive(Clone, Copy)]
pub(super) struct Ports(u16);

impl Ports {
    /// Whether there are five is known before anything is bound.
    pub fn from(first: u16) -> Result<Self, DemoFault> {
        if first.checked_add(Place::Api as u16).is_none() {
            return Err(DemoFault::Own(vec![format!(
                "five ports in a row are needed, and {first} has fewer behind it"
            )]));
        }
        Ok(Self(first))
    }

    pub fn address(self, place: Place) -> SocketAddr {
        let port = if self.0 == 0 { 0 } else { self.0.saturating_add(place as u16) };
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    }

    pub async fn listen(self, place: Place) -> Result<TcpListener, DemoFault> {
        Ok(serve::bind(self.address(place)).await?)
    }

    /// Where the gateway will listen: it binds its own. Of any free ones the port is held for it meanwhile, by a socket that does not listen: the
    /// kernel gives it to nobody who asks for a free one, and lets the gateway, which names it, have it too.
    ///
    /// Dropped, the port is held no longer: keep the socket until the gateway listens.
    pub fn gateway(self) -> std::io::Result<(SocketAddr, Option<Socket>)> {
        let address = self.address(Place::Gateway);
        if self.0 != 0 {
            return Ok((address, None));
        }
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        // As the gateway's own has it: two such sockets share an address while neither listens.
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        let bound = socket.local_addr()?.as_socket().ok_or(std::io::ErrorKind::AddrNotAvailable)?;
        Ok((bound, Some(socket)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateways_port_is_held_for_it_until_it_listens() {
        let (address, held) = Ports::from(0).unwrap().gateway().unwrap();
        let strangers: Vec<_> = (0..500).map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        assert!(strangers.iter().all(|stranger| stranger.local_addr().unwrap() != address));
        let gateway = std::net::TcpListener::bind(address).unwrap();
        assert!(held.is_some());
        drop(held);
        assert_eq!(gateway.local_addr().unwrap(), address);
        std::net::TcpStream::connect(address).unwrap();
    }
}

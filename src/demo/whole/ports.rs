//! Five ports in a row, or any free ones; all on loopback.

use std::net::{Ipv4Addr, SocketAddr};

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

    /// Where the gateway will listen: it binds its own.
    pub fn gateway(self) -> std::io::Result<SocketAddr> {
        let address = self.address(Place::Gateway);
        if self.0 == 0 { std::net::TcpListener::bind(address)?.local_addr() } else { Ok(address) }
    }
}

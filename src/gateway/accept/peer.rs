//! The peer of a connection: its address, and whether it is a trusted proxy.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use crate::gateway::accept::client;
use crate::gateway::accept::connection::ListenerConnection;
use crate::gateway::accept::forwarded::ForwardedChain;
use crate::gateway::accept::trusted::Trusted;
use crate::gateway::http1::head::Head;

/// The other end: of the socket, or as the PROXY protocol announced it.
#[derive(Clone, Debug)]
pub(in crate::gateway) struct Peer {
    address: Option<IpAddr>,
    text: Box<str>,
    /// It came by a Unix socket.
    unix: bool,
    trusted: bool,
    connection: Arc<ListenerConnection>,
}

impl Peer {
    /// `unix`: it came by a Unix socket, and has no address.
    pub fn new(address: Option<IpAddr>, unix: bool, trusted: &Trusted, connection: Arc<ListenerConnection>) -> Self {
        let text = address.map_or("-".into(), |address| address.to_string().into());
        Self { address, text, unix, trusted: is_trusted(address, unix, trusted), connection }
    }

    /// The same peer by the list of another configuration: a connection may outlive the one that it came by.
    pub fn under(&self, trusted: &Trusted) -> Cow<'_, Self> {
        let is_trusted = is_trusted(self.address, self.unix, trusted);
        if is_trusted == self.trusted {
            Cow::Borrowed(self)
        } else {
            Cow::Owned(Self { trusted: is_trusted, ..self.clone() })
        }
    }

    /// The connection at whose other end it is.
    pub fn connection(&self) -> &Arc<ListenerConnection> {
        &self.connection
    }

    /// Its address; `None` on a Unix socket.
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// The address as text; `None` for a Unix socket.
    pub fn address_text(&self) -> Option<&str> {
        self.address.map(|_| &*self.text)
    }

    /// Whether it is one of `server.trusted_proxies`.
    pub fn is_trusted(&self) -> bool {
        self.trusted
    }

    /// Whether it may ask over gRPC what a credential is worth: a trusted proxy, or a program on this machine.
    pub fn may_ask(&self) -> bool {
        self.trusted || self.address.is_some_and(|address| address.is_loopback())
    }

    /// As access lines show it; `-` without an address.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What a request says of where it came from, if the peer's word counts.
    pub fn chain<'h>(&self, head: &Head<'h>) -> ForwardedChain<'h> {
        if !self.trusted {
            return ForwardedChain::default();
        }
        ForwardedChain::read(head.headers.iter().map(|field| (field.name, field.value)))
    }

    /// Who sent this request: the peer, or whoever a trusted one speaks for. Its address, if it has one, and as access lines show it.
    pub fn client(&self, head: &Head<'_>, trusted: &Trusted) -> (Option<IpAddr>, Cow<'_, str>) {
        match if self.trusted { client::address(&self.chain(head), trusted) } else { None } {
            Some(address) => (Some(address), address.to_string().into()),
            None => (self.address, Cow::Borrowed(&*self.text)),
        }
    }
}

fn is_trusted(address: Option<IpAddr>, unix: bool, trusted: &Trusted) -> bool {
    address.map_or(unix && trusted.holds_unix(), |address| trusted.holds(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_an_address_only_a_unix_socket_is_trusted_and_only_where_it_is_named() {
        let (unix, all) = (Trusted::new(&["unix:".to_owned()]), Trusted::new(&["0.0.0.0/0".to_owned()]));
        for (by_unix, trusted, is_trusted) in
            [(true, &unix, true), (false, &unix, false), (true, &all, false), (false, &all, false)]
        {
            let peer = Peer::new(None, by_unix, trusted, Arc::default());
            assert_eq!((peer.is_trusted(), peer.text()), (is_trusted, "-"));
        }
        assert!(Peer::new("192.0.2.1".parse().ok(), false, &all, Arc::default()).is_trusted());
        assert!(!Peer::new("192.0.2.1".parse().ok(), true, &unix, Arc::default()).is_trusted());
    }
}

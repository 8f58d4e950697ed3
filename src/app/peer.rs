//! How Pingora reaches an upstream.

use std::sync::Arc;
use std::time::Duration;

use pingora::protocols::l4::ext::TcpKeepalive;
use pingora::upstreams::peer::{HttpPeer, HttpUpstreamRequestPolicy};

use super::address::Address;
use super::settings::AppSettings;
use super::target::{Scheme, Target};
use super::tls::Tls;

/// Requests at once over one HTTP/2 connection: what servers commonly allow (RFC 9113, section 6.5.2, asks for no less). Pingora's own is one.
const MAX_H2_STREAMS: usize = 100;

/// A quiet connection is asked after this whether its other end is there, and three more times: within a minute a machine that is gone is known to
/// be gone, and the balancers on the way take the connection for a used one. HTTP/2 PINGs would do it too, but gRPC servers hang up on them.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_COUNT: usize = 3;

/// The kernel gives up by itself after about as long, and its number of milliseconds has an end.
const MAX_UNACKNOWLEDGED: Duration = Duration::from_secs(15 * 60);

/// What the peers of one app have in common.
pub(super) struct Peers {
    tls: Tls,
    server_name: Option<String>,
    connect_timeout: Duration,
    read_timeout: Duration,
    idle_timeout: Duration,
    websocket_timeout: Duration,
    number: u64,
    trust_the_machine: bool,
}

impl Peers {
    pub(super) fn new(settings: &AppSettings, targets: &[Arc<Target>], tls: Tls, number: u64) -> Self {
        let any_tls = targets.iter().any(|target| target.scheme == Scheme::Https);
        Self {
            trust_the_machine: any_tls && settings.ca.is_none(),
            tls,
            server_name: settings.server_name.clone(),
            connect_timeout: settings.connect_timeout.0,
            read_timeout: settings.read_timeout.0,
            idle_timeout: settings.idle_timeout.0,
            websocket_timeout: settings.websocket_timeout.0,
            number,
        }
    }

    /// Whether some upstream is believed by the machine's own authorities.
    pub(super) fn trust_the_machine(&self) -> bool {
        self.trust_the_machine
    }

    /// For requests that switch to no other protocol.
    pub(super) fn ordinary(&self, target: &Target, address: &Address) -> Option<HttpPeer> {
        let tls = target.scheme == Scheme::Https;
        let sni = if tls { self.server_name.clone().unwrap_or_else(|| target.sni()) } else { String::new() };
        let mut peer = match address {
            Address::Ip(address) => HttpPeer::new(*address, tls, sni),
            Address::Unix(path) => HttpPeer::new_uds(path, tls, sni).ok()?,
        };
        // Pingora's pool of connections would not tell two apps' authorities or client certificates apart.
        peer.group_key = self.number;
        if tls {
            peer.options.ca.clone_from(&self.tls.ca);
            peer.client_cert_key.clone_from(&self.tls.client);
        }
        let (max, min) = match target.scheme {
            Scheme::Http => (1, 1),
            Scheme::Https => (2, 1),
            Scheme::H2c => (2, 2),
        };
        peer.options.set_http_version(max, min);
        peer.options.max_h2_streams = MAX_H2_STREAMS;
        // The first is for TCP, and once more for TLS; the second for both together.
        peer.options.connection_timeout = Some(self.connect_timeout);
        peer.options.total_connection_timeout = Some(self.connect_timeout);
        peer.options.read_timeout = Some(self.read_timeout);
        // Pingora does not read while a write waits: without it an app that takes no more of a body would never be too slow.
        peer.options.write_timeout = Some(self.read_timeout);
        peer.options.idle_timeout = Some(self.idle_timeout);
        // What was sent must be acknowledged in this time, or new requests would go on joining an HTTP/2 connection to a machine that is gone.
        peer.options.tcp_keepalive = Some(keepalive(self.read_timeout.min(MAX_UNACKNOWLEDGED)));
        peer.options.http_upstream_request_policy = HttpUpstreamRequestPolicy::deny_upgrades();
        Some(peer)
    }

    /// For a WebSocket's handshake, and all that follows it: HTTP/1.1, and patience.
    pub(super) fn websocket(&self, target: &Target, address: &Address) -> Option<HttpPeer> {
        let mut peer = self.ordinary(target, address)?;
        peer.options.set_http_version(1, 1);
        peer.options.read_timeout = Some(self.websocket_timeout);
        peer.options.write_timeout = Some(self.websocket_timeout);
        // With a time of its own the kernel would not count the questions, and a machine that is gone would hold the socket for all of it.
        peer.options.tcp_keepalive = Some(keepalive(Duration::ZERO));
        peer.options.http_upstream_request_policy = HttpUpstreamRequestPolicy::standard();
        Some(peer)
    }
}

fn keepalive(user_timeout: Duration) -> TcpKeepalive {
    TcpKeepalive {
        idle: KEEPALIVE_IDLE,
        interval: KEEPALIVE_INTERVAL,
        count: KEEPALIVE_COUNT,
        #[cfg(target_os = "linux")]
        user_timeout,
    }
}

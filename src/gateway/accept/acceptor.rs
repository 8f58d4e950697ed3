//! Accepts a listener's connections: plain, with the PROXY protocol, with TLS; within the connection limits.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pingora_core::listeners::tls::Acceptor as TlsAcceptor;
use pingora_core::protocols::l4::stream::Stream as Transport;
use pingora_core::protocols::tls::TlsRef;
use pingora_core::protocols::{Ssl as _, Stream};
use prometheus::IntCounter;
use tokio::io::AsyncReadExt;

use crate::gateway::accept::connection::{ListenerConnection, ListenerPolicy};
use crate::gateway::accept::peer::Peer;
use crate::gateway::accept::proxy_protocol::{self, ProxyHeader};
use crate::gateway::accept::trusted::Trusted;
use crate::limit::{ConnectionLimiter, ConnectionPermit};
use crate::telemetry::{Metrics, Outcome};

/// Room for what a browser sends first (ClientHello).
const FIRST: usize = 2048;

/// The way in through one listener.
///
/// TLS is made here and not by Pingora: the bounds on connections and our own deadline hold for a handshake too, one that fails is a count
/// and no error in the log, and a connection that the kernel took while the listener closes is served like any other.
pub struct Acceptor {
    kind: AcceptorOptions,
    policy: Arc<ListenerPolicy>,
    tls: Option<TlsAcceptor>,
    made: IntCounter,
    failed: IntCounter,
    leaving: AtomicBool,
}

/// What a listener knows of its connections from the start.
#[derive(Clone, Copy, Debug, Default)]
pub struct AcceptorOptions {
    /// It listens on a Unix socket.
    pub unix: bool,
    /// Each connection begins with the PROXY protocol, and comes from a trusted proxy.
    pub proxy_protocol: bool,
    /// It answers Envoy's questions, and no requests.
    pub ext_authz: bool,
}

/// A connection that was let in.
pub(in crate::gateway) struct Accepted {
    pub stream: Stream,
    pub peer: Peer,
    /// Held for as long as the connection.
    pub permit: ConnectionPermit,
}

/// Why somebody has not.
pub(in crate::gateway) enum AcceptError {
    /// The connection does not begin as it must; it came from this peer.
    Malformed(Peer),
    /// Its address has as many connections as it may.
    Full,
    /// It has ended, or its handshake failed, which was counted.
    Gone,
}

impl Acceptor {
    /// With `tls`, connections that begin with anything else are closed.
    pub fn new(kind: AcceptorOptions, policy: ListenerPolicy, tls: Option<TlsAcceptor>, metrics: &Metrics) -> Self {
        let count = |outcome: Outcome| metrics.tls_handshakes.with_label_values(&[outcome.label()]);
        let leaving = AtomicBool::new(false);
        Self { kind, policy: Arc::new(policy), tls, made: count(Outcome::Ok), failed: count(Outcome::Failed), leaving }
    }

    /// Its listener is about to close: from now on each answer closes its connection.
    pub fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    /// Whether answers close their connections.
    pub(in crate::gateway) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }

    /// Whether it answers Envoy's questions.
    pub(in crate::gateway) fn is_ext_authz(&self) -> bool {
        self.kind.ext_authz
    }

    /// The connection, ready for its first head.
    ///
    /// Dropped: it is closed.
    pub(in crate::gateway) async fn open(
        &self,
        stream: Stream,
        trusted: &Trusted,
        connections: &Arc<ConnectionLimiter>,
    ) -> Result<Accepted, AcceptError> {
        let connection = ListenerConnection::new(self.policy.clone());
        let mut peer = Peer::new(address(&stream), self.kind.unix, trusted, connection.clone());
        if !self.kind.proxy_protocol && self.tls.is_none() {
            let permit = connections.acquire(peer.address()).ok_or(AcceptError::Full)?;
            return Ok(Accepted { stream, peer, permit });
        }
        // Always one: nothing else is accepted.
        let Ok(mut transport) = stream.into_any().downcast::<Transport>() else { return Err(AcceptError::Gone) };
        if self.kind.proxy_protocol {
            if !peer.is_trusted() {
                return Err(AcceptError::Malformed(peer));
            }
            let (announced, rest) = proxy_protocol::read(&mut transport).await;
            match announced {
                ProxyHeader::For(client) => {
                    peer = Peer::new(Some(client.ip()), false, trusted, connection.clone());
                }
                ProxyHeader::Own => {}
                ProxyHeader::Malformed => return Err(AcceptError::Malformed(peer)),
                ProxyHeader::Gone => return Err(AcceptError::Gone),
            }
            transport.rewind(&rest);
        }
        // Before the handshake, which costs most.
        let permit = connections.acquire(peer.address()).ok_or(AcceptError::Full)?;
        let stream: Stream = match &self.tls {
            None => transport,
            Some(tls) => {
                begins(&mut transport).await?;
                let mut outcome = HandshakeCount(&self.failed);
                let Ok(stream) = tls.tls_handshake(*transport).await else { return Err(AcceptError::Gone) };
                outcome.0 = &self.made;
                if let Some(der) = stream.get_ssl().and_then(TlsRef::peer_certificate_der) {
                    connection.set_client_certificate(der);
                }
                Box::new(stream)
            }
        };
        Ok(Accepted { stream, peer, permit })
    }
}

/// Waits for the first bytes: a balancer that only looks whether somebody listens is no failed handshake.
async fn begins(transport: &mut Transport) -> Result<(), AcceptError> {
    let mut first = [0; FIRST];
    match transport.read(&mut first).await {
        Ok(some) if some > 0 => {
            transport.rewind(&first[..some]);
            Ok(())
        }
        _ => Err(AcceptError::Gone),
    }
}

/// The address at the other end of the socket; `None` on a Unix socket, and when the other end is gone.
fn address(stream: &Stream) -> Option<IpAddr> {
    Some(stream.get_socket_digest()?.peer_addr()?.as_inet()?.ip().to_canonical())
}

/// Counts a handshake at its end, be it that somebody waits for it no longer.
struct HandshakeCount<'c>(&'c IntCounter);

impl Drop for HandshakeCount<'_> {
    fn drop(&mut self) {
        self.0.inc();
    }
}

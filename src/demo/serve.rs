//! A simulator on a socket: bound, served, stopped.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::Router;
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long a connection that is busy may go on after the stop. Answers that wait on a fault end at once; this is for a slow reader.
const LINGER: Duration = Duration::from_secs(2);

/// Why a simulator can't run. `Display` is one line for the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SimFault {
    /// Another program listens there.
    AddressInUse(SocketAddr),
    /// The address can't be listened on for another reason.
    CannotListen(SocketAddr, io::ErrorKind),
    /// The address can be reached from other machines, and nobody said that it may.
    NotLoopback(SocketAddr),
    /// The crypto library made no key.
    NoKey,
    /// The terminal took no output.
    Output(io::ErrorKind),
    /// The signal handlers could not be set.
    Signals(io::ErrorKind),
}

impl fmt::Display for SimFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddressInUse(address) => {
                write!(f, "{address} is in use by another program; choose another with --listen")
            }
            Self::CannotListen(address, kind) => write!(f, "cannot listen on {address}: {kind}"),
            Self::NotLoopback(address) => write!(
                f,
                "{address} is not a loopback address: a simulator lets in everyone who can reach it; say --allow-remote if that is wanted"
            ),
            Self::NoKey => f.write_str("the crypto library made no signing key"),
            Self::Output(kind) => write!(f, "cannot write to the terminal: {kind}"),
            Self::Signals(kind) => write!(f, "cannot wait for signals: {kind}"),
        }
    }
}

impl std::error::Error for SimFault {}

/// Listens on `address`; port 0 takes a free one. Dropped: nothing is left open.
///
/// # Errors
/// The address can't be had.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, SimFault> {
    TcpListener::bind(address).await.map_err(|fault| match fault.kind() {
        io::ErrorKind::AddrInUse => SimFault::AddressInUse(address),
        kind => SimFault::CannotListen(address, kind),
    })
}

/// Where a listener is, with its real port.
pub(super) fn address_of(listener: &TcpListener) -> Result<SocketAddr, SimFault> {
    let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    listener.local_addr().map_err(|fault| SimFault::CannotListen(nowhere, fault.kind()))
}

/// `http://ADDRESS` of a listener, as a client on this machine would write it.
pub fn url_of(listener: &TcpListener) -> String {
    // A listener that has no address is closed; what asks there gets nothing either way.
    url_at(listener.local_addr().unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))))
}

fn url_at(address: SocketAddr) -> String {
    let host = match address.ip() {
        ip if ip.is_unspecified() => IpAddr::from(Ipv4Addr::LOCALHOST),
        ip => ip,
    };
    format!("http://{}", SocketAddr::new(host, address.port()))
}

/// Serves `routes` until `stop` says `true` or its sender is gone. Dropped: nothing more is accepted; connections under way end with the runtime.
pub(super) async fn serve(listener: TcpListener, routes: Router, stop: watch::Receiver<bool>) {
    let listener = listener.tap_io(|stream| {
        // Only slower without it.
        let _ = stream.set_nodelay(true);
    });
    let server = axum::serve(listener, routes).with_graceful_shutdown(stopped(stop.clone()));
    tokio::select! {
        // It never fails: accepting is tried again by axum itself.
        _ = server => {}
        () = async {
            stopped(stop).await;
            tokio::time::sleep(LINGER).await;
        } => {}
    }
}

/// Ends when `stop` says `true` or its sender is gone. Dropped: nothing.
pub(super) async fn stopped(mut stop: watch::Receiver<bool>) {
    // An error means that the sender is gone: the same to us.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// A simulator that runs in this process, on a task of its own. Dropped: it stops.
pub struct ServerHandle<S> {
    /// The handle on its state.
    pub sim: S,
    address: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl<S> ServerHandle<S> {
    pub(super) fn new(sim: S, address: SocketAddr, stop: watch::Sender<bool>, task: JoinHandle<()>) -> Self {
        Self { sim, address, stop, task }
    }

    /// Where it listens, with the real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://ADDRESS`.
    pub fn url(&self) -> String {
        url_at(self.address)
    }

    /// Stops it and waits until its port is free. Dropped: it stops all the same.
    pub async fn stop(self) {
        // No receiver means that it has ended already; so does a task that can't be joined.
        let _ = self.stop.send(true);
        let _ = self.task.await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_in_use_is_one_line_that_names_it() {
        let first = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap();
        let address = first.local_addr().unwrap();
        let fault = bind(address).await.unwrap_err();
        assert_eq!(fault, SimFault::AddressInUse(address));
        let line = fault.to_string();
        assert!(line.contains(&address.to_string()) && !line.contains('\n'), "{line}");
    }

    #[test]
    fn every_address_is_written_as_a_client_here_would_reach_it() {
        assert_eq!(url_at("0.0.0.0:80".parse().unwrap()), "http://127.0.0.1:80");
        assert_eq!(url_at("[::]:80".parse().unwrap()), "http://127.0.0.1:80");
        assert_eq!(url_at("[::1]:80".parse().unwrap()), "http://[::1]:80");
    }
}

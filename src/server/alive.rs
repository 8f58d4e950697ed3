//! Whether the data plane is alive: each listener, the minter's too, is asked for a sign that takes the whole way of a connection.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::Live;

impl Live {
    /// Whether each listener gives a sign within this time. One with the PROXY protocol is not asked: a connection that does not begin with it is an event.
    ///
    /// Dropped: nothing.
    pub(super) async fn is_alive(&self, patience: Duration) -> bool {
        let addresses: Vec<String> = {
            let state = self.state.lock();
            let listeners = state.listeners.iter().zip(&state.generation.config.listeners);
            let asked = listeners.filter(|(_, settings)| !settings.proxy_protocol);
            let edges = state.edges.iter().map(|edges| edges.serving.address.clone());
            asked.map(|(listener, _)| listener.accepting.address.clone()).chain(edges).collect()
        };
        let signs = addresses.iter().map(|address| gives_sign(address, patience));
        futures_util::future::join_all(signs).await.into_iter().all(|alive| alive)
    }
}

/// Opens a connection, says at once that nothing will come, and waits for the end of it: it is accepted, a task of the runtime serves it, and the Front
/// finds that there is no request. Nothing is counted or logged of it.
async fn gives_sign(address: &str, patience: Duration) -> bool {
    let sign = async {
        match address.strip_prefix("unix:") {
            Some(path) => end_of(UnixStream::connect(path).await?).await,
            None => end_of(TcpStream::connect(reachable(address)?).await?).await,
        }
    };
    matches!(tokio::time::timeout(patience, sign).await, Ok(Ok(0)))
}

async fn end_of(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<usize> {
    stream.shutdown().await?;
    stream.read(&mut [0]).await
}

/// An address that stands for all of the machine is reached by loopback.
fn reachable(address: &str) -> io::Result<SocketAddr> {
    let mut address: SocketAddr = address.parse().map_err(io::Error::other)?;
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_accepts_and_never_serves_gives_no_sign() {
        let listener = tokio::net::TcpListener::bind("0.0.0.0:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        // The kernel takes the connection; nobody closes it.
        assert!(!gives_sign(&address, Duration::from_millis(50)).await);
        let serving = tokio::spawn(async move {
            loop {
                drop(listener.accept().await);
            }
        });
        assert!(gives_sign(&address, Duration::from_secs(10)).await);
        serving.abort();
    }
}

//! A client of HTTP/2, over TLS or in the clear: batches of requests over one connection.

use std::sync::Arc;

use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Streams at once.
pub const STREAMS: usize = 16;

/// One connection, which stays.
pub struct Connection {
    requests: SendRequest<Bytes>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Connection {
    pub async fn open(address: &str) -> Self {
        Self::over(connect(address).await).await
    }

    /// Over TLS, with this certificate of the server for `127.0.0.1`.
    pub async fn open_tls(address: &str, certificate: CertificateDer<'static>) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(certificate).unwrap();
        let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let name = ServerName::try_from("127.0.0.1").unwrap();
        Self::over(TlsConnector::from(Arc::new(config)).connect(name, connect(address).await).await.unwrap()).await
    }

    async fn over(stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static) -> Self {
        let (requests, connection) = h2::client::handshake(stream).await.unwrap();
        let task = tokio::spawn(async move {
            let _ = connection.await;
        });
        Self { requests, task }
    }

    /// Makes the requests, [`STREAMS`] at once, each with this body. `good`: whether an answer is what it should be.
    pub async fn make(&mut self, requests: &[Request<()>], body: &Bytes, good: fn(u16) -> bool) {
        for batch in requests.chunks(STREAMS) {
            let mut answers = Vec::new();
            for request in batch {
                let mut ready = self.requests.clone().ready().await.unwrap();
                let (answer, mut stream) = ready.send_request(request.clone(), body.is_empty()).unwrap();
                if !body.is_empty() {
                    stream.send_data(body.clone(), true).unwrap();
                }
                answers.push(answer);
            }
            for answer in answers {
                let (head, mut body) = answer.await.unwrap().into_parts();
                assert!(good(head.status.as_u16()), "{head:?}");
                while let Some(piece) = body.data().await {
                    let _ = body.flow_control().release_capacity(piece.unwrap().len());
                }
                let trailers = body.trailers().await.unwrap().unwrap_or_default();
                assert!(trailers.get("grpc-status").is_none_or(|status| status == "0"), "{trailers:?}");
            }
        }
    }
}

async fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

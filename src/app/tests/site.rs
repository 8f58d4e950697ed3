//! Servers on loopback, with and without TLS, that answer as they are told to.

use std::sync::atomic::{AtomicU16, Ordering};

use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

/// One that signs certificates.
pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, PEM.
pub(super) struct Identity {
    pub(super) chain: String,
    pub(super) key: String,
}

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(super) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(super) fn sign(&self, name: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &self.0).unwrap();
        Identity { chain: certificate.pem(), key: key.serialize_pem() }
    }

    /// TLS with a certificate for this name. `clients`: who must have signed the certificate that each client has to show.
    pub(super) fn tls_for(&self, name: &str, clients: Option<&Authority>) -> ServerConfig {
        let Identity { chain, key } = self.sign(name);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder =
            ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(clients) => {
                let mut roots = RootCertStore::empty();
                roots.add(clients.0.der().clone()).unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
                builder.with_client_cert_verifier(verifier)
            }
        };
        let chain = vec![CertificateDer::from_pem_slice(chain.as_bytes()).unwrap()];
        builder.with_single_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap()).unwrap()
    }
}

/// A server. Each request is answered with its status and a short body; at status 0 not at all.
pub(super) struct Site {
    pub(super) port: u16,
    says: Arc<AtomicU16>,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Site {
    pub(super) async fn plain() -> Self {
        Self::start(None).await
    }

    pub(super) async fn with_tls(tls: ServerConfig) -> Self {
        Self::start(Some(TlsAcceptor::from(Arc::new(tls)))).await
    }

    async fn start(acceptor: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (says, seen) = (Arc::new(AtomicU16::new(200)), Arc::new(Mutex::new(Vec::new())));
        let site = Self { port, says: says.clone(), seen: seen.clone() };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, says, seen) = (acceptor.clone(), says.clone(), seen.clone());
                tokio::spawn(async move {
                    let Some(acceptor) = acceptor else { return serve(stream, &says, &seen).await };
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let protocol = stream.get_ref().1.alpn_protocol().unwrap_or_default().to_vec();
                    seen.lock().push(String::from_utf8(protocol).unwrap());
                    serve(stream, &says, &seen).await;
                });
            }
        });
        site
    }

    pub(super) fn says(&self, status: u16) {
        self.says.store(status, Ordering::SeqCst);
    }

    /// The heads of the requests that came, each after the protocol of its TLS connection if there was one.
    pub(super) fn seen(&self) -> Vec<String> {
        std::mem::take(&mut *self.seen.lock())
    }
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, says: &AtomicU16, seen: &Mutex<Vec<String>>) {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(byte) = stream.read_u8().await else { return };
            head.push(byte);
        }
        seen.lock().push(String::from_utf8(head).unwrap());
        let answer = match says.load(Ordering::SeqCst) {
            0 => return std::future::pending().await,
            103 => "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n".to_owned(),
            status => format!("HTTP/1.1 {status} X\r\ncontent-length: 5\r\n\r\nhello"),
        };
        if stream.write_all(answer.as_bytes()).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
}

/// A server that speaks HTTP/2 in the clear alone, as far as one request with an empty answer goes. Gives its first frame of headers.
pub(super) async fn h2c_site() -> (u16, tokio::task::JoinHandle<Vec<u8>>) {
    const HEADERS: u8 = 1;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut preface = [0; 24];
        stream.read_exact(&mut preface).await.unwrap();
        assert_eq!(&preface, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        // SETTINGS, and the acknowledgement of the other side's (RFC 9113, section 6.5).
        stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0]).await.unwrap();
        loop {
            let mut frame = [0; 9];
            stream.read_exact(&mut frame).await.unwrap();
            let mut payload = vec![0; usize::from(frame[2]) + 256 * usize::from(frame[1])];
            stream.read_exact(&mut payload).await.unwrap();
            if frame[3] == HEADERS {
                // Stream 1 ends with `:status 200`, entry 8 of HPACK's table.
                stream.write_all(&[0, 0, 1, HEADERS, 5, 0, 0, 0, 1, 0x88]).await.unwrap();
                return payload;
            }
        }
    });
    (port, served)
}

//! A client of HTTP/2 over TLS, which asks again and again on one connection for as long as it may.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;

/// Writes `site.pem` and `site.key` for `localhost`; the certificate, which clients trust.
pub fn site(folder: &Path) -> CertificateDer<'static> {
    let key = KeyPair::generate().expect("a key");
    let certificate = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name").self_signed(&key);
    let certificate = certificate.expect("a certificate");
    std::fs::write(folder.join("site.pem"), certificate.pem()).expect("our folder");
    std::fs::write(folder.join("site.key"), key.serialize_pem()).expect("our folder");
    certificate.der().clone()
}

/// TLS to it.
fn client(trusted: &CertificateDer<'static>, protocol: &[u8]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).expect("a certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    TlsConnector::from(Arc::new(config))
}

/// One client of HTTP/1.1, which resumes its sessions where it can.
pub struct Resuming {
    runtime: tokio::runtime::Runtime,
    connector: TlsConnector,
}

impl Resuming {
    pub fn new(trusted: &CertificateDer<'static>) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        Self { runtime, connector: client(trusted, b"http/1.1") }
    }

    /// Asks on a new connection; whether that resumed a session. The ticket for the next one comes with the answer.
    pub fn resumes(&self, address: &str) -> bool {
        self.runtime.block_on(async {
            let tcp = tokio::net::TcpStream::connect(address).await.expect("it is not refused");
            let mut tls = self
                .connector
                .connect(ServerName::try_from("localhost").expect("a name"), tcp)
                .await
                .expect("a handshake");
            let request = b"GET /plugins/face-scan HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
            tls.write_all(request).await.expect("sent");
            let mut answer = Vec::new();
            tls.read_to_end(&mut answer).await.expect("an answer");
            assert!(answer.starts_with(b"HTTP/1.1 401 "), "{}", String::from_utf8_lossy(&answer));
            tls.get_ref().1.handshake_kind() == Some(rustls::HandshakeKind::Resumed)
        })
    }
}

/// Asks until `stop`. Each answer is a redirect; a connection that says GOAWAY is opened anew.
pub fn ask(address: &str, trusted: &CertificateDer<'static>, token: &str, stop: &AtomicBool, answered: &AtomicU64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let connector = client(trusted, b"h2");
    runtime.block_on(async {
        while !stop.load(Ordering::Relaxed) {
            let tcp = tokio::net::TcpStream::connect(address).await.expect("it is not refused");
            let name = ServerName::try_from("localhost").expect("a name");
            let tls = connector.connect(name, tcp).await.expect("a handshake");
            let (send, connection) = h2::client::handshake(tls).await.expect("HTTP/2");
            let connection = tokio::spawn(connection);
            while !stop.load(Ordering::Relaxed) {
                let Ok(mut ready) = send.clone().ready().await else { break };
                let request = http::Request::get("https://localhost/plugins/face-scan");
                let request = request.header("authorization", format!("Bearer {token}")).body(()).expect("a request");
                let Ok((answer, _)) = ready.send_request(request, true) else { break };
                match answer.await {
                    Ok(answer) => assert_eq!(answer.status(), 302),
                    // RFC 9113, section 6.8: it was not processed, and the client asks again.
                    Err(fault) if fault.is_go_away() && fault.reason() == Some(h2::Reason::NO_ERROR) => break,
                    Err(fault) => panic!("an answer is missing: {fault}"),
                }
                answered.fetch_add(1, Ordering::Relaxed);
            }
            drop(send);
            // However it ends.
            let _ = connection.await;
        }
    });
}

//! An authority, certificates by it, and clients that trust it alone.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::in_time;
use super::wire::Wire;

/// Who signs.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, in PEM.
pub struct Site {
    pub chain: String,
    pub key: String,
    der: CertificateDer<'static>,
}

impl Authority {
    #[allow(clippy::new_without_default)] // Made, not defaulted to.
    pub fn new() -> Self {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("an authority"))
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// For a server: it wants a client certificate that is signed here.
    pub fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).expect("an authority");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().expect("a verifier")
    }

    pub fn site(&self, names: &[&str]) -> Site {
        self.site_until(names, 4000)
    }

    /// One whose certificate has ended.
    pub fn ended(&self, names: &[&str]) -> Site {
        self.site_until(names, 2020)
    }

    /// The authority's own certificate, which is for 127.0.0.1, as a server's.
    pub fn itself(&self) -> Site {
        Site { chain: self.0.pem(), key: self.0.key().serialize_pem(), der: self.0.der().clone() }
    }

    fn site_until(&self, names: &[&str], year: i32) -> Site {
        let key = KeyPair::generate().expect("a key");
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("parameters");
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let certificate = params.signed_by(&key, &self.0).expect("signed");
        Site { chain: certificate.pem(), key: key.serialize_pem(), der: certificate.der().clone() }
    }

    /// A client that offers these protocols.
    pub fn client(&self, protocols: &[&str]) -> Client {
        self.client_of(protocols, None, rustls::ALL_VERSIONS)
    }

    /// One that shows this certificate, if any, and speaks these versions.
    pub fn client_of(
        &self,
        protocols: &[&str],
        shown: Option<&Site>,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> Client {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).expect("an authority");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions);
        let config = config.expect("versions").with_root_certificates(roots);
        let mut config = match shown {
            None => config.with_no_client_auth(),
            Some(shown) => {
                let key = PrivateKeyDer::from_pem_slice(shown.key.as_bytes()).expect("a key");
                config.with_client_auth_cert(vec![shown.der.clone()], key).expect("a certificate with its key")
            }
        };
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Client(TlsConnector::from(Arc::new(config)))
    }
}

impl Site {
    /// The certificate as RFC 9440 has it in a field.
    pub fn field(&self) -> String {
        format!(":{}:", STANDARD.encode(&self.der))
    }

    /// For a server that chooses among these protocols.
    pub fn acceptor(&self, protocols: &[&str]) -> TlsAcceptor {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).expect("a key");
        let builder = builder.expect("versions").with_no_client_auth();
        let mut config = builder.with_single_cert(vec![self.der.clone()], key).expect("a pair");
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }

    /// Whether this is the certificate that the client was shown.
    pub fn was_shown(&self, tls: &TlsStream<TcpStream>) -> bool {
        tls.get_ref().1.peer_certificates().expect("a certificate")[0] == self.der
    }
}

/// Who connects with TLS.
#[derive(Clone)]
pub struct Client(TlsConnector);

impl Client {
    /// A connection to `address` that asks for `name`.
    pub async fn connect(&self, address: &str, name: &str) -> std::io::Result<TlsStream<TcpStream>> {
        let tcp = in_time("connecting", TcpStream::connect(address)).await?;
        tcp.set_nodelay(true)?;
        self.over(tcp, name).await
    }

    /// TLS on a connection that stands.
    pub async fn over(&self, tcp: TcpStream, name: &str) -> std::io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        in_time("the handshake", self.0.connect(name, tcp)).await
    }

    pub async fn open(&self, address: &str, name: &str) -> Wire {
        Wire::over(self.connect(address, name).await.expect("a handshake"))
    }
}

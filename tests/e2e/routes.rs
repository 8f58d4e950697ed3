//! An identity provider and a vendor behind TLS by an authority of the house, called through a proxy that wants to know who we are.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use valet_gateway::clock::Clock;
use valet_gateway::config::Config;
use valet_gateway::demo::idp::{self, IdpOptions, IdpSim, TokenRequest};
use valet_gateway::demo::provider::{self, ProviderOptions, ProviderSim};
use valet_gateway::server::{self, Limits, Options};
use valet_gateway::telemetry::Metrics;

use crate::kit::{FACE_SCAN, Wire};

/// An authority of the house, and a certificate by it for 127.0.0.1.
struct House {
    authority: String,
    acceptor: TlsAcceptor,
}

impl House {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = KeyPair::generate().expect("a key");
        let authority = CertifiedIssuer::self_signed(params, authority).expect("an authority");
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("parameters");
        let certificate = params.signed_by(&key, &authority).expect("a certificate");
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("a certificate");
        Self { authority: authority.pem(), acceptor: TlsAcceptor::from(Arc::new(config)) }
    }

    /// TLS on this listener, and this address behind it.
    fn covers(&self, listener: TcpListener, behind: SocketAddr) {
        let acceptor = self.acceptor.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(mut tls) = acceptor.accept(stream).await else { return };
                    let mut plain = TcpStream::connect(behind).await.expect("the server behind");
                    tokio::io::copy_bidirectional(&mut tls, &mut plain).await.ok();
                });
            }
        });
    }
}

async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    (listener, address)
}

/// A proxy that opens tunnels for `valet:password` alone, and counts them.
async fn proxy() -> (String, Arc<AtomicUsize>) {
    let (listener, address) = listener().await;
    let tunnels = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&tunnels);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let count = Arc::clone(&count);
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = client.read_u8().await else { return };
                    head.push(byte);
                }
                let head = String::from_utf8(head).expect("a head");
                if !head.contains("Proxy-Authorization: Basic dmFsZXQ6cGFzc3dvcmQ=\r\n") {
                    client.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await.ok();
                    return;
                }
                let target = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next()).expect("CONNECT");
                let mut server = TcpStream::connect(target).await.expect("the target");
                count.fetch_add(1, Ordering::Relaxed);
                client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.ok();
                tokio::io::copy_bidirectional(&mut client, &mut server).await.ok();
            });
        }
    });
    (address, tunnels)
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_urls_are_had_by_the_houses_authority_and_proxy() {
    let (house, (proxy, tunnels)) = (House::new(), proxy().await);
    let ((idp_outside, idp_address), (vendor_outside, vendor_address)) = (listener().await, listener().await);
    let options = IdpOptions { issuer: Some(format!("https://{idp_address}")), ..IdpOptions::default() };
    let loopback = "127.0.0.1:0".parse().expect("an address");
    let idp = idp::spawn(loopback, IdpSim::with(options).expect("an identity provider")).await.expect("a port");
    let vendor = provider::spawn(loopback, ProviderSim::new(ProviderOptions::default())).await.expect("a port");
    house.covers(idp_outside, idp.address());
    house.covers(vendor_outside, vendor.address());

    let folder = tempfile::tempdir().expect("a folder");
    for (name, content) in
        [("ca.pem", &*house.authority), ("proxy.key", "valet:password"), ("key", &vendor.sim.keys()[0])]
    {
        std::fs::write(folder.path().join(name), content).expect("a file");
    }
    let way =
        format!("ca = \"ca.pem\"\nproxy = {{ url = \"http://{proxy}\", credentials = {{ file = \"proxy.key\" }} }}");
    let text = format!(
        r#"
server.public_url = "https://app.example.com"
listener = [{{ address = "127.0.0.1:0" }}]
[[session.issuer]]
issuer = "https://{idp_address}"
audiences = ["my-app"]
algorithms = ["ES256"]
keys = {{ discovery = true }}
{way}
[[provider]]
name = "intelliprove"
preset = "intelliprove-v2"
base_url = "https://{vendor_address}"
api_key = {{ file = "key" }}
redirect_hosts = ["127.0.0.1"]
{way}
[[plugin]]
name = "face-scan"
provider = "intelliprove"
mint = "face-scan"
path = "{FACE_SCAN}"
reuse = "user"
"#
    );
    let config = Config::parse(&text, "valet.toml", folder.path()).unwrap_or_else(|faults| panic!("{faults:#?}"));
    let metrics = Metrics::new("0", "test").expect("metrics");
    let options = Options { clock: Clock::system(), access_log: None, limits: Limits::default(), metrics };
    let gateway = server::start(config, options).unwrap_or_else(|fault| panic!("{fault}"));

    let token = idp.sim.token(&TokenRequest::user("ada"));
    let mut wire = Wire::open(&gateway.addresses[0]).await;
    // The keys may still be on their way: the request that names an unknown one waits for them.
    wire.write(format!("GET {FACE_SCAN} HTTP/1.1\r\nHost: app.example.com\r\nAuthorization: Bearer {token}\r\n\r\n"))
        .await;
    wire.answer().await.assert_status(302);
    assert!(tunnels.load(Ordering::Relaxed) >= 2, "one to each at least");
}

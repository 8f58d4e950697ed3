//! TLS by own authorities, and the way through a proxy.

use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::http_client::settings::{ProxySettings, ProxyTable};
use crate::secret::SecretSource;
use crate::setting::FieldFault;

/// An authority, and a server that answers each connection's one request with `hello`; its certificate is for 127.0.0.1 and localhost.
struct Site {
    authority: String,
    port: u16,
}

impl Site {
    async fn start() -> Self {
        Self::with(&["127.0.0.1", "localhost"], 2100).await
    }

    /// With a certificate for these names, which ends with the beginning of this year.
    async fn with(names: &[&str], ends: i32) -> Self {
        Self::of_kind(names, ends, IsCa::NoCa).await
    }

    async fn of_kind(names: &[&str], ends: i32, kind: IsCa) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_after = rcgen::date_time_ymd(ends, 1, 1);
        params.is_ca = kind;
        let certificate = params.signed_by(&key, &authority).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der())),
            )
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    if read_head(&mut stream).await.starts_with("GET /keys HTTP/1.1\r\n") {
                        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await.ok();
                        stream.flush().await.ok();
                    }
                });
            }
        });
        Self { authority: authority.pem(), port }
    }

    fn url(&self) -> Url {
        format!("https://127.0.0.1:{}/keys", self.port).parse().unwrap()
    }
}

/// A forward proxy: the head of each request that it gets, and what goes through the tunnel as the client sent it.
struct Relay {
    address: String,
    heads: mpsc::UnboundedReceiver<String>,
    passed: Arc<parking_lot::Mutex<Vec<u8>>>,
}

impl Relay {
    /// `refusal` in place of a tunnel.
    async fn start(refusal: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (sender, heads) = mpsc::unbounded_channel();
        let passed = Arc::new(parking_lot::Mutex::new(Vec::new()));
        let tap = Arc::clone(&passed);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let (sender, tap) = (sender.clone(), Arc::clone(&tap));
                tokio::spawn(async move {
                    let head = read_head(&mut client).await;
                    let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
                    sender.send(head).ok();
                    if let Some(refusal) = refusal {
                        client.write_all(refusal.as_bytes()).await.ok();
                        return;
                    }
                    let Ok(server) = TcpStream::connect(target).await else { return };
                    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                    let ((mut from, mut back), (mut answers, mut to)) = (client.into_split(), server.into_split());
                    tokio::spawn(async move { tokio::io::copy(&mut answers, &mut back).await });
                    let mut buffer = [0; 4096];
                    while let Ok(n @ 1..) = from.read(&mut buffer).await {
                        tap.lock().extend_from_slice(&buffer[..n]);
                        if to.write_all(&buffer[..n]).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { address, heads, passed }
    }
}

/// A route as a configuration describes it, in a folder with these files.
fn route(ca: Option<&str>, proxy: Option<ProxySettings>) -> Result<Route, Vec<FieldFault>> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ca.pem"), ca.unwrap_or_default()).unwrap();
    std::fs::write(folder.path().join("credentials"), "valet:pa:ss\n").unwrap();
    Route::open(ca.map(|_| Path::new("ca.pem")), proxy.as_ref(), folder.path())
}

fn with_credentials(url: &str, file: &str) -> ProxySettings {
    let credentials = Some(SecretSource::File(file.into()));
    ProxySettings::Table(ProxyTable { url: url.into(), credentials })
}

async fn call(route: Route, url: &Url) -> Result<String, ClientFault> {
    let answer = Client::through(route).unwrap().get(url, "*/*", 100, AMPLE).await?;
    Ok(String::from_utf8(answer.body.to_vec()).unwrap())
}

#[tokio::test]
async fn a_certificate_is_believed_from_the_authorities_of_the_route_alone() {
    let (site, other) = (Site::start().await, Site::start().await);
    assert_eq!(call(route(Some(&site.authority), None).unwrap(), &site.url()).await.as_deref(), Ok("hello"));
    let both = format!("{}{}", other.authority, site.authority);
    assert_eq!(call(route(Some(&both), None).unwrap(), &site.url()).await.as_deref(), Ok("hello"));
    assert_eq!(
        call(route(Some(&other.authority), None).unwrap(), &site.url()).await,
        Err(ClientFault::NoConnection(Cause::UnknownAuthority))
    );
    assert_eq!(call(Route::default(), &site.url()).await, Err(ClientFault::NoConnection(Cause::UnknownAuthority)));
    // The name counts too.
    let elsewhere = format!("https://127.0.0.2:{}/keys", site.port).parse().unwrap();
    assert!(call(route(Some(&site.authority), None).unwrap(), &elsewhere).await.is_err());
}

#[tokio::test]
async fn a_proxy_sees_host_and_port_and_none_of_the_call() {
    let (site, mut relay) = (Site::start().await, Relay::start(None).await);
    let way = route(Some(&site.authority), Some(with_credentials(&relay.address, "credentials"))).unwrap();
    assert_eq!(call(way, &site.url()).await.as_deref(), Ok("hello"));
    let head = relay.heads.recv().await.unwrap().to_ascii_lowercase();
    assert!(head.starts_with(&format!("connect 127.0.0.1:{} http/1.1\r\n", site.port)), "{head}");
    // `valet:pa:ss`.
    assert!(head.contains("\r\nproxy-authorization: basic dmfszxq6cge6c3m=\r\n"), "{head}");
    let passed = relay.passed.lock().clone();
    assert_eq!(passed.first(), Some(&0x16), "a TLS handshake comes first");
    assert!(memchr::memmem::find(&passed, b"/keys").is_none());
}

#[tokio::test]
async fn without_credentials_the_proxy_is_told_none() {
    let (site, mut relay) = (Site::start().await, Relay::start(None).await);
    let way = route(Some(&site.authority), Some(ProxySettings::Address(relay.address.clone()))).unwrap();
    assert_eq!(call(way, &site.url()).await.as_deref(), Ok("hello"));
    assert!(!relay.heads.recv().await.unwrap().to_ascii_lowercase().contains("proxy-authorization"));
}

#[tokio::test]
async fn nothing_goes_around_a_proxy_that_refuses_or_is_gone() {
    let site = Site::start().await;
    let mut relay = Relay::start(Some("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")).await;
    let way = || route(Some(&site.authority), Some(ProxySettings::Address(relay.address.clone()))).unwrap();
    assert_eq!(call(way(), &site.url()).await, Err(ClientFault::NoConnection(Cause::Proxy)));
    relay.heads.recv().await.unwrap();
    let gone = Some(ProxySettings::Address("http://127.0.0.1:9".into()));
    assert_eq!(
        call(route(Some(&site.authority), gone).unwrap(), &site.url()).await,
        Err(ClientFault::NoConnection(Cause::Proxy))
    );
}

#[tokio::test]
async fn a_call_in_the_clear_never_enters_a_proxy() {
    let mut relay = Relay::start(None).await;
    let (url, seen) = answers(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let way = route(None, Some(ProxySettings::Address(relay.address.clone()))).unwrap();
    assert_eq!(call(way, &url).await, Err(ClientFault::NoConnection(Cause::NoRoute)));
    assert!(relay.heads.try_recv().is_err());
    seen.abort();
}

#[test]
fn each_fault_of_a_route_names_its_key() {
    let keys = |route: Result<Route, Vec<FieldFault>>| -> Vec<String> {
        route.err().unwrap().iter().map(|fault| fault.path.clone()).collect()
    };
    let junk = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for ca in ["", "text", junk, "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"] {
        assert_eq!(keys(route(Some(ca), None)), ["ca"], "{ca}");
    }
    let all = keys(route(Some(junk), Some(with_credentials("https://proxy", "absent"))));
    assert_eq!(all, ["ca", "proxy", "proxy.credentials"]);
    assert_eq!(keys(route(None, Some(with_credentials("http://proxy", "absent")))), ["proxy.credentials"]);
    assert!(route(None, None).unwrap().is_plain());
}

#[tokio::test]
async fn a_wrong_name_an_ended_or_unfit_certificate_and_a_plain_port_are_told_apart() {
    let authority = IsCa::Ca(BasicConstraints::Unconstrained);
    for (names, ends, kind, cause) in [
        (["other.example"], 2100, IsCa::NoCa, Cause::WrongName),
        (["127.0.0.1"], 2020, IsCa::NoCa, Cause::CertificateEnded),
        (["127.0.0.1"], 2100, authority, Cause::CertificateUnfit),
    ] {
        let site = Site::of_kind(&names, ends, kind).await;
        let answer = call(route(Some(&site.authority), None).unwrap(), &site.url()).await;
        assert_eq!(answer, Err(ClientFault::NoConnection(cause)));
    }
    let (listener, mut url) = listening().await;
    url.set_scheme("https").unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        // Until the client closes it.
        stream.read_to_end(&mut Vec::new()).await.ok();
    });
    assert_eq!(get(&url, 100).await.err(), Some(ClientFault::NoConnection(Cause::PlainPort)));
}

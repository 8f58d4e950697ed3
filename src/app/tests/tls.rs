//! The way to an app, by Pingora's own connector, and the files that it needs.

use pingora::ErrorType;
use pingora::connectors::ConnectorOptions;
use pingora::connectors::http::Connector;
use pingora::http::RequestHeader;
use pingora::protocols::http::client::HttpSession;
use pingora::upstreams::peer::{ALPN, H1UpgradePolicy, HttpPeer, Peer};

use super::site::{Authority, Identity, Site};
use super::*;

/// A folder with the files that settings name, and Pingora's connector, which trusts nobody by itself.
struct Way {
    folder: tempfile::TempDir,
    connector: Connector,
}

impl Way {
    fn new() -> Self {
        let mut options = ConnectorOptions::new(8);
        options.ca_file = Some("/dev/null".into());
        Self { folder: tempfile::tempdir().unwrap(), connector: Connector::new(Some(options)) }
    }

    fn with(files: &[(&str, &str)]) -> Self {
        let way = Self::new();
        files.iter().for_each(|(name, content)| std::fs::write(way.folder.path().join(name), content).unwrap());
        way
    }

    fn pool(&self, keys: Value) -> Arc<Pool> {
        let metrics = Metrics::new("0", "0").unwrap();
        Pool::open(&settings(keys), self.folder.path(), Clock::system(), &metrics).unwrap()
    }

    fn faults(&self, keys: Value) -> Vec<String> {
        let faults = open(&settings(keys), self.folder.path()).err().unwrap_or_default();
        let shown = format!("{}/", self.folder.path().display());
        faults.iter().map(|fault| format!("{}: {}", fault.path, fault.message.replace(&shown, ""))).collect()
    }

    /// The status of an answer, and whether the connection had served before. It is kept for the next one.
    async fn get(&self, peer: &HttpPeer) -> Result<(u16, bool), ErrorType> {
        let asked = async {
            let (mut session, reused) = self.connector.get_http_session(peer).await?;
            let mut request = RequestHeader::build("GET", b"/", None)?;
            request.insert_header("Host", "portal")?;
            session.write_request_header(Box::new(request)).await?;
            session.finish_request_body().await?;
            session.read_response_header().await?;
            let status = session.response_header().unwrap().status.as_u16();
            while session.read_response_body().await?.is_some() {}
            if let HttpSession::H1(session) = &mut session {
                session.respect_keepalive();
            }
            self.connector.release_http_session(session, peer, None).await;
            Ok((status, reused))
        };
        asked.await.map_err(|fault: pingora::BError| fault.etype().clone())
    }
}

fn peer(pool: &Arc<Pool>) -> Box<HttpPeer> {
    Box::new(pool.pick(b"", &[]).unwrap().peer().clone())
}

fn to(site: &Site) -> String {
    format!("https://127.0.0.1:{}", site.port)
}

#[tokio::test]
async fn a_certificate_is_believed_from_the_authorities_of_the_app_alone() {
    let (ours, other) = (Authority::new(), Authority::new());
    let site = Site::with_tls(ours.tls_for("127.0.0.1", None)).await;
    let both = ours.pem() + &other.pem();
    let way = Way::with(&[("own.pem", &ours.pem()), ("other.pem", &other.pem()), ("both.pem", &both)]);
    let pool = |ca| way.pool(json!({ "upstreams": [to(&site)], "ca": ca }));
    let own = pool("own.pem");
    assert_eq!(way.get(&peer(&own)).await, Ok((200, false)));
    assert_eq!(way.get(&peer(&pool("both.pem"))).await, Ok((200, false)));
    assert_eq!(way.get(&peer(&pool("other.pem"))).await, Err(ErrorType::TLSHandshakeFailure));
    // Pingora's pool of connections would give one app the connections of another, or of itself with other authorities, but for the pools' numbers.
    assert_eq!(way.get(&peer(&own)).await, Ok((200, true)));
    assert_eq!(way.get(&peer(&pool("own.pem"))).await, Ok((200, false)));
    let machine = way.pool(json!({ "upstreams": [to(&site)] }));
    assert!(machine.trusts_the_machine() && !own.trusts_the_machine());
    assert_eq!(way.get(&peer(&machine)).await, Err(ErrorType::TLSHandshakeFailure));
}

#[tokio::test]
async fn a_certificate_must_be_for_the_upstreams_host_or_for_the_server_name() {
    let own = Authority::new();
    let site = Site::with_tls(own.tls_for("portal.internal", None)).await;
    let way = Way::with(&[("ca.pem", &own.pem())]);
    let keys = |name: &str| json!({ "upstreams": [to(&site)], "ca": "ca.pem", "server_name": name });
    assert_eq!(way.get(&peer(&way.pool(keys("portal.internal")))).await, Ok((200, false)));
    assert_eq!(way.get(&peer(&way.pool(keys("other.internal")))).await, Err(ErrorType::TLSHandshakeFailure));
    let by_host = way.pool(json!({ "upstreams": [to(&site)], "ca": "ca.pem" }));
    assert_eq!(way.get(&peer(&by_host)).await, Err(ErrorType::TLSHandshakeFailure));
}

#[tokio::test]
async fn an_app_that_asks_for_it_gets_the_client_certificate() {
    let (own, clients) = (Authority::new(), Authority::new());
    let site = Site::with_tls(own.tls_for("127.0.0.1", Some(&clients))).await;
    let (good, stranger) = (clients.sign("valet"), own.sign("valet"));
    let way = Way::with(&[
        ("ca.pem", &own.pem()),
        ("good.pem", &good.chain),
        ("good.key", &good.key),
        ("stranger.pem", &stranger.chain),
        ("stranger.key", &stranger.key),
    ]);
    let keys = |name: &str| {
        let certificate = json!({ "chain": format!("{name}.pem"), "key": format!("{name}.key") });
        json!({ "upstreams": [to(&site)], "ca": "ca.pem", "client_certificate": certificate })
    };
    assert_eq!(way.get(&peer(&way.pool(keys("good")))).await, Ok((200, false)));
    // With TLS 1.3 the refusal comes after the handshake, in place of an answer.
    assert!(way.get(&peer(&way.pool(keys("stranger")))).await.is_err());
    let none = way.pool(json!({ "upstreams": [to(&site)], "ca": "ca.pem" }));
    assert!(way.get(&peer(&none)).await.is_err());
}

#[tokio::test]
async fn over_tls_the_app_chooses_the_version_and_a_websocket_has_http_1() {
    let own = Authority::new();
    let mut tls = own.tls_for("127.0.0.1", None);
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let (both, old) = (Site::with_tls(tls.clone()).await, {
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Site::with_tls(tls).await
    });
    let way = Way::with(&[("ca.pem", &own.pem())]);
    let picked = |site| {
        let pool = way.pool(json!({ "upstreams": [to(site)], "ca": "ca.pem" }));
        pool.pick(b"", &[]).unwrap()
    };
    let (session, _) = way.connector.get_http_session(picked(&both).peer()).await.unwrap();
    assert!(session.as_http2().is_some());
    assert_eq!(way.get(picked(&both).websocket_peer()).await, Ok((200, false)));
    assert!(both.seen().contains(&"http/1.1".into()));
    // Connections belong to a pool: each pool has a number of its own.
    let picked = picked(&old);
    assert_eq!(way.get(picked.peer()).await, Ok((200, false)));
    assert_eq!(way.get(picked.peer()).await, Ok((200, true)));
}

#[test]
fn peers_have_the_time_outs_of_the_app_and_a_websocket_its_own() {
    let keys = json!({
        "upstreams": ["h2c://127.0.0.1:1"], "connect_timeout": "1s", "read_timeout": "2s", "idle_timeout": "3s",
        "websocket_timeout": "4s",
    });
    let picked = Way::new().pool(keys.clone()).pick(b"", &[]).unwrap();
    let (peer, websocket) = (picked.peer(), picked.websocket_peer());
    let secs = |secs| Some(Duration::from_secs(secs));
    for (peer, patience) in [(peer, 2), (websocket, 4)] {
        assert_eq!(peer.options.connection_timeout, secs(1));
        assert_eq!(peer.options.total_connection_timeout, secs(1));
        assert_eq!((peer.options.read_timeout, peer.options.write_timeout), (secs(patience), secs(patience)));
        assert_eq!(peer.options.idle_timeout, secs(3));
        assert!(!peer.is_tls() && peer.options.tcp_keepalive.is_some());
    }
    assert_eq!((&peer.options.alpn, &websocket.options.alpn), (&ALPN::H2, &ALPN::H1));
    let upgrades = |peer: &HttpPeer| peer.options.http_upstream_request_policy.h1_upgrade;
    assert_eq!((upgrades(peer), upgrades(websocket)), (H1UpgradePolicy::Deny, H1UpgradePolicy::WebSocketOnly));
    assert_eq!(peer.reuse_hash(), websocket.reuse_hash());
    let other = Way::new().pool(keys).pick(b"", &[]).unwrap();
    assert_ne!(peer.group_key, other.peer().group_key, "no two pools share connections");
}

#[tokio::test]
async fn a_time_out_of_a_month_still_connects() {
    let site = Site::plain().await;
    let keys = json!({ "upstreams": [format!("127.0.0.1:{}", site.port)], "read_timeout": "720h" });
    let way = Way::new();
    assert_eq!(way.get(&peer(&way.pool(keys))).await, Ok((200, false)));
}

#[test]
fn each_fault_of_a_file_names_its_key_and_the_file() {
    let (one, two) = (Authority::new().sign("valet"), Authority::new().sign("valet"));
    let junk = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let half = one.chain.clone() + junk;
    let encrypted = one.key.replace("PRIVATE", "ENCRYPTED PRIVATE");
    let odd = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let Identity { chain, key } = &one;
    let way = Way::with(&[
        ("chain.pem", chain),
        ("key.pem", key),
        ("other.key", &two.key),
        ("junk.pem", junk),
        ("half.pem", &half),
        ("text.pem", "text"),
        ("empty.pem", ""),
        ("encrypted.key", &encrypted),
        ("odd.key", odd),
    ]);
    let ca = |ca: &str| way.faults(json!({ "upstreams": ["https://app"], "ca": ca }));
    assert_eq!(ca("chain.pem"), [""; 0]);
    assert_eq!(ca("junk.pem"), ["ca: junk.pem: certificate 1 can't be used as an authority"]);
    assert_eq!(ca("half.pem"), ["ca: half.pem: certificate 2 can't be used as an authority"]);
    assert_eq!(ca("text.pem"), ["ca: text.pem holds no certificate in PEM"]);
    assert!(ca("absent.pem")[0].starts_with("ca: absent.pem: "));
    let client = |chain: &str, key: &str| {
        let certificate = json!({ "chain": chain, "key": key });
        way.faults(json!({ "upstreams": ["https://app"], "ca": "chain.pem", "client_certificate": certificate }))
    };
    assert_eq!(client("chain.pem", "key.pem"), [""; 0]);
    for (chain, key, fault) in [
        ("chain.pem", "other.key", "key: does not belong to the certificate in `client_certificate.chain`"),
        ("chain.pem", "odd.key", "key: odd.key holds a key that can't be used"),
        ("chain.pem", "text.pem", "key: text.pem holds no private key in PEM that is not encrypted"),
        ("chain.pem", "encrypted.key", "key: encrypted.key holds no private key in PEM that is not encrypted"),
        (
            "chain.pem",
            "chain.pem",
            "key: chain.pem holds no private key in PEM that is not encrypted: it holds a certificate",
        ),
        ("key.pem", "key.pem", "chain: key.pem holds no certificate in PEM: it holds a private key"),
        ("chain.pem", "empty.pem", "key: empty.pem is empty"),
        ("junk.pem", "key.pem", "chain: junk.pem: certificate 1 can't be read"),
        ("half.pem", "key.pem", "chain: half.pem: certificate 2 can't be read"),
        ("text.pem", "key.pem", "chain: text.pem holds no certificate in PEM"),
    ] {
        assert_eq!(client(chain, key), [format!("client_certificate.{fault}")], "{chain} {key}");
    }
    assert_eq!(client("text.pem", "text.pem").len(), 2, "both are named");
}

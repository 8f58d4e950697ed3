//! Pingora's HTTP/2 server behind the guard, over TLS, with clients that behave and clients that do not.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use pingora::http::ResponseHeader;
use pingora::proxy::{ProxyHttp, Session as Exchange, http_proxy};
use pingora_core::apps::ServerApp;
use pingora_core::listeners::tls::Acceptor;
use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::peer::HttpPeer;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use super::*;

/// Answers each request with a redirect.
struct Redirects(Arc<AtomicU64>);

#[async_trait]
impl ProxyHttp for Redirects {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Exchange, (): &mut ()) -> pingora_core::Result<Box<HttpPeer>> {
        panic!("nothing is behind it")
    }

    async fn request_filter(&self, exchange: &mut Exchange, (): &mut ()) -> pingora_core::Result<bool> {
        self.0.fetch_add(1, Ordering::Relaxed);
        let mut head = ResponseHeader::build(302, None)?;
        head.insert_header("location", "https://plug-in.example/")?;
        head.insert_header("content-length", "0")?;
        exchange.write_response_header(Box::new(head), true).await?;
        Ok(true)
    }
}

/// A guarded server, and its client's side of the connection.
struct TestBench {
    client: tokio_rustls::client::TlsStream<DuplexStream>,
    metrics: Metrics,
    answered: Arc<AtomicU64>,
    server: tokio::task::JoinHandle<()>,
    _stop: watch::Sender<bool>,
}

impl TestBench {
    async fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let config =
            ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
        let mut config = config.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let acceptor = Acceptor::from_server_config(Arc::new(config));
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];

        let (near, far) = tokio::io::duplex(64 * 1024);
        let (metrics, answered) = (Metrics::new("0", "test").unwrap(), Arc::new(AtomicU64::new(0)));
        let (counters, gateway, (stop, stopped)) =
            (FloodCounters::new(&metrics), Redirects(answered.clone()), watch::channel(false));
        let server = tokio::spawn(async move {
            let stream: Stream = Box::new(acceptor.tls_handshake(far).await.unwrap());
            let Some(stream) = FloodGuard::enter(stream, Duration::from_secs(10), &counters).await else { return };
            let proxy = Arc::new(http_proxy(&Arc::new(ServerConf::default()), gateway));
            assert!(proxy.process_new(Box::new(stream), &stopped).await.is_none());
        });
        let connector = TlsConnector::from(Arc::new(config));
        let client = connector.connect(ServerName::try_from("a.example").unwrap(), near).await.unwrap();
        Self { client, metrics, answered, server, _stop: stop }
    }

    /// Sends the preface and then this over and over, and reads what comes, until the connection ends. How many bytes came.
    async fn flood(&mut self, frames: &[u8]) -> usize {
        let (mut read, mut write) = tokio::io::split(&mut self.client);
        let send = async {
            write.write_all(PREFACE).await.unwrap();
            write.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
            while write.write_all(frames).await.is_ok() {}
            std::future::pending::<usize>().await
        };
        let receive = async {
            let (mut count, mut scrap) = (0, [0; 4096]);
            while let Ok(n @ 1..) = read.read(&mut scrap).await {
                count += n;
            }
            count
        };
        tokio::select! { count = receive => count, count = send => count }
    }

    /// The client goes; the server ends by itself.
    async fn end(self) -> [u64; 4] {
        drop(self.client);
        self.server.await.unwrap();
        counters(&self.metrics)
    }
}

/// How many connections were ended for want of a preface, for a flood, for resets, for half a head.
fn counters(metrics: &Metrics) -> [u64; 4] {
    ["preface", "flood", "resets", "head"].map(|cause| metrics.connections_cut.with_label_values(&[cause]).get())
}

fn request() -> http::Request<()> {
    http::Request::get("https://a.example/plugins/face-scan").body(()).unwrap()
}

#[tokio::test]
async fn requests_pass_one_after_the_other_and_at_once() {
    let bench = TestBench::new().await;
    let (send, connection) = h2::client::handshake(bench.client).await.unwrap();
    tokio::spawn(connection);
    for _ in 0..10 {
        let mut answers = JoinSet::new();
        for _ in 0..20 {
            let send = send.clone();
            answers.spawn(async move {
                let mut send = send.ready().await.unwrap();
                send.send_request(request(), true).unwrap().0.await.unwrap()
            });
        }
        for answer in answers.join_all().await {
            assert_eq!(answer.status(), 302);
            assert_eq!(answer.headers()["location"], "https://plug-in.example/");
        }
    }
    assert_eq!(bench.answered.load(Ordering::Relaxed), 200);
    drop(send);
    bench.server.await.unwrap();
    assert_eq!(counters(&bench.metrics), [0; 4]);
}

/// PING with eight bytes (RFC 9113, section 6.7).
const PING: &[u8] = &[0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];

#[tokio::test(start_paused = true)]
async fn a_flood_of_pings_ends_after_a_bounded_count_though_the_client_reads_the_answers() {
    let mut bench = TestBench::new().await;
    let came = bench.flood(&PING.repeat(100)).await;
    // A second's worth at most, for no time has passed; and the settings.
    assert!(came / PING.len() <= 10_010, "{came} bytes of answers");
    assert_eq!(bench.end().await, [0, 1, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn floods_of_other_frames_end_too() {
    // SETTINGS, WINDOW_UPDATE of the connection, PRIORITY of a stream that was never there, an unknown kind.
    for frame in [
        &[0, 0, 0, 4, 0, 0, 0, 0, 0][..],
        &[0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        &[0, 0, 5, 2, 0, 0, 0, 0, 9, 0, 0, 0, 0, 1],
        &[0, 0, 0, 0x42, 0, 0, 0, 0, 0],
    ] {
        let mut bench = TestBench::new().await;
        bench.flood(&frame.repeat(100)).await;
        assert_eq!(bench.end().await, [0, 1, 0, 0], "{frame:?}");
    }
}

/// As Go's client does: one update for the connection and one for the stream for each piece of a download that was read. No time passes.
#[tokio::test(start_paused = true)]
async fn window_updates_for_a_fast_download_are_no_flood_and_more_of_them_are() {
    const PIECE: usize = 16 * 1024;
    const UPDATE: &[u8] = &[0, 0, 4, 8, 0, 0, 0, 0, 1, 0, 0, 0x40, 0];
    let mut data = vec![0, 0x40, 0, 0, 0, 0, 0, 0, 1];
    data.resize(data.len() + PIECE, b'x');
    let (mut client, far) = tokio::io::duplex(64 * 1024);
    let metrics = Metrics::new("0", "test").unwrap();
    client.write_all(PREFACE).await.unwrap();
    let deadline = Duration::from_secs(10);
    let mut guard = FloodGuard::enter(Box::new(far), deadline, &FloodCounters::new(&metrics)).await.unwrap();
    let mut taken = [0; PREFACE.len() + 2 * UPDATE.len()];
    guard.read_exact(&mut taken[..PREFACE.len()]).await.unwrap();
    let mut came = vec![0; data.len()];
    for _ in 0..6000 {
        guard.write_all(&data).await.unwrap();
        client.read_exact(&mut came).await.unwrap();
        client.write_all(&UPDATE.repeat(2)).await.unwrap();
        guard.read_exact(&mut taken[..2 * UPDATE.len()]).await.unwrap();
    }
    assert_eq!(counters(&metrics), [0; 4]);
    // Two more for each piece, and the bound on what comes without any.
    let mut more = 0;
    loop {
        client.write_all(UPDATE).await.unwrap();
        if guard.read_exact(&mut taken[..UPDATE.len()]).await.is_err() {
            break;
        }
        more += 1;
    }
    assert_eq!(more, 2 * 6000 + 10_000);
    assert_eq!(counters(&metrics), [0, 1, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_back_every_request_is_cut_off() {
    let bench = TestBench::new().await;
    let (mut send, connection) = h2::client::handshake(bench.client).await.unwrap();
    let connection = tokio::spawn(connection);
    for _ in 0..5000 {
        let Ok(ready) = send.clone().ready().await else { break };
        send = ready;
        let Ok((_, mut stream)) = send.send_request(request(), false) else { break };
        stream.send_reset(h2::Reason::CANCEL);
        tokio::task::yield_now().await;
    }
    assert!(connection.await.unwrap().is_err());
    bench.server.await.unwrap();
    assert_eq!(counters(&bench.metrics), [0, 0, 1, 0]);
    // 500 in a second, and no time has passed.
    assert!(bench.answered.load(Ordering::Relaxed) <= 500, "{:?}", bench.answered);
}

#[tokio::test(start_paused = true)]
async fn a_client_without_a_preface_has_ten_seconds() {
    for (sent, at_once) in [(&b""[..], false), (&PREFACE[..23], false), (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", true)] {
        let mut bench = TestBench::new().await;
        let began = Instant::now();
        bench.client.write_all(sent).await.unwrap();
        bench.client.flush().await.unwrap();
        let mut rest = Vec::new();
        let _ = bench.client.read_to_end(&mut rest).await;
        assert!(rest.is_empty());
        let waited = began.elapsed();
        assert_eq!(waited < Duration::from_millis(9_990), at_once, "{waited:?}");
        assert!(waited < Duration::from_millis(10_010), "{waited:?}");
        assert_eq!(bench.end().await, [1, 0, 0, 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn half_a_head_has_ten_seconds_whatever_comes_meanwhile() {
    /// HEADERS of stream 1, with and without END_HEADERS (RFC 9113, section 6.2): `:method: GET`, and a length that says there is more.
    const BEGUN: &[u8] = &[0, 0, 40, 1, 1 | 4, 0, 0, 0, 1, 0x82];
    const TO_BE_CONTINUED: &[u8] = &[0, 0, 1, 1, 1, 0, 0, 0, 1, 0x82];
    for (half, more) in [(BEGUN, &b""[..]), (TO_BE_CONTINUED, b""), (BEGUN, b"\0")] {
        let mut bench = TestBench::new().await;
        let (mut read, mut write) = tokio::io::split(&mut bench.client);
        let began = Instant::now();
        let send = async {
            write.write_all(PREFACE).await.unwrap();
            write.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
            write.write_all(half).await.unwrap();
            write.flush().await.unwrap();
            loop {
                // Pause: on the paused clock, where nothing waits.
                tokio::time::sleep(Duration::from_secs(1)).await;
                let _ = write.write_all(more).await;
                let _ = write.flush().await;
            }
        };
        let mut came = Vec::new();
        tokio::select! { _ = read.read_to_end(&mut came) => {}, () = send => unreachable!() }
        let waited = began.elapsed();
        assert!((9_990..10_010).contains(&waited.as_millis()), "{waited:?}");
        assert_eq!(bench.answered.load(Ordering::Relaxed), 0);
        assert_eq!(bench.end().await, [0, 0, 0, 1]);
    }
}

//! The one outgoing HTTP client: calls to vendors, and key sets of issuers.
//!
//! HTTP/1.1 over TCP or TLS (rustls with aws-lc-rs, the machine's own roots). It follows no redirect, asks for no compression, knows no
//! proxy, and reads no more of an answer than its caller allows. What it sends is the target and the header fields it was given, byte for
//! byte, besides `host`, `content-length` and `user-agent`.

use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use url::Url;

/// An idle connection is closed after this. Longer than the gaps of a busy minute, shorter than the minute after which many servers hang up.
const IDLE: Duration = Duration::from_secs(20);

/// Idle connections kept to one host: more than `max_in_flight` by default would ever use at once.
const IDLE_PER_HOST: usize = 256;

/// The head of an answer: ample for any API, and a bound for one that never ends.
const MAX_HEAD_BYTES: usize = 64 * 1024;

const AGENT: &str = concat!("valet/", env!("CARGO_PKG_VERSION"));

/// The client. Cheap to clone; clones share their connections.
///
/// A connection is served by a task of the Tokio runtime on which it was opened.
#[derive(Clone)]
pub struct Client {
    pool: Pool<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

/// A whole answer.
pub struct Response {
    /// The status, 200 to 599 (1xx are skipped).
    pub status: u16,
    /// The header fields.
    pub headers: HeaderMap,
    /// The body, at most as long as the caller allowed.
    pub body: Bytes,
}

/// Why there is no answer. Says nothing of the request: its URL may hold a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientFault {
    /// No connection, no trust in its certificate, or it broke; or what came was not HTTP.
    Unreachable,
    /// The deadline passed.
    TimedOut,
    /// The body is longer than the caller allows.
    TooLarge,
}

impl Client {
    /// A client that trusts the machine's root certificates. On a machine without any, `https` fails and `http` works.
    ///
    /// `Unreachable` only if the TLS library can't be set up at all. Reads the certificates from disk: call it at start-up.
    pub fn new() -> Result<Self, ClientFault> {
        match tls()?.with_native_roots() {
            Ok(config) => Ok(Self::over(config.with_no_client_auth())),
            Err(_) => Self::with_roots(RootCertStore::empty()),
        }
    }

    /// A client that trusts these roots and no others.
    pub fn with_roots(roots: RootCertStore) -> Result<Self, ClientFault> {
        Ok(Self::over(tls()?.with_root_certificates(roots).with_no_client_auth()))
    }

    fn over(config: ClientConfig) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(config).https_or_http().enable_http1().wrap_connector(tcp);
        let pool = Pool::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_PER_HOST)
            .http1_max_buf_size(MAX_HEAD_BYTES)
            .build(connector);
        Self { pool }
    }

    /// `GET url`, answered with at most `max_bytes` of body within `deadline` from now. Any status is an answer; a 3xx is not followed.
    ///
    /// Dropped: the connection is closed, unless the answer was read whole.
    pub async fn get(
        &self,
        url: &Url,
        accept: &str,
        max_bytes: usize,
        deadline: Duration,
    ) -> Result<Response, ClientFault> {
        let mut target = url.clone();
        target.set_fragment(None);
        let request = Request::builder()
            .method(Method::GET)
            .uri(target.as_str())
            .header(ACCEPT, accept)
            .body(Full::default())
            .map_err(|_| ClientFault::Unreachable)?;
        self.send(request, max_bytes, deadline).await
    }

    /// Sends the request, whose target is an absolute `http` or `https` URI, and reads at most `max_bytes` of body, all within `deadline`
    /// from now. A request that reached a connection is never sent twice.
    ///
    /// Dropped: the connection is closed, unless the answer was read whole.
    pub async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
        max_bytes: usize,
        deadline: Duration,
    ) -> Result<Response, ClientFault> {
        request.headers_mut().entry(USER_AGENT).or_insert(HeaderValue::from_static(AGENT));
        tokio::time::timeout(deadline, self.exchange(request, max_bytes)).await.unwrap_or(Err(ClientFault::TimedOut))
    }

    async fn exchange(&self, request: Request<Full<Bytes>>, max_bytes: usize) -> Result<Response, ClientFault> {
        let answer = self.pool.request(request).await.map_err(|_| ClientFault::Unreachable)?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, max_bytes).collect().await.map_err(|fault| {
            if fault.is::<LengthLimitError>() { ClientFault::TooLarge } else { ClientFault::Unreachable }
        })?;
        Ok(Response { status: head.status.as_u16(), headers: head.headers, body: body.to_bytes() })
    }
}

/// The provider is named, not taken from the process: which one is installed there depends on who came first.
fn tls() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, ClientFault> {
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|_| ClientFault::Unreachable)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// Long enough for any machine; no test waits for it.
    const AMPLE: Duration = Duration::from_secs(20);

    /// A server that answers its first connection's first request with these bytes, and gives back what it read.
    async fn answers(answer: &'static [u8]) -> (Url, tokio::task::JoinHandle<String>) {
        let (listener, url) = listening().await;
        let seen = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let head = read_head(&mut stream).await;
            stream.write_all(answer).await.unwrap();
            head
        });
        (url, seen)
    }

    async fn listening() -> (TcpListener, Url) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/keys?a=%2f", listener.local_addr().unwrap()).parse().unwrap();
        (listener, url)
    }

    async fn read_head(stream: &mut TcpStream) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        String::from_utf8(head).unwrap()
    }

    async fn get(url: &Url, max_bytes: usize) -> Result<Response, ClientFault> {
        Client::with_roots(RootCertStore::empty()).unwrap().get(url, "application/json", max_bytes, AMPLE).await
    }

    #[tokio::test]
    async fn a_call_names_valet_and_asks_for_no_compression() {
        let (url, seen) = answers(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-a: b\r\n\r\n{}").await;
        let answer = get(&url, 2).await.unwrap();
        assert_eq!((answer.status, &answer.body[..]), (200, &b"{}"[..]));
        assert_eq!(answer.headers["x-a"], "b");
        let head = seen.await.unwrap();
        assert!(head.starts_with("GET /keys?a=%2f HTTP/1.1\r\n"), "{head}");
        assert!(head.contains(&format!("user-agent: valet/{}\r\n", env!("CARGO_PKG_VERSION"))), "{head}");
        assert!(head.contains("accept: application/json\r\n"), "{head}");
        assert!(!head.contains("accept-encoding"), "{head}");
    }

    #[tokio::test]
    async fn a_redirect_is_an_answer_and_is_not_followed() {
        let (url, _) =
            answers(b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n").await;
        assert_eq!(get(&url, 10).await.unwrap().status, 302);
    }

    #[tokio::test]
    async fn an_answer_longer_than_allowed_is_refused_announced_or_not() {
        let (url, _) = answers(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc").await;
        assert_eq!(get(&url, 2).await.err(), Some(ClientFault::TooLarge));
        let (url, _) =
            answers(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n").await;
        assert_eq!(get(&url, 2).await.err(), Some(ClientFault::TooLarge));
    }

    #[tokio::test]
    async fn a_broken_answer_or_none_at_all_is_unreachable() {
        for answer in [&b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc"[..], b"", b"SSH-2.0-nonsense\r\n\r\n"] {
            let (url, _) = answers(answer).await;
            assert_eq!(get(&url, 100).await.err(), Some(ClientFault::Unreachable));
        }
        let (listener, url) = listening().await;
        drop(listener);
        assert_eq!(get(&url, 100).await.err(), Some(ClientFault::Unreachable));
    }

    #[tokio::test]
    async fn a_silent_server_times_out() {
        let (listener, url) = listening().await;
        let client = Client::with_roots(RootCertStore::empty()).unwrap();
        let answer = client.get(&url, "*/*", 100, Duration::from_millis(100)).await;
        assert_eq!(answer.err(), Some(ClientFault::TimedOut));
        drop(listener);
    }

    #[tokio::test]
    async fn without_trusted_roots_https_fails_and_nothing_panics() {
        let (listener, mut url) = listening().await;
        url.set_scheme("https").unwrap();
        let served = tokio::spawn(async move { drop(listener.accept().await) });
        assert_eq!(get(&url, 100).await.err(), Some(ClientFault::Unreachable));
        served.await.unwrap();
        assert!(Client::new().is_ok());
    }
}

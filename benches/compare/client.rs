//! A client of one connection, in each of the three ways that servers are asked.

use std::io::{Error, Result};
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use h2::client::SendRequest;
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::wire::Wire;

/// How a server is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// HTTP/1.1 in the clear.
    Http1,
    /// HTTP/1.1 over TLS.
    Tls,
    /// HTTP/2 over TLS.
    Http2,
}

impl Way {
    pub const ALL: [Self; 3] = [Self::Http1, Self::Tls, Self::Http2];

    pub fn name(self) -> &'static str {
        match self {
            Self::Http1 => "HTTP/1.1",
            Self::Tls => "TLS",
            Self::Http2 => "HTTP/2",
        }
    }
}

/// Where, and how.
#[derive(Clone)]
pub struct Target {
    pub address: SocketAddr,
    pub way: Way,
    pub tls: Arc<ClientConfig>,
}

/// A request in both versions of HTTP.
#[derive(Clone)]
pub struct Request {
    pub http1: Vec<u8>,
    pub http2: http::Request<()>,
    pub body: Bytes,
}

impl Request {
    pub fn get(path: &str, token: Option<&str>) -> Self {
        Self::new("GET", path, token, Bytes::new())
    }

    pub fn post(path: &str, token: Option<&str>, body: Bytes) -> Self {
        Self::new("POST", path, token, body)
    }

    fn new(method: &str, path: &str, token: Option<&str>, body: Bytes) -> Self {
        let mut http1 = format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n");
        let mut http2 = http::Request::builder().method(method).uri(format!("https://127.0.0.1{path}"));
        if let Some(token) = token {
            http1 += &format!("Authorization: Bearer {token}\r\n");
            http2 = http2.header("authorization", format!("Bearer {token}"));
        }
        if method == "POST" {
            http1 += &format!("Content-Type: text/plain\r\nContent-Length: {}\r\n", body.len());
            http2 = http2.header("content-type", "text/plain").header("content-length", body.len());
        }
        let http1 = [format!("{http1}\r\n").as_bytes(), &body].concat();
        Self { http1, http2: http2.body(()).unwrap(), body }
    }
}

/// What came.
pub struct Answer {
    pub status: u16,
    /// The length of the body.
    pub length: usize,
    pub location: Option<String>,
}

/// A connection that stays.
pub enum Client {
    Plain(Wire<TcpStream>),
    Tls(Box<Wire<TlsStream<TcpStream>>>),
    Http2(Http2),
}

/// Many streams at once share it.
#[derive(Clone)]
pub struct Http2 {
    requests: SendRequest<Bytes>,
    _task: Arc<Task>,
}

struct Task(tokio::task::JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Client {
    pub async fn open(target: &Target) -> Result<Self> {
        let stream = TcpStream::connect(target.address).await?;
        stream.set_nodelay(true)?;
        Ok(match target.way {
            Way::Http1 => Self::Plain(Wire::new(stream)),
            Way::Tls => Self::Tls(Box::new(Wire::new(handshake(target, stream).await?))),
            Way::Http2 => Self::Http2(Http2::over(handshake(target, stream).await?, 6 << 20).await?),
        })
    }

    /// Asks, and reads the whole answer.
    pub async fn ask(&mut self, request: &Request) -> Result<u16> {
        match self {
            Self::Plain(wire) => Ok(wire.ask(&request.http1).await?.0),
            Self::Tls(wire) => Ok(wire.ask(&request.http1).await?.0),
            Self::Http2(connection) => Ok(connection.ask(request).await?.status),
        }
    }

    /// The same, and what came.
    pub async fn look(&mut self, request: &Request) -> Result<Answer> {
        let ((status, length), location) = match self {
            Self::Plain(wire) => (wire.ask(&request.http1).await?, wire.field("location")),
            Self::Tls(wire) => (wire.ask(&request.http1).await?, wire.field("location")),
            Self::Http2(connection) => return connection.ask(request).await,
        };
        Ok(Answer { status, length, location })
    }
}

impl Http2 {
    /// With windows of this size for a stream. Browsers have 6 MiB, and 15 MiB for a connection.
    pub async fn over(stream: TlsStream<TcpStream>, window: u32) -> Result<Self> {
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(window).initial_connection_window_size(15 << 20);
        let (requests, connection) = builder.handshake(stream).await.map_err(Error::other)?;
        let task = tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(Self { requests, _task: Arc::new(Task(task)) })
    }

    /// A stream whose answer is not read. With `open` its body does not come either.
    pub async fn begin(&mut self, request: &Request, open: bool) -> Result<Pending> {
        let mut ready = self.requests.clone().ready().await.map_err(Error::other)?;
        let (answer, mut stream) =
            ready.send_request(request.http2.clone(), request.body.is_empty() && !open).map_err(Error::other)?;
        if !request.body.is_empty() {
            stream.send_data(request.body.clone(), true).map_err(Error::other)?;
        }
        Ok(Pending { answer, _stream: stream })
    }

    async fn ask(&mut self, request: &Request) -> Result<Answer> {
        self.begin(request, false).await?.read().await
    }

    /// So many at once, in one piece; whether all answers have this status.
    pub async fn ask_many(&mut self, request: &Request, many: usize, status: u16) -> Result<bool> {
        let mut all = Vec::with_capacity(many);
        for _ in 0..many {
            all.push(self.begin(request, false).await?);
        }
        let mut good = true;
        for pending in all {
            good &= pending.read().await?.status == status;
        }
        Ok(good)
    }
}

/// A stream that waits for its answer. Dropped, it is reset.
pub struct Pending {
    answer: h2::client::ResponseFuture,
    _stream: h2::SendStream<Bytes>,
}

impl Pending {
    async fn read(self) -> Result<Answer> {
        let (head, mut body) = self.answer.await.map_err(Error::other)?.into_parts();
        let mut length = 0;
        while let Some(piece) = body.data().await {
            let piece = piece.map_err(Error::other)?;
            length += piece.len();
            let _ = body.flow_control().release_capacity(piece.len());
        }
        let location = head.headers.get("location").map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        Ok(Answer { status: head.status.as_u16(), length, location })
    }
}

/// TLS over a connection, as the target has it.
pub async fn handshake(target: &Target, stream: TcpStream) -> Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from("127.0.0.1").unwrap();
    TlsConnector::from(target.tls.clone()).connect(name, stream).await
}

/// A client's settings for a way. The key exchange is X25519: the one that all servers here have, so that none does more than another.
pub fn settings(way: Way, certificate: &CertificateDer<'static>, resumption: bool) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let mut provider = default_provider();
    provider.kx_groups = vec![kx_group::X25519];
    let builder = ClientConfig::builder_with_provider(provider.into()).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![if way == Way::Http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    if !resumption {
        config.resumption = Resumption::disabled();
    }
    Arc::new(config)
}

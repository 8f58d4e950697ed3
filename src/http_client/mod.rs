//! The one outgoing HTTP client: calls to vendors and minters, and key sets of issuers.
//!
//! HTTP/1.1 over TCP or TLS (rustls with aws-lc-rs, the machine's own roots or those of a [`Route`]); to systems of our own HTTP/2 with a
//! certificate of ours. It follows no redirect, wants no
//! compression and says so, takes a proxy from its [`Route`] alone and never from the environment, and reads no more of an answer than its caller
//! allows. What it sends is the target and the header fields it was given, byte for byte, besides `host`, `content-length`, `accept-encoding` and
//! `user-agent`.

mod cause;
mod identity;
mod kept;
mod route;
pub mod settings;

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, ACCEPT_ENCODING, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::dns::GaiResolver;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::client::legacy::{Client as Pool, Error as PoolFault};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use url::Url;

pub use cause::{Cause, of_tls};
use cause::{Names, Proxied};
pub(crate) use cause::{UNFIT, UNFIT_NAMES};
pub use identity::Identity;
use kept::{Counting, NoAnswer, Traffic};
use route::Proxy;
pub use route::{Route, authorities};

/// An idle connection is closed after this: before common servers do (Node.js after 5 s, others after 15 s to 75 s), so that few requests meet a
/// connection that is just being closed.
const IDLE: Duration = Duration::from_secs(4);

/// A client whose connections go to systems of our own, which show all the time that they are there.
const IDLE_OWN: Duration = Duration::from_secs(20);

/// A connection to a system of our own that is dead without a word is noticed after two of these, and replaced.
const SIGN_OF_LIFE: Duration = Duration::from_secs(2);

/// Idle connections kept to one host: more than `max_in_flight` by default would ever use at once.
const IDLE_PER_HOST: usize = 256;

/// The head of an answer: ample for any API, and a bound for one that never ends.
const MAX_HEAD_BYTES: usize = 64 * 1024;

const AGENT: &str = concat!("valet/", env!("CARGO_PKG_VERSION"));

type Tcp = HttpConnector<Names>;

/// The client. Cheap to clone; clones share their connections.
///
/// A connection is served by a task of the Tokio runtime on which it was opened.
#[derive(Clone)]
pub struct Client(Pools);

#[derive(Clone)]
enum Pools {
    Direct(Kept<HttpsConnector<Tcp>>),
    /// By CONNECT through a proxy, which sees host and port and no more.
    Tunnelled(Box<Kept<HttpsConnector<Proxied<Tunnel<Tcp>>>>>),
    /// HTTP/2: one connection that is kept, and the way to one that is not.
    Own([Pool<Counting<HttpsConnector<Tcp>>, Full<Bytes>>; 2]),
}

/// Connections that are kept for the next request, and the way to one that is not.
#[derive(Clone)]
struct Kept<C> {
    pool: Pool<Counting<C>, Full<Bytes>>,
    fresh: Pool<Counting<C>, Full<Bytes>>,
}

/// Whether a request may arrive twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Repeat {
    /// If its method is idempotent ([RFC 9110, section 9.2.2](https://www.rfc-editor.org/rfc/rfc9110#section-9.2.2)).
    ByMethod,
    /// Whatever its method.
    Harmless,
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
    /// No connection, or no trust in its certificate: nothing was sent.
    NoConnection(Cause),
    /// The connection broke; or what came was not HTTP.
    Unreachable(Cause),
    /// The deadline passed.
    TimedOut,
    /// The body is longer than the caller allows.
    TooLarge,
}

impl ClientFault {
    /// The cause, for the operator.
    pub const fn cause(self) -> Cause {
        match self {
            Self::NoConnection(cause) | Self::Unreachable(cause) => cause,
            Self::TimedOut => Cause::TimedOut,
            Self::TooLarge => Cause::TooLarge,
        }
    }
}

impl Client {
    /// A client that trusts the machine's root certificates. On a machine without any, `https` fails and `http` works.
    ///
    /// `Unreachable` only if the TLS library can't be set up at all. Reads the certificates from disk: call it at start-up.
    ///
    /// # Errors
    /// The machine's authorities can't be read.
    pub fn new() -> Result<Self, ClientFault> {
        Self::through(Route::default())
    }

    /// A client that goes this way and no other. As [`Client::new`] where the route names no authorities.
    ///
    /// # Errors
    /// The machine's authorities can't be read.
    pub fn through(route: Route) -> Result<Self, ClientFault> {
        if let (Some(roots), Some(identity)) = (&route.roots, &route.identity) {
            return Self::to_our_own(roots.clone(), identity.clone());
        }
        let tls = match route.roots {
            Some(roots) => tls()?.with_root_certificates(roots),
            None => match tls()?.with_native_roots() {
                Ok(tls) => tls,
                Err(_) => tls()?.with_root_certificates(RootCertStore::empty()),
            },
        };
        let (tls, tcp) = (tls.with_no_client_auth(), tcp());
        Ok(Self(match route.proxy {
            None => {
                let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
                Pools::Direct(Kept::new(connector.enable_http1().wrap_connector(tcp)))
            }
            Some(Proxy { address, authorization }) => {
                let tunnel = Tunnel::new(address, tcp);
                let tunnel = match authorization {
                    Some(authorization) => tunnel.with_auth(authorization),
                    None => tunnel,
                };
                // In the clear the proxy would read along: such a call fails.
                let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_only();
                Pools::Tunnelled(Box::new(Kept::new(connector.enable_http1().wrap_connector(Proxied(tunnel)))))
            }
        }))
    }

    fn to_our_own(roots: RootCertStore, identity: Arc<Identity>) -> Result<Self, ClientFault> {
        let tls = provided()
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|_| ClientFault::Unreachable(Cause::Tls))?;
        let mut tls = tls.with_root_certificates(roots).with_client_cert_resolver(identity);
        // A certificate that was replaced or taken back is shown and judged again with each connection.
        tls.resumption = rustls::client::Resumption::disabled();
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_only();
        let mut near = tcp();
        near.set_connect_timeout(Some(SIGN_OF_LIFE));
        let connector = Counting(connector.enable_http2().wrap_connector(near));
        let mut builder = Pool::builder(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_OWN)
            .http2_only(true)
            .http2_keep_alive_interval(SIGN_OF_LIFE)
            .http2_keep_alive_timeout(SIGN_OF_LIFE)
            .http2_keep_alive_while_idle(true)
            .http2_max_header_list_size(MAX_HEAD_BYTES as u32);
        let kept = builder.build(connector.clone());
        Ok(Self(Pools::Own([kept, builder.pool_max_idle_per_host(0).build(connector)])))
    }

    /// `GET url`, answered with at most `max_bytes` of body within `deadline` from now. Any status is an answer; a 3xx is not followed.
    ///
    /// Dropped: the connection is closed, unless the answer was read whole.
    ///
    /// # Errors
    /// The system can't be reached, does not answer in time, or answers too much.
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
            .map_err(|_| ClientFault::Unreachable(Cause::NoRoute))?;
        self.send(request, max_bytes, deadline).await
    }

    /// Sends the request, whose target is an absolute `http` or `https` URI, and reads at most `max_bytes` of body, all within `deadline`
    /// from now. One whose method is idempotent is sent a second time, on a fresh connection, where a kept connection ended without a byte of
    /// an answer; any other one only where nothing of it had been written, or where the server says that it did not process it.
    ///
    /// Dropped: the connection is closed, unless the answer was read whole.
    ///
    /// # Errors
    /// As those of [`Self::get`].
    pub async fn send(
        &self,
        request: Request<Full<Bytes>>,
        max_bytes: usize,
        deadline: Duration,
    ) -> Result<Response, ClientFault> {
        self.within(deadline, request, Repeat::ByMethod, max_bytes).await
    }

    /// Sends a request that does no harm if it arrives twice, whatever its method.
    ///
    /// Dropped: the connection is closed, unless the answer was read whole.
    ///
    /// # Errors
    /// As those of [`Self::get`].
    pub async fn send_repeatable(
        &self,
        request: Request<Full<Bytes>>,
        max_bytes: usize,
        deadline: Duration,
    ) -> Result<Response, ClientFault> {
        self.within(deadline, request, Repeat::Harmless, max_bytes).await
    }

    async fn within(
        &self,
        deadline: Duration,
        mut request: Request<Full<Bytes>>,
        repeat: Repeat,
        max_bytes: usize,
    ) -> Result<Response, ClientFault> {
        // Without the field a server may compress as it likes (RFC 9110, section 12.5.3).
        request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        request.headers_mut().entry(USER_AGENT).or_insert(HeaderValue::from_static(AGENT));
        let exchange = self.exchange(request, repeat, max_bytes);
        tokio::time::timeout(deadline, exchange).await.unwrap_or(Err(ClientFault::TimedOut))
    }

    async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
        repeat: Repeat,
        max_bytes: usize,
    ) -> Result<Response, ClientFault> {
        let answer = match &self.0 {
            Pools::Direct(kept) => kept.request(request, repeat).await,
            Pools::Tunnelled(kept) => kept.request(request, repeat).await,
            Pools::Own([pool, fresh]) => match kept::send(pool, request.clone()).await {
                Err(NoAnswer::Fault(fault)) if is_unprocessed(&fault) => kept::send(fresh, request).await,
                answer => answer,
            },
        };
        let answer = answer.map_err(|fault| match fault {
            NoAnswer::Fault(fault) if fault.is_connect() => ClientFault::NoConnection(Cause::of(&fault)),
            NoAnswer::Fault(fault) => ClientFault::Unreachable(Cause::of(&fault)),
            NoAnswer::Lost(cause) => ClientFault::Unreachable(cause),
        })?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, max_bytes).collect().await.map_err(|fault| {
            if fault.is::<LengthLimitError>() { ClientFault::TooLarge } else { ClientFault::Unreachable(Cause::Broken) }
        })?;
        Ok(Response { status: head.status.as_u16(), headers: head.headers, body: body.to_bytes() })
    }
}

impl<C: Clone + Send + Sync + 'static> Kept<C>
where
    Counting<C>: Connect,
{
    fn new(connector: C) -> Self {
        let pool = |idle| pool(Counting(connector.clone()), idle);
        Self { pool: pool(IDLE_PER_HOST), fresh: pool(0) }
    }

    async fn request(
        &self,
        request: Request<Full<Bytes>>,
        repeat: Repeat,
    ) -> Result<http::Response<hyper::body::Incoming>, NoAnswer> {
        let harmless = repeat == Repeat::Harmless || request.method().is_idempotent();
        match kept::send(&self.pool, request.clone()).await {
            Err(NoAnswer::Fault(fault)) if may_be_sent_again(&fault, harmless) => {
                kept::send(&self.fresh, request).await
            }
            answer => answer,
        }
    }
}

/// Whether a request over HTTP/1.1 failed only because its connection was being closed (RFC 9112, section 9.3.1).
fn may_be_sent_again(fault: &PoolFault, harmless: bool) -> bool {
    Traffic::of(fault).is_some_and(|traffic| traffic.was_kept_and_silent() && (harmless || traffic.is_unwritten()))
}

/// Whether the server says that it has not acted on a request (RFC 9113, section 8.7).
fn is_unprocessed(fault: &PoolFault) -> bool {
    let mut cause = fault.source();
    while let Some(fault) = cause {
        if let Some(fault) = fault.downcast_ref::<h2::Error>() {
            return fault.is_remote() && (fault.is_go_away() || fault.reason() == Some(h2::Reason::REFUSED_STREAM));
        }
        cause = fault.source();
    }
    false
}

fn tcp() -> Tcp {
    let mut tcp = HttpConnector::new_with_resolver(Names(GaiResolver::new()));
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp
}

fn pool<C: Connect + Clone>(connector: C, idle_per_host: usize) -> Pool<C, Full<Bytes>> {
    Pool::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(idle_per_host)
        .http1_max_buf_size(MAX_HEAD_BYTES)
        .build(connector)
}

/// The provider is named, not taken from the process: which one is installed there depends on who came first.
fn provided() -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVersions> {
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
}

fn tls() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, ClientFault> {
    provided().with_safe_default_protocol_versions().map_err(|_| ClientFault::Unreachable(Cause::Tls))
}

#[cfg(test)]
mod tests;

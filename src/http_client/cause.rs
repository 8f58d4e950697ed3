//! Why a call has no answer, told apart by the types of the libraries' errors and not by their texts.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::client::legacy::connect::dns::{GaiAddrs, GaiResolver, Name};
use rustls::{AlertDescription, CertificateError};
use tower_service::Service;

/// Why a call has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The name has no address.
    Dns,
    /// Nobody listens there.
    Refused,
    /// There is no way there.
    NoRoute,
    /// Its certificate is of an authority that nobody here knows.
    UnknownAuthority,
    /// Its certificate is for other names.
    WrongName,
    /// Its certificate has ended, or does not count yet.
    CertificateEnded,
    /// Its certificate is none that a server may show: an authority's own, one for another purpose, or of version 1.
    CertificateUnfit,
    /// It does not take our certificate, or wants one.
    CertificateRefused,
    /// It speaks no TLS on that port.
    PlainPort,
    /// Any other fault of the handshake.
    Tls,
    /// The proxy leads nowhere.
    Proxy,
    /// The connection broke off.
    Broken,
    /// It speaks no HTTP.
    NotHttp,
    /// It accepted no connection in time.
    ConnectTimedOut,
    /// It did not answer in time.
    TimedOut,
    /// Its answer is too long.
    TooLarge,
}

impl Cause {
    /// Every cause, in the order of the enum.
    pub const ALL: [Self; 16] = [
        Self::Dns,
        Self::Refused,
        Self::NoRoute,
        Self::UnknownAuthority,
        Self::WrongName,
        Self::CertificateEnded,
        Self::CertificateUnfit,
        Self::CertificateRefused,
        Self::PlainPort,
        Self::Tls,
        Self::Proxy,
        Self::Broken,
        Self::NotHttp,
        Self::ConnectTimedOut,
        Self::TimedOut,
        Self::TooLarge,
    ];

    /// As metrics call it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Refused => "refused_connection",
            Self::NoRoute => "no_route",
            Self::UnknownAuthority => "tls_unknown_authority",
            Self::WrongName => "tls_wrong_name",
            Self::CertificateEnded => "tls_ended",
            Self::CertificateUnfit => "tls_unfit",
            Self::CertificateRefused => "tls_refused",
            Self::PlainPort => "plain_port",
            Self::Tls => "tls",
            Self::Proxy => "proxy",
            Self::Broken => "broken",
            Self::NotHttp => "not_http",
            Self::ConnectTimedOut => "connect_timeout",
            Self::TimedOut => "timeout",
            Self::TooLarge => "too_large",
        }
    }

    pub(super) fn of(fault: &(dyn Error + 'static)) -> Self {
        Self::find(fault).unwrap_or(Self::NoRoute)
    }

    /// What an error or its sources tell; `None`: nothing that is known here.
    pub fn find(fault: &(dyn Error + 'static)) -> Option<Self> {
        let (mut next, mut found) = (Some(fault), None);
        while let Some(fault) = next {
            next = fault.source();
            if fault.is::<NoAddress>() {
                return Some(Self::Dns);
            } else if let Some(fault) = fault.downcast_ref::<rustls::Error>() {
                return Some(of_tls(fault));
            } else if fault.is::<NoTunnel>() {
                return Some(Self::Proxy);
            } else if let Some(fault) = fault.downcast_ref::<hyper::Error>() {
                if fault.is_parse() {
                    return Some(Self::NotHttp);
                }
                found = Some(Self::Broken);
            } else if let Some(fault) = fault.downcast_ref::<h2::Error>() {
                // What this end judges to be none is no HTTP/2.
                let unread = fault.is_library() && fault.is_go_away();
                found = Some(if unread { Self::NotHttp } else { Self::Broken });
                next = fault.get_io().map(|fault| fault as &(dyn Error + 'static));
            } else if let Some(shared) = fault.downcast_ref::<Arc<dyn Error + Send + Sync>>() {
                // The client of the store shares its errors: seen through, or an error of the system would have no type.
                next = Some(&**shared);
            } else if let Some(fault) = fault.downcast_ref::<io::Error>() {
                found = of_io(fault).or(found);
                // The source of an error of this kind is what is inside of what is inside.
                next = fault.get_ref().map(|inner| inner as &(dyn Error + 'static));
            }
        }
        found
    }
}

/// In the operator's words, with the key to look at.
impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dns => "its name has no address (DNS)",
            Self::Refused => "nobody listens there (connection refused)",
            Self::NoRoute => "there is no way to it through the network",
            Self::UnknownAuthority => "its certificate is of an unknown authority: name that authority by `ca`",
            Self::WrongName => "its certificate is for another name",
            Self::CertificateEnded => "its certificate has ended, or does not count yet",
            Self::CertificateUnfit => UNFIT,
            Self::CertificateRefused => "it does not take our certificate, or wants one",
            Self::PlainPort => "it speaks no TLS on that port",
            Self::Tls => "the TLS handshake failed",
            Self::Proxy => "the proxy does not lead to it: look at `proxy`",
            Self::Broken => "the connection broke off without an answer",
            Self::NotHttp => "it speaks no HTTP on that port",
            Self::ConnectTimedOut => "it accepted no connection in time",
            Self::TimedOut => "it did not answer in time",
            Self::TooLarge => "its answer is too long",
        })
    }
}

fn of_io(fault: &io::Error) -> Option<Cause> {
    Some(match fault.kind() {
        // The standard library's own resolver has neither a kind nor a type for this.
        _ if fault.to_string().starts_with("failed to lookup address information") => Cause::Dns,
        io::ErrorKind::ConnectionRefused => Cause::Refused,
        io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::NetworkDown
        | io::ErrorKind::AddrNotAvailable => Cause::NoRoute,
        io::ErrorKind::TimedOut => Cause::TimedOut,
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::UnexpectedEof => Cause::Broken,
        _ => return None,
    })
}

/// As webpki names the faults of a certificate that no server may show.
pub(crate) const UNFIT_NAMES: [&str; 2] = ["CaUsedAsEndEntity", "UnsupportedCertVersion"];

/// What to do about one, in the operator's words.
pub(crate) const UNFIT: &str = "its certificate is none that a server may show: an authority's own (CA:TRUE, as `openssl req -x509` makes one), one for another purpose, or of version 1; give it one for its name alone, and name the authority that signed that by `ca`";

/// What a fault of TLS tells.
pub fn of_tls(fault: &rustls::Error) -> Cause {
    match fault {
        rustls::Error::InvalidCertificate(fault) => match fault {
            // The latter: an authority of the same name with another key.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Cause::UnknownAuthority,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => Cause::WrongName,
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => Cause::CertificateEnded,
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                Cause::CertificateUnfit
            }
            // What webpki says and rustls has no name for: webpki is no crate of ours, its `Display` is the name of the variant.
            CertificateError::Other(fault) if UNFIT_NAMES.contains(&&*fault.to_string()) => Cause::CertificateUnfit,
            _ => Cause::Tls,
        },
        rustls::Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::AccessDenied,
        ) => Cause::CertificateRefused,
        rustls::Error::InvalidMessage(_) => Cause::PlainPort,
        _ => Cause::Tls,
    }
}

/// The machine's resolver, whose faults have a type of their own.
#[derive(Clone)]
pub(super) struct Names(pub GaiResolver);

/// A name without an address.
#[derive(Debug)]
pub(super) struct NoAddress(io::Error);

impl fmt::Display for NoAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name has no address")
    }
}

impl Error for NoAddress {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

impl Service<Name> for Names {
    type Response = GaiAddrs;
    type Error = NoAddress;
    type Future = Pin<Box<dyn Future<Output = Result<GaiAddrs, NoAddress>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), NoAddress>> {
        self.0.poll_ready(context).map_err(NoAddress)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let found = self.0.call(name);
        Box::pin(async move { found.await.map_err(NoAddress) })
    }
}

/// A way through a proxy, whose faults have a type of their own.
#[derive(Clone)]
pub(super) struct Proxied<C>(pub C);

/// The proxy leads nowhere.
#[derive(Debug)]
pub(super) struct NoTunnel;

impl fmt::Display for NoTunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the proxy leads nowhere")
    }
}

impl Error for NoTunnel {}

impl<C> Service<Uri> for Proxied<C>
where
    C: Service<Uri>,
    C::Future: Send + 'static,
{
    type Response = C::Response;
    type Error = NoTunnel;
    type Future = Pin<Box<dyn Future<Output = Result<C::Response, NoTunnel>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), NoTunnel>> {
        self.0.poll_ready(context).map_err(|_| NoTunnel)
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let connecting = self.0.call(target);
        Box::pin(async move { connecting.await.map_err(|_| NoTunnel) })
    }
}

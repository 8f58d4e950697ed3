//! A key set at the identity provider: discovery (OpenID Connect Discovery 1.0, section 4) and the set itself.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use url::Url;

use super::key_set::{self, Reading};
use super::settings::{IssuerSettings, SignatureAlgorithm};
use super::shown;
use crate::http_client::Cause;
use crate::telemetry::Outcome;
use crate::web::secure_url;

/// The whole of one attempt, discovery included. Keys are fetched ahead, so that nobody waits for a slow provider to be patient with it.
pub(super) const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// Larger than any published key set by two orders of magnitude.
const MAX_BODY_BYTES: usize = 1024 * 1024;

/// Fetches a key set. Implemented by the one outgoing HTTP client.
#[async_trait]
pub trait KeyClient: Send + Sync {
    /// One `GET` without redirects, credentials or retries: the whole answer, its body of at most `max_bytes`, within `deadline`.
    /// Dropped, the exchange is given up.
    async fn get(&self, url: &Url, max_bytes: usize, deadline: Duration) -> Result<KeyAnswer, ClientFault>;
}

/// What a provider answered.
#[derive(Clone, Debug)]
pub struct KeyAnswer {
    /// The status code.
    pub status: u16,
    /// Where its `Location` leads, without the query; for people.
    pub target: Option<String>,
    /// The whole body.
    pub body: Vec<u8>,
}

/// Who fetches an issuer's keys; or its faults, in the operator's words.
pub type ClientOf<'a> = dyn Fn(&IssuerSettings) -> Result<Arc<dyn KeyClient>, Vec<String>> + 'a;

/// Why an answer could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientFault {
    /// No connection, or it broke.
    Unreachable(Cause),
    /// Not whole within the deadline.
    TimedOut,
    /// The body is longer than allowed.
    TooLarge,
}

/// Why a key set was not had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FetchFault {
    Client(Asked, ClientFault),
    Status(Asked, u16),
    /// An answer that leads elsewhere, and where to.
    Redirect(Asked, u16, Option<String>),
    /// An answer with HTML.
    Html(Asked),
    NoDiscovery,
    /// The one that it names.
    OtherIssuer(String),
    Address,
    NoKeySet,
    /// What the keys are, and the algorithms that were wanted.
    NoUsableKey(String),
}

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Discovery,
    KeySet,
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Discovery => "the discovery document",
            Self::KeySet => "the key set",
        })
    }
}

impl FetchFault {
    /// The label of `valet_jwks_fetches_total`.
    pub(super) fn outcome(&self) -> Outcome {
        match self {
            Self::Client(_, ClientFault::Unreachable(_) | ClientFault::TimedOut)
            | Self::Status(..)
            | Self::Redirect(..) => Outcome::Error,
            Self::Client(_, ClientFault::TooLarge) | Self::Html(_) => Outcome::Nonsense,
            Self::NoDiscovery | Self::OtherIssuer(_) | Self::Address | Self::NoKeySet | Self::NoUsableKey(_) => {
                Outcome::Nonsense
            }
        }
    }

    /// The label of `valet_jwks_failures_total`.
    pub(super) fn cause(&self) -> &'static str {
        match self {
            Self::Client(_, ClientFault::Unreachable(cause)) => cause.label(),
            Self::Client(_, ClientFault::TimedOut) => Cause::TimedOut.label(),
            Self::Client(_, ClientFault::TooLarge) => Cause::TooLarge.label(),
            Self::Redirect(..) => "redirect",
            Self::Status(_, 400..=499) => "status_4xx",
            Self::Status(_, 500..=599) => "status_5xx",
            Self::Status(..) => "status_other",
            Self::Html(_) => "html",
            Self::NoDiscovery => "no_discovery",
            Self::OtherIssuer(_) => "other_issuer",
            Self::Address => "address",
            Self::NoKeySet => "no_key_set",
            Self::NoUsableKey(_) => "no_usable_key",
        }
    }
}

impl fmt::Display for FetchFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client(asked, ClientFault::Unreachable(cause)) => {
                return write!(f, "the identity provider can't be reached for {asked}: {cause}");
            }
            Self::Client(asked, ClientFault::TimedOut) => {
                return write!(f, "the identity provider did not answer in time, asked for {asked}");
            }
            Self::Client(asked, ClientFault::TooLarge) => return write!(f, "{asked} is larger than 1 MiB"),
            Self::Status(asked, status) => {
                return write!(f, "the identity provider answered {status} for {asked}, expected 200");
            }
            Self::Redirect(asked, status, target) => {
                let to = target.as_ref().map(|target| format!(", to {target}")).unwrap_or_default();
                return write!(
                    f,
                    "the identity provider answered {status}{to}, asked for {asked}; none is followed: look at `issuer`, or at the address in `keys`"
                );
            }
            Self::Html(asked) => {
                return write!(f, "the identity provider answered with HTML in place of {asked}: look at the address");
            }
            Self::NoDiscovery => "the discovery document is no JSON object with `issuer` and `jwks_uri`",
            Self::OtherIssuer(issuer) => {
                return write!(f, "the discovery document names another issuer: {:?}", shown(issuer).to_string());
            }
            Self::Address => "the `jwks_uri` of the discovery document is no https:// address",
            Self::NoKeySet => "the answer is no key set (RFC 7517)",
            Self::NoUsableKey(keys) => return write!(f, "the key set holds no key that can be used: {keys}"),
        })
    }
}

/// Where a remote key set is.
#[derive(Debug)]
pub(super) enum Place {
    /// At the `jwks_uri` of this document, which must name this issuer.
    Discovery { document: Url, issuer: String },
    /// Here.
    Set(Url),
}

#[derive(Deserialize)]
struct Document {
    issuer: String,
    jwks_uri: String,
}

impl Place {
    /// The discovery document of an issuer: one `/` at the issuer's end is not doubled (section 4.1). `None` when the issuer is no safe address.
    pub(super) fn of_issuer(issuer: &str) -> Option<Self> {
        let text = format!("{}/.well-known/openid-configuration", issuer.strip_suffix('/').unwrap_or(issuer));
        Some(Self::Discovery { document: secure_url(&text).ok()?, issuer: issuer.to_owned() })
    }

    /// Fetches the set. Ends within [`FETCH_TIMEOUT`], whatever the client does. Dropped, the fetch is given up.
    pub(super) async fn fetch(
        &self,
        client: &dyn KeyClient,
        algorithms: &[SignatureAlgorithm],
    ) -> Result<Reading, FetchFault> {
        let all = async {
            let body = match self {
                Self::Set(url) => get(client, url, Asked::KeySet).await?,
                Self::Discovery { document, issuer } => {
                    let body = get(client, document, Asked::Discovery).await?;
                    get(client, &key_set_address(&body, issuer)?, Asked::KeySet).await?
                }
            };
            let reading = key_set::read_jwk_set(&body, algorithms).ok_or(FetchFault::NoKeySet)?;
            if reading.keys.is_empty() {
                return Err(FetchFault::NoUsableKey(key_set::describe(&body, algorithms)));
            }
            Ok(reading)
        };
        let late = FetchFault::Client(Asked::KeySet, ClientFault::TimedOut);
        tokio::time::timeout(FETCH_TIMEOUT, all).await.unwrap_or(Err(late))
    }
}

async fn get(client: &dyn KeyClient, url: &Url, asked: Asked) -> Result<Vec<u8>, FetchFault> {
    let answer = client.get(url, MAX_BODY_BYTES, FETCH_TIMEOUT).await;
    let KeyAnswer { status, target, body } = answer.map_err(|fault| FetchFault::Client(asked, fault))?;
    match status {
        200 if body.trim_ascii_start().starts_with(b"<") => Err(FetchFault::Html(asked)),
        200 if body.len() > MAX_BODY_BYTES => Err(FetchFault::Client(asked, ClientFault::TooLarge)),
        200 => Ok(body),
        300..=399 => Err(FetchFault::Redirect(asked, status, target)),
        _ => Err(FetchFault::Status(asked, status)),
    }
}

/// The document must name its issuer exactly (section 4.3): else one tenant of a provider could speak for another.
fn key_set_address(document: &[u8], issuer: &str) -> Result<Url, FetchFault> {
    let document: Document = serde_json::from_slice(document).map_err(|_| FetchFault::NoDiscovery)?;
    if document.issuer != issuer {
        return Err(FetchFault::OtherIssuer(document.issuer));
    }
    let address = secure_url(&document.jwks_uri).map_err(|_| FetchFault::Address)?;
    // An issuer elsewhere has no say over what is asked on this machine.
    let steps_down = address.scheme() == "http" && !issuer.starts_with("http://");
    if steps_down { Err(FetchFault::Address) } else { Ok(address) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_over_https_but_on_loopback() {
        for good in ["https://idp.example/jwks", "http://127.0.0.1:9/k", "http://[::1]/k", "http://idp.localhost/k"] {
            assert!(secure_url(good).is_ok(), "{good}");
        }
        for wrong in [
            "http://idp.example/jwks",
            "http://localhost.example/",
            "ftp://127.0.0.1/",
            "file:///jwks",
            "jwks",
            "https://user@idp.example/",
            "http://127.0.0.1@idp.example/",
            "http://10.0.0.1/",
        ] {
            assert!(secure_url(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_discovery_document_must_name_its_issuer_exactly() {
        let document = |issuer: &str, uri: &str| format!(r#"{{"issuer":"{issuer}","jwks_uri":"{uri}"}}"#).into_bytes();
        let issuer = "https://idp.example";
        assert!(key_set_address(&document(issuer, "https://keys.example/"), issuer).is_ok());
        let slash = document("https://idp.example/", "https://keys.example/");
        assert_eq!(key_set_address(&slash, issuer), Err(FetchFault::OtherIssuer("https://idp.example/".into())));
        assert_eq!(key_set_address(&document(issuer, "http://keys.example/"), issuer), Err(FetchFault::Address));
        assert_eq!(key_set_address(&document(issuer, "http://127.0.0.1/keys"), issuer), Err(FetchFault::Address));
        let local = "http://idp.localhost:8080";
        assert!(key_set_address(&document(local, "http://127.0.0.1/keys"), local).is_ok());
        assert_eq!(key_set_address(b"[]", issuer), Err(FetchFault::NoDiscovery));
    }

    #[test]
    fn one_slash_at_the_end_of_an_issuer_is_not_doubled() {
        for issuer in ["https://idp.example/a", "https://idp.example/a/"] {
            let Some(Place::Discovery { document, .. }) = Place::of_issuer(issuer) else { panic!("no place") };
            assert_eq!(document.as_str(), "https://idp.example/a/.well-known/openid-configuration");
        }
    }
}

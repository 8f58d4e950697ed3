//! How the API key goes into a call.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::percent_encode;

use super::call::UNRESERVED;
use super::settings::AuthSettings;
use super::template::Unfit;
use crate::secret::Secret;

/// Where the key stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Auth {
    Header(HeaderName),
    Bearer,
    /// The parameter's name, percent-encoded.
    Query(String),
}

impl Auth {
    /// Reads `auth`; faults are (key, message).
    pub(super) fn compile(settings: Option<&AuthSettings>, faults: &mut Vec<(String, String)>) -> Option<Self> {
        const ONE: &str = "expected exactly one of header, bearer = true and query: where the API key goes";
        let mut fault = |key: &str, message: &str| {
            faults.push((key.into(), message.into()));
            None
        };
        let Some(AuthSettings { header, bearer, query }) = settings else {
            return fault("auth", ONE);
        };
        match (header, bearer, query) {
            (Some(name), None, None) => match HeaderName::from_bytes(name.as_bytes()) {
                Ok(name) if super::call::is_ours(&name) => {
                    fault("auth.header", "the client writes this header field itself")
                }
                Ok(name) => Some(Self::Header(name)),
                Err(_) => fault("auth.header", "expected the name of a header field"),
            },
            (None, Some(true), None) => Some(Self::Bearer),
            (None, Some(false), None) => fault("auth.bearer", "only `true` has a meaning here"),
            (None, None, Some(name)) if name.is_empty() => {
                fault("auth.query", "expected the name of a query parameter")
            }
            (None, None, Some(name)) => Some(Self::Query(percent_encode(name.as_bytes(), UNRESERVED).to_string())),
            _ => fault("auth", ONE),
        }
    }

    /// The header field that the key takes, if it takes one.
    pub(super) fn header(&self) -> Option<HeaderName> {
        match self {
            Self::Header(name) => Some(name.clone()),
            Self::Bearer => Some(AUTHORIZATION),
            Self::Query(_) => None,
        }
    }

    /// Puts the key into one call to `base_url`'s host. A key that can't stand in a header field is unfit.
    pub(super) fn apply(&self, key: &Secret, target: &mut String, headers: &mut HeaderMap) -> Result<(), Unfit> {
        let sensitive = |bytes: &[u8]| {
            if bytes.is_empty() || !bytes.iter().all(u8::is_ascii_graphic) {
                return Err(Unfit);
            }
            let mut value = HeaderValue::from_bytes(bytes).map_err(|_| Unfit)?;
            value.set_sensitive(true);
            Ok(value)
        };
        // The key goes into a header field or the query of a call to the vendor, and nowhere else.
        match self {
            Self::Header(name) => {
                headers.insert(name.clone(), sensitive(key.expose())?);
            }
            Self::Bearer => {
                sensitive(key.expose())?;
                let mut value = HeaderValue::from_bytes(&[b"Bearer ", key.expose()].concat()).map_err(|_| Unfit)?;
                value.set_sensitive(true);
                headers.insert(AUTHORIZATION, value);
            }
            Self::Query(name) => {
                target.push(if target.contains('?') { '&' } else { '?' });
                target.push_str(name);
                target.push('=');
                target.extend(percent_encode(key.expose(), UNRESERVED));
            }
        }
        Ok(())
    }
}

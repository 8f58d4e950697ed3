//! How the API key goes into a call.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::percent_encode;
use zeroize::Zeroizing;

use super::call::UNRESERVED;
use super::settings::AuthSettings;
use super::template::Unfit;
use crate::secret::Secret;

/// Where the key stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Auth {
    /// The field, and the text before the key.
    Header(HeaderName, String),
    Bearer,
    /// The parameter's name, percent-encoded.
    Query(String),
    /// There is no call.
    None,
    /// `Authorization: Basic` with this user name (RFC 7617).
    Basic(String),
}

/// What is expected where `auth` has no form, or several.
pub(super) const ONE: &str = "expected exactly one of `header`, `bearer = true`, `query`, `basic`";

type Faults = Vec<(String, String)>;

impl Auth {
    /// Reads `auth`; faults are (key, message).
    pub(super) fn compile(settings: Option<&AuthSettings>, faults: &mut Faults) -> Option<Self> {
        let mut fault = |key: &str, message: &str| {
            faults.push((key.into(), message.into()));
            None
        };
        let Some(settings) = settings else {
            return fault("auth", ONE);
        };
        let AuthSettings { header, prefix, bearer, query, basic } = settings;
        if prefix.is_some() && header.is_none() {
            return fault("auth.prefix", "stands before a key in a header field: name it in `header`");
        }
        match (header, bearer, query, basic) {
            (Some(name), None, None, None) => {
                let name = key_field(name).map_err(|message| fault("auth.header", message)).ok();
                let prefix = prefix.clone().unwrap_or_default();
                if !is_prefix(&prefix) {
                    return fault("auth.prefix", "expected printable ASCII without spaces at its beginning");
                }
                Some(Self::Header(name?, prefix))
            }
            (None, Some(true), None, None) => Some(Self::Bearer),
            (None, Some(false), None, None) => fault("auth.bearer", "only `true` has a meaning here"),
            (None, None, Some(name), None) if name.is_empty() => {
                fault("auth.query", "expected the name of a query parameter")
            }
            (None, None, Some(name), None) => {
                Some(Self::Query(percent_encode(name.as_bytes(), UNRESERVED).to_string()))
            }
            (None, None, None, Some(user)) if user.contains(':') || user.chars().any(char::is_control) => {
                fault("auth.basic", "a user name has no `:` and no control characters (RFC 7617)")
            }
            (None, None, None, Some(user)) => Some(Self::Basic(user.clone())),
            _ => fault("auth", ONE),
        }
    }

    /// The header field that the key takes, if it takes one.
    pub(super) fn header(&self) -> Option<HeaderName> {
        match self {
            Self::Header(name, _) => Some(name.clone()),
            Self::Bearer | Self::Basic(_) => Some(AUTHORIZATION),
            Self::Query(_) | Self::None => None,
        }
    }

    /// Why this key can't stand where it should; `None`: it can.
    pub(super) fn key_fault(&self, key: &[u8]) -> Option<&'static str> {
        let control = |bytes: &[u8]| bytes.iter().any(u8::is_ascii_control);
        match self {
            Self::Header(..) | Self::Bearer if key.is_empty() || !key.iter().all(u8::is_ascii_graphic) => {
                Some("a key in a header has visible ASCII only, no spaces or line ends")
            }
            Self::Query(_) if std::str::from_utf8(key).is_err() => Some("this key is not UTF-8"),
            Self::Basic(_) if std::str::from_utf8(key).is_err() || control(key) => {
                Some("a password is UTF-8 without control characters (RFC 7617)")
            }
            Self::Header(..) | Self::Bearer | Self::Query(_) | Self::Basic(_) | Self::None => None,
        }
    }

    /// Puts the key into one call to `base_url`'s host. A key that can't stand there is unfit.
    pub(super) fn apply(&self, key: &Secret, target: &mut String, headers: &mut HeaderMap) -> Result<(), Unfit> {
        // The key goes into a header field or the query of a call to the vendor, and nowhere else.
        let key = key.expose();
        if self.key_fault(key).is_some() {
            return Err(Unfit);
        }
        match self {
            Self::Header(name, prefix) => {
                headers.insert(name.clone(), sensitive(&[prefix.as_bytes(), key])?);
            }
            Self::Bearer => {
                headers.insert(AUTHORIZATION, sensitive(&[b"Bearer ", key])?);
            }
            Self::Basic(user) => {
                headers.insert(AUTHORIZATION, basic(user.as_bytes(), key)?);
            }
            Self::None => {}
            Self::Query(name) => {
                target.push(if target.contains('?') { '&' } else { '?' });
                target.push_str(name);
                target.push('=');
                target.extend(percent_encode(key, UNRESERVED));
            }
        }
        Ok(())
    }
}

/// A field's value that no log shows.
pub(super) fn sensitive(parts: &[&[u8]]) -> Result<HeaderValue, Unfit> {
    let whole = Zeroizing::new(parts.concat());
    let mut value = HeaderValue::from_bytes(&whole).map_err(|_| Unfit)?;
    value.set_sensitive(true);
    Ok(value)
}

/// RFC 7617.
pub(super) fn basic(user: &[u8], password: &[u8]) -> Result<HeaderValue, Unfit> {
    let pair = Zeroizing::new([user, b":", password].concat());
    let encoded = Zeroizing::new(STANDARD.encode(&*pair));
    sensitive(&[b"Basic ", encoded.as_bytes()])
}

/// The name of a field that may carry a secret.
pub(super) fn key_field(name: &str) -> Result<HeaderName, &'static str> {
    match HeaderName::from_bytes(name.as_bytes()) {
        Ok(name) if super::call::is_ours(&name) => Err("this field can't carry the key"),
        Ok(name) => Ok(name),
        Err(_) => Err("expected the name of a header field"),
    }
}

fn is_prefix(text: &str) -> bool {
    !text.starts_with(' ') && text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auth(toml: &str) -> Result<Auth, Faults> {
        let settings: AuthSettings = toml::from_str(toml).unwrap();
        let mut faults = Faults::new();
        Auth::compile(Some(&settings), &mut faults).ok_or(faults)
    }

    fn applied(toml: &str, key: &str) -> Result<(String, HeaderMap), Unfit> {
        let (mut target, mut headers) = ("/a?b=c".to_owned(), HeaderMap::new());
        auth(toml).unwrap().apply(&Secret::new(key.into()), &mut target, &mut headers)?;
        Ok((target, headers))
    }

    #[test]
    fn a_key_stands_in_its_place_and_is_marked_as_sensitive() {
        for (toml, key, field, value) in [
            ("header = 'X-Api-Key'", "k1", "x-api-key", "k1"),
            ("header = 'authorization'\nprefix = 'Token token='", "k1", "authorization", "Token token=k1"),
            ("bearer = true", "k1", "authorization", "Bearer k1"),
            // The example of RFC 7617, section 2.
            ("basic = 'Aladdin'", "open sesame", "authorization", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
            // That of section 2.1.
            ("basic = 'test'", "123£", "authorization", "Basic dGVzdDoxMjPCow=="),
            ("basic = ''", "k", "authorization", "Basic Oms="),
        ] {
            let (target, headers) = applied(toml, key).unwrap();
            assert_eq!(target, "/a?b=c");
            assert_eq!(headers[field], value, "{toml}");
            assert!(headers[field].is_sensitive());
            assert!(!format!("{headers:?}").contains(value));
        }
        assert_eq!(applied("query = 'a b'", "k&é").unwrap().0, "/a?b=c&a%20b=k%26%C3%A9");
    }

    #[test]
    fn a_key_that_cannot_stand_there_is_not_sent() {
        for (toml, key) in
            [("bearer = true", "a b"), ("header = 'x'", "a\r\nb: c"), ("header = 'x'", "é"), ("basic = 'u'", "a\nb")]
        {
            assert!(applied(toml, key).is_err(), "{toml}");
        }
    }

    #[test]
    fn a_contradiction_names_its_key() {
        for (toml, key) in [
            ("", "auth"),
            ("header = 'x'\nbearer = true", "auth"),
            ("header = 'x'\nbasic = 'u'", "auth"),
            ("basic = 'u'\nquery = 'q'", "auth"),
            ("bearer = false", "auth.bearer"),
            ("bearer = true\nprefix = 'Token '", "auth.prefix"),
            ("basic = 'u'\nprefix = 'Token '", "auth.prefix"),
            ("prefix = 'Token '", "auth.prefix"),
            ("header = 'x'\nprefix = ' Token'", "auth.prefix"),
            ("header = 'x'\nprefix = \"a\\r\\nb\"", "auth.prefix"),
            ("header = 'host'", "auth.header"),
            ("header = 'a b'", "auth.header"),
            ("query = ''", "auth.query"),
            ("basic = 'a:b'", "auth.basic"),
            ("basic = \"a\\nb\"", "auth.basic"),
        ] {
            let faults = auth(toml).unwrap_err();
            assert_eq!(faults[0].0, key, "{toml}: {faults:?}");
        }
    }
}

//! How the API key goes into a call.

use http::HeaderName;
use http::header::AUTHORIZATION;
use percent_encoding::percent_encode;

use super::encoding::UNRESERVED;
use super::grant::{Grant, Login, Oauth2};
use super::key_field::{basic, is_prefix, key_field, sensitive};
use super::settings::AuthSettings;
use super::signature::{Hmac, Outgoing, Sigv4};
use super::template::Unfit;
use crate::secret::Secret;
use crate::setting::FieldFault;

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
    /// An access token in `Authorization`.
    Token(Box<Grant>),
    Hmac(Box<Hmac>),
    Sigv4(Sigv4),
    /// `Authorization: Basic` with this user name ([RFC 7617](https://www.rfc-editor.org/rfc/rfc7617)).
    Basic(String),
}

/// What is expected where `auth` has no form, or several.
pub(super) const ONE: &str =
    "expected exactly one of `header`, `bearer = true`, `query`, `basic`, `oauth2`, `login`, `hmac`, `sigv4`";

type Faults = Vec<FieldFault>;

impl Auth {
    /// Reads `auth`; faults are (key, message).
    pub(super) fn compile(settings: Option<&AuthSettings>, faults: &mut Faults) -> Option<Self> {
        let mut fault = |key: &str, message: &str| {
            faults.push(FieldFault::at(key, message));
            None
        };
        let Some(settings) = settings else {
            return fault("auth", ONE);
        };
        let AuthSettings { header, prefix, bearer, query, basic, .. } = settings;
        if prefix.is_some() && header.is_none() {
            return fault("auth.prefix", "stands before a key in a header field: name it in `header`");
        }
        let plain = [header.is_some(), bearer.is_some(), query.is_some(), basic.is_some()];
        let signed =
            [settings.oauth2.is_some(), settings.login.is_some(), settings.hmac.is_some(), settings.sigv4.is_some()];
        if plain.iter().chain(&signed).filter(|written| **written).count() != 1 {
            return fault("auth", ONE);
        }
        if signed.contains(&true) {
            return Self::compile_signed(settings, faults);
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

    /// The forms that are more than the key in a place.
    fn compile_signed(settings: &AuthSettings, faults: &mut Faults) -> Option<Self> {
        let form = match settings {
            AuthSettings { oauth2: Some(_), .. } => "oauth2",
            AuthSettings { login: Some(_), .. } => "login",
            AuthSettings { hmac: Some(_), .. } => "hmac",
            _ => "sigv4",
        };
        let before = faults.len();
        let mut fault = |key: &str, message: &str| faults.push(FieldFault::at(format!("auth.{form}.{key}"), message));
        let auth = match settings {
            AuthSettings { oauth2: Some(oauth2), .. } => {
                Oauth2::compile(oauth2, &mut fault).map(|oauth2| Self::Token(Box::new(Grant::Oauth2(oauth2))))
            }
            AuthSettings { login: Some(login), .. } => {
                Login::compile(login, &mut fault).map(|login| Self::Token(Box::new(Grant::Login(login))))
            }
            AuthSettings { hmac: Some(hmac), .. } => {
                Hmac::compile(hmac, &mut fault).map(|hmac| Self::Hmac(Box::new(hmac)))
            }
            AuthSettings { sigv4: Some(sigv4), .. } => Sigv4::compile(sigv4, &mut fault).map(Self::Sigv4),
            _ => None,
        };
        auth.filter(|_| faults.len() == before)
    }

    /// Whether this header field is the key's, or a signature's.
    pub(super) fn takes(&self, name: &HeaderName) -> bool {
        match self {
            Self::Header(own, _) => own == name,
            Self::Bearer | Self::Basic(_) | Self::Token(_) => *name == AUTHORIZATION,
            Self::Hmac(hmac) => hmac.header == *name || hmac.timestamp_header.as_ref() == Some(name),
            Self::Sigv4(_) => *name == AUTHORIZATION || name == "x-amz-date",
            Self::Query(_) | Self::None => false,
        }
    }

    /// Why this key can't do what it is for; `None`: it can.
    pub(super) fn key_fault(&self, secret: &Secret) -> Option<&'static str> {
        // Looked at here, goes nowhere.
        let key = secret.expose();
        let control = |bytes: &[u8]| bytes.iter().any(u8::is_ascii_control);
        match self {
            Self::Header(..) | Self::Bearer if key.is_empty() || !key.iter().all(u8::is_ascii_graphic) => {
                Some("a key in a header has visible ASCII only, no spaces or line ends")
            }
            Self::Query(_) if std::str::from_utf8(key).is_err() => Some("this key is not UTF-8"),
            Self::Basic(_) if std::str::from_utf8(key).is_err() || control(key) => {
                Some("a password is UTF-8 without control characters (RFC 7617)")
            }
            Self::Token(grant) => grant.key_fault(secret),
            _ => None,
        }
    }

    /// Puts the key into one call to `base_url`'s host, or signs it. A key that can't do that is unfit. An access token is had elsewhere.
    pub(super) fn apply(&self, secret: &Secret, call: &mut Outgoing<'_>) -> Result<(), Unfit> {
        if self.key_fault(secret).is_some() {
            return Err(Unfit);
        }
        // The key goes into a header field or the query of a call to the vendor, and nowhere else.
        let key = secret.expose();
        match self {
            Self::Header(name, prefix) => {
                call.headers.insert(name.clone(), sensitive(&[prefix.as_bytes(), key])?);
            }
            Self::Bearer => {
                call.headers.insert(AUTHORIZATION, sensitive(&[b"Bearer ", key])?);
            }
            Self::Basic(user) => {
                call.headers.insert(AUTHORIZATION, basic(user.as_bytes(), key)?);
            }
            Self::Query(name) => {
                call.target.push(if call.target.contains('?') { '&' } else { '?' });
                call.target.push_str(name);
                call.target.push('=');
                call.target.extend(percent_encode(key, UNRESERVED));
            }
            Self::Hmac(hmac) => hmac.sign(secret, call)?,
            Self::Sigv4(sigv4) => sigv4.sign(secret, call)?,
            Self::None | Self::Token(_) => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auth(toml: &str) -> Result<Auth, Faults> {
        let settings: AuthSettings = toml::from_str(toml).unwrap();
        let mut faults = Faults::new();
        Auth::compile(Some(&settings), &mut faults).ok_or(faults)
    }

    fn applied(toml: &str, key: &str) -> Result<(String, http::HeaderMap), Unfit> {
        let mut call = Outgoing {
            method: &http::Method::GET,
            host: "h",
            target: "/a?b=c".into(),
            headers: http::HeaderMap::new(),
            body: &bytes::Bytes::new(),
            now: crate::clock::Timestamp::from_secs(0),
        };
        auth(toml).unwrap().apply(&Secret::new(key.into()), &mut call)?;
        Ok((call.target, call.headers))
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
            assert_eq!(faults[0].path, key, "{toml}: {faults:?}");
        }
    }
}

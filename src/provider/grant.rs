//! How an access token is asked for: OAuth2 client credentials (RFC 6749, section 4.4), or a vendor's own log-in.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::HeaderValue;
use jsonwebtoken::Algorithm;
use percent_encoding::{percent_encode, utf8_percent_encode};
use serde_json::{Value as Json, json};
use zeroize::Zeroizing;

use super::base_url::BaseUrl;
use super::diagnosis::{Diagnosis, Step};
use super::encoding::{FORM, UNRESERVED, has_dot_segment, literal_fits, put_pair};
use super::jwt;
use super::key_field::{basic, is_prefix};
use super::settings::{ClientAuth, LoginSettings, Oauth2Settings};
use super::template::{Unfit, is_pointer};
use crate::clock::Timestamp;
use crate::secret::Secret;
use crate::setting::TextSetting;

/// An access token is a word; what is longer is something else.
const MAX_TOKEN: usize = 16 * 1024;

/// No token is kept longer.
pub(super) const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// The life of a client's own word. It is used at once.
const ASSERTION_LIFE: i64 = 60;

/// Where the key stands in a log-in.
const KEY: &str = "{api_key}";

/// What is sent.
pub(super) struct Asked {
    pub(super) uri: String,
    pub(super) kind: &'static str,
    pub(super) body: Bytes,
    pub(super) authorization: Option<HeaderValue>,
}

/// A way to an access token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Grant {
    Oauth2(Oauth2),
    Login(Login),
}

/// `auth.oauth2`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Oauth2 {
    /// As written: the audience of the client's word.
    pub(super) token_url: String,
    uri: String,
    client_id: String,
    scope: Option<String>,
    audience: Option<String>,
    client_auth: ClientAuth,
    algorithm: Option<Algorithm>,
    key_id: Option<String>,
}

/// `auth.login`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Login {
    path: String,
    json: Option<Json>,
    form: Vec<(String, String)>,
    token: String,
    expires: Option<String>,
    prefix: String,
    /// `base_url`, set when the recipe is whole.
    base_url: String,
}

impl Oauth2 {
    pub(super) fn compile(settings: &Oauth2Settings, fault: &mut impl FnMut(&str, &str)) -> Option<Self> {
        let Oauth2Settings { token_url, client_id, scope, audience, client_auth, algorithm, key_id } = settings;
        let url = BaseUrl::read(token_url).map_err(|wrong| fault("token_url", &wrong.message)).ok();
        if client_id.is_empty() || client_id.chars().any(char::is_control) {
            fault("client_id", "must not be empty, and has no control characters");
        }
        for (key, text) in [("scope", scope), ("audience", audience), ("key_id", key_id)] {
            if text.as_ref().is_some_and(|text| text.is_empty() || text.chars().any(char::is_control)) {
                fault(key, "must not be empty, and has no control characters; leave it out");
            }
        }
        let signed = *client_auth == ClientAuth::PrivateKeyJwt;
        for (key, written) in [("algorithm", algorithm.is_some()), ("key_id", key_id.is_some())] {
            if written && !signed {
                fault(key, "has a meaning with client_auth = \"private_key_jwt\" alone");
            }
        }
        let algorithm = match algorithm.as_deref().map(jwt::algorithm) {
            Some(Err(_)) => {
                fault("algorithm", "expected RS256, ES256 or another algorithm of a private key");
                return None;
            }
            Some(Ok(Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512)) => {
                fault("algorithm", "a private key signs by RS256, ES256 and their kind");
                return None;
            }
            Some(Ok(algorithm)) => Some(algorithm),
            None => None,
        };
        Some(Self {
            uri: url?.into(),
            token_url: token_url.clone(),
            client_id: client_id.clone(),
            scope: scope.clone(),
            audience: audience.clone(),
            client_auth: *client_auth,
            algorithm,
            key_id: key_id.clone(),
        })
    }

    fn ask(&self, key: &Secret, now: Timestamp) -> Result<Asked, Unfit> {
        let mut form = vec![("grant_type", Zeroizing::new("client_credentials".to_owned()))];
        let mut authorization = None;
        // The secret, or the client's word, goes to `token_url` and nowhere else.
        match self.client_auth {
            ClientAuth::Basic => {
                // Both percent-encoded before they are joined (RFC 6749, section 2.3.1).
                let id = utf8_percent_encode(&self.client_id, UNRESERVED).to_string();
                let secret = Zeroizing::new(percent_encode(key.expose(), UNRESERVED).to_string());
                authorization = Some(basic(id.as_bytes(), secret.as_bytes())?);
            }
            ClientAuth::Post => {
                form.push(("client_id", Zeroizing::new(self.client_id.clone())));
                let secret = std::str::from_utf8(key.expose()).map_err(|_| Unfit)?;
                form.push(("client_secret", Zeroizing::new(secret.to_owned())));
            }
            ClientAuth::PrivateKeyJwt => {
                let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
                form.push(("client_id", Zeroizing::new(self.client_id.clone())));
                form.push(("client_assertion_type", Zeroizing::new(kind.to_owned())));
                form.push(("client_assertion", self.assertion(key, now)?));
            }
        }
        for (name, text) in [("scope", &self.scope), ("audience", &self.audience)] {
            form.extend(text.iter().map(|text| (name, Zeroizing::new(text.clone()))));
        }
        let body = form_body(form.iter().map(|(name, text)| (*name, text.as_str())));
        Ok(Asked { uri: self.uri.clone(), kind: FORM, body, authorization })
    }

    /// RFC 7523, section 2.2.
    fn assertion(&self, key: &Secret, now: Timestamp) -> Result<Zeroizing<String>, Unfit> {
        let algorithm = self.algorithm.or_else(|| jwt::usual_algorithm(key)).ok_or(Unfit)?;
        let mut id = [0; 16];
        aws_lc_rs::rand::fill(&mut id).map_err(|_| Unfit)?;
        let claims = json!({
            "iss": self.client_id,
            "sub": self.client_id,
            "aud": self.token_url,
            "jti": URL_SAFE_NO_PAD.encode(id),
            "iat": now.as_secs(),
            "exp": now.as_secs() + ASSERTION_LIFE,
        });
        let header = self.key_id.as_ref().map_or_else(|| json!({}), |id| json!({ "kid": id }));
        match (header, claims) {
            (Json::Object(header), Json::Object(claims)) => jwt::sign(algorithm, key, header, claims),
            _ => Err(Unfit),
        }
    }
}

/// Names and texts, each percent-encoded.
fn form_body<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Bytes {
    let mut body = String::new();
    for (name, text) in pairs {
        put_pair(&mut body, &utf8_percent_encode(name, UNRESERVED).to_string(), text);
    }
    body.into()
}

impl Login {
    pub(super) fn compile(settings: &LoginSettings, fault: &mut impl FnMut(&str, &str)) -> Option<Self> {
        let LoginSettings { path, json, form, token, expires, prefix } = settings;
        if !path.starts_with('/') || literal_fits(path).is_err() || path.contains("//") || has_dot_segment(path) {
            fault("path", "expected a path below base_url, without values in it");
        }
        let texts = match (json, form) {
            (Some(Json::Object(_)), None) => {
                let mut texts = Vec::new();
                json.iter().for_each(|json| super::body::texts(json, &mut texts));
                texts
            }
            (None, Some(form)) => form.values().map(String::as_str).collect(),
            (Some(_), None) => {
                fault("json", "expected a table");
                return None;
            }
            _ => {
                fault("json", "expected exactly one of `json` and `form`");
                return None;
            }
        };
        let key = if json.is_some() { "json" } else { "form" };
        if texts.iter().filter(|text| **text == KEY).count() != 1 {
            fault(key, "expected one text that is `{api_key}`: the log-in shows the key");
        }
        if texts.iter().any(|text| **text != *KEY && text.contains(['{', '}'])) {
            fault(key, "a log-in is everybody's: it holds no value but `{api_key}`");
        }
        let pointer = |text: &str| text.strip_prefix("json:").filter(|text| is_pointer(text)).map(str::to_owned);
        let token = pointer(token).or_else(|| {
            fault("token", "expected \"json:/pointer\": where the access token stands in the answer");
            None
        });
        let expires = expires.as_ref().map(|text| {
            pointer(text).or_else(|| {
                fault("expires", "expected \"json:/pointer\": where its life in seconds stands in the answer");
                None
            })
        });
        if !is_prefix(prefix) {
            fault("prefix", "expected printable ASCII without spaces at its beginning");
        }
        let form = form.iter().flatten().map(|(name, text)| (name.clone(), text.clone())).collect();
        let expires = match expires {
            Some(None) => return None,
            Some(pointer) => pointer,
            None => None,
        };
        let (path, json, prefix) = (path.clone(), json.clone(), prefix.clone());
        Some(Self { path, json, form, token: token?, expires, prefix, base_url: String::new() })
    }

    fn ask(&self, key: &Secret) -> Result<Asked, Unfit> {
        // Into the body of a call to `base_url`, and nowhere else.
        let secret = std::str::from_utf8(key.expose()).map_err(|_| Unfit)?;
        let uri = format!("{}{}", self.base_url, self.path);
        if let Some(json) = &self.json {
            let mut json = json.clone();
            put_key(&mut json, secret);
            let body = serde_json::to_vec(&json).map_err(|_| Unfit)?.into();
            return Ok(Asked { uri, kind: "application/json", body, authorization: None });
        }
        let pairs = self.form.iter().map(|(name, text)| (&**name, if text == KEY { secret } else { text }));
        Ok(Asked { uri, kind: FORM, body: form_body(pairs), authorization: None })
    }
}

fn put_key(json: &mut Json, secret: &str) {
    match json {
        Json::String(text) if text == KEY => secret.clone_into(text),
        Json::Array(list) => list.iter_mut().for_each(|json| put_key(json, secret)),
        Json::Object(members) => members.values_mut().for_each(|json| put_key(json, secret)),
        _ => {}
    }
}

impl Grant {
    /// Why this key can't ask for a token; `None`: it can.
    pub(super) fn key_fault(&self, key: &Secret) -> Option<&'static str> {
        match self {
            Self::Oauth2(oauth2) if oauth2.client_auth == ClientAuth::PrivateKeyJwt => {
                let asked = oauth2.assertion(key, Timestamp::from_secs(0)).is_err();
                asked.then_some("expected a private key in PEM, not encrypted, of the kind that `algorithm` signs with")
            }
            // Looked at here, goes nowhere.
            _ => std::str::from_utf8(key.expose()).err().map(|_| "this key is not UTF-8"),
        }
    }

    pub(super) fn set_base_url(&mut self, url: String) {
        if let Self::Login(login) = self {
            login.base_url = url;
        }
    }

    /// Text before the access token in `Authorization`.
    pub(super) fn prefix(&self) -> &str {
        match self {
            Self::Oauth2(_) => "Bearer ",
            Self::Login(login) => &login.prefix,
        }
    }

    pub(super) fn ask(&self, key: &Secret, now: Timestamp) -> Result<Asked, Unfit> {
        match self {
            Self::Oauth2(oauth2) => oauth2.ask(key, now),
            Self::Login(login) => login.ask(key),
        }
    }

    /// The token, and how long it lives, if the answer says so.
    pub(super) fn read(&self, body: &[u8]) -> Result<(Zeroizing<String>, Option<Duration>), Diagnosis> {
        let (token, expires) = match self {
            Self::Oauth2(_) => ("/access_token", Some("/expires_in")),
            Self::Login(login) => (login.token.as_str(), login.expires.as_deref()),
        };
        let json: Option<Json> = serde_json::from_slice(body).ok();
        let found = json.as_ref().and_then(|json| json.pointer(token)).and_then(Json::as_str);
        let fits = |text: &&str| (1..=MAX_TOKEN).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        let Some(text) = found.filter(fits) else {
            return Err(Diagnosis::without_value(Step::Token, token, json.as_ref()));
        };
        let kind = json.as_ref().and_then(|json| json.get("token_type")).and_then(Json::as_str);
        if matches!(self, Self::Oauth2(_)) && kind.is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
            return Err(Diagnosis::new("no_pointer", "the token endpoint gives a token of another type than Bearer"));
        }
        let life = expires.and_then(|pointer| json.as_ref()?.pointer(pointer)).and_then(seconds);
        Ok((Zeroizing::new(text.to_owned()), life))
    }
}

/// `expires_in` and its kind: a number of seconds, or its text.
fn seconds(json: &Json) -> Option<Duration> {
    let seconds = match json {
        Json::Number(number) => number.as_f64()?,
        Json::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    (seconds.is_finite() && seconds >= 0.0).then(|| Duration::from_secs_f64(seconds.min(LONGEST.as_secs_f64())))
}

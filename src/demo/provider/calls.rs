//! What was asked of the vendor, in a form that may be shown: no key and no action token stands in it.

use axum::body::{Bytes, to_bytes};
use axum::extract::Request;
use axum::response::Response;
use http::{Method, StatusCode, Uri, header};
use serde::Serialize;

use crate::demo::fault::reason;

/// Larger than any call to a vendor has a reason to be.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// Keys shorter than this are masked whole: what is left to see would be too large a part of them.
const MASK_WHOLE_BELOW: usize = 16;

/// Query parameters whose values are secrets.
const SECRET_PARAMETERS: [&str; 2] = ["apikey", "action_token"];

/// What a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallKind {
    /// Asks for a plug-in URL.
    Mint,
    /// Registers a user.
    Register,
    /// Looks a user up.
    Lookup,
    /// Asks whether a key is good.
    KeyCheck,
    /// A browser opens a plug-in.
    Page,
    /// Anything else; also what followed a redirect.
    Other,
}

impl CallKind {
    pub(super) fn of(method: &Method, path: &str) -> Self {
        match (method.as_str(), path) {
            ("GET", "/v2/plugin/face-scan" | "/v2/plugin/health-dashboard" | "/v1/plugin/make") => Self::Mint,
            ("POST", "/v2/users") => Self::Register,
            ("GET", "/v2/users") => Self::Lookup,
            ("GET", "/v1/auth/me") => Self::KeyCheck,
            ("GET" | "HEAD", "/") => Self::Page,
            _ => Self::Other,
        }
    }
}

/// Where a call had its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyPlace {
    /// The header `x-api-key`.
    Header,
    /// The query parameter `apikey`.
    Query,
}

/// Which key a call had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum SentKey {
    /// One that the simulator accepts.
    Good {
        /// Where it stood.
        place: KeyPlace,
        /// Its first characters.
        masked: String,
    },
    /// One that it does not accept.
    Bad {
        /// Where it stood.
        place: KeyPlace,
        /// Its first characters.
        masked: String,
    },
    /// None.
    Missing,
}

impl SentKey {
    /// Whether the simulator accepts it.
    pub fn is_good(&self) -> bool {
        matches!(self, Self::Good { .. })
    }
}

/// One call, as it arrived and as it was answered.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Call {
    /// When it arrived: [RFC 3339](https://www.rfc-editor.org/rfc/rfc3339), by the simulator's clock.
    pub at: String,
    /// What it is for.
    pub kind: CallKind,
    /// The method.
    pub method: String,
    /// The path as sent, escapes and all.
    pub path: String,
    /// The query as sent, but `***` for the values of `apikey` and `action_token`; empty without one.
    pub query: String,
    /// The body; bytes that are not UTF-8 are replaced.
    pub body: String,
    /// Which key it had.
    pub key: SentKey,
    /// Whether a `Referer` came with it.
    pub referer: bool,
    /// The status answered; `None` while it waits, and for good if the caller left.
    pub status: Option<u16>,
}

impl Call {
    /// The value of a query parameter, decoded.
    pub fn parameter(&self, name: &str) -> Option<String> {
        parameter(&self.query, name)
    }

    /// The body as JSON.
    pub fn json(&self) -> Option<serde_json::Value> {
        serde_json::from_str(&self.body).ok()
    }
}

/// A call as read from the socket. Holds the key: it stays in this module's parent and is never printed.
pub(super) struct Asked {
    pub(super) kind: CallKind,
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) body: Bytes,
    pub(super) referer: bool,
    key: Option<(KeyPlace, String)>,
}

impl Asked {
    /// Reads all of it; the error is the answer to a body that is too large or breaks off. Dropped: the connection closes.
    pub(super) async fn read(request: Request) -> Result<Self, Box<Response>> {
        let (head, body) = request.into_parts();
        let body = to_bytes(body, MAX_BODY_BYTES)
            .await
            .map_err(|_| Box::new(reason(StatusCode::PAYLOAD_TOO_LARGE, "a body of more than 64 KiB")))?;
        let by_header = head.headers.get("x-api-key").map(|key| (KeyPlace::Header, lossy(key.as_bytes())));
        let key = by_header
            .or_else(|| parameter(head.uri.query().unwrap_or_default(), "apikey").map(|key| (KeyPlace::Query, key)));
        Ok(Self {
            kind: CallKind::of(&head.method, head.uri.path()),
            referer: head.headers.contains_key(header::REFERER),
            method: head.method,
            uri: head.uri,
            body,
            key,
        })
    }

    /// The value of a query parameter, decoded.
    pub(super) fn parameter(&self, name: &str) -> Option<String> {
        parameter(self.uri.query().unwrap_or_default(), name)
    }

    /// Compared with the keys that are accepted.
    pub(super) fn key_among(&self, accepted: &[String]) -> SentKey {
        match &self.key {
            None => SentKey::Missing,
            Some((place, key)) if accepted.contains(key) => SentKey::Good { place: *place, masked: mask(key) },
            Some((place, key)) => SentKey::Bad { place: *place, masked: mask(key) },
        }
    }

    /// The form that may be shown.
    pub(super) fn shown(&self, at: String, key: SentKey) -> Call {
        Call {
            at,
            kind: self.kind,
            method: self.method.to_string(),
            path: self.uri.path().to_owned(),
            query: self.uri.query().map(without_secrets).unwrap_or_default(),
            body: lossy(&self.body),
            key,
            referer: self.referer,
            status: None,
        }
    }
}

/// The first four characters of a long key.
fn mask(key: &str) -> String {
    let shown = if key.chars().count() < MASK_WHOLE_BELOW { 0 } else { 4 };
    key.chars().take(shown).chain(['…']).collect()
}

fn parameter(query: &str, name: &str) -> Option<String> {
    form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

/// The rest of the query stays byte for byte: tests compare it.
fn without_secrets(query: &str) -> String {
    let pairs: Vec<String> = query
        .split('&')
        .map(|pair| {
            let secret = form_urlencoded::parse(pair.as_bytes()).any(|(name, _)| SECRET_PARAMETERS.contains(&&*name));
            let name = pair.split('=').next().unwrap_or_default();
            if secret { format!("{name}=***") } else { pair.to_owned() }
        })
        .collect();
    pairs.join("&")
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_query_keeps_every_byte_but_those_of_secrets() {
        assert_eq!(
            without_secrets("a=%7e&apikey=topsecret&b=%20+&action_token=ey.J&apikey"),
            "a=%7e&apikey=***&b=%20+&action_token=***&apikey=***"
        );
        assert_eq!(without_secrets("%61pikey=topsecret"), "%61pikey=***");
        assert_eq!(without_secrets("x=apikey"), "x=apikey");
    }

    #[test]
    fn a_short_key_shows_nothing_and_a_long_one_its_start() {
        assert_eq!(mask("abcdefghijklmno"), "…");
        assert_eq!(mask("abcdefghijklmnop"), "abcd…");
    }
}

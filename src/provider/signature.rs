//! Signatures over a call: HMAC as a recipe says it, and AWS Signature Version 4.
//!
//! The latter is our own: aws-sigv4 brings thirty packages for what are four hashes (docs/decisions/sigv4.md). It is held against botocore's.

use std::fmt::Write;

use aws_lc_rs::{digest, hmac};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use percent_encoding::utf8_percent_encode;
use zeroize::Zeroizing;

use super::encoding::UNRESERVED;
use super::key_field::{is_prefix, key_field, sensitive};
use super::settings::{HmacSettings, Sigv4Settings};
use super::template::{Section, Unfit, sections};
use crate::clock::Timestamp;
use crate::secret::Secret;

/// A call about to be sent, as far as signatures look at it.
pub(super) struct Outgoing<'a> {
    pub(super) method: &'a Method,
    /// `host` or `host:port`.
    pub(super) host: &'a str,
    /// Path and query.
    pub(super) target: String,
    pub(super) headers: HeaderMap,
    pub(super) body: &'a Bytes,
    pub(super) now: Timestamp,
}

impl Outgoing<'_> {
    fn path_and_query(&self) -> (&str, &str) {
        self.target.split_once('?').unwrap_or((&self.target, ""))
    }
}

/// `auth.hmac`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hmac {
    pub(super) algorithm: &'static str,
    pub(super) text: Vec<Piece>,
    pub(super) header: HeaderName,
    pub(super) prefix: String,
    pub(super) base64: bool,
    pub(super) timestamp_header: Option<HeaderName>,
}

/// A piece of what is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Text(String),
    /// The text that `timestamp_header` carries.
    Timestamp,
    Method,
    Path,
    Query,
    PathAndQuery,
    Body,
}

const ALGORITHMS: [&str; 3] = ["sha256", "sha384", "sha512"];

impl Hmac {
    pub(super) fn compile(settings: &HmacSettings, fault: &mut impl FnMut(&str, &str)) -> Option<Self> {
        let HmacSettings { algorithm, text, header, prefix, encoding, timestamp_header } = settings;
        let known = ALGORITHMS.into_iter().find(|known| known == algorithm);
        if known.is_none() {
            fault("algorithm", "expected \"sha256\", \"sha384\" or \"sha512\"");
        }
        let base64 = match encoding.as_str() {
            "hex" => Some(false),
            "base64" => Some(true),
            _ => {
                fault("encoding", "expected \"hex\" or \"base64\"");
                None
            }
        };
        let mut field = |key: &str, name: &str| key_field(name).map_err(|message| fault(key, message)).ok();
        let header = field("header", header);
        let timestamp_header = timestamp_header.as_deref().map(|name| field("timestamp_header", name));
        if timestamp_header == Some(header.clone()) && header.is_some() {
            fault("timestamp_header", "is the signature's own field");
        }
        if !is_prefix(prefix) {
            fault("prefix", "expected printable ASCII without spaces at its beginning");
        }
        let text = pieces(text).map_err(|message| fault("text", message)).ok();
        let told = timestamp_header.is_some();
        if text.as_ref().is_some_and(|text| text.contains(&Piece::Timestamp) != told) {
            let message =
                "`{timestamp}` in `text` and `timestamp_header` go together: the vendor checks what it is told";
            fault(if told { "text" } else { "timestamp_header" }, message);
        }
        let timestamp_header = match timestamp_header {
            Some(None) => return None,
            Some(name) => name,
            None => None,
        };
        Some(Self {
            algorithm: known?,
            text: text?,
            header: header?,
            prefix: prefix.clone(),
            base64: base64?,
            timestamp_header,
        })
    }

    pub(super) fn sign(&self, key: &Secret, call: &mut Outgoing<'_>) -> Result<(), Unfit> {
        let algorithm = match self.algorithm {
            "sha384" => hmac::HMAC_SHA384,
            "sha512" => hmac::HMAC_SHA512,
            _ => hmac::HMAC_SHA256,
        };
        let timestamp = call.now.as_secs().to_string();
        let (path, query) = call.path_and_query();
        // The key goes into the signature, and nowhere else.
        let mut context = hmac::Context::with_key(&hmac::Key::new(algorithm, key.expose()));
        for piece in &self.text {
            context.update(match piece {
                Piece::Text(text) => text.as_bytes(),
                Piece::Timestamp => timestamp.as_bytes(),
                Piece::Method => call.method.as_str().as_bytes(),
                Piece::Path => path.as_bytes(),
                Piece::Query => query.as_bytes(),
                Piece::PathAndQuery => call.target.as_bytes(),
                Piece::Body => call.body,
            });
        }
        let signature = context.sign();
        let signature = if self.base64 { STANDARD.encode(signature) } else { hex(signature.as_ref()) };
        call.headers.insert(self.header.clone(), sensitive(&[self.prefix.as_bytes(), signature.as_bytes()])?);
        if let Some(name) = &self.timestamp_header {
            call.headers.insert(name.clone(), HeaderValue::try_from(timestamp).map_err(|_| Unfit)?);
        }
        Ok(())
    }
}

fn pieces(text: &str) -> Result<Vec<Piece>, &'static str> {
    const UNKNOWN: &str = "expected text with {timestamp}, {method}, {path}, {query}, {path_and_query} and {body}; `{{` and `}}` stand for braces";
    let mut found = Vec::new();
    for section in sections(text).ok_or(UNKNOWN)? {
        found.push(match section {
            Section::Literal(literal) => Piece::Text(literal),
            Section::Name("timestamp") => Piece::Timestamp,
            Section::Name("method") => Piece::Method,
            Section::Name("path") => Piece::Path,
            Section::Name("query") => Piece::Query,
            Section::Name("path_and_query") => Piece::PathAndQuery,
            Section::Name("body") => Piece::Body,
            Section::Name(_) => return Err(UNKNOWN),
        });
    }
    if found.iter().all(|piece| matches!(piece, Piece::Text(_))) {
        return Err("nothing of the call would be signed");
    }
    Ok(found)
}

/// `auth.sigv4`: the key is the secret access key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sigv4 {
    pub(super) region: String,
    pub(super) service: String,
    pub(super) access_key_id: String,
}

impl Sigv4 {
    pub(super) fn compile(settings: &Sigv4Settings, fault: &mut impl FnMut(&str, &str)) -> Option<Self> {
        let Sigv4Settings { region, service, access_key_id } = settings;
        let mut good = true;
        for (key, text) in [("region", region), ("service", service), ("access_key_id", access_key_id)] {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
            if text.is_empty() || !text.bytes().all(fits) {
                fault(key, "expected letters, digits, `-`, `_` and `.`");
                good = false;
            }
        }
        good.then(|| Self { region: region.clone(), service: service.clone(), access_key_id: access_key_id.clone() })
    }

    /// Signs host, `content-type` and `x-amz-*` with path, query and body (AWS, "Create a signed AWS API request").
    pub(super) fn sign(&self, key: &Secret, call: &mut Outgoing<'_>) -> Result<(), Unfit> {
        let date = jiff::Timestamp::from_second(call.now.as_secs()).map_err(|_| Unfit)?;
        let date = date.strftime("%Y%m%dT%H%M%SZ").to_string();
        let day = date.get(..8).ok_or(Unfit)?;
        call.headers.insert("x-amz-date", HeaderValue::try_from(date.as_str()).map_err(|_| Unfit)?);
        let mut fields = vec![("host".to_owned(), call.host.to_owned())];
        for (name, value) in &call.headers {
            if *name == CONTENT_TYPE || name.as_str().starts_with("x-amz-") {
                let value = value.to_str().map_err(|_| Unfit)?;
                fields.push((name.as_str().to_owned(), value.split_ascii_whitespace().collect::<Vec<_>>().join(" ")));
            }
        }
        fields.sort_unstable();
        let names = fields.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(";");
        let (path, query) = call.path_and_query();
        let mut request = format!("{}\n{}\n{}\n", call.method, canonical_path(path), canonical_query(query));
        for (name, value) in &fields {
            let _ = writeln!(request, "{name}:{value}");
        }
        let _ = write!(request, "\n{names}\n{}", hash(call.body));
        let scope = format!("{day}/{}/{}/aws4_request", self.region, self.service);
        let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hash(request.as_bytes()));
        // The key goes into the signature, and nowhere else.
        let mut derived = mac(&Zeroizing::new([b"AWS4", key.expose()].concat()), day);
        for part in [&self.region, &self.service, "aws4_request"] {
            derived = mac(derived.as_ref(), part);
        }
        let signature = hex(mac(derived.as_ref(), &text).as_ref());
        let id = &self.access_key_id;
        let value = format!("AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}");
        call.headers.insert(AUTHORIZATION, sensitive(&[value.as_bytes()])?);
        Ok(())
    }
}

/// Encoded once more, as all services but S3 have it.
fn canonical_path(path: &str) -> String {
    let path = if path.is_empty() { "/" } else { path };
    path.split('/').map(|segment| utf8_percent_encode(segment, UNRESERVED).to_string()).collect::<Vec<_>>().join("/")
}

/// Names and values are encoded already.
fn canonical_query(query: &str) -> String {
    let mut pairs: Vec<(&str, &str)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .collect();
    pairs.sort_unstable();
    pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

fn mac(key: &[u8], text: &str) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes())
}

fn hash(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests;

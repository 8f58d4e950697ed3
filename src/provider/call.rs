//! One call of a recipe: read from the settings once, filled with a user's values for each mint.
//!
//! Each value is escaped for its place, so that it can add no segment, parameter, key or header, and the vendor reads its exact characters.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use http::Method;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode, utf8_percent_encode};

use super::auth::Auth;
use super::body::Body;
use super::template::{Part, Template, Unfit, Values};

/// All but the unreserved characters of RFC 3986, section 2.3, is escaped.
pub(super) const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A call with places for values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CallTemplate {
    pub(super) method: Method,
    pub(super) path: Template,
    /// Names percent-encoded.
    pub(super) query: Vec<(String, Template)>,
    pub(super) headers: Vec<(HeaderName, Template)>,
    pub(super) content: Content,
}

/// What a call carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    None,
    Json(Body),
    /// Names percent-encoded.
    Form(Vec<(String, Template)>),
}

/// What of the provider each of its calls has to fit.
pub(super) struct Surroundings<'a> {
    pub(super) auth: Option<&'a Auth>,
    /// The provider's `headers`.
    pub(super) headers: &'a [(HeaderName, Template)],
    /// The names of its `secret_headers`.
    pub(super) secret_headers: &'a [HeaderName],
}

/// The keys that every call has.
pub(super) struct CallSource<'a> {
    pub(super) method: &'a Option<String>,
    pub(super) default_method: Method,
    pub(super) path: &'a Option<String>,
    pub(super) query: &'a Option<BTreeMap<String, String>>,
    pub(super) headers: &'a Option<BTreeMap<String, String>>,
    pub(super) json: &'a Option<serde_json::Value>,
    pub(super) form: &'a Option<BTreeMap<String, String>>,
}

/// A call filled with values, without the key. It holds personal data: no `Debug`.
pub(super) struct Call {
    pub(super) method: Method,
    /// Path and query, as they will be sent.
    pub(super) target: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Header fields that the client writes itself, or that change how the message is framed.
pub(super) fn is_ours(name: &HeaderName) -> bool {
    const OURS: [&str; 12] = [
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "keep-alive",
        "te",
        "trailer",
        "upgrade",
        "expect",
        "proxy-connection",
        "accept-encoding",
        "user-agent",
    ];
    OURS.contains(&name.as_str())
}

impl CallSource<'_> {
    /// Every string of the call that is a template.
    pub(super) fn texts(&self) -> Vec<&str> {
        let mut texts: Vec<&str> = self.path.iter().map(String::as_str).collect();
        texts.extend(
            self.query.iter().chain(self.headers).chain(self.form).flat_map(BTreeMap::values).map(String::as_str),
        );
        if let Some(json) = self.json {
            super::body::texts(json, &mut texts);
        }
        texts
    }

    /// Reads the call. Faults are (key path, message), `prefix` before each key; with none added, there is a call.
    pub(super) fn compile(
        &self,
        prefix: &str,
        around: &Surroundings<'_>,
        faults: &mut Vec<(String, String)>,
    ) -> Option<CallTemplate> {
        let before = faults.len();
        let mut fault = |key: &str, message: &str| faults.push((format!("{prefix}.{key}"), message.to_owned()));
        let method = self.method(&mut fault);
        let path = self.path(&mut fault);
        let query = parameters("query", self.query, &mut fault);
        for (name, _) in self.query.iter().flatten() {
            if around.auth == Some(&Auth::Query(encoded(name))) {
                fault(&format!("query.{name}"), "this parameter is the API key's");
            }
        }
        let headers = self.all_headers(around, &mut fault);
        let content = self.content(method.as_ref(), &mut fault);
        if faults.len() > before {
            return None;
        }
        Some(CallTemplate { method: method?, path: path?, query, headers, content })
    }

    fn content(&self, method: Option<&Method>, fault: &mut impl FnMut(&str, &str)) -> Content {
        let (key, kind, is_kind): (_, _, fn(&str) -> bool) = match (self.json, self.form) {
            (None, None) => return Content::None,
            (Some(_), Some(_)) => {
                fault("form", "contradicts `json`: a call has one body");
                return Content::None;
            }
            (Some(_), None) => ("json", "JSON", is_json),
            (None, Some(_)) => ("form", "a form", is_form),
        };
        if method == Some(&Method::GET) {
            fault(key, "a GET has no body");
        }
        let contradicts = |name: &&String, text: &str| name.eq_ignore_ascii_case("content-type") && !is_kind(text);
        if let Some((name, _)) = self.headers.iter().flatten().find(|(name, text)| contradicts(name, text)) {
            fault(&format!("headers.{name}"), &format!("contradicts `{key}`: leave it out, or give a type of {kind}"));
        }
        match (self.json, self.form) {
            (Some(json), _) => Body::compile(json, fault).map_or(Content::None, Content::Json),
            _ => Content::Form(parameters("form", self.form, fault)),
        }
    }

    /// The provider's header fields and the call's own.
    fn all_headers(
        &self,
        around: &Surroundings<'_>,
        fault: &mut impl FnMut(&str, &str),
    ) -> Vec<(HeaderName, Template)> {
        for name in self.headers.iter().flatten().map(|(name, _)| name) {
            if around.headers.iter().any(|(known, _)| known.as_str().eq_ignore_ascii_case(name)) {
                fault(&format!("headers.{name}"), "stands in the provider's `headers` already");
            }
        }
        let mut headers = around.headers.to_vec();
        headers.extend(fields("headers", self.headers, around.auth, around.secret_headers, fault));
        headers
    }

    fn method(&self, fault: &mut impl FnMut(&str, &str)) -> Option<Method> {
        match self.method.as_deref() {
            None => Some(self.default_method.clone()),
            Some("GET") => Some(Method::GET),
            Some("POST") => Some(Method::POST),
            Some("PUT") => Some(Method::PUT),
            Some("PATCH") => Some(Method::PATCH),
            Some("DELETE") => Some(Method::DELETE),
            Some(_) => {
                fault("method", "expected GET, POST, PUT, PATCH or DELETE");
                None
            }
        }
    }

    fn path(&self, fault: &mut impl FnMut(&str, &str)) -> Option<Template> {
        let Some(text) = self.path else {
            fault("path", "missing: the path of the call, below base_url");
            return None;
        };
        let verdict = Template::parse(text).and_then(|template| path_fits(text, &template).map(|()| template));
        verdict.map_err(|message| fault("path", message)).ok()
    }
}

/// Names and values of a query or a form.
fn parameters(
    key: &str,
    texts: &Option<BTreeMap<String, String>>,
    fault: &mut impl FnMut(&str, &str),
) -> Vec<(String, Template)> {
    let mut parameters = Vec::new();
    for (name, text) in texts.iter().flatten() {
        if name.is_empty() {
            fault(key, if key == "form" { "a field needs a name" } else { "a parameter needs a name" });
        }
        match Template::parse(text) {
            Ok(template) => parameters.push((encoded(name), template)),
            Err(message) => fault(&format!("{key}.{name}"), message),
        }
    }
    parameters
}

fn encoded(name: &str) -> String {
    percent_encode(name.as_bytes(), UNRESERVED).to_string()
}

/// Header fields; faults are named by `key` and the field.
pub(super) fn fields(
    key: &str,
    texts: &Option<BTreeMap<String, String>>,
    auth: Option<&Auth>,
    secret: &[HeaderName],
    fault: &mut impl FnMut(&str, &str),
) -> Vec<(HeaderName, Template)> {
    let mut headers = Vec::new();
    let mut seen = BTreeSet::new();
    for (name, text) in texts.iter().flatten() {
        let key = format!("{key}.{name}");
        let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else {
            fault(&key, "expected the name of a header field");
            continue;
        };
        if is_ours(&name) {
            fault(&key, "the client writes this header field itself");
        }
        if auth.and_then(Auth::header).as_ref() == Some(&name) {
            fault(&key, "this header field is the API key's");
        }
        if secret.contains(&name) {
            fault(&key, "stands in the provider's `secret_headers` already");
        }
        if !seen.insert(name.as_str().to_owned()) {
            fault(&key, "the same header field twice");
        }
        match Template::parse(text).and_then(|template| header_fits(text, &template).map(|()| template)) {
            Ok(template) => headers.push((name, template)),
            Err(message) => fault(&key, message),
        }
    }
    headers
}

/// `application/json`, or another type with its syntax (RFC 6839, section 3.1).
fn is_json(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || kind.ends_with("+json")
}

/// The one type of a form (WHATWG URL, section 5).
fn is_form(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

fn path_fits(text: &str, template: &Template) -> Result<(), &'static str> {
    if !text.starts_with('/') || text.starts_with("/{{") {
        return Err("a path starts with `/` and holds only characters of a URL's path");
    }
    if template.values().any(super::template::Value::is_optional) {
        return Err("a value that may be absent can't stand in a path");
    }
    let mut shape = String::new();
    for part in template.parts() {
        match part {
            // Stands for a value: no value is empty, and one that makes a dot segment is refused when it comes.
            Part::Value(_) => shape.push('x'),
            Part::Literal(literal) => {
                literal_fits(literal)?;
                shape.push_str(literal);
            }
        }
    }
    if shape.contains("//") || has_dot_segment(&shape) {
        return Err("a path has no empty, `.` or `..` segment");
    }
    Ok(())
}

/// RFC 3986, section 3.3: `pchar` and `/`.
fn literal_fits(literal: &str) -> Result<(), &'static str> {
    let bytes = literal.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        let fits = match byte {
            b'%' => bytes.get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)),
            _ => byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/".contains(byte),
        };
        if !fits {
            return Err(match byte {
                b'?' => "a path has no `?`; parameters stand in `query`",
                _ => "a path starts with `/` and holds only characters of a URL's path",
            });
        }
    }
    Ok(())
}

fn header_fits(text: &str, template: &Template) -> Result<(), &'static str> {
    if text.is_empty() || text.trim() != text {
        return Err("a header field's value is not empty and has no spaces around it");
    }
    let printable = |part: &Part| match part {
        Part::Literal(literal) => literal.bytes().all(|byte| matches!(byte, b' '..=b'~')),
        Part::Value(_) => true,
    };
    if !template.parts().iter().all(printable) {
        return Err("a header field's value is printable ASCII");
    }
    Ok(())
}

/// Whether some reader would take a segment for `.` or `..`: an escaped dot counts as a dot (WHATWG URL, section 4.1).
fn has_dot_segment(path: &str) -> bool {
    path.split('/').any(|segment| matches!(segment.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | ".."))
}

impl CallTemplate {
    /// Fills the call. `base_path` is the path of `base_url`, without a `/` at its end.
    ///
    /// Unfit: a value that would make a segment `.` or `..` (no escape of it survives every reader), or one outside visible ASCII in a header.
    pub(super) fn fill(&self, base_path: &str, values: &Values<'_>) -> Result<Call, Unfit> {
        let path = self.path.fill(values, |value, text| {
            text.extend(utf8_percent_encode(value, UNRESERVED));
            Ok(())
        })?;
        let mut target = path.ok_or(Unfit)?;
        if has_dot_segment(&target) {
            return Err(Unfit);
        }
        target.insert_str(0, base_path);
        let query = fill_parameters(&self.query, values)?;
        if !query.is_empty() {
            target.push('?');
            target.push_str(&query);
        }
        let mut headers = HeaderMap::new();
        for (name, template) in &self.headers {
            if let Some(value) = template.fill(values, visible)? {
                headers.insert(name.clone(), HeaderValue::try_from(value).map_err(|_| Unfit)?);
            }
        }
        let mut kind = |kind| {
            headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static(kind));
        };
        let body = match &self.content {
            Content::Json(json) => {
                kind("application/json");
                json.fill(values)?
            }
            Content::Form(fields) => {
                kind("application/x-www-form-urlencoded");
                fill_parameters(fields, values)?.into()
            }
            Content::None => Bytes::new(),
        };
        Ok(Call { method: self.method.clone(), target, headers, body })
    }
}

/// `a=1&b=2`: of the characters that a query or a form gives a meaning none is a value's own. One whose value is absent is left out.
fn fill_parameters(parameters: &[(String, Template)], values: &Values<'_>) -> Result<String, Unfit> {
    let mut text = String::new();
    for (name, template) in parameters {
        if let Some(value) = template.fill_plain(values)? {
            if !text.is_empty() {
                text.push('&');
            }
            text.push_str(name);
            text.push('=');
            text.extend(utf8_percent_encode(&value, UNRESERVED));
        }
    }
    Ok(text)
}

fn visible(value: &str, text: &mut String) -> Result<(), Unfit> {
    if !value.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Unfit);
    }
    text.push_str(value);
    Ok(())
}

#[cfg(test)]
mod tests;

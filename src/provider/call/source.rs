//! The keys of a call, read and checked whole.

use std::collections::{BTreeMap, BTreeSet};

use http::header::CONTENT_TYPE;
use http::{HeaderName, Method};
use percent_encoding::percent_encode;

use super::{CallTemplate, Content};
use crate::provider::auth::Auth;
use crate::provider::body::Body;
use crate::provider::encoding::{FORM, UNRESERVED, has_dot_segment, literal_fits};
use crate::provider::key_field::is_ours;
use crate::provider::settings::{MintSettings, RegisterSettings, RevokeSettings};
use crate::provider::template::{Part, Place, Template, Value};
use crate::setting::FieldFault;

/// What of the provider each of its calls has to fit.
pub(in crate::provider) struct Surroundings<'a> {
    pub(in crate::provider) auth: Option<&'a Auth>,
    /// The provider's `headers`.
    pub(in crate::provider) headers: &'a [(HeaderName, Template)],
    /// The names of its `secret_headers`.
    pub(in crate::provider) secret_headers: &'a [HeaderName],
    /// Which values may stand in it.
    pub(in crate::provider) place: Place,
}

/// The keys that every call has.
pub(in crate::provider) struct CallSource<'a> {
    pub(in crate::provider) method: &'a Option<String>,
    pub(in crate::provider) default_method: Method,
    pub(in crate::provider) path: &'a Option<String>,
    pub(in crate::provider) query: &'a Option<BTreeMap<String, String>>,
    pub(in crate::provider) headers: &'a Option<BTreeMap<String, String>>,
    pub(in crate::provider) json: &'a Option<serde_json::Value>,
    pub(in crate::provider) form: &'a Option<BTreeMap<String, String>>,
}

impl CallSource<'_> {
    /// Every string of the call that is a template.
    pub(in crate::provider) fn texts(&self) -> Vec<&str> {
        let mut texts: Vec<&str> = self.path.iter().map(String::as_str).collect();
        texts.extend(
            self.query.iter().chain(self.headers).chain(self.form).flat_map(BTreeMap::values).map(String::as_str),
        );
        if let Some(json) = self.json {
            crate::provider::body::texts(json, &mut texts);
        }
        texts
    }

    /// Reads the call. Faults are (key path, message), `prefix` before each key; with none added, there is a call.
    pub(in crate::provider) fn compile(
        &self,
        prefix: &str,
        around: &Surroundings<'_>,
        faults: &mut Vec<FieldFault>,
    ) -> Option<CallTemplate> {
        let before = faults.len();
        let mut fault = |key: &str, message: &str| faults.push(FieldFault::at(format!("{prefix}.{key}"), message));
        let method = self.method(&mut fault);
        let path = self.path(around.place, &mut fault);
        let query = parameters("query", self.query, around.place, &mut fault);
        for (name, _) in self.query.iter().flatten() {
            if around.auth == Some(&Auth::Query(encoded(name))) {
                fault(&format!("query.{name}"), "this parameter is the API key's");
            }
        }
        let headers = self.all_headers(around, &mut fault);
        let content = self.content(method.as_ref(), around, &mut fault);
        if faults.len() > before {
            return None;
        }
        Some(CallTemplate { method: method?, path: path?, query, headers, content })
    }

    fn content(
        &self,
        method: Option<&Method>,
        around: &Surroundings<'_>,
        fault: &mut impl FnMut(&str, &str),
    ) -> Content {
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
        // The provider's own fields go with this body too.
        if around.headers.iter().any(|(name, template)| *name == CONTENT_TYPE && !is_kind(&shape(template))) {
            let message = format!(
                "contradicts the `content-type` in the provider's `headers`: leave that out there, or give a type of {kind}"
            );
            fault(key, &message);
        }
        match (self.json, self.form) {
            (Some(json), _) => Body::compile("json", json, around.place, fault).map_or(Content::None, Content::Json),
            _ => Content::Form(parameters("form", self.form, around.place, fault)),
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
        headers.extend(fields("headers", self.headers, around, fault));
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

    fn path(&self, place: Place, fault: &mut impl FnMut(&str, &str)) -> Option<Template> {
        let Some(text) = self.path else {
            fault("path", "missing: the path of the call, below base_url");
            return None;
        };
        let verdict =
            Template::parse_for(text, place).and_then(|template| path_fits(text, &template).map(|()| template));
        verdict.map_err(|message| fault("path", message)).ok()
    }
}

/// Names and values of a query or a form.
fn parameters(
    key: &str,
    texts: &Option<BTreeMap<String, String>>,
    place: Place,
    fault: &mut impl FnMut(&str, &str),
) -> Vec<(String, Template)> {
    let mut parameters = Vec::new();
    for (name, text) in texts.iter().flatten() {
        if name.is_empty() {
            fault(key, if key == "form" { "a field needs a name" } else { "a parameter needs a name" });
        }
        match Template::parse_for(text, place) {
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
pub(in crate::provider) fn fields(
    key: &str,
    texts: &Option<BTreeMap<String, String>>,
    around: &Surroundings<'_>,
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
        if around.auth.is_some_and(|auth| auth.takes(&name)) {
            fault(&key, "this header field is the API key's");
        }
        if around.secret_headers.contains(&name) {
            fault(&key, "stands in the provider's `secret_headers` already");
        }
        if !seen.insert(name.as_str().to_owned()) {
            fault(&key, "the same header field twice");
        }
        match Template::parse_for(text, around.place)
            .and_then(|template| header_fits(text, &template).map(|()| template))
        {
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

/// The text of a template, with braces where a value comes.
fn shape(template: &Template) -> String {
    let parts = template.parts().iter().map(|part| match part {
        Part::Literal(literal) => &**literal,
        Part::Value(_) => "{}",
    });
    parts.collect()
}

fn is_form(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case(FORM)
}

fn path_fits(text: &str, template: &Template) -> Result<(), &'static str> {
    if !text.starts_with('/') || text.starts_with("/{{") {
        return Err("a path starts with `/` and holds only characters of a URL's path");
    }
    if template.values().any(Value::is_optional) {
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

pub(in crate::provider) fn register_source(register: &RegisterSettings) -> CallSource<'_> {
    let RegisterSettings { method, path, query, headers, json, form, accept: _, accept_if: _ } = register;
    CallSource { method, default_method: Method::POST, path, query, headers, json, form }
}

pub(in crate::provider) fn mint_source(mint: &MintSettings) -> CallSource<'_> {
    let MintSettings { method, path, query, headers, json, form, .. } = mint;
    CallSource { method, default_method: Method::GET, path, query, headers, json, form }
}

pub(in crate::provider) fn revoke_source(revoke: &RevokeSettings) -> CallSource<'_> {
    let RevokeSettings { method, path, query, headers, json, form } = revoke;
    CallSource { method, default_method: Method::DELETE, path, query, headers, json, form }
}

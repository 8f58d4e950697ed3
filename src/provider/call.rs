//! One call of a recipe: read from the settings once, filled with a user's values for each mint.
//!
//! Each value is escaped for its place, so that it can add no segment, parameter, key or header, and the vendor reads its exact characters.

use bytes::Bytes;
use http::Method;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use percent_encoding::utf8_percent_encode;

use super::body::Body;
use super::encoding::{FORM, UNRESERVED, has_dot_segment, put_pair};
use super::template::{Template, Unfit, Values};

mod source;

pub(super) use self::source::{CallSource, Surroundings, fields, mint_source, register_source, revoke_source};

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

/// A call filled with values, without the key. It holds personal data: no `Debug`.
pub(super) struct Call {
    pub(super) method: Method,
    /// Path and query, as they will be sent.
    pub(super) target: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl CallTemplate {
    /// Every template in it.
    pub(super) fn templates(&self) -> Vec<&Template> {
        let mut found: Vec<&Template> = std::iter::once(&self.path).chain(self.query.iter().map(|(_, t)| t)).collect();
        found.extend(self.headers.iter().map(|(_, template)| template));
        match &self.content {
            Content::None => {}
            Content::Json(body) => found.extend(body.templates()),
            Content::Form(fields) => found.extend(fields.iter().map(|(_, template)| template)),
        }
        found
    }

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
                kind(FORM);
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
            put_pair(&mut text, name, &value);
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

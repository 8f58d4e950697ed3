//! The name of a header field, as a setting.

use std::cmp::Ordering;
use std::fmt;

use http::HeaderName;

use super::is_token;
use crate::setting::{FieldFault, TextSetting, text_setting};

/// A header field's name ([RFC 9110, section 5.1](https://www.rfc-editor.org/rfc/rfc9110#section-5.1)). Its case means nothing on the wire; the
/// text is kept as it is written, so that a fault is found in the file. Two names are equal if they are written alike.
#[derive(Clone, Debug)]
pub struct FieldName {
    text: Box<str>,
    name: HeaderName,
}

impl FieldName {
    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// As a request carries it: in lower case.
    pub fn name(&self) -> &HeaderName {
        &self.name
    }
}

impl PartialEq for FieldName {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for FieldName {}

impl PartialOrd for FieldName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for FieldName {
    fn cmp(&self, other: &Self) -> Ordering {
        self.text.cmp(&other.text)
    }
}

impl fmt::Display for FieldName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

text_setting!(FieldName);

impl TextSetting for FieldName {
    const EXAMPLE: &'static str = "x-example";

    fn read(text: &str) -> Result<Self, FieldFault> {
        let name = HeaderName::try_from(text).ok().filter(|_| is_token(text.as_bytes()));
        let name = name.ok_or_else(|| FieldFault::of_value("expected the name of a header field"))?;
        Ok(Self { text: text.into(), name })
    }
}

//! Where a token carries a claim, as settings name it.

use std::fmt;
use std::str::FromStr;

use super::json::Selector;
use crate::setting::{FieldFault, TextSetting, text_setting};

/// A claim's name, or a JSON pointer ([RFC 6901](https://www.rfc-editor.org/rfc/rfc6901)) if it starts with `/`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClaimPath {
    text: Box<str>,
    selector: Selector,
}

impl ClaimPath {
    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub(super) fn selector(&self) -> &Selector {
        &self.selector
    }

    /// The claim of this name, which is not empty and does not start with `/`.
    pub(super) fn named(name: &str) -> Self {
        Self { text: name.into(), selector: Selector::of_name(name) }
    }
}

impl fmt::Display for ClaimPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for ClaimPath {
    type Err = FieldFault;

    fn from_str(text: &str) -> Result<Self, FieldFault> {
        let selector = Selector::parse(text).ok_or(FieldFault::of_value(match text {
            "" => "must not be empty",
            _ => "not a JSON pointer: `~` is written `~0`, and `/` in a name `~1`",
        }))?;
        Ok(Self { text: text.into(), selector })
    }
}

text_setting!(ClaimPath);

impl TextSetting for ClaimPath {
    const EXAMPLE: &'static str = "sub";

    fn read(text: &str) -> Result<Self, FieldFault> {
        text.parse()
    }
}

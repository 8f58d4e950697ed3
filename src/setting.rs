//! How a setting becomes its typed value: once, when the file is read, with a fault that knows its key.
//!
//! A constructor of a settings type returns a [`FieldFault`]; `config` adds file, line and column.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserializer, de};

/// What is wrong with a setting, and at which key below the value that was to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldFault {
    /// The keys that lead to it, with dots between them, such as `proxy.url`; empty where the value as a whole is at fault.
    pub path: String,
    /// What is wrong, and what was expected. Never the value: it may be a secret in the wrong place.
    pub message: String,
}

impl FieldFault {
    /// A fault of the value as a whole.
    pub fn of_value(message: impl Into<String>) -> Self {
        Self::at("", message)
    }

    /// A fault at a key below the value.
    pub fn at(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into() }
    }
}

impl fmt::Display for FieldFault {
    /// `proxy.url: expected …`, or the message alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_str() {
            "" => f.write_str(&self.message),
            path => write!(f, "{path}: {}", self.message),
        }
    }
}

impl std::error::Error for FieldFault {}

/// A setting that is written as text and has a type of its own; `Display` writes it as an operator would. `text_setting!` makes it part of a settings struct.
pub(crate) trait TextSetting: Sized + fmt::Display {
    /// A text that can be read. It stands in for a faulty value while the other faults of the file are looked for.
    const EXAMPLE: &'static str;

    /// Reads the text.
    ///
    /// # Errors
    /// The text is no such setting; the fault is one of the value as a whole.
    fn read(text: &str) -> Result<Self, FieldFault>;
}

/// Reads one from a settings file. The example is the name of a newtype: so `config` learns what can stand in for a faulty value.
pub(crate) fn deserialize<'de, T: TextSetting, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    struct Reading<T>(PhantomData<T>);
    impl<'de, T: TextSetting> de::Visitor<'de> for Reading<T> {
        type Value = T;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string")
        }
        fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
            deserializer.deserialize_str(self)
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
            T::read(text).map_err(|fault| E::custom(fault.message))
        }
    }
    deserializer.deserialize_newtype_struct(T::EXAMPLE, Reading(PhantomData))
}

/// The schema of every such setting: a string, as it is written.
pub(crate) struct Text;

impl JsonSchema for Text {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Text".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

/// Makes a [`TextSetting`] readable as a part of a settings struct: `text_setting!(RedirectHost);`
macro_rules! text_setting {
    ($type:ty) => {
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                crate::setting::deserialize(deserializer)
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl schemars::JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> std::borrow::Cow<'static, str> {
                crate::setting::Text::schema_name()
            }
            fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                crate::setting::Text::json_schema(generator)
            }
        }
    };
}

pub(crate) use text_setting;

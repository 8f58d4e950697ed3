//! Values as operators write them: `"5m"`, `"8KiB"`.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

/// A span of time, written `"500ms"`, `"30s"`, `"5m"`, `"6h"`, `"1h 30m"`. Not negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl Span {
    /// Whole seconds.
    pub const fn secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const EXPECTED: &str = "expected a duration such as \"5m\"";
        let text = Text::deserialize(deserializer).map_err(|_| de::Error::custom(EXPECTED))?;
        let span: jiff::SignedDuration = text.0.parse().map_err(|_| de::Error::custom(EXPECTED))?;
        Duration::try_from(span).map(Self).map_err(|_| de::Error::custom("a duration can't be negative"))
    }
}

impl JsonSchema for Span {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "examples": ["5m", "30s", "6h"] })
    }
}

/// A number of bytes, written `"512B"`, `"8KiB"`, `"1MiB"`, or as a bare number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Raw {
            Number(u64),
            Text(String),
        }
        let expected = || de::Error::custom("expected a size such as \"8KiB\"");
        match Raw::deserialize(deserializer).map_err(|_| expected())? {
            Raw::Number(bytes) => Ok(Self(bytes)),
            Raw::Text(text) => parse_bytes(&text).map(Self).ok_or_else(expected),
        }
    }
}

fn parse_bytes(text: &str) -> Option<u64> {
    let split = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(split);
    let scale: u64 = match unit.trim_start() {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(scale)
}

impl JsonSchema for Bytes {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Bytes".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "integer"], "minimum": 0, "pattern": "^[0-9]+ ?(B|KiB|MiB|GiB)$", "examples": ["8KiB"] })
    }
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    fn span(text: &str) -> Result<Span, String> {
        serde_json::from_value(serde_json::json!(text)).map_err(|e| e.to_string())
    }

    #[test]
    fn durations_are_read_as_operators_write_them() {
        assert_eq!(span("500ms"), Ok(Span(Duration::from_millis(500))));
        assert_eq!(span("5m"), Ok(Span::secs(300)));
        assert_eq!(span("1h 30m"), Ok(Span::secs(5400)));
        for wrong in ["", "5", "five minutes", "-5m", "5 parsecs"] {
            assert!(span(wrong).is_err(), "{wrong:?} was taken for a duration");
        }
    }

    #[test]
    fn sizes_are_read_as_operators_write_them() {
        assert_eq!(parse_bytes("8KiB"), Some(8192));
        assert_eq!(parse_bytes("1 MiB"), Some(1 << 20));
        for wrong in ["", "8", "8KB", "KiB", "-1KiB", "99999999999999GiB"] {
            assert_eq!(parse_bytes(wrong), None, "{wrong:?} was taken for a size");
        }
    }
}

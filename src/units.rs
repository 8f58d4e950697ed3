//! Values as operators write them: `"5m"`, `"8KiB"`.

mod listen_address;

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

pub use listen_address::{ListenAddress, TcpAddress, UnixAddress};

/// A span of time, written `"500ms"`, `"30s"`, `"5m"`, `"6h"`, `"1h 30m"`, `"365d"`. Not negative. A day is 24 hours.
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
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Span;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a duration such as \"5m\"")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
                let span = parse_span(text).ok_or_else(|| E::custom("expected a duration such as \"5m\""))?;
                Duration::try_from(span).map(Span).map_err(|_| E::custom("a duration can't be negative"))
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

/// Days are not the crate's, for which their length depends on a calendar.
fn parse_span(text: &str) -> Option<jiff::SignedDuration> {
    const DAY: i64 = 24 * 3600;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.split_once('d').filter(|(days, _)| is_number(days)) {
        None => text.parse().ok(),
        Some((days, rest)) => {
            let days = jiff::SignedDuration::from_secs(days.parse::<i64>().ok()?.checked_mul(DAY)?);
            let rest = rest.trim_start();
            let rest: jiff::SignedDuration =
                if rest.is_empty() { jiff::SignedDuration::ZERO } else { rest.parse().ok()? };
            days.checked_add(rest).filter(|_| !rest.is_negative())
        }
    }
}

impl std::fmt::Display for Span {
    /// As operators write it: `5m`, `1h 30m`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let span = jiff::SignedDuration::try_from(self.0).unwrap_or(jiff::SignedDuration::MAX);
        write!(f, "{span:#}")
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
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

impl std::fmt::Display for Bytes {
    /// As operators write it, in the largest unit that leaves no rest: `8KiB`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let fits = |(shift, _): &&(u32, &str)| self.0 != 0 && self.0.is_multiple_of(1 << shift);
        match [(30, "GiB"), (20, "MiB"), (10, "KiB")].iter().find(fits) {
            Some((shift, unit)) => write!(f, "{}{unit}", self.0 >> shift),
            None => write!(f, "{}B", self.0),
        }
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
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

/// Bytes as base64 text, for messages of our own (`#[serde(with = "…")]`).
pub mod base64_bytes {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD_NO_PAD;
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    /// Writes them.
    ///
    /// # Errors
    /// The errors of the serializer.
    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD_NO_PAD.encode(bytes))
    }

    /// Reads them.
    ///
    /// # Errors
    /// It is no text in base64.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD_NO_PAD.decode(text).map_err(de::Error::custom)
    }
}

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
        assert_eq!(span("365d"), Ok(Span::secs(365 * 86_400)));
        assert_eq!(span("1d 12h"), Ok(Span::secs(36 * 3600)));
        for wrong in
            ["", "5", "five minutes", "-5m", "5 parsecs", "d", "-1d", "1.5d", "1d x", "1d -1h", "9999999999999999d"]
        {
            assert!(span(wrong).is_err(), "{wrong:?} was taken for a duration");
        }
    }

    #[test]
    fn durations_are_written_as_they_are_read() {
        for text in ["0s", "500ms", "30s", "5m", "6h", "1h 30m"] {
            assert_eq!(span(text).unwrap().to_string(), text);
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

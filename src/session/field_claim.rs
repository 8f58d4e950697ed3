//! Claims as the header fields of apps carry them.

use super::json::{Number, Value};

/// A longer field is left out: many app servers refuse a head of 8 KiB.
const MAX_BYTES: usize = 4096;

/// The largest whole number that a float holds without loss (RFC 8259, section 6).
const MAX_EXACT: f64 = (1_u64 << 53) as f64;

/// A claim as a header field carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldClaim {
    /// The field's value, or why the field is left out.
    pub value: Result<Box<str>, NoField>,
    /// How many values of a list are left out of it.
    pub omitted: usize,
}

/// Why a field is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoField {
    /// The token has no such claim, or an empty one.
    Absent,
    /// It is no text, no number and no list of texts.
    Type,
    /// It is a number that lost digits when it was read.
    Inexact,
    /// It has control characters, or white space at its ends.
    Unfit,
    /// No value of the list can be carried.
    NoValue,
    /// It is longer than 4 KiB.
    TooLong,
}

impl NoField {
    /// In an operator's words.
    pub fn text(self) -> &'static str {
        match self {
            Self::Absent => "the token has no such claim, or an empty one",
            Self::Type => "the claim is no text, no number and no list of texts",
            Self::Inexact => "the claim is a number of more digits than can be read without loss",
            Self::Unfit => "the claim has control characters, or white space at its ends",
            Self::NoValue => "no value of the list can be carried",
            Self::TooLong => "the claim is longer than 4 KiB",
        }
    }
}

impl FieldClaim {
    /// `found`: what stands in the token.
    pub(super) fn new(found: Option<&Value<'_>>) -> Self {
        let (value, omitted) = match found {
            None | Some(Value::Null) => (Err(NoField::Absent), 0),
            Some(Value::Text(text)) if text.is_empty() => (Err(NoField::Absent), 0),
            Some(Value::Text(text)) if !is_carried_whole(text) => (Err(NoField::Unfit), 0),
            Some(Value::Text(text)) => (Ok(text.to_string()), 0),
            Some(Value::Number(number)) => (decimal(*number).ok_or(NoField::Inexact), 0),
            Some(Value::List(list)) => joined(list),
            Some(Value::Bool(_) | Value::Object(_)) => (Err(NoField::Type), 0),
        };
        let fits = |value: String| if value.len() > MAX_BYTES { Err(NoField::TooLong) } else { Ok(value.into()) };
        Self { value: value.and_then(fits), omitted }
    }

    /// The field's value; `None`: the field is left out.
    pub fn text(&self) -> Option<&str> {
        self.value.as_deref().ok()
    }
}

/// The values that a reader can tell apart again, and how many are left out.
fn joined(list: &[Value<'_>]) -> (Result<String, NoField>, usize) {
    let Some(texts) = list.iter().map(Value::text).collect::<Option<Vec<&str>>>() else {
        return (Err(NoField::Type), 0);
    };
    let is_carried = |text: &&str| !text.is_empty() && !text.contains(',') && is_carried_whole(text);
    let kept: Vec<&str> = texts.iter().copied().filter(is_carried).collect();
    let omitted = texts.len() - kept.len();
    match (kept.is_empty(), texts.is_empty()) {
        (false, _) => (Ok(kept.join(",")), omitted),
        (true, true) => (Err(NoField::Absent), 0),
        (true, false) => (Err(NoField::NoValue), omitted),
    }
}

fn decimal(number: Number) -> Option<String> {
    match number {
        Number::Whole(number) => Some(number.to_string()),
        Number::Negative(number) => Some(number.to_string()),
        Number::Float(number) => (number.abs() <= MAX_EXACT).then(|| number.to_string()),
    }
}

/// Whether a field carries this text as it is: no control characters, and no white space at its ends, which every reader takes away.
pub fn is_carried_whole(text: &str) -> bool {
    text.trim().len() == text.len() && !text.bytes().any(|b| b < 0x20 || b == 0x7f)
}

#[cfg(test)]
mod tests {
    use super::super::json;
    use super::*;

    /// The claim `c` of this payload: its field, and how many values are left out.
    fn field(payload: &str) -> (Result<String, NoField>, usize) {
        let object = json::object(payload.as_bytes()).unwrap();
        let claim = FieldClaim::new(object.get("c"));
        (claim.value.map(String::from), claim.omitted)
    }

    #[test]
    fn texts_numbers_and_lists_of_texts_are_carried() {
        for (claim, text) in [
            ("\"a\"", "a"),
            ("\"a, b\"", "a, b"),
            ("\"zoë\"", "zoë"),
            ("[\"a\"]", "a"),
            ("[\"a\",\"b c\",\"zoë\"]", "a,b c,zoë"),
            ("0", "0"),
            ("7", "7"),
            ("-7", "-7"),
            ("18446744073709551615", "18446744073709551615"),
            ("-9223372036854775808", "-9223372036854775808"),
            ("1.5", "1.5"),
            ("2e3", "2000"),
        ] {
            assert_eq!(field(&format!("{{\"c\":{claim}}}")), (Ok(text.into()), 0), "{claim}");
        }
    }

    #[test]
    fn what_no_field_carries_as_it_is_leaves_the_field_out() {
        for (payload, why) in [
            ("{}", NoField::Absent),
            ("{\"c\":null}", NoField::Absent),
            ("{\"c\":\"\"}", NoField::Absent),
            ("{\"c\":[]}", NoField::Absent),
            ("{\"c\":true}", NoField::Type),
            ("{\"c\":{\"a\":\"b\"}}", NoField::Type),
            ("{\"c\":[\"a\",1]}", NoField::Type),
            ("{\"c\":[\"a\",[\"b\"]]}", NoField::Type),
            ("{\"c\":18446744073709551616}", NoField::Inexact),
            ("{\"c\":-9223372036854775809}", NoField::Inexact),
            ("{\"c\":\" a\"}", NoField::Unfit),
            ("{\"c\":\"a\\r\\nx-auth-subject: b\"}", NoField::Unfit),
        ] {
            assert_eq!(field(payload), (Err(why), 0), "{payload}");
        }
    }

    #[test]
    fn a_value_that_a_reader_could_not_tell_apart_is_left_out_of_its_list() {
        for value in ["a,b", ",", "", " a", "a ", "a\\nb", "\\u007f"] {
            assert_eq!(field(&format!("{{\"c\":[\"x\",\"{value}\",\"y\"]}}")), (Ok("x,y".into()), 1), "{value:?}");
            assert_eq!(field(&format!("{{\"c\":[\"{value}\"]}}")), (Err(NoField::NoValue), 1), "{value:?}");
        }
    }

    #[test]
    fn a_field_has_at_most_4_kib() {
        let (half, other) = ("x".repeat(2048), "y".repeat(2047));
        assert_eq!(field(&format!("{{\"c\":[\"{half}\",\"{other}\"]}}")).0.map(|text| text.len()), Ok(4096));
        assert_eq!(field(&format!("{{\"c\":[\"{half}\",\"{other}y\"]}}")), (Err(NoField::TooLong), 0));
        assert_eq!(field(&format!("{{\"c\":\"{half}{half}\"}}")).0.map(|text| text.len()), Ok(4096));
        assert_eq!(field(&format!("{{\"c\":\"{half}{half}x\"}}")), (Err(NoField::TooLong), 0));
    }
}

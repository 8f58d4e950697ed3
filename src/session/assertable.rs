//! Claims as assertions to apps carry them: their JSON.

use serde_json::Value as Json;

use super::json::{Number, Value};

/// A longer claim is left out: the assertion stands in a header field.
const MAX_BYTES: usize = 4096;

/// Whole numbers up to here are exact (RFC 7493, section 2.2).
const MAX_EXACT: f64 = (1_u64 << 53) as f64;

/// The text of the claim's JSON; `None`: it is absent, too long, or a number that was not read without loss.
pub(super) fn text(found: Option<&Value<'_>>) -> Option<Box<str>> {
    let text = json(found?)?.to_string();
    (text.len() <= MAX_BYTES && text != "null").then(|| text.into())
}

fn json(value: &Value<'_>) -> Option<Json> {
    match value {
        Value::Null => Some(Json::Null),
        Value::Bool(value) => Some((*value).into()),
        Value::Number(Number::Whole(value)) => Some((*value).into()),
        Value::Number(Number::Negative(value)) => Some((*value).into()),
        Value::Number(Number::Float(value)) => (value.abs() <= MAX_EXACT).then(|| (*value).into()),
        Value::Text(text) => Some(text.as_ref().into()),
        Value::List(list) => list.iter().map(json).collect::<Option<Vec<Json>>>().map(Json::from),
        Value::Object(object) => {
            let members = object.members().map(|(name, value)| Some((name.to_owned(), json(value)?)));
            members.collect::<Option<serde_json::Map<String, Json>>>().map(Json::from)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::json::object;
    use super::*;

    #[test]
    fn a_claim_keeps_its_json_and_what_can_not_be_carried_is_left_out() {
        let claim = |json: &str| {
            let payload = format!(r#"{{"c":{json}}}"#);
            text(object(payload.as_bytes()).unwrap().get("c")).map(String::from)
        };
        for same in ["\"a\\\"é\"", "7", "-7", "0.5", "true", "[\"a\",1,null]", r#"{"a":{"b":[]}}"#, "\"\""] {
            assert_eq!(claim(same).as_deref(), Some(same));
        }
        for none in ["null", "1e300", "[123456789012345678901234567890]"] {
            assert_eq!(claim(none), None, "{none}");
        }
        let of = |length: usize| claim(&format!("\"{}\"", "x".repeat(length)));
        assert!(of(MAX_BYTES - 2).is_some() && of(MAX_BYTES - 1).is_none());
        assert_eq!(text(None), None);
    }
}

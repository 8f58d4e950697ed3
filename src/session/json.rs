//! JSON as a token may hold it: no name twice in an object, bounded depth, nothing repaired.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// Deeper than any claim that identity providers issue; a bound on our recursion.
const MAX_DEPTH: u8 = 32;

/// Up to here names are compared one by one, which needs no memory; beyond it in a set, so that hostile objects stay linear.
const FEW_NAMES: usize = 24;

/// A JSON value; text without escapes is borrowed from the input.
#[derive(Debug)]
pub(super) enum Value<'a> {
    Null,
    Bool(bool),
    Number(Number),
    Text(Cow<'a, str>),
    List(Vec<Value<'a>>),
    Object(Object<'a>),
}

/// A JSON number.
#[derive(Clone, Copy, Debug)]
pub(super) enum Number {
    Whole(u64),
    Negative(i64),
    Float(f64),
}

/// A JSON object with unique names.
#[derive(Debug, Default)]
pub(super) struct Object<'a>(Vec<(Cow<'a, str>, Value<'a>)>);

/// The object that `bytes` are, whole; `None` for anything else: other JSON, a name twice at any level, too deep, not UTF-8, trailing bytes.
pub(super) fn object(bytes: &[u8]) -> Option<Object<'_>> {
    // Looked through as a whole, which is faster than text by text.
    let mut deserializer = serde_json::Deserializer::from_str(std::str::from_utf8(bytes).ok()?);
    let Ok(Value::Object(object)) = (Seed { left: MAX_DEPTH }).deserialize(&mut deserializer) else { return None };
    deserializer.end().is_ok().then_some(object)
}

impl<'a> Object<'a> {
    /// Its members, in their order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Value<'a>)> {
        self.0.iter().map(|(name, value)| (&**name, value))
    }

    /// The member of this name.
    pub(super) fn get(&self, name: &str) -> Option<&Value<'a>> {
        self.0.iter().find(|(held, _)| held == name).map(|(_, value)| value)
    }

    /// Each name and its value.
    pub(super) fn members(&self) -> impl Iterator<Item = (&str, &Value<'a>)> {
        self.0.iter().map(|(name, value)| (&**name, value))
    }
}

impl<'a> Value<'a> {
    /// The text, if it is one.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::List(_) | Self::Object(_) => None,
        }
    }
}

/// Names a value in an object: a member's name, or a JSON pointer (RFC 6901).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Selector(Box<[Box<str>]>);

impl Selector {
    /// A text that starts with `/` is a pointer, another a name. `None` for an empty one and for a `~` that is neither `~0` nor `~1`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let Some(pointer) = text.strip_prefix('/') else {
            return (!text.is_empty()).then(|| Self::of_name(text));
        };
        let steps = pointer.split('/').map(unescape).collect::<Option<Vec<_>>>()?;
        Some(Self(steps.into()))
    }

    /// The member of this name.
    pub(super) fn of_name(name: &str) -> Self {
        Self([name.into()].into())
    }

    /// As it is written in a configuration.
    pub(super) fn written(&self) -> String {
        match &*self.0 {
            [name] if !name.contains('/') => name.to_string(),
            steps => steps.iter().map(|step| format!("/{}", step.replace('~', "~0").replace('/', "~1"))).collect(),
        }
    }

    /// The value there, if any.
    pub(super) fn find<'o, 'a>(&self, object: &'o Object<'a>) -> Option<&'o Value<'a>> {
        let (first, rest) = self.0.split_first()?;
        rest.iter().try_fold(object.get(first)?, |value, step| match value {
            Value::Object(object) => object.get(step),
            Value::List(list) => list.get(index(step)?),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) => None,
        })
    }
}

fn unescape(step: &str) -> Option<Box<str>> {
    let valid = step.split('~').skip(1).all(|tail| tail.starts_with(['0', '1']));
    valid.then(|| step.replace("~1", "/").replace("~0", "~").into())
}

fn index(step: &str) -> Option<usize> {
    let plain = step.bytes().all(|b| b.is_ascii_digit()) && (step == "0" || !step.starts_with('0'));
    if plain { step.parse().ok() } else { None }
}

#[derive(Clone, Copy)]
struct Seed {
    left: u8,
}

impl Seed {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        self.left.checked_sub(1).map(|left| Self { left }).ok_or_else(|| E::custom("too deep"))
    }
}

impl<'de> DeserializeSeed<'de> for Seed {
    type Value = Value<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value<'de>, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value<'de>, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value<'de>, E> {
        Ok(Value::Number(Number::Whole(number)))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value<'de>, E> {
        Ok(Value::Number(u64::try_from(number).map_or(Number::Negative(number), Number::Whole)))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value<'de>, E> {
        Ok(Value::Number(Number::Float(number)))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value<'de>, A::Error> {
        let seed = self.deeper()?;
        let mut list = Vec::new();
        while let Some(value) = seq.next_element_seed(seed)? {
            list.push(value);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value<'de>, A::Error> {
        let seed = self.deeper()?;
        let mut members: Vec<(Cow<'de, str>, Value<'de>)> = Vec::with_capacity(8);
        let mut names: HashSet<Cow<'de, str>> = HashSet::new();
        while let Some(name) = map.next_key_seed(Name)? {
            if members.len() == FEW_NAMES {
                names.extend(members.iter().map(|(held, _)| held.clone()));
            }
            let fresh = if members.len() < FEW_NAMES {
                members.iter().all(|(held, _)| *held != name)
            } else {
                names.insert(name.clone())
            };
            if !fresh {
                return Err(A::Error::custom("a name stands twice"));
            }
            let value = map.next_value_seed(seed)?;
            members.push((name, value));
        }
        Ok(Value::Object(Object(members)))
    }
}

struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cow<'de, str>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_once_in_each_object_at_every_level() {
        assert!(object(br#"{"a":1,"b":{"a":1},"c":[{"a":1},{"a":2}]}"#).is_some());
        for twice in
            [r#"{"a":1,"a":1}"#, r#"{"a":1,"\u0061":2}"#, r#"{"b":{"a":1,"a":1}}"#, r#"{"b":[{"a":1,"c":2,"a":1}]}"#]
        {
            assert!(object(twice.as_bytes()).is_none(), "{twice}");
        }
        let many: Vec<String> = (0..500).map(|i| format!("\"n{i}\":{i}")).collect();
        assert!(object(format!("{{{}}}", many.join(",")).as_bytes()).is_some());
        for twice in [0, FEW_NAMES - 1, FEW_NAMES, FEW_NAMES + 1, 499] {
            assert!(object(format!("{{{},\"n{twice}\":0}}", many.join(",")).as_bytes()).is_none(), "{twice}");
        }
    }

    #[test]
    fn only_one_whole_object_is_read() {
        for wrong in ["", "null", "[]", "\"a\"", "{} {}", "{}x", "{\"a\":1,}", "\u{feff}{}", "{'a':1}", "{\"a\":1e400}"]
        {
            assert!(object(wrong.as_bytes()).is_none(), "{wrong:?}");
        }
        assert!(object(b"{\"a\":\"\xff\"}").is_none());
        assert!(object(br#"{"a":"\ud800"}"#).is_none());
        assert!(object(b" {} \n").is_some());
    }

    #[test]
    fn depth_is_bounded_on_both_sides_of_the_edge() {
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(object(nested(usize::from(MAX_DEPTH) - 1).as_bytes()).is_some());
        assert!(object(nested(usize::from(MAX_DEPTH)).as_bytes()).is_none());
    }

    #[test]
    fn a_selector_is_a_name_or_a_pointer() {
        let text = br#"{"sub":"a","realm":{"user":{"id":"b"},"x/y":"c","m~n":"d"},"l":["e",{"f":"g"}],"":{"":"h"}}"#;
        let object = object(text).unwrap();
        for (selector, expected) in [
            ("sub", Some("a")),
            ("/sub", Some("a")),
            ("/realm/user/id", Some("b")),
            ("/realm/x~1y", Some("c")),
            ("/realm/m~0n", Some("d")),
            ("/l/0", Some("e")),
            ("/l/1/f", Some("g")),
            ("//", Some("h")),
            ("/l/01", None),
            ("/l/2", None),
            ("/l/-", None),
            ("/sub/x", None),
            ("realm/user", None),
        ] {
            let found = Selector::parse(selector).unwrap();
            assert_eq!(found.find(&object).and_then(Value::text), expected, "{selector}");
        }
        for wrong in ["", "/a~", "/a~2"] {
            assert!(Selector::parse(wrong).is_none(), "{wrong:?}");
        }
    }
}

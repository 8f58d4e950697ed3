//! Reads settings out of the tree by their `derive(Deserialize)`, with faults that know their place.
//!
//! Serde's own wording speaks of Rust; here each `deserialize_…` checks the type itself and says what an operator should write.

use std::collections::btree_map;
use std::fmt::Display;
use std::slice;

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{self, DeserializeSeed, Expected, IntoDeserializer, Unexpected, Visitor};
use serde::forward_to_deserialize_any;

use super::tree::{Entry, Node, Place, Step, Value};
use crate::meant::did_you_mean;

/// What is wrong at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// The table at the place has this key, which nobody knows; these are known.
    UnknownKey(String, &'static [&'static str]),
    /// The table at the place lacks this key.
    Missing(&'static str),
    /// The value is of this kind, and not a list.
    ListDue(&'static str),
    /// The value is of this kind, and not a table.
    TableDue(&'static str),
    /// The value is not what it should be.
    Wrong(String),
}

/// The first fault of a reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// From the innermost step outwards while it is under way; see [`Failure::place`].
    steps: Vec<Step>,
    pub(super) problem: Problem,
}

impl Failure {
    fn wrong(message: impl Into<String>) -> Self {
        Self { steps: Vec::new(), problem: Problem::Wrong(message.into()) }
    }

    fn inside(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// Where it is.
    pub(super) fn place(&self) -> Place {
        Place(self.steps.iter().rev().cloned().collect())
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.problem)
    }
}

impl std::error::Error for Failure {}

impl de::Error for Failure {
    fn custom<T: Display>(message: T) -> Self {
        Self::wrong(message.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let expected = match expected.to_string() {
            path if path == "path string" => "a path".into(),
            other => other,
        };
        Self::wrong(format!("expected {expected}, found {}", kind(found)))
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::wrong(format!("expected {expected}"))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self { steps: Vec::new(), problem: Problem::UnknownKey(field.into(), expected) }
    }

    fn missing_field(field: &'static str) -> Self {
        Self { steps: Vec::new(), problem: Problem::Missing(field) }
    }

    fn unknown_variant(found: &str, expected: &'static [&'static str]) -> Self {
        let quoted: Vec<String> = expected.iter().map(|name| format!("\"{name}\"")).collect();
        Self::wrong(match quoted.as_slice() {
            [one] => format!("expected {one}"),
            several => format!("expected one of {}{}", several.join(", "), did_you_mean(found, expected)),
        })
    }
}

/// The type alone: the value may be a secret in the wrong place.
fn kind(found: Unexpected<'_>) -> &str {
    match found {
        Unexpected::Bool(_) => "a boolean",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) => "an integer",
        Unexpected::Float(_) => "a float",
        Unexpected::Str(_) | Unexpected::Char(_) | Unexpected::Bytes(_) => "a string",
        Unexpected::Seq => "a list",
        Unexpected::Map => "a table",
        Unexpected::Other(kind) => kind,
        _ => "something else",
    }
}

/// Reads a `T` from a node; stops at the first fault.
pub(super) fn read<'de, T: de::Deserialize<'de>>(node: &'de Node) -> Result<T, Failure> {
    T::deserialize(Reader(&node.value))
}

#[derive(Clone, Copy)]
struct Reader<'de>(&'de Value);

impl Reader<'_> {
    fn expected(self, what: &str) -> Failure {
        Failure::wrong(format!("expected {what}, found {}", self.0.kind()))
    }
}

/// What a hole reads as where text is asked for: a name, a path and a duration alike.
const HOLE_TEXT: &str = "1s";

macro_rules! integers {
    ($($method:ident $visit:ident $type:ty;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
            match self.0 {
                Value::Integer(number) => match number.and_then(|n| <$type>::try_from(n).ok()) {
                    Some(number) => visitor.$visit(number),
                    None => Err(Failure::wrong(match <$type>::MIN {
                        0 if i64::try_from(<$type>::MAX).is_err() => "expected an integer that is not negative".into(),
                        least => format!("expected an integer from {least} to {}", <$type>::MAX),
                    })),
                },
                Value::Hole => visitor.$visit(1),
                _ => Err(self.expected("an integer")),
            }
        }
    )*};
}

impl<'de> de::Deserializer<'de> for Reader<'de> {
    type Error = Failure;

    integers! {
        deserialize_u8 visit_u8 u8;
        deserialize_u16 visit_u16 u16;
        deserialize_u32 visit_u32 u32;
        deserialize_u64 visit_u64 u64;
        deserialize_i8 visit_i8 i8;
        deserialize_i16 visit_i16 i16;
        deserialize_i32 visit_i32 i32;
        deserialize_i64 visit_i64 i64;
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match self.0 {
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::Integer(Some(number)) => visitor.visit_i64(*number),
            Value::Integer(None) => Err(Failure::wrong("this integer is too large")),
            Value::Float(number) => visitor.visit_f64(*number),
            Value::Boolean(value) => visitor.visit_bool(*value),
            Value::Datetime => Err(de::Error::invalid_type(Unexpected::Other(self.0.kind()), &visitor)),
            Value::Array(list) => visitor.visit_seq(List { rest: list.iter(), next: 0 }),
            Value::Table(table) => visitor.visit_map(Table { rest: table.iter(), value: None }),
            Value::Hole => visitor.visit_seq(SeqDeserializer::<_, Failure>::new(std::iter::empty::<()>())),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match self.0 {
            Value::Boolean(value) => visitor.visit_bool(*value),
            Value::Hole => visitor.visit_bool(false),
            _ => Err(self.expected("true or false")),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match self.0 {
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::Hole => visitor.visit_borrowed_str(HOLE_TEXT),
            // The visitor knows what the text should be: a path, a duration.
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_str(visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match self.0 {
            Value::Array(_) | Value::Hole => self.deserialize_any(visitor),
            _ => Err(Failure { steps: Vec::new(), problem: Problem::ListDue(self.0.kind()) }),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match self.0 {
            Value::Table(_) => self.deserialize_any(visitor),
            Value::Hole => visitor.visit_map(MapDeserializer::<_, Failure>::new(std::iter::empty::<((), ())>())),
            _ => Err(Failure { steps: Vec::new(), problem: Problem::TableDue(self.0.kind()) }),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.deserialize_map(visitor)
    }

    /// Settings have enums of bare names only.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        match (self.0, variants) {
            (Value::String(name), _) => visitor.visit_enum(name.as_str().into_deserializer()),
            (Value::Hole, [first, ..]) => visitor.visit_enum((*first).into_deserializer()),
            _ => Err(self.expected("a string")),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match self.0 {
            Value::Hole => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    /// A setting with a type of its own names itself by an example ([`crate::setting`]), which is what its hole reads as.
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        example: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        match self.0 {
            Value::Hole => visitor.visit_newtype_struct(de::value::BorrowedStrDeserializer::new(example)),
            _ => visitor.visit_newtype_struct(self),
        }
    }

    forward_to_deserialize_any! { i128 u128 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct ignored_any }
}

struct List<'de> {
    rest: slice::Iter<'de, Node>,
    next: usize,
}

impl<'de> de::SeqAccess<'de> for List<'de> {
    type Error = Failure;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Failure> {
        let Some(node) = self.rest.next() else { return Ok(None) };
        let step = Step::Index(self.next);
        self.next += 1;
        seed.deserialize(Reader(&node.value)).map(Some).map_err(|failure| failure.inside(step))
    }
}

struct Table<'de> {
    rest: btree_map::Iter<'de, String, Entry>,
    value: Option<(&'de String, &'de Entry)>,
}

impl<'de> de::MapAccess<'de> for Table<'de> {
    type Error = Failure;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Failure> {
        self.value = self.rest.next();
        let Some((key, entry)) = self.value else { return Ok(None) };
        seed.deserialize(KeyReader { key, value: &entry.node.value }).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Failure> {
        let Some((key, entry)) = self.value.take() else { return Err(Failure::wrong("a value without a key")) };
        seed.deserialize(Reader(&entry.node.value)).map_err(|failure| failure.inside(Step::Key(key.clone())))
    }
}

/// The key of a table. One that is no setting of its type reads as the example once there is a hole behind it.
struct KeyReader<'de> {
    key: &'de str,
    value: &'de Value,
}

impl<'de> de::Deserializer<'de> for KeyReader<'de> {
    type Error = Failure;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_borrowed_str(self.key)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        example: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        let text = if matches!(self.value, Value::Hole) { example } else { self.key };
        let read: Result<V::Value, Failure> =
            visitor.visit_newtype_struct(de::value::BorrowedStrDeserializer::new(text));
        read.map_err(|failure| failure.inside(Step::Key(self.key.to_owned())))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct seq
        tuple tuple_struct map struct enum identifier ignored_any
    }
}

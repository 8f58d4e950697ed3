//! The file as a tree that knows where each value stands, and in which faulty places can be marked.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};
use toml::{Spanned, de::DeInteger};

use super::fault::one_line;

/// One step from a value to a value inside it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

/// A place in the tree.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place(pub(super) Vec<Step>);

impl Place {
    /// The file itself.
    pub(super) fn root() -> Self {
        Self::default()
    }

    /// The value of this key of the table here.
    pub(super) fn key(&self, key: &str) -> Self {
        self.with(Step::Key(key.into()))
    }

    /// This entry of the list here, from 0.
    pub(super) fn index(&self, index: usize) -> Self {
        self.with(Step::Index(index))
    }

    pub(super) fn with(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }

    /// What this place is in; `None` for the root.
    pub(super) fn parent(&self) -> Option<Self> {
        self.0.split_last().map(|(_, rest)| Self(rest.to_vec()))
    }

    pub(super) fn starts_with(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }

    /// `plugin.min_remaining`: the keys alone, for faults.
    pub(super) fn dotted(&self) -> String {
        let keys = self.0.iter().filter_map(|step| match step {
            Step::Key(key) if is_bare(key) => Some(key.clone()),
            Step::Key(key) => Some(format!("\"{}\"", one_line(key))),
            Step::Index(_) => None,
        });
        keys.collect::<Vec<_>>().join(".")
    }
}

/// A key that TOML needs no quotes for.
fn is_bare(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// A value and the byte offset where it (for a table: its header) begins.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) offset: usize,
    pub(super) value: Value,
}

/// A key's own offset, and its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key_offset: usize,
    pub(super) node: Node,
}

/// What can stand in the file.
#[derive(Clone, Debug)]
pub(super) enum Value {
    String(String),
    /// `None`: beyond 64 bits.
    Integer(Option<i64>),
    Float(f64),
    Boolean(bool),
    Datetime,
    Array(Vec<Node>),
    Table(BTreeMap<String, Entry>),
    /// A place whose fault is already known: it reads as some value of whatever type is asked for, so that reading goes on.
    Hole,
}

impl Value {
    /// The type as operators call it, with its article.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::String(_) => "a string",
            Self::Integer(_) => "an integer",
            Self::Float(_) => "a float",
            Self::Boolean(_) => "a boolean",
            Self::Datetime => "a date",
            Self::Array(_) => "a list",
            Self::Table(_) => "a table",
            Self::Hole => "nothing",
        }
    }
}

impl Node {
    /// Takes the parsed file over.
    pub(super) fn from_toml(table: Spanned<DeTable<'_>>) -> Self {
        Self { offset: table.span().start, value: table_value(table.into_inner()) }
    }

    fn from_value(value: &Spanned<DeValue<'_>>) -> Self {
        let inner = match value.get_ref() {
            DeValue::String(text) => Value::String(text.clone().into_owned()),
            DeValue::Integer(number) => Value::Integer(integer(number)),
            DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
            DeValue::Boolean(value) => Value::Boolean(*value),
            DeValue::Datetime(_) => Value::Datetime,
            DeValue::Array(list) => Value::Array(list.iter().map(Self::from_value).collect()),
            DeValue::Table(table) => table_value(table.clone()),
        };
        Self { offset: value.span().start, value: inner }
    }

    pub(super) fn is_table(&self) -> bool {
        matches!(self.value, Value::Table(_))
    }

    /// The value at a place.
    pub(super) fn get(&self, place: &Place) -> Option<&Self> {
        place.0.iter().try_fold(self, |node, step| match (&node.value, step) {
            (Value::Table(table), Step::Key(key)) => table.get(key).map(|entry| &entry.node),
            (Value::Array(list), Step::Index(index)) => list.get(*index),
            _ => None,
        })
    }

    /// The value at a place, to change it.
    pub(super) fn get_mut(&mut self, place: &Place) -> Option<&mut Self> {
        place.0.iter().try_fold(self, |node, step| match (&mut node.value, step) {
            (Value::Table(table), Step::Key(key)) => table.get_mut(key).map(|entry| &mut entry.node),
            (Value::Array(list), Step::Index(index)) => list.get_mut(*index),
            _ => None,
        })
    }

    /// Where a fault of this place is shown: the value, or the nearest table around it that is there.
    pub(super) fn offset_of(&self, place: &Place) -> usize {
        let mut at = Some(place.clone());
        while let Some(place) = at {
            if let Some(node) = self.get(&place) {
                return node.offset;
            }
            at = place.parent();
        }
        self.offset
    }
}

fn table_value(table: DeTable<'_>) -> Value {
    let entries = table.iter().map(|(key, value)| {
        let entry = Entry { key_offset: key.span().start, node: Node::from_value(value) };
        (key.get_ref().clone().into_owned(), entry)
    });
    Value::Table(entries.collect())
}

fn integer(number: &DeInteger<'_>) -> Option<i64> {
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

//! All faults of shape at once: read, note the fault, make a hole there, read again.
//!
//! So `derive(Deserialize)` stays the only description of the file, though serde stops at its first fault.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use super::outline::Outline;
use super::read::{Failure, Problem, read};
use super::tree::{Entry, Node, Place, Step, Value};
use crate::meant::nearest;

/// More faults than this are not looked for: the file is something else, and each fault costs a reading.
const MAX_FAULTS: usize = 200;

/// A fault before its offset is turned into line and column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) place: Place,
    pub(super) offset: usize,
    pub(super) message: String,
}

/// What a reading with holes gave.
pub(super) struct Gathered<T> {
    /// The settings; absent if not even holes could make the file readable. At and below a hole the values are made up.
    pub(super) settings: Option<T>,
    /// The tree that was read at last.
    pub(super) tree: Node,
    /// The places whose values are missing or wrong.
    pub(super) holes: BTreeSet<Place>,
    pub(super) found: Vec<Found>,
    /// Which keys the file knows.
    outline: fn() -> Outline,
}

/// Reads the tree until every fault of shape is found.
pub(super) fn gather<T: DeserializeOwned + JsonSchema>(tree: Node) -> Gathered<T> {
    let outline = Outline::of::<T>;
    let mut gathered = Gathered { settings: None, tree, holes: BTreeSet::new(), found: Vec::new(), outline };
    while gathered.found.len() < MAX_FAULTS {
        match read::<T>(&gathered.tree) {
            Ok(settings) => {
                gathered.settings = Some(settings);
                break;
            }
            Err(failure) => {
                if !gathered.note(failure) {
                    break;
                }
            }
        }
    }
    gathered
}

impl<T> Gathered<T> {
    /// Records a fault and changes the tree so that the next reading gets past it. `false`: it can't.
    fn note(&mut self, failure: Failure) -> bool {
        let place = failure.place();
        match failure.problem {
            Problem::UnknownKey(key, known) => self.unknown(&place, &key, known),
            Problem::Missing(key) => self.missing(&place, key),
            Problem::ListDue(found) => self.list_due(&place, found),
            Problem::TableDue(found) => self.table_due(&place, found),
            Problem::Wrong(message) => self.wrong(&place, message),
        }
    }

    fn unknown(&mut self, table: &Place, key: &str, known: &[&'static str]) -> bool {
        let Some(Value::Table(entries)) = self.tree.get_mut(table).map(|node| &mut node.value) else { return false };
        let Some(entry) = entries.remove(key) else { return false };
        let meant = nearest(key, known);
        // What was meant is there already, or stands under the wrong name: either way one line is enough.
        if let Some(meant) = meant.filter(|meant| !entries.contains_key(*meant)) {
            self.holes.insert(table.key(meant));
        }
        let message = match meant {
            Some(meant) => format!("unknown key; did you mean \"{meant}\"?"),
            None => format!("unknown key; known here: {}{}", known.join(", "), (self.outline)().elsewhere(key)),
        };
        self.found.push(Found { place: table.key(key), offset: entry.key_offset, message });
        true
    }

    fn missing(&mut self, table: &Place, key: &str) -> bool {
        let place = table.key(key);
        let offset = self.tree.offset_of(&place);
        if !self.is_holed(&place) {
            self.found.push(Found { place: place.clone(), offset, message: "is required".into() });
        }
        let Some(node) = self.tree.get_mut(table) else { return false };
        if matches!(node.value, Value::Hole) {
            node.value = Value::Table(Default::default());
        }
        let Value::Table(entries) = &mut node.value else { return false };
        let hole = Node { offset, value: Value::Hole };
        entries.insert(key.into(), Entry { key_offset: offset, node: hole });
        self.holes.insert(place);
        true
    }

    /// `[listener]` for `[[listener]]`: what is in it is read all the same.
    fn list_due(&mut self, place: &Place, found: &'static str) -> bool {
        let (name, key, outline) = (place.dotted(), last_key(place), self.outline);
        let Some(node) = self.tree.get_mut(place) else { return false };
        let example = match &node.value {
            Value::Table(_) if outline().is_list_of_tables(&name) => {
                let message = format!(
                    "expected a list of tables, found one table: write [[{name}]], in double brackets, or {key} = [{{ … }}]"
                );
                let offset = node.offset;
                let table = std::mem::replace(&mut node.value, Value::Hole);
                node.value = Value::Array(vec![Node { offset, value: table }]);
                self.found.push(Found { place: place.clone(), offset, message });
                return true;
            }
            Value::Table(_) => format!(": put it in brackets, {key} = [{{ … }}]"),
            Value::String(_) => format!(": put it in brackets, {key} = [\"…\"]"),
            _ => String::new(),
        };
        self.wrong(place, format!("expected a list, found {found}{example}"))
    }

    /// `[[server]]` for `[server]`: the one table in it is read all the same.
    fn table_due(&mut self, place: &Place, found: &'static str) -> bool {
        let (name, named) = (place.dotted(), matches!(place.0.last(), Some(Step::Key(_))));
        let Some(node) = self.tree.get_mut(place) else { return false };
        let message = match &mut node.value {
            Value::Array(list) if named && !list.is_empty() && list.iter().all(Node::is_table) => {
                let message = format!("expected one table, found a list of tables: write [{name}], in single brackets");
                if let [_] = list.as_slice()
                    && let Some(table) = list.pop()
                {
                    let offset = node.offset;
                    node.value = table.value;
                    self.found.push(Found { place: place.clone(), offset, message });
                    return true;
                }
                message + ", and only once"
            }
            _ => format!("expected a table, found {found}"),
        };
        self.wrong(place, message)
    }

    fn wrong(&mut self, place: &Place, message: String) -> bool {
        let Some(node) = self.tree.get_mut(place) else { return false };
        if matches!(node.value, Value::Hole) {
            // No value of this type can be made up, so what is around it is made up whole: further out each time, so that this ends.
            let mut around = place.parent();
            while around.as_ref().is_some_and(|place| self.holes.contains(place)) {
                around = around.and_then(|place| place.parent());
            }
            let Some(around) = around else { return false };
            let Some(node) = self.tree.get_mut(&around) else { return false };
            node.value = Value::Hole;
            self.holes.insert(around);
            return true;
        }
        let offset = node.offset;
        node.value = Value::Hole;
        // What is said of a table as a whole may follow from a hole in it.
        if !self.is_holed(place) && !self.holes.iter().any(|hole| hole.starts_with(place)) {
            self.found.push(Found { place: place.clone(), offset, message });
        }
        self.holes.insert(place.clone());
        true
    }

    fn is_holed(&self, place: &Place) -> bool {
        self.holes.iter().any(|hole| place.starts_with(hole))
    }
}

/// The key that the place is the value of, or of which it is an entry.
fn last_key(place: &Place) -> String {
    let key = place.0.iter().rev().find_map(|step| match step {
        Step::Key(key) => Some(Place::root().key(key).dotted()),
        Step::Index(_) => None,
    });
    key.unwrap_or_default()
}

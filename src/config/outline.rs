//! Which keys the file knows, and where: what a misplaced key or bracket is told by.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde_json::Value;

use super::schema::schema_of;

/// Deeper than any table of the file.
const MAX_DEPTH: usize = 6;
/// A key that is known in more places than that is told by none of them.
const MAX_HOMES: usize = 4;

/// Every table of the file by its header without brackets, such as `session.issuer`.
pub(super) struct Outline(BTreeMap<String, Table>);

struct Table {
    /// There may be several: `[[…]]`.
    listed: bool,
    keys: Vec<String>,
}

impl Outline {
    /// Made of the file's schema. Only a faulty file pays for it.
    pub(super) fn of<T: JsonSchema>() -> Self {
        let root = schema_of::<T>();
        let mut outline = Self(BTreeMap::new());
        outline.walk(&root, &root, String::new(), false, 0);
        outline
    }

    /// Whether the table of this name is written with double brackets.
    pub(super) fn is_list_of_tables(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|table| table.listed)
    }

    /// `; a key of this name stands in [[plugin]]`, or nothing.
    pub(super) fn elsewhere(&self, key: &str) -> String {
        let homes: Vec<String> =
            self.0.iter().filter(|(_, table)| table.keys.iter().any(|k| k == key)).map(header).collect();
        match homes.len() {
            1..=MAX_HOMES => format!("; a key of this name belongs in {}", homes.join(" or ")),
            _ => String::new(),
        }
    }

    fn walk(&mut self, root: &Value, schema: &Value, name: String, listed: bool, depth: usize) {
        if depth > MAX_DEPTH {
            return;
        }
        let schema = resolved(root, schema);
        if let Some(Value::Object(properties)) = schema.get("properties") {
            let keys = properties.keys().cloned().collect();
            self.0.entry(name.clone()).or_insert(Table { listed, keys });
            for (key, inner) in properties {
                let below = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                let inner = resolved(root, inner);
                match inner.get("items") {
                    Some(items) => self.walk(root, items, below, true, depth + 1),
                    None => self.walk(root, inner, below, false, depth + 1),
                }
            }
        }
        if let Some(values @ Value::Object(_)) = schema.get("additionalProperties") {
            self.walk(root, values, format!("{name}.NAME"), false, depth + 1);
        }
    }
}

fn header((name, table): (&String, &Table)) -> String {
    match (name.as_str(), table.listed) {
        ("", _) => "the file's top".into(),
        (name, true) => format!("[[{name}]]"),
        (name, false) => format!("[{name}]"),
    }
}

/// What a reference leads to.
fn resolved<'s>(root: &'s Value, schema: &'s Value) -> &'s Value {
    let reference = schema.get("$ref").or_else(|| schema.pointer("/allOf/0/$ref")).and_then(Value::as_str);
    match reference.and_then(|name| root.pointer(name.strip_prefix('#')?)) {
        Some(found) if !std::ptr::eq(found, schema) => found,
        _ => schema,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn tables_and_lists_of_tables_are_told_apart() {
        let outline = Outline::of::<Config>();
        for listed in ["listener", "session.issuer", "provider", "plugin", "app", "minter.edge", "listener.tls"] {
            assert!(outline.is_list_of_tables(listed), "{listed}");
        }
        for single in ["server", "session", "admin", "leases", "provider.mint.NAME", "session.sources", "unknown"] {
            assert!(!outline.is_list_of_tables(single), "{single}");
        }
    }

    #[test]
    fn a_misplaced_key_is_told_where_it_belongs() {
        let outline = Outline::of::<Config>();
        assert_eq!(outline.elsewhere("public_url"), "; a key of this name belongs in [server]");
        assert_eq!(
            outline.elsewhere("issuer"),
            "; a key of this name belongs in [session] or [[session.events.transmitter]] or [[session.issuer]]"
        );
        assert_eq!(outline.elsewhere("nobody-knows-this"), "");
    }
}

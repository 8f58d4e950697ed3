//! What two configuration files say differently, in an operator's words.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::sections::numbered;

/// Longer values are cut: a line is for reading.
const MAX_VALUE: usize = 120;

/// The lists whose entries have names: the list's keys, what a section is called, and the key that names an entry.
const NAMED: &[(&[&str], &str, &str)] = &[
    (&["plugin"], "plugin", "name"),
    (&["app"], "app", "name"),
    (&["provider"], "provider", "name"),
    (&["listener"], "listener", "address"),
    (&["session", "issuer"], "issuer", "issuer"),
];

/// Lines of what differs between two texts of TOML: `+ plugin.second: …`, `- app.portal`, `~ provider.acme timeout: "5s" → "10s"`; in the order of names.
/// Both must be configurations without a fault.
pub fn diff(old: &str, new: &str) -> Vec<String> {
    let (old, new) = (sections(old), sections(new));
    let mut lines = Vec::new();
    let names: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for name in names {
        match (old.get(name), new.get(name)) {
            (None, Some(section)) => {
                lines.push(format!("+ {name}{}", section.summary()));
            }
            (Some(_), None) => lines.push(format!("- {name}")),
            (Some(old), Some(new)) => {
                lines.extend(old.changes(new).into_iter().map(|change| format!("~ {name} {change}")))
            }
            (None, None) => {}
        }
    }
    lines
}

/// The values of one section, by their dotted keys.
#[derive(Default)]
struct Section(BTreeMap<String, Value>);

impl Section {
    /// What a reader wants to know of a new one.
    fn summary(&self) -> String {
        let keys = ["host", "path", "provider", "mint", "upstreams", "base_url", "preset", "session", "audiences"];
        let said: Vec<String> =
            keys.iter().filter_map(|key| Some(format!("{key} = {}", shown(self.0.get(*key)?)))).collect();
        if said.is_empty() { String::new() } else { format!(": {}", said.join(", ")) }
    }

    fn changes(&self, new: &Self) -> Vec<String> {
        let keys: std::collections::BTreeSet<&String> = self.0.keys().chain(new.0.keys()).collect();
        let change = |key: &String| match (self.0.get(key), new.0.get(key)) {
            (Some(old), Some(new)) if old == new => None,
            (old, new) => {
                let said = |value: Option<&Value>| value.map_or_else(|| "(left out)".to_owned(), shown);
                Some(format!("{key}: {} → {}", said(old), said(new)))
            }
        };
        keys.into_iter().filter_map(change).collect()
    }

    fn flatten(&mut self, prefix: &str, table: Table) {
        for (key, value) in table {
            let key = if prefix.is_empty() { key } else { format!("{prefix}.{key}") };
            match value {
                Value::Table(table) if !table.is_empty() => self.flatten(&key, table),
                value => drop(self.0.insert(key, value)),
            }
        }
    }
}

fn shown(value: &Value) -> String {
    let text = value.to_string().replace('\n', " ");
    match text.char_indices().nth(MAX_VALUE) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

fn sections(text: &str) -> BTreeMap<String, Section> {
    let mut file: Table = toml::from_str(text).unwrap_or_default();
    let (mut sections, mut seen) = (BTreeMap::new(), BTreeMap::new());
    for (keys, called, by) in NAMED {
        for (at, entry) in take_list(&mut file, keys).into_iter().enumerate() {
            let Value::Table(entry) = entry else { continue };
            let name = entry.get(*by).and_then(Value::as_str).map_or_else(|| at.to_string(), ToOwned::to_owned);
            let name = numbered(&mut seen, format!("{called}.{name}"));
            let section: &mut Section = sections.entry(name).or_default();
            section.flatten("", entry);
        }
    }
    for (name, value) in file {
        if let Value::Table(table) = value {
            sections.entry(name).or_default().flatten("", table);
        }
    }
    sections
}

fn take_list(file: &mut Table, keys: &[&str]) -> Vec<Value> {
    let Some((last, above)) = keys.split_last() else { return Vec::new() };
    let mut table = file;
    for key in above {
        match table.get_mut(*key) {
            Some(Value::Table(inner)) => table = inner,
            _ => return Vec::new(),
        }
    }
    match table.remove(*last) {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_told_apart_by_their_names_and_keys_by_their_values() {
        let old = "[server]\nidle_timeout = \"75s\"\n[[plugin]]\nname = \"a\"\npath = \"/a\"\n[[plugin]]\nname = \"b\"\npath = \"/b\"\n\
                   [[provider]]\nname = \"acme\"\ntimeout = \"5s\"\n[provider.breaker]\nfailures = 3\n";
        let new = "[server]\nidle_timeout = \"75s\"\n[[plugin]]\nname = \"c\"\npath = \"/c\"\n[[plugin]]\nname = \"a\"\npath = \"/a\"\n\
                   [[provider]]\nname = \"acme\"\n[provider.breaker]\nfailures = 5\n[limits]\nper_subject = { rate = 1, burst = 2 }\n\
                   [[session.issuer]]\nissuer = \"https://idp.example\"\naudiences = [\"web\"]\n";
        assert_eq!(
            diff(old, new),
            [
                "+ issuer.https://idp.example: audiences = [\"web\"]",
                "+ limits",
                "- plugin.b",
                "+ plugin.c: path = \"/c\"",
                "~ provider.acme breaker.failures: 3 → 5",
                "~ provider.acme timeout: \"5s\" → (left out)",
                "+ session",
            ]
        );
        assert!(diff(old, old).is_empty());
    }

    #[test]
    fn listeners_of_one_address_as_written_are_told_apart_by_their_order() {
        let one = "[[listener]]\naddress = \"127.0.0.1:0\"\n";
        let hsts = "hsts = \"365d\"\n";
        let (two, second) = (format!("{one}{one}"), "listener.127.0.0.1:0#2");
        assert_eq!(diff(one, &two), [format!("+ {second}")]);
        assert_eq!(diff(&two, &format!("{two}{hsts}")), [format!("~ {second} hsts: (left out) → \"365d\"")]);
        assert_eq!(diff(&two, &format!("{one}{hsts}{one}")), ["~ listener.127.0.0.1:0 hsts: (left out) → \"365d\""]);
    }

    #[test]
    fn the_order_of_tables_is_no_difference() {
        let (a, b) = ("[[app]]\nname = \"a\"\n", "[[app]]\nname = \"b\"\n");
        assert!(diff(&format!("{a}{b}"), &format!("{b}{a}")).is_empty());
    }
}

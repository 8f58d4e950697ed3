//! `docs/valet.schema.json` and `docs/configuration.md` say what the types say.

use std::collections::BTreeMap;

use serde_json::Value;

use super::*;

const SCHEMA_FILE: &str = "docs/valet.schema.json";

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

#[test]
fn the_schema_in_docs_is_that_of_the_types() {
    let fresh = format!("{}\n", serde_json::to_string_pretty(&schema()).unwrap());
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(file(SCHEMA_FILE), &fresh).unwrap();
    }
    let kept = std::fs::read_to_string(file(SCHEMA_FILE)).unwrap_or_default();
    assert!(kept == fresh, "{SCHEMA_FILE} is not that of the types; run the tests with UPDATE=1 to write it again");
}

/// Each key of the schema: its description and default.
fn keys() -> BTreeMap<String, (Option<String>, Option<Value>)> {
    let schema = schema();
    let mut keys = BTreeMap::new();
    walk(&schema, &schema, "", &mut keys);
    keys
}

fn walk(root: &Value, node: &Value, at: &str, keys: &mut BTreeMap<String, (Option<String>, Option<Value>)>) {
    if let Some(target) = node["$ref"].as_str() {
        let node = root.pointer(target.trim_start_matches('#')).unwrap();
        walk(root, node, at, keys);
    }
    for group in ["anyOf", "allOf", "oneOf"] {
        for choice in node[group].as_array().into_iter().flatten() {
            walk(root, choice, at, keys);
        }
    }
    if node["items"].is_object() {
        walk(root, &node["items"], at, keys);
    }
    if node["additionalProperties"].is_object() {
        walk(root, &node["additionalProperties"], &format!("{at}.NAME"), keys);
    }
    for (key, property) in node["properties"].as_object().into_iter().flatten() {
        let path = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
        let description = property["description"].as_str().map(str::to_owned);
        keys.insert(path.clone(), (description, property.get("default").cloned()));
        walk(root, property, &path, keys);
    }
}

/// The rows of the page's tables: key and default as written.
fn rows() -> BTreeMap<String, String> {
    let page = std::fs::read_to_string(file("docs/configuration.md")).unwrap();
    let cells = page.lines().filter(|line| line.starts_with("| `")).map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        (cells[0].trim_matches('`').to_owned(), cells[1].to_owned())
    });
    cells.collect()
}

#[test]
fn every_key_has_a_description_for_editors() {
    for (key, (description, _)) in keys() {
        assert!(description.is_some_and(|text| !text.is_empty()), "{key} has no description");
    }
}

#[test]
fn the_page_names_each_key_and_no_other() {
    let (keys, rows) = (keys(), rows());
    for key in keys.keys() {
        assert!(rows.contains_key(key), "docs/configuration.md does not name {key}");
    }
    for key in rows.keys() {
        assert!(keys.contains_key(key), "docs/configuration.md names {key}, which does not exist");
    }
}

#[test]
fn the_defaults_on_the_page_are_those_of_the_types() {
    let rows = rows();
    for (key, (_, default)) in keys() {
        match default {
            // A table's own default is that of its keys.
            None | Some(Value::Object(_)) => {}
            Some(Value::Array(list)) if list.is_empty() => {}
            Some(default) => {
                let shown = format!("`{default}`").replace("\",\"", "\", \"");
                assert_eq!(rows[&key], shown, "the default of {key}");
            }
        }
    }
}

//! Each block of TOML in README.md and docs/ is a piece of a configuration that `valet check` accepts, put where the page says that it belongs.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::process::{Ended, end_of};
use super::stack::{Folder, issuer, vendor_and_plugin};

/// Long enough for each HMAC, and `user:password` for a proxy.
const SECRET: &str = "valet:a-secret-of-this-test-that-is-longer-than-sixty-four-bytes-of-text\n";

const AROUND: &str = r#"
[server]
public_url = "https://app.example.com"
[[listener]]
address = "127.0.0.1:0"
[admin]
address = "127.0.0.1:0"
[session]
sources = ["header:authorization", "cookie:session"]
"#;

const APP: &str =
    "[[app]]\nname = \"portal\"\npath = \"/\"\nupstreams = [\"127.0.0.1:3000\"]\nsession = \"required\"\n";

/// The pages, with the paths by which a person knows them.
fn pages() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![root.join("README.md")];
    for folder in ["docs", "docs/presets"] {
        let there = std::fs::read_dir(root.join(folder)).expect("a folder");
        files.extend(there.map(|entry| entry.expect("an entry").path()).filter(|path| is_page(path)));
    }
    files.sort();
    let name = |path: &PathBuf| path.strip_prefix(root).expect("below it").display().to_string();
    files.iter().map(|path| (name(path), std::fs::read_to_string(path).expect("a page"))).collect()
}

fn is_page(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "md")
}

/// The blocks of TOML.
fn blocks(page: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open: Option<(bool, Vec<&str>)> = None;
    for line in page.lines() {
        let fence = line.trim_start().strip_prefix("```");
        match (&mut open, fence) {
            (None, Some(language)) => open = Some((language == "toml", Vec::new())),
            (Some((is_toml, lines)), Some(_)) => {
                if *is_toml {
                    found.push(lines.join("\n") + "\n");
                }
                open = None;
            }
            (Some((_, lines)), None) => lines.push(line),
            (None, None) => {}
        }
    }
    found
}

/// The tables of a configuration.
const SECTIONS: [&str; 13] = [
    "server",
    "listener",
    "admin",
    "log",
    "telemetry",
    "session",
    "provider",
    "plugin",
    "app",
    "assertion",
    "policies",
    "limits",
    "leases",
];

/// Under which table a block stands that begins with bare keys.
fn place(page: &str, block: &Table) -> Option<&'static str> {
    let is_bare = !block.keys().all(|key| SECTIONS.contains(&key.as_str()));
    match page {
        "docs/apps.md" if is_bare => Some("app"),
        "docs/sessions.md" if is_bare => Some("session.issuer"),
        "docs/tls.md" if is_bare => Some("listener"),
        _ => None,
    }
}

/// Puts what a block says into the rest: tables are joined, a table into the first entry of a list, and lists replaced.
fn join(whole: &mut Table, block: Table) {
    for (key, value) in block {
        match (whole.get_mut(&key), value) {
            (Some(Value::Table(there)), Value::Table(more)) => join(there, more),
            (Some(Value::Array(list)), Value::Table(more)) => {
                join(list.first_mut().and_then(Value::as_table_mut).expect("an entry"), more);
            }
            (_, value) => {
                whole.insert(key, value);
            }
        }
    }
}

fn whole(page: &str, block: &Table) -> Table {
    if block.contains_key("minter") {
        return block.clone();
    }
    let around = AROUND.to_owned() + &issuer("https://idp.example.com") + &vendor_and_plugin("secrets/vendor.key");
    let mut whole: Table = around.parse().expect("TOML");
    let app = || APP.parse::<Table>().expect("TOML");
    match place(page, block) {
        Some("app") => {
            join(&mut whole, app());
            entry(&mut whole, "app", block.clone());
        }
        Some("listener") => {
            let tls = "tls = [{ chain = \"tls/site.pem\", key = \"tls/site.key\" }]".parse().expect("TOML");
            entry(&mut whole, "listener", tls);
            entry(&mut whole, "listener", block.clone());
        }
        Some(_) => {
            let session = whole.get_mut("session").and_then(Value::as_table_mut).expect("a session");
            entry(session, "issuer", block.clone());
        }
        None => {
            if block.get("app").is_some_and(Value::is_table) {
                join(&mut whole, app());
            }
            if block.get("provider").is_some_and(Value::is_array) {
                whole.remove("plugin");
            }
            if block.contains_key("plugin") && !block.contains_key("provider") {
                let provider = &block["plugin"][0]["provider"];
                whole["provider"][0]["name"] = provider.clone();
                whole["plugin"][0]["provider"] = provider.clone();
            }
            join(&mut whole, block.clone());
            // One that says only what is new of an app of the same page.
            for app in whole.get_mut("app").and_then(Value::as_array_mut).into_iter().flatten() {
                let app = app.as_table_mut().expect("an app");
                if !app.contains_key("upstreams") {
                    app.insert("authorize".into(), Value::Boolean(true));
                }
            }
        }
    }
    whole
}

/// Blocks that others read: cases of policies (`valet policy test`, cli/policy.rs), and the providers of docs/recipes.md (recipes_page.rs).
fn is_read_elsewhere(page: &str, block: &Table) -> bool {
    let is_recipe = page == "docs/recipes.md"
        && ["provider", "plugin"].iter().any(|key| block.get(*key).is_some_and(Value::is_array));
    block.is_empty() || block.contains_key("case") || is_recipe
}

fn entry(whole: &mut Table, key: &str, more: Table) {
    join(whole, Table::from_iter([(key.to_owned(), Value::Table(more))]));
}

/// The secrets that it names.
fn secrets(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Table(table) => match table.get("file").and_then(Value::as_str) {
            Some(name) => found.push(name.to_owned()),
            None => table.values().for_each(|value| secrets(value, found)),
        },
        Value::Array(list) => list.iter().for_each(|value| secrets(value, found)),
        _ => {}
    }
}

fn check(config: &Table) -> Ended {
    let folder = Folder::new();
    folder.write("valet.toml", &toml::to_string(config).expect("TOML"));
    let mut files = Vec::new();
    secrets(&Value::Table(config.clone()), &mut files);
    files.iter().for_each(|name| drop(folder.write(name, SECRET)));
    end_of(folder.path(), &["check", "--config", "valet.toml"])
}

/// What is no fault of the page: files that only its reader has, and that it says nothing of where they would be (`SECRET` is no key of that kind).
fn is_of_the_reader(line: &str) -> bool {
    ["No such file", "no such folder", "private key of", "in base64", "is not set"]
        .iter()
        .any(|part| line.contains(part))
}

#[test]
fn each_block_of_toml_in_the_documentation_is_accepted_where_it_belongs() {
    let mut seen = 0;
    let mut wrong = Vec::new();
    for (page, text) in pages() {
        for block in blocks(&text) {
            let table: Table = block.parse().unwrap_or_else(|fault| panic!("{page}: {fault}\n{block}"));
            if is_read_elsewhere(&page, &table) {
                continue;
            }
            seen += 1;
            let config = whole(&page, &table);
            let ended = check(&config);
            let is_fault = |line: &&str| !line.starts_with("warning: ") && !is_of_the_reader(line);
            let faults: Vec<&str> = ended.stderr.lines().filter(is_fault).collect();
            // Warnings are of what is left out here; a configuration with a fault ends with 78.
            if ended.code != Some(0) && !faults.is_empty() {
                wrong.push(format!("{page}:\n{block}{}", faults.join("\n")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(seen >= 45, "{seen}");
}

#[test]
fn a_typing_error_in_a_block_would_be_seen() {
    let block: Table =
        "[[app]]\nname = \"portal\"\npath = \"/\"\nupstream = [\"127.0.0.1:3000\"]\n".parse().expect("TOML");
    let ended = check(&whole("docs/apps.md", &block));
    ended.assert_code(78);
    assert!(
        ended.stderr.lines().any(|line| !is_of_the_reader(line) && line.contains("unknown key")),
        "{}",
        ended.stderr
    );
}

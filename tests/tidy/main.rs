//! The house rules that neither the compiler nor clippy knows. Each rule is tried on snippets of its own below the tree's check.

// Tests and measurements take orders from the environment, and tell a story from its begin to its end.
#![allow(clippy::disallowed_methods, clippy::too_many_lines)]
// A test may panic: that is how it fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod circles;
mod documents;
mod layout;
mod rust;
mod text;

use std::path::{Path, PathBuf};

/// One file of the repository.
struct File {
    /// Its path from the repository's root, with `/`.
    path: String,
    text: String,
}

/// The folders and the files beside them that the rules read. What is built or fetched is in none of them.
const FOLDERS: [&str; 7] = ["src", "tests", "benches", "docs", "deploy", "policies", "tools"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every text file of the repository that the rules know, sorted by path.
fn repository() -> Vec<File> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(root()).expect("the repository can be listed") {
        let path = entry.expect("an entry can be read").path();
        if path.is_file() {
            read(&path, &mut files);
        }
    }
    for folder in FOLDERS {
        gather(&root().join(folder), &mut files);
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

fn gather(folder: &Path, files: &mut Vec<File>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.expect("an entry can be read").path();
        if path.is_dir() { gather(&path, files) } else { read(&path, files) }
    }
}

/// Takes the file if it is text.
fn read(path: &Path, files: &mut Vec<File>) {
    let Ok(text) = std::fs::read_to_string(path) else { return };
    let inside = path.strip_prefix(root()).expect("a path below the root");
    let parts: Vec<_> = inside.components().map(|part| part.as_os_str().to_string_lossy()).collect();
    files.push(File { path: parts.join("/"), text });
}

fn text_of<'a>(files: &'a [File], path: &str) -> &'a str {
    &files.iter().find(|file| file.path == path).unwrap_or_else(|| panic!("{path} is missing")).text
}

/// Fails with all faults at once.
fn assert_none(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

/// Applies a rule for one Rust file to every file under `src/`.
fn for_sources(rule: fn(&str, &str) -> Vec<String>) {
    let files = repository();
    let sources: Vec<_> = files.iter().filter(|f| f.path.starts_with("src/") && f.path.ends_with(".rs")).collect();
    assert!(!sources.is_empty(), "no source was found");
    assert_none(&sources.iter().flat_map(|file| rule(&file.path, &file.text)).collect::<Vec<_>>());
}

#[test]
fn no_module_looks_upwards() {
    for_sources(layout::upward_looks);
}

#[test]
fn no_files_import_one_another() {
    let files = repository();
    let sources = files.iter().filter(|file| file.path.starts_with("src/") && file.path.ends_with(".rs"));
    let sources: Vec<_> = sources.map(|file| (file.path.as_str(), file.text.as_str())).collect();
    let production: Vec<_> =
        sources.into_iter().filter(|(path, _)| !path.contains("/tests/") && !path.ends_with("/tests.rs")).collect();
    assert!(!production.is_empty(), "no source was found");
    assert_none(&circles::circles(&production));
}

#[test]
fn each_package_is_used_only_behind_its_door() {
    for_sources(layout::packages_outside_their_door);
}

#[test]
fn no_file_is_too_long() {
    for_sources(layout::too_long);
}

#[test]
fn nothing_is_left_for_later() {
    let files = repository();
    assert_none(&files.iter().flat_map(|file| text::notes_for_later(&file.path, &file.text)).collect::<Vec<_>>());
}

#[test]
fn a_test_that_pauses_says_why() {
    let files = repository();
    let code = files.iter().filter(|file| file.path.ends_with(".rs"));
    assert_none(&code.flat_map(|file| text::pauses_without_a_reason(&file.path, &file.text)).collect::<Vec<_>>());
}

#[test]
fn every_link_of_a_document_leads_to_a_file() {
    let files = repository();
    let there = |path: &str| root().join(path).exists();
    let documents: Vec<_> = files.iter().filter(|file| file.path.ends_with(".md")).collect();
    assert!(documents.iter().any(|file| file.path == "README.md"));
    assert_none(
        &documents.iter().flat_map(|file| documents::broken_links(&file.path, &file.text, there)).collect::<Vec<_>>(),
    );
}

#[test]
fn every_page_of_the_documentation_can_be_found_from_its_index() {
    let files = repository();
    let pages: Vec<&str> =
        files.iter().map(|f| f.path.as_str()).filter(|p| p.starts_with("docs/") && p.ends_with(".md")).collect();
    let indexes = ["README.md", "docs/README.md", "docs/presets.md"].map(|path| (path, text_of(&files, path)));
    assert_none(&documents::unlinked_pages(&pages, &indexes));
}

#[test]
fn no_cell_of_a_table_is_a_paragraph() {
    // The proofs write it.
    let made = "docs/proof.md";
    let files = repository();
    let written = files.iter().filter(|file| file.path.ends_with(".md") && file.path != made);
    assert_none(&written.flat_map(|file| documents::long_cells(&file.path, &file.text)).collect::<Vec<_>>());
}

#[test]
fn the_page_of_metrics_names_each_metric_with_its_labels() {
    let files = repository();
    let code: String = files
        .iter()
        .filter(|file| file.path == "src/telemetry.rs" || file.path.starts_with("src/telemetry/"))
        .map(|file| file.text.as_str())
        .collect();
    assert_none(&documents::metrics_differ(&code, text_of(&files, "docs/metrics.md")));
}

#[test]
fn the_page_of_problems_names_each_refusal_with_its_status() {
    let files = repository();
    assert_none(&documents::problems_differ(text_of(&files, "src/problem.rs"), text_of(&files, "docs/problems.md")));
}

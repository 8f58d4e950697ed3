//! What the documents say, held against the files and the code.

use std::collections::BTreeSet;

/// The targets of a document's links that lead to nothing. Links to other sites and inside the page are not followed.
pub fn broken_links(path: &str, text: &str, there: impl Fn(&str) -> bool) -> Vec<String> {
    let missing = links(path, text).into_iter().filter(|(_, target)| !there(target));
    missing.map(|(line, target)| format!("{path}:{line}: there is no {target}")).collect()
}

/// The pages that no index links to. An index itself needs no link.
pub fn unlinked_pages(pages: &[&str], indexes: &[(&str, &str)]) -> Vec<String> {
    let linked: BTreeSet<String> = indexes
        .iter()
        .flat_map(|(path, text)| links(path, text))
        .map(|(_, target)| target)
        .chain(indexes.iter().map(|(path, _)| (*path).to_owned()))
        .collect();
    let lost = pages.iter().filter(|page| !linked.contains(**page));
    lost.map(|page| format!("{page}: no index links to it")).collect()
}

/// Line and target (from the repository's root) of each `](target)` and `<img src="target">` that leads to a file. Code is left out.
fn links(path: &str, text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut in_code = false;
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        for (start, end) in [("](", ')'), ("src=\"", '"')] {
            for rest in line.split(start).skip(1) {
                let target = rest.split([end, '#', ' ']).next().unwrap_or_default();
                if !target.is_empty() && !target.contains(':') {
                    found.push((number + 1, resolve(path, target)));
                }
            }
        }
    }
    found
}

/// `../b.md` in `docs/a.md` is `b.md`.
fn resolve(path: &str, target: &str) -> String {
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    parts.join("/")
}

/// Cells of tables that are longer than a reader takes in at a glance: they should be paragraphs or a list.
pub fn long_cells(path: &str, text: &str) -> Vec<String> {
    const MOST: usize = 200;
    let rows = text.lines().enumerate().filter(|(_, line)| line.starts_with('|'));
    let long = rows.filter(|(_, line)| line.split('|').any(|cell| cell.chars().count() > MOST));
    long.map(|(at, _)| format!("{path}:{}: a cell of more than {MOST} characters", at + 1)).collect()
}

/// Metrics with labels that stand in the code or on the page, but not in both.
pub fn metrics_differ(code: &str, page: &str) -> Vec<String> {
    differ(&metrics_of_code(code), &metrics_of_page(page), "docs/metrics.md")
}

/// Refusals with status that stand in the table of the code or on the page, but not in both.
pub fn problems_differ(code: &str, page: &str) -> Vec<String> {
    differ(&problems_of_code(code), &problems_of_page(page), "docs/problems.md")
}

fn differ(code: &BTreeSet<String>, page: &BTreeSet<String>, path: &str) -> Vec<String> {
    if code.is_empty() {
        return vec![format!("nothing was found in the code to hold {path} against")];
    }
    let lacks = code.difference(page).map(|name| format!("{path}: {name} is missing"));
    let invents = page.difference(code).map(|name| format!("{path}: {name} is not in the code"));
    lacks.chain(invents).collect()
}

/// `name{label,label}` for each `"valet_…"` of the code, with the list of strings that follows it before the next.
fn metrics_of_code(code: &str) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    for rest in code.split("\"valet_").skip(1) {
        let name = rest.split('"').next().unwrap_or_default();
        let list = rest.split_once("&[\"").map(|(_, list)| list.split(']').next().unwrap_or_default());
        let labels = list.unwrap_or_default().split('"').filter(|s| s.starts_with(char::is_alphabetic)).collect();
        out.insert(metric(&format!("valet_{name}"), labels));
    }
    out
}

/// `name{label,label}` for each row whose first cell is a metric; the third cell names the labels.
fn metrics_of_page(page: &str) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    for line in page.lines().filter(|line| line.starts_with("| `valet_")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let Some(name) = cells[1].strip_prefix('`').and_then(|cell| cell.strip_suffix('`')) else { continue };
        if !name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_') {
            continue; // An alert, not a metric.
        }
        let labels = cells.get(3).copied().unwrap_or_default().split('`').skip(1).step_by(2).collect();
        out.insert(metric(name, labels));
    }
    out
}

fn metric(name: &str, labels: Vec<&str>) -> String {
    if labels.is_empty() { name.to_owned() } else { format!("{name}{{{}}}", labels.join(",")) }
}

/// `status slug` for each `row(404, "Not Found", "not-found", …)`.
fn problems_of_code(code: &str) -> BTreeSet<String> {
    let rows = code.split(" row(").skip(1).filter(|row| row.starts_with(|c: char| c.is_ascii_digit()));
    let parts = rows.filter_map(|row| Some((row.split(',').next()?, row.split('"').nth(3)?)));
    parts.map(|(status, slug)| format!("{status} {slug}")).collect()
}

/// `status slug` for each row ``| 404 | `not-found` | …``.
fn problems_of_page(page: &str) -> BTreeSet<String> {
    let rows =
        page.lines().filter(|line| line.starts_with("| ") && line[2..].starts_with(|c: char| c.is_ascii_digit()));
    let cells = rows.map(|line| line.split('|').map(str::trim).collect::<Vec<_>>());
    cells.map(|cells| format!("{} {}", cells[1], cells.get(2).map_or("", |slug| slug.trim_matches('`')))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_to_nothing_is_named_and_others_are_not() {
        let text = "[a](../LICENSE) [b](c.md#part) [d](https://example.com/e) [f](#g)\n```\n[h](i.md)\n```\n[j](k.md)";
        let faults = broken_links("docs/a.md", text, |path| ["LICENSE", "docs/c.md"].contains(&path));
        assert_eq!(faults, ["docs/a.md:5: there is no docs/k.md"]);
    }

    #[test]
    fn a_long_cell_is_named_and_a_long_line_is_not() {
        let (cell, long) = ("x".repeat(150), "x".repeat(201));
        assert!(long_cells("a.md", &format!("| {cell} | {cell} |\n{long}")).is_empty());
        assert_eq!(long_cells("a.md", &format!("\n| {long} |")), ["a.md:2: a cell of more than 200 characters"]);
    }

    #[test]
    fn a_picture_is_a_link_too() {
        assert_eq!(broken_links("README.md", "<img src=\"docs/a.svg\" alt=\"\">", |_| false).len(), 1);
    }

    #[test]
    fn a_page_that_no_index_links_to_is_named() {
        let indexes = [("README.md", "[a](docs/a.md)"), ("docs/README.md", "[b](b.md)")];
        let pages = ["docs/README.md", "docs/a.md", "docs/b.md", "docs/c.md"];
        assert_eq!(unlinked_pages(&pages, &indexes), ["docs/c.md: no index links to it"]);
    }

    #[test]
    fn a_metric_must_stand_on_both_sides_with_the_same_labels() {
        let code =
            r#"gauge("valet_a", "A.")?; vec("valet_b", "B.", &["x", "y"])?; histogram("valet_c", "C", &[0.5])?;"#;
        let page = "| `valet_a` | gauge | | |\n| `valet_b` | counter | `x`, `y` | |\n| `valet_c` | histogram | – | |\n| `valet_a` is 0 | x |";
        assert!(metrics_differ(code, page).is_empty());
        assert_eq!(metrics_differ(code, &page.replace(", `y`", "")).len(), 2);
        assert_eq!(metrics_differ(code, &page.replace("_c", "_d")).len(), 2);
        assert_eq!(metrics_differ("", page).len(), 1);
    }

    #[test]
    fn a_refusal_must_stand_on_both_sides_with_the_same_status() {
        let code = "const fn row(\nSelf::A => row(404, \"Not Found\", \"not-found\", \"x\"), Self::B => row(500, \"E\", \"internal\",";
        let page = "| 404 | `not-found` | a |\n| 500 | `internal` | b |";
        assert!(problems_differ(code, page).is_empty());
        assert_eq!(problems_differ(code, &page.replace("404", "405")).len(), 2);
        assert_eq!(problems_differ(code, "| 404 | `not-found` | a |").len(), 1);
    }
}

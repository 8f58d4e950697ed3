//! The committed figures, and what differs from them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use serde::{Deserialize, Serialize};

use crate::kit::callgrind::Counts;
use crate::rows::Row;

/// So much more than the figure fails.
const ALLOWED: f64 = 1.03;

/// Functions that take less of a row than this are not written down.
const WORTH: f64 = 0.01;

/// How many functions are named where a row has grown.
const NAMED: usize = 5;

/// A file of figures.
#[derive(Default, Serialize, Deserialize)]
struct Figures {
    /// Another compiler makes other code: its counts are shown, and not compared.
    rustc: String,
    row: BTreeMap<String, Figure>,
}

/// Instructions of a request, and of the functions in which most of them are, without those that they call.
#[derive(Clone, Serialize, Deserialize)]
struct Figure {
    total: u64,
    functions: BTreeMap<String, u64>,
}

impl Figure {
    fn of(counts: &Counts) -> Self {
        let worth = |count: f64| count >= counts.total * WORTH;
        let functions = counts.functions.iter().filter(|(_, count)| worth(**count));
        let whole = |count: f64| count.round() as u64;
        Self {
            total: whole(counts.total),
            functions: functions.map(|(name, count)| (name.clone(), whole(*count))).collect(),
        }
    }

    /// The functions that have grown most, with by how much at least.
    fn grown(&self, counts: &Counts) -> Vec<(String, f64)> {
        // One that is not written down took less than this.
        let unknown = self.total as f64 * WORTH;
        let grown = counts.functions.iter().map(|(name, count)| {
            let before = self.functions.get(name).map_or(unknown, |before| *before as f64);
            (name.clone(), count - before)
        });
        let mut grown: Vec<_> = grown.filter(|(_, more)| *more >= 1.0).collect();
        grown.sort_by(|(_, one), (_, other)| other.total_cmp(one));
        grown.truncate(NAMED);
        grown
    }
}

fn file() -> PathBuf {
    let name = std::env::var("FIGURES").unwrap_or_else(|_| "quick".to_owned());
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("benches/figures").join(format!("{name}.toml"))
}

/// Prints the rows beside their figures; with `UPDATE` the figures are written anew. Fails where a row has grown.
pub fn compare(rows: &[Row]) -> ExitCode {
    let rustc = std::env::var("RUSTC_VERSION").unwrap_or_default();
    let mut figures: Figures = match std::fs::read_to_string(file()) {
        Ok(text) => toml::from_str(&text).expect("figures that were written here"),
        Err(_) => Figures::default(),
    };
    let update = std::env::var_os("UPDATE").is_some();
    let comparable = figures.rustc == rustc;
    let mut fails = false;
    println!("| instructions/request, user space | now | committed | |\n|---|---|---|---|");
    for Row { name, counts } in rows {
        let before = figures.row.get(*name);
        let total = before.map_or("none".to_owned(), |before| before.total.to_string());
        let ratio = before.map(|before| counts.total / before.total as f64);
        println!(
            "| {name} | {:.0} | {total} | {} |",
            counts.total,
            ratio.map_or(String::new(), |ratio| format!("{ratio:.3} ×"))
        );
        if let (Some(before), true) = (before, ratio.is_none_or(|ratio| ratio > ALLOWED)) {
            fails = true;
            for (function, more) in before.grown(counts) {
                eprintln!("{name}: + {more:.0} in {function}");
            }
        }
        fails |= before.is_none();
    }
    if update {
        figures.rustc = rustc;
        figures.row.extend(rows.iter().map(|row| (row.name.to_owned(), Figure::of(&row.counts))));
        std::fs::create_dir_all(file().parent().unwrap()).unwrap();
        std::fs::write(file(), toml::to_string(&figures).unwrap()).unwrap();
        return ExitCode::SUCCESS;
    }
    if !comparable {
        eprintln!("not compared: the figures are of {}, this is {rustc}", figures.rustc);
        return ExitCode::SUCCESS;
    }
    if fails {
        eprintln!(
            "a row is more than 3 % above its figure, or has none: mend it, or commit the new figure with its reason (UPDATE=1 tools/count)"
        );
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

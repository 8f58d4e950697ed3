//! What comes out: tables on the standard output and, with `UPDATE=1`, in docs/performance.md, with a drawing.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use crate::drawing::{Panel, draw};
use crate::peers::{Peer, Started};
use crate::rows::{Cell, Figures, Row};

/// The part of the page that is made here is between these.
const BEGIN: &str =
    "<!-- made by make compare: what stands between these two lines is written anew by UPDATE=1 make compare -->";
const END: &str = "<!-- end of what make compare made -->";

/// A table of another form than the rows have.
pub struct Table {
    title: String,
    text: String,
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(title: &str, text: &str, head: &[&str]) -> Self {
        let head = head.iter().map(|cell| (*cell).to_owned()).collect();
        Self { title: title.to_owned(), text: text.to_owned(), head, rows: Vec::new() }
    }

    pub fn row(&mut self, server: &str, cells: &[String]) {
        println!("| {server} | {} |", cells.join(" | "));
        self.rows.push([&[server.to_owned()], cells].concat());
    }

    /// As Markdown has it.
    fn page(&self) -> String {
        let mut out = format!("\n### {}\n\n{}\n\n", self.title, self.text);
        let mut line = |cells: &[String]| {
            let filled = (0..self.head.len()).map(|at| cells.get(at).cloned().unwrap_or_default());
            writeln!(out, "| {} |", filled.collect::<Vec<_>>().join(" | ")).unwrap();
        };
        line(&self.head);
        line(&vec!["---".to_owned(); self.head.len()]);
        self.rows.iter().for_each(|row| line(row));
        out
    }
}

/// One row of all servers.
struct Measured {
    name: String,
    pace: f64,
    cells: Vec<(&'static str, Cell)>,
}

/// Rows so far, and who takes part.
#[derive(Default)]
pub struct Report {
    peers: Vec<&'static Peer>,
    absent: Vec<(&'static str, String)>,
    rows: Vec<Measured>,
    tables: Vec<Table>,
    /// The part of the machine's time that other work took.
    pub others: Option<f64>,
}

impl Report {
    /// It takes part, or would.
    pub fn taken(&mut self, peer: &'static Peer) {
        self.peers.push(peer);
    }

    pub fn absent(&mut self, peer: &'static Peer, why: &str) {
        eprintln!("{} is left out: {why}", peer.name);
        self.absent.push((peer.name, why.to_owned()));
    }

    pub fn table(&mut self, table: Table) {
        self.tables.push(table);
    }

    pub fn row(&mut self, name: &str, row: Row, servers: &[&Started], cells: Vec<Cell>) {
        println!(
            "\n| {name} | CPU µs/request | requests/s | core busy | p50 / p99 / p99.9 ms | MiB |\n|---|---|---|---|---|---|"
        );
        let cells: Vec<_> = servers.iter().map(|server| server.peer.name).zip(cells).collect();
        for (server, cell) in &cells {
            match cell {
                Ok(figures) => {
                    let (cpu, low, high) = figures.cpu;
                    println!(
                        "| {server} | {cpu:.1} ({low:.1}–{high:.1}) | {:.0} | {:.0} % | {} | {:.0} |",
                        figures.rate,
                        figures.busy * 100.0,
                        latencies(figures),
                        figures.memory / 1048576.0
                    );
                }
                Err(why) => println!("| {server} | {why} | | | | |"),
            }
        }
        self.rows.push(Measured { name: name.to_owned(), pace: row.pace(), cells });
    }

    /// Rows by servers, of one figure each.
    fn matrix(&self, title: &str, text: &str, figure: impl Fn(&Measured, &Figures) -> String) -> Table {
        let servers: Vec<&str> = self.peers.iter().map(|peer| peer.name).filter(|name| !self.is_absent(name)).collect();
        let short = |name: &&str| name.replace(", looks at nothing", " °").replace("bare ", "");
        let head: Vec<String> = [String::new()].into_iter().chain(servers.iter().map(short)).collect();
        let of = |row: &Measured, server: &str| {
            let cell = row.cells.iter().find(|(name, _)| *name == server).map(|(_, cell)| cell);
            match cell {
                Some(Ok(figures)) => figure(row, figures),
                Some(Err(why)) if why.starts_with("failed") => "failed".to_owned(),
                _ => "–".to_owned(),
            }
        };
        let line = |row: &Measured| {
            let cells = servers.iter().map(|server| of(row, server));
            [row.name.clone()].into_iter().chain(cells).collect()
        };
        Table { title: title.to_owned(), text: text.to_owned(), head, rows: self.rows.iter().map(line).collect() }
    }

    fn is_absent(&self, name: &str) -> bool {
        self.absent.iter().any(|(absent, _)| *absent == name)
    }

    /// Writes the page, if it is wanted.
    pub fn write(&self) {
        let page = self.page();
        if std::env::var("UPDATE").as_deref() != Ok("1") {
            return;
        }
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
        let path: PathBuf = docs.join("performance.md");
        let text = std::fs::read_to_string(&path).unwrap();
        let (before, rest) = text.split_once(BEGIN).expect("the page has the place for it");
        let (_, after) = rest.split_once(END).expect("the page has the end of the place");
        std::fs::write(&path, format!("{before}{BEGIN}\n{page}\n{END}{after}")).unwrap();
        if !self.rows.is_empty() {
            std::fs::write(docs.join("images/compare.svg"), draw(&self.panels())).unwrap();
        }
        println!("\nwrote {}", path.display());
    }

    fn page(&self) -> String {
        let mut out = format!("\n{}\n", self.facts());
        if !self.rows.is_empty() {
            out += "\n![CPU of a request at each server, in microseconds](images/compare.svg)\n";
            out += "\n° looks at nothing: no token is read, and the redirect is the same for everybody. It shows what the least is.\n";
            out += &self
                .matrix("CPU of a request, in microseconds", "Median of the rounds.", |_, figures| {
                    format!("{:.1}", figures.cpu.0)
                })
                .page();
            let rate = |_: &Measured, figures: &Figures| {
                // Where the server's core was not full, the load was what ended it.
                let least = if figures.busy < 0.9 { "≥ " } else { "" };
                format!("{least}{:.0}", figures.rate)
            };
            let text = "As fast as answers come, from one core to one core. ≥: the server's core was not full, for the load, the app behind or other work was slower.";
            out += &self.matrix("Requests a second", text, rate).page();
            let text = "p50 / p99 / p99.9 at a fixed rate, each from when its request was due, what the load itself was late by included. –: it can't answer so fast, or only once.";
            let paced = |row: &Measured, figures: &Figures| match figures.latencies {
                Some(_) => latencies(figures),
                None => format!("– ({:.0}/s)", row.pace),
            };
            let rates: Vec<String> = self.rows.iter().map(|row| format!("{:.0}", row.pace)).collect();
            let text = format!("{text} {}", said_once(&rates));
            out += &self.matrix("Latencies, in milliseconds", &text, paced).page();
            out += &self
                .matrix(
                    "Memory after each row, in MiB",
                    "Resident, after what all rows before have left.",
                    |_, figures| format!("{:.0}", figures.memory / 1048576.0),
                )
                .page();
        }
        self.tables.iter().for_each(|table| out += &table.page());
        out
    }

    /// Machine, versions, date.
    fn facts(&self) -> String {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let cpu = read("/proc/cpuinfo");
        let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
        let cores = cpu.lines().filter(|line| line.starts_with("processor")).count();
        let kernel = read("/proc/sys/kernel/osrelease");
        let date = jiff::Timestamp::now().strftime("%Y-%m-%d").to_string();
        let compiler = std::env::var("RUSTC_VERSION").unwrap_or_default();
        let mut out = format!(
            "Measured on {date}: {cores} cores of an {}, Linux {}, rustc {compiler}.",
            model.trim_start_matches([' ', '\t', ':']).trim(),
            kernel.trim()
        );
        if let Some(others) = self.others.filter(|_| !self.rows.is_empty()) {
            write!(out, " Other work took {:.0} % of the machine's time while the rows were measured.", others * 100.0)
                .unwrap();
        }
        let mut seen = Vec::new();
        for peer in &self.peers {
            let name = peer.name.split(',').next().unwrap_or(peer.name);
            let Some(version) = peer.version().filter(|_| !self.is_absent(peer.name)) else { continue };
            let said = format!("{name} {version}");
            if !seen.contains(&said) {
                seen.push(said);
            }
        }
        write!(out, " {}.", seen.join(", ")).unwrap();
        for (name, why) in &self.absent {
            write!(out, " {name} is left out: {why}.").unwrap();
        }
        out
    }

    /// The rows that are drawn.
    fn panels(&self) -> Vec<Panel> {
        let of = |row: &Measured| Panel {
            title: row.name.clone(),
            dots: row.cells.iter().filter_map(|(server, cell)| Some((*server, cell.as_ref().ok()?.cpu.0))).collect(),
        };
        let wanted = |row: &&Measured| !row.name.contains("MiB") && !row.name.ends_with("TLS");
        self.rows.iter().filter(wanted).map(of).collect()
    }
}

fn latencies(figures: &Figures) -> String {
    figures.latencies.map_or("–".to_owned(), |[a, b, c]| format!("{a:.2} / {b:.2} / {c:.2}"))
}

/// The rates of the rows.
fn said_once(rates: &[String]) -> String {
    let mut once: Vec<&String> = Vec::new();
    for rate in rates {
        if !once.contains(&rate) {
            once.push(rate);
        }
    }
    match once.as_slice() {
        [usual, large] => format!("{usual} requests a second, of 1 MiB {large}."),
        [one] => format!("{one} requests a second."),
        _ => String::new(),
    }
}

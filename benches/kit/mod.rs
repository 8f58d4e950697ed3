//! What the benches share: servers as processes of their own on core 0, a load from core 1, medians, and counts of instructions.

// Each bench uses its part of the kit.
#![allow(dead_code, unused_imports)]

pub mod app;
pub mod bare;
pub mod callgrind;
pub mod http2;
pub mod load;
pub mod process;
pub mod run;
pub mod stack;

use std::time::Instant;

use load::Outcome;
use process::Server;
pub use run::{ROLE, median, move_to_core_1, setting};

/// Figures of one server, a round each.
pub struct Row {
    pub name: &'static str,
    pub cpu: Vec<f64>,
    pub rate: Vec<f64>,
}

/// Asks the servers one after the other, another one first in each round. `ask` gets the round's number and the server.
pub fn rotate(servers: &[&Server], rounds: usize, mut ask: impl FnMut(usize, &Server) -> Outcome) -> Vec<Row> {
    let mut rows: Vec<Row> =
        servers.iter().map(|server| Row { name: server.name, cpu: Vec::new(), rate: Vec::new() }).collect();
    for round in 0..rounds {
        for turn in 0..servers.len() {
            let at = (round + turn) % servers.len();
            let (before, began) = (servers[at].cpu(), Instant::now());
            let answered = ask(round, servers[at]).answered as f64;
            rows[at].cpu.push((servers[at].cpu() - before) / answered);
            rows[at].rate.push(answered / began.elapsed().as_secs_f64());
        }
    }
    rows
}

/// Prints a table of rows, and gives the median CPU of each.
pub fn table(rows: Vec<Row>) -> Vec<f64> {
    println!("| server | CPU µs/request | requests/s |\n|---|---|---|");
    let mut medians = Vec::new();
    for Row { name, cpu, rate } in rows {
        let ((mid, low, high), (rate, ..)) = (median(cpu), median(rate));
        medians.push(mid);
        println!("| {name} | {mid:.1} ({low:.1}–{high:.1}) | {rate:.0} |");
    }
    medians
}

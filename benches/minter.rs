//! What a minter costs a visitor: the time of a first visit (a mint) and of a later one (a held lease) at one process with the key, and at an
//! edge that asks a minter. Each is a process of its own, as is the vendor; one visitor after the other.
//!
//! `cargo bench --profile dist --bench minter`; `ROUNDS=12 USERS=200` are the defaults.

// Tests and measurements take orders from the environment, and tell a story from its begin to its end.
#![allow(clippy::disallowed_methods, clippy::too_many_lines)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    missing_docs
)]
// How the tests of the program run it and talk to it, `tests/cli`: used by the path of the file, for a bench can import no test.
#![allow(dead_code)]

#[path = "../tests/cli/client.rs"]
mod client;
mod kit;
#[path = "../tests/cli/pair.rs"]
mod pair;
#[path = "../tests/cli/process.rs"]
mod process;
#[path = "../tests/cli/stack.rs"]
mod stack;

use std::time::Instant;

use client::{Connection, request};
use kit::{median, setting};
use pair::Pair;
use serde_json::json;
use stack::{Folder, Gateway, KEY, bearer};

fn main() {
    let pair = Pair::start(KEY);
    let folder = Folder::new();
    folder.configure(&pair.vendor.url, &pair.idp.url, KEY, |config| config);
    let whole = Gateway::start(&folder);
    let (rounds, users) = (setting("ROUNDS", 12), setting("USERS", 200));
    println!(
        "{rounds} rounds of {users} visitors in rotation, one after the other; median of the rounds' medians (lowest–highest)"
    );
    println!("| vendor answers after | visit | one process, µs | edge and minter, µs | ratio |\n|---|---|---|---|---|");
    for delay in ["0ms", "20ms"] {
        pair.vendor.faults(json!({ "on": "mint", "delay": delay }));
        let gateways = [("one", &whole), ("two", &pair.edge)];
        let mut times = [[vec![], vec![]], [vec![], vec![]]];
        for round in 0..rounds {
            for turn in 0..gateways.len() {
                let at = (round + turn) % gateways.len();
                let (name, gateway) = gateways[at];
                let tokens: Vec<String> =
                    (0..users).map(|user| pair.idp.token(&format!("{name}-{delay}-{round}-{user}"))).collect();
                let mut connection = Connection::open(&gateway.address);
                // The first visit mints, the second one finds what is held.
                for times in &mut times[at] {
                    times.push(median(tokens.iter().map(|token| visit(&mut connection, token)).collect()).0);
                }
            }
        }
        let [[cold_one, warm_one], [cold_two, warm_two]] = times;
        for (visit, one, two) in [("first", cold_one, cold_two), ("later", warm_one, warm_two)] {
            let ((one, low, high), (two, two_low, two_high)) = (median(one), median(two));
            let ratio = two / one;
            println!(
                "| {delay} | {visit} | {one:.0} ({low:.0}–{high:.0}) | {two:.0} ({two_low:.0}–{two_high:.0}) | {ratio:.2} |"
            );
            println!("{visit} visit, vendor {delay}, edge and minter over one process: {ratio:.2}");
        }
    }
}

/// Microseconds until the answer is there.
fn visit(connection: &mut Connection, token: &str) -> f64 {
    let text = request("GET", "/plugins/face-scan", &[&bearer(token)], "");
    let began = Instant::now();
    let answer = connection.ask(&text);
    let took = began.elapsed();
    assert_eq!(answer.status, 302, "{answer:?}");
    took.as_secs_f64() * 1e6
}

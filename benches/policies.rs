//! What policies cost: instructions of a warm request, and CPU of the first sight of a token, with 0, 10 and 100 policies that have a say about
//! the plug-in and read nothing of the context.
//!
//! `cargo bench --profile dist --bench policies`; `ROUNDS=12 CONNECTIONS=64 USERS=1000 FRESH=24000` are the defaults. Without callgrind (Debian's
//! package `valgrind`) the first table is left out.

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

mod kit;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kit::load::{load, requests};
use kit::process::{Server, instructions, role};
use kit::{ROLE, move_to_core_1, rotate, setting, stack, table};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROWS: [(&str, usize); 3] = [("no policies", 0), ("10 policies", 10), ("100 policies", 100)];

fn main() {
    if std::env::var(ROLE).as_deref() == Ok("valet") {
        return stack::serve();
    }
    if Command::new("valgrind").arg("--version").stdout(Stdio::null()).status().is_ok() {
        warm();
    } else {
        println!("valgrind is not installed: the instructions of a warm request are not counted");
    }
    move_to_core_1();
    first_sight();
}

fn valet(policies: usize, fresh: usize) -> Command {
    let mut command = role("valet");
    command.env("POLICIES", policies.to_string()).env("FRESH", fresh.to_string());
    command
}

fn warm() {
    println!("| warm redirect | instructions/request, user space | over none |\n|---|---|---|");
    let mut none = None;
    for (name, policies) in ROWS {
        let count = instructions(name, &valet(policies, 0), "/plugins/face-scan");
        println!("| {name} | {count:.0} | {:.4} |", count / *none.get_or_insert(count));
    }
}

fn first_sight() {
    let (rounds, connections) = (setting("ROUNDS", 12), setting("CONNECTIONS", 64));
    let servers = ROWS.map(|(name, policies)| Server::start(name, &valet(policies, setting("FRESH", 24_000))));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let far = Instant::now() + Duration::from_secs(3600);
    // Each user has a URL: what is measured is the token.
    for server in &servers {
        runtime.block_on(load(server.address, &requests(&server.tokens), 8, far, true));
    }
    let fresh: Vec<_> = servers.iter().map(|server| requests(&server.fresh)).collect();
    let share = fresh[0].len() / rounds.max(1);
    let rows = rotate(&servers.each_ref(), rounds, |round, server| {
        let at = servers.iter().position(|known| known.address == server.address).unwrap();
        runtime.block_on(load(server.address, &fresh[at][round * share..(round + 1) * share], connections, far, true))
    });
    println!(
        "first sight: {rounds} rounds of {share} tokens in rotation, {connections} connections; median (lowest–highest)"
    );
    let medians = table(rows);
    for ((name, _), median) in ROWS.iter().zip(&medians).skip(1) {
        println!("{name} over none: {:+.1} µs", median - medians[0]);
    }
}

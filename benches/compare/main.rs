//! Valet as it ships beside the servers that could stand in its place, each doing the whole task by its manual's best advice, in one run:
//! CPU a request, requests a second, latencies at a fixed rate, memory.
//!
//! `make compare`; benches/README.md says what it takes and what changes the size of a run. Load goes to loopback only.

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

// Parts of the benches' kit, which is in the folder of none of them.
#[path = "../kit/bare.rs"]
#[allow(dead_code)] // It has another way for the other benches.
mod bare;
#[path = "../kit/run.rs"]
mod run;

mod attack;
mod cases;
mod client;
mod drawing;
mod fixed;
mod floor;
mod handshakes;
mod idle;
mod leases;
mod load;
mod meanwhile;
mod origin;
mod peers;
mod report;
mod rows;
mod running;
mod site;
mod stage;
mod steady;
mod versions;
mod websockets;
mod wire;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match std::env::var(run::ROLE).as_deref() {
        Ok("fixed") => fixed::serve(),
        Ok("floor") => floor::serve(),
        Ok("origin") => origin::serve(),
        _ => compare(),
    }
}

fn compare() {
    run::move_to_core_1();
    stage::run();
}

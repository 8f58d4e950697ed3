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

#[path = "kit/bare.rs"]
#[allow(dead_code)] // It has another way for the other benches.
mod bare;
#[path = "kit/run.rs"]
mod run;

#[path = "compare/attack.rs"]
mod attack;
#[path = "compare/cases.rs"]
mod cases;
#[path = "compare/client.rs"]
mod client;
#[path = "compare/drawing.rs"]
mod drawing;
#[path = "compare/floor.rs"]
mod floor;
#[path = "compare/handshakes.rs"]
mod handshakes;
#[path = "compare/idle.rs"]
mod idle;
#[path = "compare/leases.rs"]
mod leases;
#[path = "compare/load.rs"]
mod load;
#[path = "compare/origin.rs"]
mod origin;
#[path = "compare/peers.rs"]
mod peers;
#[path = "compare/report.rs"]
mod report;
#[path = "compare/rows.rs"]
mod rows;
#[path = "compare/running.rs"]
mod running;
#[path = "compare/site.rs"]
mod site;
#[path = "compare/stage.rs"]
mod stage;
#[path = "compare/websockets.rs"]
mod websockets;
#[path = "compare/wire.rs"]
mod wire;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match std::env::var(run::ROLE).as_deref() {
        Ok("floor") => floor::serve(),
        Ok("origin") => origin::serve(),
        _ => compare(),
    }
}

fn compare() {
    run::move_to_core_1();
    stage::run();
}

//! The `valet` program: the command line, and nothing else.

use std::process::ExitCode;

use clap::Parser;
use valet_gateway::cli::{self, Arguments};

/// Measured: about a quarter more requests than with the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::run(Arguments::parse())
}

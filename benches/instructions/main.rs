//! Instructions in user space of one request, for each way that a request can take: counts repeat where times do not.
//!
//! `tools/count` builds this and compares with the committed figures in `benches/figures`; `UPDATE=1` writes them, `ROWS=text` counts only the
//! rows whose names contain the text. More than 3 % above its figure fails, and the functions that grew are named.

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

mod figures;
// The benches' kit, which is in the folder of none of them.
#[path = "../kit/mod.rs"]
mod kit;
mod rows;

use std::process::ExitCode;

use kit::ROLE;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match std::env::var(ROLE).as_deref() {
        Ok("app") => kit::app::serve(),
        Ok("collector") => kit::app::serve_collector(),
        Ok("valet") => kit::stack::serve(),
        _ => return figures::compare(&rows::all()),
    }
    ExitCode::SUCCESS
}

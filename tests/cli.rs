//! The program as its users meet it: the command line, exit codes, what stands on the terminal, signals, logs. Each test starts real processes
//! on free ports of the loopback and ends every one of them, also when it fails.

// Tests and measurements take orders from the environment, and tell a story from its begin to its end.
#![allow(clippy::disallowed_methods, clippy::too_many_lines)]
// A test may panic: that is how it fails. And a test that leaves something out says so on the terminal.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

#[path = "cli/administration.rs"]
mod administration;
#[path = "cli/check.rs"]
mod check;
#[path = "cli/client.rs"]
mod client;
#[path = "cli/demo.rs"]
mod demo;
#[path = "cli/doctor.rs"]
mod doctor;
#[path = "cli/documents.rs"]
mod documents;
#[path = "cli/drain.rs"]
mod drain;
#[path = "cli/explain.rs"]
mod explain;
#[path = "cli/howtos.rs"]
mod howtos;
#[path = "cli/http2_client.rs"]
mod http2_client;
#[path = "cli/live.rs"]
mod live;
#[path = "cli/logs.rs"]
mod logs;
#[path = "cli/memory.rs"]
mod memory;
#[path = "cli/minter.rs"]
mod minter;
#[path = "cli/open.rs"]
mod open;
#[path = "cli/pair.rs"]
mod pair;
#[path = "cli/policy.rs"]
mod policy;
#[path = "cli/process.rs"]
mod process;
#[path = "cli/recipe.rs"]
mod recipe;
#[path = "cli/recipes_page.rs"]
mod recipes_page;
#[path = "cli/reread.rs"]
mod reread;
#[path = "cli/run.rs"]
mod run;
#[path = "cli/simulate.rs"]
mod simulate;
#[path = "cli/slow_reader.rs"]
mod slow_reader;
#[path = "cli/split.rs"]
mod split;
#[path = "cli/stack.rs"]
mod stack;
#[path = "cli/systemd.rs"]
mod systemd;
#[path = "cli/systemd_real.rs"]
mod systemd_real;
#[path = "cli/upgrade.rs"]
mod upgrade;
#[path = "cli/upgrade_failures.rs"]
mod upgrade_failures;
#[path = "cli/upgrade_left.rs"]
mod upgrade_left;

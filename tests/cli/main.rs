//! The program as its users meet it: the command line, exit codes, what stands on the terminal, signals, logs. Each test starts real processes
//! on free ports of the loopback and ends every one of them, also when it fails.

// Tests and measurements take orders from the environment, and tell a story from its begin to its end.
#![allow(clippy::disallowed_methods, clippy::too_many_lines)]
// A test may panic: that is how it fails. And a test that leaves something out says so on the terminal.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod administration;
mod check;
mod client;
mod demo;
mod doctor;
mod documents;
mod drain;
mod explain;
mod howtos;
mod http2_client;
mod live;
mod logs;
mod memory;
mod minter;
mod open;
mod pair;
mod policy;
mod process;
mod recipe;
mod recipes_page;
mod reread;
mod run;
mod simulate;
mod slow_reader;
mod split;
mod stack;
mod stopwatch;
mod systemd;
mod systemd_real;
mod upgrade;
mod upgrade_failures;
mod upgrade_left;

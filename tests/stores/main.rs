//! Leases that several nodes share, and leases that outlive a process: real processes, real servers, and everything that happens to both.
//! Each test starts what it needs on free ports of the loopback and ends every one of them, also when it fails.

// Tests and measurements take orders from the environment, and tell a story from its begin to its end.
#![allow(clippy::disallowed_methods, clippy::too_many_lines)]
// A test may panic: that is how it fails. And a test that leaves something out says so on the terminal.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

// How the tests of the program run it and talk to it, `tests/cli`: a module of two programs is in the folder of one of them.
#[allow(dead_code)]
#[path = "../cli/client.rs"]
mod client;
#[allow(dead_code)]
#[path = "../cli/process.rs"]
mod process;
#[allow(dead_code)]
#[path = "../cli/stack.rs"]
mod stack;
#[allow(dead_code)]
#[path = "../cli/stopwatch.rs"]
mod stopwatch;

mod capacity;
mod crashes;
mod durable;
mod fleet;
mod flood;
mod groups;
mod kit;
mod load;
mod privacy;
mod relay;
mod reload;
mod resp;
mod revocations;
mod secrets;
mod server;
mod sharing;
mod time;
mod trouble;
mod ways;

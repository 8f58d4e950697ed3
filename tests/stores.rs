//! Leases that several nodes share, and leases that outlive a process: real processes, real servers, and everything that happens to both.
//! Each test starts what it needs on free ports of the loopback and ends every one of them, also when it fails.

// Tests and measurements take orders from the environment, and tell a story from its begin to its end.
#![allow(clippy::disallowed_methods, clippy::too_many_lines)]
// A test may panic: that is how it fails. And a test that leaves something out says so on the terminal.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

#[path = "stores/capacity.rs"]
mod capacity;
#[allow(dead_code)]
#[path = "cli/client.rs"]
mod client;
#[path = "stores/crashes.rs"]
mod crashes;
#[path = "stores/durable.rs"]
mod durable;
#[path = "stores/fleet.rs"]
mod fleet;
#[path = "stores/flood.rs"]
mod flood;
#[path = "stores/groups.rs"]
mod groups;
#[path = "stores/kit.rs"]
mod kit;
#[path = "stores/load.rs"]
mod load;
#[path = "stores/privacy.rs"]
mod privacy;
#[allow(dead_code)]
#[path = "cli/process.rs"]
mod process;
#[path = "stores/relay.rs"]
mod relay;
#[path = "stores/reload.rs"]
mod reload;
#[path = "stores/resp.rs"]
mod resp;
#[path = "stores/revocations.rs"]
mod revocations;
#[path = "stores/secrets.rs"]
mod secrets;
#[path = "stores/server.rs"]
mod server;
#[path = "stores/sharing.rs"]
mod sharing;
#[allow(dead_code)]
#[path = "cli/stack.rs"]
mod stack;
#[path = "stores/time.rs"]
mod time;
#[path = "stores/trouble.rs"]
mod trouble;
#[path = "stores/ways.rs"]
mod ways;

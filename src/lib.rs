//! Valet: a session gateway.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)
)]

pub mod admin;
pub mod cli;
pub mod clock;
pub mod config;
pub mod demo;
pub mod files;
pub mod gateway;
pub mod http_client;
pub mod lease;
pub mod logging;
pub mod problem;
pub mod provider;
pub mod secret;
pub mod server;
pub mod session;
pub mod telemetry;
pub mod units;

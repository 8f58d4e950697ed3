//! Valet: a session gateway.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)
)]

pub mod admin;
pub mod clock;
pub mod gateway;
pub mod lease;
pub mod problem;
pub mod provider;
pub mod secret;
pub mod session;
pub mod telemetry;
pub mod units;

//! The apps behind the gateway: where they are, which of their upstreams is asked, and whether it is well.
//!
//! A [`Pool`] knows the upstreams of one app: the addresses that are configured, and those that DNS gives for a name. [`Pool::pick`] chooses
//! one for a request; what came of it is told to the [`Picked`]. Three things take an upstream out of the choice, and the last one left stays
//! in it: answers to `[app.health]`, failures in a row (`ejection`), and its name, which DNS does not give any more.

mod address;
mod balance;
mod check;
mod endpoints;
mod failure;
mod health;
mod idle;
mod outcome;
mod outlier_detection;
mod peer;
mod picked;
mod pool;
mod resolve;
pub mod settings;
mod target;
mod tls;
mod upstream;

pub use address::Address;
pub use failure::{NO_ADDRESS, cause_of, cause_of_break, cause_of_stream};
pub use picked::Picked;
pub use pool::Pool;

/// The `tracing` target of this module.
const TARGET: &str = "valet::app";

#[cfg(test)]
mod tests;

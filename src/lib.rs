//! Valet: a session gateway in front of a team's apps. It checks each session's JWT, holds one vendor plug-in URL per user for up to six
//! hours, and redirects the browser to a fresh one, so that the vendor's API key never reaches a browser.
//!
//! The library is the program: `main.rs` only starts [`cli`]. In reading order, each module looking only downwards:
//!
//! | module | says |
//! |---|---|
//! | [`cli`] | the command line: start-up as a story, exit codes |
//! | [`server`] | configuration → listeners, tasks, one gateway; stopping without losing a request |
//! | [`config`] | the whole file as types, every fault at once |
//! | [`admin`] | health and metrics, on an address of their own |
//! | [`demo`] | simulators of vendor and identity provider, and the whole in one process: with the feature `simulators`, which is on unless left out |
//! | [`gateway`] | the data plane: a head is read, the questions are asked in their order, the answer is written |
//! | [`minter`] | the role that holds the key: edges ask it, it believes none of them |
//! | [`problem`] | every refusal and its status, one table |
//! | [`policy`] | who may open what: policies in Cedar, and the proof that they permit it |
//! | [`app`] | the apps behind: upstreams, which is asked, whether it is well |
//! | [`lease`] | which URL is held for whom; one mint at a time for each key |
//! | [`limit`] | how much one address, one person, one tenant may ask |
//! | [`provider`] | the vendor as a port: recipes, presets, the client that holds the key |
//! | [`session`] | credential → session: sources, verifier, keys, cache |
//! | [`http_client`] | the one outgoing client |
//! | [`logging`] [`telemetry`] [`secret`] [`clock`] [`certificate`] [`files`] [`units`] [`setting`] [`web`] | leaves, for everyone |
//!
//! A request: [`gateway::Front`] reads one head under deadlines and sizes → path, route, method → credential → session → foreign pages →
//! lease: held, or one mint for all who wait → `302`, byte for byte as the vendor gave it. Every refusal is a row of [`problem::Refusal`].

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        clippy::too_many_lines,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::print_stdout,
        clippy::print_stderr
    )
)]

pub mod admin;
pub mod app;
pub mod assertion;
pub mod certificate;
pub mod cli;
pub mod clock;
pub mod config;
#[cfg(feature = "simulators")]
pub mod demo;
pub mod files;
pub mod gateway;
pub mod http_client;
pub mod lease;
pub mod limit;
pub mod logging;
mod meant;
pub mod minter;
pub mod otlp;
pub mod policy;
pub mod problem;
pub mod provider;
pub mod revocation;
pub mod secret;
pub mod server;
pub mod session;
pub mod setting;
pub mod telemetry;
pub mod units;
pub mod web;

//! The role that holds the key: edges ask it for URLs, and it believes none of them.
//!
//! [`MintService`] judges an ask and knows nothing of sockets; [`serve`] speaks HTTP/2 with mutual TLS (docs/minter.md).

mod audit_log;
mod bounds;
mod denial;
mod edge_registry;
mod serve;
mod service;
pub mod settings;
mod spans;

pub use bounds::Bounded;
pub use serve::{AtOnce, Serving, serve};
pub use service::{MintService, MintServiceParts, Offer};

/// The `tracing` target of this module.
const TARGET: &str = "valet::minter";

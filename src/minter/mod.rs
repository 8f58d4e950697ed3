//! The role that holds the key: edges ask it for URLs, and it believes none of them.
//!
//! [`Desk`] judges an ask and knows nothing of sockets; [`serve`] speaks HTTP/2 with mutual TLS (docs/minter.md).

mod bounds;
mod desk;
mod ledger;
mod roster;
mod serve;
pub mod settings;

pub use bounds::Bounded;
pub use desk::{Desk, DeskParts, Offer};
pub use serve::{AtOnce, Serving, serve};

/// The `tracing` target of this module.
const TARGET: &str = "valet::minter";

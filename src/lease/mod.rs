//! Leases: plug-in URLs that we hold, each for one subject, and when they end.

#[doc(hidden)]
pub mod bench;
mod book;
mod ground;
mod index;
mod key;
mod record;
mod rules;
pub mod settings;

#[cfg(test)]
mod tests;

pub use book::{Book, NoLease, Plan, Source};
pub use ground::{Ground, Shelves};
pub use key::{LeaseKey, Scope};
pub use record::{Lease, Record};
pub use rules::Rules;

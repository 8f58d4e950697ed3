//! Leases: plug-in URLs that we hold, each for one subject, and when they end.

mod answer;
#[doc(hidden)]
pub mod bench;
mod book;
mod duty;
mod ground;
mod index;
mod key;
mod plan;
mod record;
mod rules;
pub mod settings;

#[cfg(test)]
mod tests;

pub use answer::{NoLease, Source};
pub use book::Book;
pub use ground::{Ground, Shelves};
pub use key::{LeaseKey, Scope};
pub use plan::Plan;
pub use record::{Lease, Record};
pub use rules::Rules;

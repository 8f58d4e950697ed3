//! Leases: plug-in URLs that we hold, each for one subject, and when they end.

mod answer;
#[doc(hidden)]
pub mod bench;
mod book;
mod bound;
mod duty;
mod gauges;
mod ground;
mod held;
mod index;
mod key;
mod ledger;
mod list;
mod parameters;
mod plan;
mod record;
mod rules;
pub mod settings;
mod share;
pub mod store;

#[cfg(test)]
mod tests;

pub use answer::{NoLease, Source, Terms};
pub use book::Book;
pub use ground::{Ground, Shelves};
pub use held::Lease;
pub use key::{LeaseKey, Opened, Scope};
pub use ledger::MintRecord;
pub use list::{Cursor, Listed};
pub use parameters::{Asked, Parameters, Unlisted};
pub use plan::Plan;
pub use record::Record;
pub use rules::Rules;

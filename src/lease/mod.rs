//! Leases: plug-in URLs that we hold, each for one subject, and when they end.

#[cfg(feature = "simulators")]
#[doc(hidden)]
pub mod bench;
mod book;
mod eviction;
mod flight;
mod flight_guard;
mod gauges;
mod handover;
mod held;
mod index;
mod key;
mod lease_policy;
mod leases;
mod mint_history;
mod minting;
mod outcome;
mod owner_events;
mod parameters;
mod record;
mod records;
mod rules;
pub mod settings;
mod share;
pub mod store;
mod views;

#[cfg(test)]
mod tests;

pub use book::Book;
pub use handover::{HandedOwner, Policies};
pub use held::Lease;
pub use key::{LeaseKey, Opened, Scope};
pub use lease_policy::LeasePolicy;
pub use leases::Leases;
pub use mint_history::MintRecord;
pub use outcome::{Freshness, NoLease, Source};
pub use owner_events::OwnerEvent;
pub use parameters::{Asked, Parameters, Unlisted};
pub use record::Record;
pub use records::{Records, ShardedRecords};
pub use rules::Rules;
pub use views::{Cursor, Listed};

//! The outcome of asking the book: where a lease came from, or why there is none.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::lease::held::Lease;
use crate::provider::MintFailure;

/// Where a lease came from: the label `source` of `valet_leases_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// It was held.
    Hit,
    /// This request's own mint made it.
    Minted,
    /// Another request's mint made it, for which this one waited.
    Joined,
    /// The store.
    Shared,
}

impl Source {
    /// The label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Minted => "minted",
            Self::Joined => "joined",
            Self::Shared => "shared",
        }
    }
}

/// What a lease must have, for somebody with rules of his own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// More life than this.
    pub life: Duration,
    /// A mint that began no longer ago than this, less `life`.
    pub max_age: Duration,
}

impl Freshness {
    /// Whatever serves.
    pub const ANY: Self = Self { life: Duration::ZERO, max_age: Duration::MAX };

    /// Whether this lease is as fresh.
    pub(super) fn allows(self, lease: &Lease, now: Timestamp) -> bool {
        lease.hold(self.max_age, now) > self.life
    }
}

/// Why there is no lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoLease {
    /// The mint failed, now or a moment ago.
    Mint(MintFailure),
    /// `mints_per_subject` is used up for this long.
    Limited(Duration),
    /// Our own fault: the mint's task ended without an answer.
    Lost,
}

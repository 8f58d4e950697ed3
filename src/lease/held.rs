//! A lease: a URL, how long it serves, and how it is tied to a store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::clock::{Moment, Timestamp};
use crate::provider::PluginUrl;
use crate::telemetry::TraceContext;

/// A plug-in URL that we hold for one subject, and when it ends.
pub struct Lease {
    /// The URL.
    pub url: PluginUrl,
    /// The URL's own end; where the URL has none, `end`.
    pub(super) own_end: Timestamp,
    /// The URL should have one, and it could not be read.
    pub(super) end_unread: bool,
    /// The earlier of the URL's own end and the mint's start + `max_age`.
    pub end: Timestamp,
    /// When its mint began.
    pub(super) began: Timestamp,
    pub(super) serve_until: Moment,
    pub(super) refresh_at: Timestamp,
    pub(super) seq: u64,
    pub(super) version: StoreVersion,
    /// How often it may still be handed out; `None`: nobody counts.
    pub(super) uses: Option<Arc<AtomicU32>>,
    /// Where its mint stands in a trace, if it was recorded.
    pub(super) minted_by: Option<Box<TraceContext>>,
}

/// How a lease is tied to a shared store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StoreVersion {
    /// When it was last heard of there.
    pub epoch: u32,
    /// The owner's generation there.
    pub generation: u64,
    /// Whether the lease came from the store.
    pub shared: bool,
}

impl StoreVersion {
    /// The generation of what the store does not know.
    pub const LOCAL: u64 = u64::MAX;

    /// Of a lease that this node has minted by itself.
    pub const NONE: Self = Self { epoch: 0, generation: Self::LOCAL, shared: false };

    /// Whether it is of this generation of the owner's. What the store does not know is older than any forgetting that the store knows of, as far as
    /// anybody can tell.
    pub fn is_of(self, generation: u64) -> bool {
        self.generation == generation || (self.generation == Self::LOCAL && generation == 0)
    }
}

impl Lease {
    /// Whether a held lease may be sent: on both clocks, so that one that was set back doesn't prolong it.
    pub fn serves(&self, now: Moment) -> bool {
        now.wall < self.serve_until.wall && now.tick < self.serve_until.tick && !self.is_spent()
    }

    /// Whether its URL may be used only so often.
    pub(super) fn is_counted(&self) -> bool {
        self.uses.is_some()
    }

    /// Whether the flight with this id has minted it: else it was held before, or came from the store.
    pub(super) fn is_minted_in(&self, flight: u64) -> bool {
        self.seq == flight && !self.version.shared
    }

    /// How often somebody may hand it out who has asked for it once: that ask is one use, and each further one is another. `None`: nobody counts.
    pub fn uses_of_one_ask(&self) -> Option<u32> {
        self.is_counted().then_some(1)
    }

    fn is_spent(&self) -> bool {
        self.uses.as_ref().is_some_and(|left| left.load(Ordering::Relaxed) == 0)
    }

    /// Uses it once; `false`: it has been used as often as it may.
    pub(super) fn spend(&self) -> bool {
        let Some(left) = &self.uses else { return true };
        left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    /// The end that programs are told: the URL's own, or where the recipe knows of none, the lease's. `None`: it could not be read, and nobody has
    /// promised any.
    pub fn promised(&self) -> Option<Timestamp> {
        (!self.end_unread).then_some(self.own_end)
    }

    /// A copy of the lease with this version in the store.
    pub(super) fn tied(&self, version: StoreVersion, seq: u64) -> Self {
        Self {
            url: self.url.clone(),
            uses: self.uses.clone(),
            minted_by: self.minted_by.clone(),
            version,
            seq,
            ..*self
        }
    }

    /// How long a caller may hold it that holds no lease longer than `max_age` from its mint on.
    pub fn hold(&self, max_age: Duration, now: Timestamp) -> Duration {
        self.end.min(self.began.plus(max_age)).since(now)
    }

    /// Where its mint stands in a trace, if it was recorded by this process.
    pub fn minted_by(&self) -> Option<&TraceContext> {
        self.minted_by.as_deref()
    }

    /// Life left; zero when ended.
    pub fn remaining(&self, now: Timestamp) -> Duration {
        self.end.since(now)
    }
}

//! A flight: one mint under way that any number of callers wait for (single-flight), and where it stands among the others of its owner.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::lease::held::Lease;
use crate::provider::MintFailure;

/// How one mint ended, for all who wait for it.
pub type MintResult = Result<Arc<Lease>, MintFailure>;

/// One mint under way. It belongs to the book: callers that wait for it may leave, and it goes on.
pub(super) struct Flight {
    /// The book's number when the mint itself began: what began before the record's `floor` is not kept. [`QUEUED`] while it waits for its
    /// predecessor.
    pub start: u64,
    /// Started by a `POST`: the number of the last one that it answers. The next `POST` queues behind it, but never behind a `GET`'s mint.
    pub renewal: Option<u64>,
    pub landed: watch::Receiver<Option<MintResult>>,
    pub id: u64,
}

/// The start of a mint that has not begun.
pub(super) const QUEUED: u64 = u64::MAX;

/// Where a mint stands among the others of its owner, by the book's numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begun {
    /// When it began.
    pub start: u64,
    /// The last `POST` that it answers; 0: none.
    pub renewal: u64,
}

/// The right and duty to run one mint and report its landing.
pub(super) struct Ticket {
    pub id: u64,
    pub begun: Begun,
    pub result: watch::Sender<Option<MintResult>>,
    pub landed: watch::Receiver<Option<MintResult>>,
    /// `mints_per_subject` is used up for this long: what is held may be asked for again, and nothing be minted.
    pub limited: Option<Duration>,
    /// A mint of the same key that began earlier and must land first.
    pub after: Option<watch::Receiver<Option<MintResult>>>,
}

//! The API keys of a vendor during a rotation, and which of them works.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::secret::{Secret, SecretCell};

/// One key, or the current one and its successor.
pub(super) struct ApiKeys {
    cells: Vec<Arc<SecretCell>>,
    /// The one that the vendor took last; tried first.
    working: AtomicUsize,
    /// A bit for each key that the vendor refused last: so a refusal is told once.
    refused: AtomicU64,
}

impl ApiKeys {
    pub(super) fn new(cells: Vec<Arc<SecretCell>>) -> Self {
        Self { cells, working: AtomicUsize::new(0), refused: AtomicU64::new(0) }
    }

    /// The keys in the order in which to try them, with their places in the settings.
    pub(super) fn in_order(&self) -> impl Iterator<Item = (usize, Arc<Secret>)> {
        let count = self.cells.len();
        let first = self.working.load(Ordering::Relaxed);
        (0..count).map(move |step| (first + step) % count).filter_map(|at| Some((at, self.cells.get(at)?.current())))
    }

    /// The vendor took this key.
    pub(super) fn works(&self, at: usize) {
        self.working.store(at, Ordering::Relaxed);
        self.refused.fetch_and(!bit(at), Ordering::Relaxed);
    }

    /// The vendor did not take this key: `true` if that is news.
    pub(super) fn is_refused(&self, at: usize) -> bool {
        self.refused.fetch_or(bit(at), Ordering::Relaxed) & bit(at) == 0
    }
}

fn bit(at: usize) -> u64 {
    1 << at.min(63)
}

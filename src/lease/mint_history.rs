//! The history of the last mints, for operators: why, how each ended, how long it took, what life it brought.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::Timestamp;
use crate::provider::{MintFailure, Reason};

/// How many are remembered.
const KEPT: usize = 1000;

/// One call of a mint.
#[derive(Clone)]
pub struct MintRecord {
    /// When it began.
    pub time: Timestamp,
    /// The plug-in.
    pub plugin: Box<str>,
    /// Whose: `iss` and subject. Shown as a keyed hash only.
    pub issuer: Box<str>,
    /// See `issuer`.
    pub subject: Box<str>,
    /// The request that began it.
    pub request_id: Option<Box<str>>,
    /// Why.
    pub reason: Reason,
    /// How long it took.
    pub took: Duration,
    /// The life that the URL has, or how it failed.
    pub outcome: Result<Duration, MintFailure>,
}

/// The last ones.
#[derive(Default)]
pub(super) struct MintHistory(Mutex<VecDeque<MintRecord>>);

impl MintHistory {
    pub fn note(&self, record: MintRecord) {
        let mut records = self.0.lock();
        if records.len() == KEPT {
            records.pop_front();
        }
        records.push_back(record);
    }

    /// Forgets a person's.
    pub fn forget(&self, issuer: &str, subject: &str) {
        self.0.lock().retain(|record| (&*record.issuer, &*record.subject) != (issuer, subject));
    }

    /// The mints that this request began, the newest first.
    pub fn of_request(&self, request_id: &str) -> Vec<MintRecord> {
        let began = |record: &&MintRecord| {
            record.request_id.as_deref().is_some_and(|known| known.eq_ignore_ascii_case(request_id))
        };
        self.0.lock().iter().rev().filter(began).cloned().collect()
    }

    /// The newest first.
    pub fn last(&self, count: usize) -> Vec<MintRecord> {
        self.0.lock().iter().rev().take(count).cloned().collect()
    }
}

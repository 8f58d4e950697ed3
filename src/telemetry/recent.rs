//! The last requests that were refused, and the last that began a mint: what an operator asks for by the id that a user saw.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::Timestamp;

/// So many of each kind are remembered; some 300 bytes each. A flood of refusals pushes no mint out.
const KEPT: usize = 1000;

/// What an access line says of one request. No query, no credential, no URL of a vendor, no plain subject.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The names are those of access lines.
pub struct RecentRequest {
    pub time: Timestamp,
    pub request_id: Box<str>,
    pub trace_id: Box<str>,
    pub method: Option<Box<str>>,
    pub path: Option<Box<str>>,
    pub route: Option<Box<str>>,
    pub status: u16,
    pub outcome: &'static str,
    pub source: Option<&'static str>,
    pub session_check: Option<&'static str>,
    pub cause: Option<&'static str>,
    pub policy: Option<Arc<str>>,
    pub upstream: Option<Box<str>>,
    pub remaining: Option<Duration>,
    pub duration_us: u64,
    /// The keyed hash.
    pub subject: Option<Box<str>>,
}

/// The last ones. Cheap to clone; clones share them.
#[derive(Clone, Default)]
pub struct Recent(Arc<Mutex<[VecDeque<RecentRequest>; 2]>>);

impl Recent {
    /// Remembers one: as refused, or as one that began a mint and was not.
    pub fn note(&self, request: RecentRequest) {
        let [refused, minted] = &mut *self.0.lock();
        let ring = if request.status >= 400 { refused } else { minted };
        if ring.len() == KEPT {
            ring.pop_front();
        }
        ring.push_back(request);
    }

    /// The newest of both kinds, the newest first.
    pub fn last(&self, count: usize) -> Vec<RecentRequest> {
        let mut all: Vec<RecentRequest> = {
            let [refused, minted] = &*self.0.lock();
            refused.iter().rev().take(count).chain(minted.iter().rev().take(count)).cloned().collect()
        };
        all.sort_by_key(|request| std::cmp::Reverse(request.time));
        all.truncate(count);
        all
    }

    /// Forgets those of this person. `subject`: the keyed hash. Those that nobody was signed in for name nobody, and stay.
    pub fn forget(&self, subject: &str) {
        self.0.lock().iter_mut().for_each(|ring| ring.retain(|request| request.subject.as_deref() != Some(subject)));
    }

    /// The one with this id, in any case.
    pub fn find(&self, request_id: &str) -> Option<RecentRequest> {
        let rings = self.0.lock();
        let mut all = rings.iter().flat_map(|ring| ring.iter().rev());
        all.find(|request| request.request_id.eq_ignore_ascii_case(request_id)).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(number: usize, status: u16) -> RecentRequest {
        RecentRequest {
            time: Timestamp::from_millis(number as i64),
            request_id: format!("id-{number}").into(),
            trace_id: "".into(),
            method: None,
            path: None,
            route: None,
            status,
            outcome: "redirect",
            source: None,
            session_check: None,
            cause: None,
            policy: None,
            upstream: None,
            remaining: None,
            duration_us: 1,
            subject: None,
        }
    }

    #[test]
    fn a_flood_of_refusals_pushes_out_older_refusals_and_no_mint_and_a_person_can_be_forgotten() {
        let recent = Recent::default();
        recent.note(request(0, 302));
        for number in 1..=KEPT + 1 {
            recent.note(request(number, 401));
        }
        assert!(recent.find("ID-0").is_some());
        assert!(recent.find("id-1").is_none());
        assert!(recent.find("id-2").is_some());
        recent.note(RecentRequest { subject: Some("hash".into()), ..request(KEPT + 2, 403) });
        recent.forget("hash");
        let last: Vec<i64> = recent.last(2).iter().map(|request| request.time.as_millis()).collect();
        assert_eq!(last, [KEPT as i64 + 1, KEPT as i64]);
    }
}

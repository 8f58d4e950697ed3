//! What the vendor remembers. Every part has a bound, for a simulator may run for weeks.

use std::collections::{HashMap, VecDeque};

use http::StatusCode;
use serde::Serialize;
use uuid::Uuid;

use super::ProviderSim;
use super::calls::{Asked, Call, CallKind};
use super::faults::Faults;

/// Enough to read a whole test run from; the oldest go first.
const MAX_CALLS: usize = 10_000;
/// As many users as the gateway holds leases by default.
pub(super) const MAX_USERS: usize = 1_000_000;

pub(super) struct State {
    pub(super) keys: Vec<String>,
    pub(super) faults: Faults,
    /// By external id.
    pub(super) users: HashMap<String, User>,
    pub(super) calls: VecDeque<Call>,
    /// How many calls were pushed out at the front, so that a call keeps its number.
    pub(super) dropped: u64,
    pub(super) mint_calls: u64,
    pub(super) register_calls: u64,
    pub(super) minted: u64,
    pub(super) own_base: String,
}

/// A user as the vendor stores one.
#[derive(Clone, Debug, Serialize)]
pub(super) struct User {
    pub(super) user_id: String,
    pub(super) external_user_id: String,
    pub(super) language: Option<String>,
}

impl User {
    pub(super) fn new(external_user_id: &str, language: Option<String>) -> Self {
        Self { user_id: Uuid::new_v4().to_string(), external_user_id: external_user_id.to_owned(), language }
    }
}

impl State {
    pub(super) fn new(keys: Vec<String>, faults: Faults) -> Self {
        Self {
            keys,
            faults,
            users: HashMap::new(),
            calls: VecDeque::new(),
            dropped: 0,
            mint_calls: 0,
            register_calls: 0,
            minted: 0,
            own_base: String::new(),
        }
    }

    /// `dropped` goes on counting, so that a call under way finds no other's place.
    pub(super) fn clear(&mut self, keys: Vec<String>) {
        let dropped = self.dropped + self.calls.len() as u64;
        let own_base = std::mem::take(&mut self.own_base);
        *self = Self { dropped, own_base, ..Self::new(keys, Faults::default()) };
    }

    fn push(&mut self, call: Call) -> u64 {
        match call.kind {
            CallKind::Mint => self.mint_calls += 1,
            CallKind::Register => self.register_calls += 1,
            CallKind::Lookup | CallKind::KeyCheck | CallKind::Page | CallKind::Other => {}
        }
        if self.calls.len() == MAX_CALLS {
            self.calls.pop_front();
            self.dropped += 1;
        }
        self.calls.push_back(call);
        self.dropped + self.calls.len() as u64 - 1
    }

    fn call_mut(&mut self, number: u64) -> Option<&mut Call> {
        let index = usize::try_from(number.checked_sub(self.dropped)?).ok()?;
        self.calls.get_mut(index)
    }
}

impl ProviderSim {
    /// Keeps a call that has arrived; the number is for [`answered`](Self::answered).
    pub(super) fn arrived(&self, asked: &Asked) -> u64 {
        let at = self.0.options.clock.now().rfc3339();
        let number = {
            let mut state = self.0.state.lock();
            let key = asked.key_among(&state.keys);
            state.push(asked.shown(at, key))
        };
        self.0.arrived.send_modify(|version| *version += 1);
        number
    }

    /// Adds to a call what it was answered.
    pub(super) fn answered(&self, number: u64, status: StatusCode) {
        if let Some(call) = self.0.state.lock().call_mut(number) {
            call.status = Some(status.as_u16());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::provider::SentKey;

    fn call() -> Call {
        Call {
            at: String::new(),
            kind: CallKind::Mint,
            method: String::new(),
            path: String::new(),
            query: String::new(),
            body: String::new(),
            key: SentKey::Missing,
            referer: false,
            status: None,
        }
    }

    #[test]
    fn calls_are_bounded_and_keep_their_numbers() {
        let mut state = State::new(Vec::new(), Faults::default());
        let first = state.push(call());
        let last = (0..MAX_CALLS).map(|_| state.push(call())).last().unwrap();
        assert_eq!(state.calls.len(), MAX_CALLS);
        assert!(state.call_mut(first).is_none(), "the oldest went");
        state.call_mut(last).unwrap().status = Some(200);
        assert_eq!(state.calls.back().unwrap().status, Some(200));
        assert_eq!(state.mint_calls, MAX_CALLS as u64 + 1);
    }

    #[test]
    fn a_call_from_before_a_reset_marks_no_call_after_it() {
        let mut state = State::new(Vec::new(), Faults::default());
        let before = state.push(call());
        state.clear(Vec::new());
        state.push(call());
        assert!(state.call_mut(before).is_none());
        assert_eq!(state.mint_calls, 1);
    }
}

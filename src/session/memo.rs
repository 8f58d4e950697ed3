//! What was decided for a session, kept beside it: it is forgotten with the session, and another token has another.

use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::clock::Timestamp;

/// More decisions than that are not kept for one session: the oldest goes.
const MAX_KEPT: usize = 64;

/// Decisions of one decider about one session.
#[derive(Default)]
pub struct Memo(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    /// Whose decisions they are.
    decider: u64,
    decisions: SmallVec<[Decision; 2]>,
}

#[derive(Clone, Copy)]
struct Decision {
    question: u32,
    answer: u32,
    /// When it was decided, where it holds for a second only.
    at: Option<Timestamp>,
}

impl Memo {
    /// What this decider has answered to this question, if the answer still holds.
    pub fn get(&self, decider: u64, question: u32, now: Timestamp) -> Option<u32> {
        let kept = self.0.lock();
        if kept.decider != decider {
            return None;
        }
        let found = kept.decisions.iter().find(|decision| decision.question == question)?;
        found.at.is_none_or(|at| holds(at, now)).then_some(found.answer)
    }

    /// Keeps an answer, for as long as the session or, with `at`, for a second from then. Drops those of another decider.
    pub fn put(&self, decider: u64, question: u32, answer: u32, at: Option<Timestamp>) {
        let mut kept = self.0.lock();
        if kept.decider != decider {
            *kept = Kept { decider, decisions: SmallVec::new() };
        }
        let decision = Decision { question, answer, at };
        match kept.decisions.iter_mut().find(|held| held.question == question) {
            Some(held) => *held = decision,
            None => {
                if kept.decisions.len() >= MAX_KEPT {
                    kept.decisions.remove(0);
                }
                kept.decisions.push(decision);
            }
        }
    }
}

/// A clock that was set back is another time, too.
fn holds(at: Timestamp, now: Timestamp) -> bool {
    let age = i128::from(now.as_millis()) - i128::from(at.as_millis());
    (0..1000).contains(&age)
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: Timestamp = Timestamp::from_millis(1_000_000);

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(T.as_millis() + millis)
    }

    #[test]
    fn an_answer_is_that_of_one_decider_to_one_question() {
        let memo = Memo::default();
        memo.put(1, 7, 70, None);
        memo.put(1, 8, 80, None);
        assert_eq!(
            [memo.get(1, 7, T), memo.get(1, 8, T), memo.get(1, 9, T), memo.get(2, 7, T)],
            [Some(70), Some(80), None, None]
        );
        memo.put(2, 8, 81, None);
        assert_eq!([memo.get(1, 7, T), memo.get(2, 7, T), memo.get(2, 8, T)], [None, None, Some(81)]);
    }

    #[test]
    fn an_answer_that_depends_on_the_time_holds_for_a_second() {
        let memo = Memo::default();
        memo.put(1, 7, 70, Some(T));
        assert_eq!([memo.get(1, 7, T), memo.get(1, 7, at(999))], [Some(70), Some(70)]);
        assert_eq!([memo.get(1, 7, at(1000)), memo.get(1, 7, at(-1))], [None, None]);
        memo.put(1, 7, 71, Some(at(1000)));
        assert_eq!(memo.get(1, 7, at(1000)), Some(71));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let memo = Memo::default();
        for question in 0..1000 {
            memo.put(1, question, question, None);
        }
        assert_eq!(memo.0.lock().decisions.len(), MAX_KEPT);
        assert_eq!([memo.get(1, 999, T), memo.get(1, 0, T)], [Some(999), None]);
    }
}

//! Random histories of requests, landings, time and sweeps, against a model that knows only what the contract says.

use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;
use tokio::task::JoinHandle;

use super::test_bench::*;
use crate::clock::Timestamp;
use crate::lease::{NoLease, Rules, Source};
use crate::provider::MintFailure;

const NAMES: [&str; 4] = ["ada/en", "ada/nl", "bob/en", "bob/nl"];
const COUNT: u32 = 6;

#[derive(Clone, Copy, Debug)]
enum Op {
    Get(usize),
    Post(usize),
    Once(usize),
    Ahead(usize),
    /// The vendor answers one of the mints under way.
    Land(usize, Ending),
    /// One of those who wait leaves.
    Leave(usize),
    Advance(u64),
    Sweep,
}

#[derive(Clone, Copy, Debug)]
enum Ending {
    Minutes(u64),
    Fail,
    Panic,
}

fn op() -> impl Strategy<Value = Op> {
    let ending = prop_oneof![
        8 => (0u64..120).prop_map(Ending::Minutes),
        2 => Just(Ending::Fail),
        1 => Just(Ending::Panic),
    ];
    prop_oneof![
        6 => (0usize..4).prop_map(Op::Get),
        4 => (0usize..4).prop_map(Op::Post),
        1 => (0usize..4).prop_map(Op::Once),
        2 => (0usize..4).prop_map(Op::Ahead),
        8 => (any::<usize>(), ending).prop_map(|(which, ending)| Op::Land(which, ending)),
        1 => any::<usize>().prop_map(Op::Leave),
        3 => prop_oneof![Just(400u64), Just(600_000), 0u64..4_000_000].prop_map(Op::Advance),
        1 => Just(Op::Sweep),
    ]
}

/// One call of the vendor.
struct Call {
    name: &'static str,
    once: bool,
    /// The step of the last `POST` that it answers.
    post: Option<usize>,
    /// A `POST` of its key came after it: nobody joins it any more.
    displaced: bool,
    began: usize,
    began_at: Timestamp,
    ended: Option<Ended>,
}

/// How a call ended: in which step, when, with what.
#[derive(Clone, Copy)]
struct Ended {
    step: usize,
    at: Timestamp,
    ending: Ending,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Get,
    Post,
    Once,
}

struct Waiter {
    task: JoinHandle<Got>,
    name: &'static str,
    kind: Kind,
    /// No mint that began earlier may answer.
    since: usize,
}

struct History {
    bench: TestBench,
    step: usize,
    calls: Vec<Call>,
    waiters: Vec<Waiter>,
    /// The step of the last `POST` of each owner whose URL has come: what began earlier was given up then.
    forgot: HashMap<&'static str, usize>,
    /// By name: the step of the last `POST` that waits for a mint which has not begun.
    queued: HashMap<&'static str, usize>,
    /// By name: the call, and when its lease ends.
    held: HashMap<&'static str, (usize, Timestamp)>,
}

fn owner(name: &'static str) -> &'static str {
    name.split('/').next().unwrap()
}

impl History {
    fn new() -> Self {
        let rules = Rules { refresh_ahead: Some(30 * MINUTE), ..at_most(COUNT) };
        let bench = TestBench::with(rules, 1_000);
        let (forgot, queued) = (HashMap::new(), HashMap::new());
        Self { bench, step: 0, calls: vec![], waiters: vec![], forgot, queued, held: HashMap::new() }
    }

    async fn act(&mut self, op: Op) {
        self.step += 1;
        match op {
            Op::Get(which) => self.get(NAMES[which]).await,
            Op::Post(which) => self.post(NAMES[which]).await,
            Op::Once(which) => {
                let task = self.bench.onceing(NAMES[which]).await;
                self.wait(task, NAMES[which], Kind::Once);
                self.see_calls(NAMES[which], true, 1);
            }
            Op::Ahead(which) => {
                let requirement = self.bench.held(NAMES[which]).is_some_and(|(_, ahead)| ahead);
                self.bench.ahead(NAMES[which]).await;
                self.see_calls(NAMES[which], false, usize::from(requirement));
            }
            Op::Land(which, ending) => self.land(which, ending).await,
            Op::Leave(which) => {
                if !self.waiters.is_empty() {
                    let waiter = self.waiters.swap_remove(which % self.waiters.len());
                    waiter.task.abort();
                }
            }
            Op::Advance(millis) => self.bench.clock_control.advance(Duration::from_millis(millis)),
            Op::Sweep => {
                self.bench.book.leases().sweep();
                let now = self.bench.clock.now();
                self.held.retain(|_, (_, end)| *end > now);
            }
        }
        settle().await;
        self.check().await;
    }

    async fn get(&mut self, name: &'static str) {
        let under_way = |call: &Call| call.name == name && !call.once && !call.displaced && call.ended.is_none();
        let joinable = self.calls.iter().any(|call| under_way(call) && call.began >= self.forgot_in(name));
        let serves = self.serves(name);
        assert_eq!(self.bench.held(name).map(|(call, _)| call), serves);
        let task = self.bench.getting(name).await;
        if serves.is_some() {
            assert!(task.is_finished());
        }
        self.wait(task, name, Kind::Get);
        self.see_calls(name, false, usize::from(!joinable && serves.is_none()));
    }

    async fn post(&mut self, name: &'static str) {
        let mut task = self.bench.posting(name).await;
        let before = self.calls.len();
        self.see_calls(name, false, 1);
        for call in
            self.calls[..before].iter_mut().filter(|call| call.name == name && self.bench.vendor.calls() > before)
        {
            call.displaced = true;
        }
        if task.is_finished() {
            let got = (&mut task).await.unwrap();
            assert!(got.is_err(), "a POST is answered by a mint of its own");
            self.judge(name, Kind::Post, self.step, got);
            return;
        }
        match self.calls.get_mut(before) {
            Some(call) => call.post = Some(self.step),
            None => drop(self.queued.insert(name, self.step)),
        }
        self.wait(task, name, Kind::Post);
    }

    async fn land(&mut self, which: usize, ending: Ending) {
        let under_way: Vec<_> = (0..self.calls.len()).filter(|call| self.calls[*call].ended.is_none()).collect();
        let Some(&call) = under_way.get(which % under_way.len().max(1)) else { return };
        let answer = match ending {
            Ending::Minutes(minutes) => Answer::Life(Duration::from_secs(60 * minutes)),
            Ending::Fail => Answer::Fail(MintFailure::Unreachable),
            Ending::Panic => Answer::Panic,
        };
        self.bench.vendor.answer(call, answer);
        settle().await;
        let now = self.bench.clock.now();
        let (name, once, began) = (self.calls[call].name, self.calls[call].once, self.calls[call].began);
        self.calls[call].ended = Some(Ended { step: self.step, at: now, ending });
        let post = self.calls[call].post;
        if let Ending::Minutes(minutes) = ending {
            if let (Some(post), 1.., true) = (post, minutes, began >= self.forgot_in(name)) {
                let calls = &self.calls;
                self.held.retain(|held, (call, _)| owner(held) != owner(name) || calls[*call].began >= post);
                let forgot = self.forgot.entry(owner(name)).or_default();
                *forgot = post.max(*forgot);
            }
            let end = now.plus(Duration::from_secs(60 * minutes)).min(self.calls[call].began_at.plus(6 * HOUR));
            // One that ends when the held one does takes its place: it is the newer.
            let better = self.held.get(name).is_none_or(|(_, held)| *held <= end || self.serves(name).is_none());
            if end.since(now) > 5 * MINUTE && !once && began >= self.forgot_in(name) && better {
                self.held.insert(name, (call, end));
            }
        }
        // A `POST` that was queued may begin now, of the same key.
        let before = self.calls.len();
        self.see_calls(name, false, 1);
        // Only then: a mint that is displaced may land before the one that it waits for.
        if let (Some(_), Some(call)) = (post, self.calls.get_mut(before)) {
            call.post = self.queued.remove(name);
        }
    }

    /// The call whose lease must be given.
    fn serves(&self, name: &str) -> Option<usize> {
        let now = self.bench.clock.now();
        self.held.get(name).filter(|(_, end)| now < end.minus(5 * MINUTE)).map(|(call, _)| *call)
    }

    fn forgot_in(&self, name: &'static str) -> usize {
        self.forgot.get(owner(name)).copied().unwrap_or(0)
    }

    fn wait(&mut self, task: JoinHandle<Got>, name: &'static str, kind: Kind) {
        let since = if kind == Kind::Get { self.forgot_in(name) } else { self.step };
        self.waiters.push(Waiter { task, name, kind, since });
    }

    fn see_calls(&mut self, name: &'static str, once: bool, at_most: usize) {
        let new = self.bench.vendor.calls() - self.calls.len();
        assert!(new <= at_most, "{new} mints of {name} began");
        for call in self.calls.len()..self.bench.vendor.calls() {
            let (subject, language) = self.bench.vendor.asked(call);
            assert_eq!(format!("{subject}/{}", language.unwrap()), name);
            let (began, began_at) = (self.step, self.bench.clock.now());
            self.calls.push(Call { name, once, post: None, displaced: false, began, began_at, ended: None });
        }
    }

    async fn check(&mut self) {
        let (done, waiting): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.waiters).into_iter().partition(|one| one.task.is_finished());
        self.waiters = waiting;
        for waiter in done {
            let got = waiter.task.await.unwrap();
            self.judge(waiter.name, waiter.kind, waiter.since, got);
        }
        assert_eq!(self.bench.gauge(), self.held.len() as i64, "valet_leases_held");
        let now = self.bench.clock.now();
        for subject in ["ada", "bob"] {
            assert!(self.minted(subject, now) <= COUNT as usize, "mints_per_subject of {subject}");
        }
    }

    /// Successful mints of this subject within the last hour.
    fn minted(&self, subject: &str, now: Timestamp) -> usize {
        let counts = |ended: &Ended| matches!(ended.ending, Ending::Minutes(1..)) && now.since(ended.at) < HOUR;
        self.calls.iter().filter(|call| owner(call.name) == subject && call.ended.as_ref().is_some_and(counts)).count()
    }

    fn judge(&self, name: &'static str, kind: Kind, since: usize, got: Got) {
        let now = self.bench.clock.now();
        let ended = |requirement: &dyn Fn(&Ended) -> bool| {
            self.calls.iter().any(|call| call.name == name && call.ended.as_ref().is_some_and(requirement))
        };
        match got {
            Ok((call, Source::Hit)) => {
                assert!(kind == Kind::Get);
                assert_eq!(self.serves(name), Some(call));
            }
            Ok((_, Source::Shared)) => panic!("there is no store behind this book"),
            Ok((call, Source::Minted | Source::Joined)) => {
                let call = &self.calls[call];
                assert_eq!((call.name, call.once), (name, kind == Kind::Once));
                assert!(call.ended.is_some_and(|ended| ended.step == self.step), "told as soon as it lands");
                assert!(call.began >= since, "a mint that began before");
            }
            Err(NoLease::Mint(MintFailure::Unreachable)) => {
                assert!(ended(&|ended| matches!(ended.ending, Ending::Fail) && now.since(ended.at) < SECOND));
            }
            Err(NoLease::Mint(failure)) => {
                assert_eq!(failure, MintFailure::Nonsense);
                assert!(ended(&|ended| matches!(ended.ending, Ending::Minutes(0)) && now.since(ended.at) < SECOND));
            }
            Err(NoLease::Limited(wait)) => {
                let under_way = self.calls.iter().filter(|call| call.ended.is_none()).count();
                assert!(wait > Duration::ZERO && wait <= HOUR);
                // Each mint under way may have one queued behind it.
                assert!(self.minted(owner(name), now) + 2 * under_way >= COUNT as usize);
            }
            Err(NoLease::Lost) => {
                assert!(ended(&|ended| matches!(ended.ending, Ending::Panic) && ended.step == self.step));
            }
        }
    }

    /// The vendor answers all; then nobody waits, and in the end nothing is left.
    async fn finish(mut self) {
        while self.calls.iter().any(|call| call.ended.is_none()) {
            self.act(Op::Land(0, Ending::Minutes(60))).await;
        }
        assert!(self.waiters.is_empty(), "{} callers wait for ever", self.waiters.len());
        self.bench.assert_forgets_everything().await;
    }
}

fn replay(ops: impl IntoIterator<Item = Op>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let mut history = History::new();
        for op in ops {
            history.act(op).await;
        }
        history.finish().await;
    });
}

#[test]
fn a_mint_ahead_that_ends_when_the_held_lease_does_takes_its_place() {
    use Op::{Advance, Ahead, Get, Land};
    let landed = |minutes| Land(0, Ending::Minutes(minutes));
    replay([Get(0), landed(41), Advance(600_000), Advance(600_000), Ahead(0), landed(21), Get(0)]);
}

#[test]
fn a_displaced_mint_that_lands_first_does_not_begin_the_scan_that_waits_for_another() {
    use Op::{Get, Land, Post};
    let short = Ending::Minutes(1);
    replay([Post(0), Post(1), Land(1, short), Get(0), Post(0), Land(1, Ending::Panic), Post(1), Post(0), Get(2)]);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn whatever_happens_the_book_keeps_to_the_contract(ops in prop::collection::vec(op(), 1..80)) {
        replay(ops);
    }
}

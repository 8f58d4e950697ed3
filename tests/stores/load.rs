//! Many requests at once, and a load that goes on while something happens.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::client::Connection;
use super::fleet::{Fleet, open};

/// What came of many requests.
pub struct Outcome {
    /// The URLs that each user got.
    pub urls: Vec<BTreeSet<String>>,
    /// Whatever was no redirect.
    pub others: Vec<u16>,
    pub took: Duration,
    pub slowest: Duration,
}

/// Each user asks so often, all of a user at the same time and at all nodes; at most `at_once` requests are under way.
pub fn all_at_once(fleet: &Fleet, tokens: &[String], each: usize, at_once: usize) -> Outcome {
    let next = AtomicUsize::new(0);
    let began = Instant::now();
    let parts: Vec<_> = std::thread::scope(|scope| {
        let client = |number: usize| {
            let mut connection = Connection::open(&fleet.nodes[number % fleet.nodes.len()].address);
            let (mut urls, mut others, mut slowest) = (Vec::new(), Vec::new(), Duration::ZERO);
            loop {
                let user = next.fetch_add(1, Ordering::Relaxed) / each;
                let Some(token) = tokens.get(user) else { return (urls, others, slowest) };
                let asked = Instant::now();
                let answer = connection.ask(&open(token));
                slowest = slowest.max(asked.elapsed());
                match answer.status {
                    302 => urls.push((user, answer.location().to_owned())),
                    other => others.push(other),
                }
            }
        };
        let threads: Vec<_> = (0..at_once)
            .map(|number| {
                let small = std::thread::Builder::new().stack_size(256 * 1024);
                small.spawn_scoped(scope, move || client(number)).expect("a thread")
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    let took = began.elapsed();
    let mut outcome =
        Outcome { urls: vec![BTreeSet::new(); tokens.len()], others: Vec::new(), took, slowest: Duration::ZERO };
    for (urls, others, slowest) in parts {
        for (user, url) in urls {
            outcome.urls[user].insert(url);
        }
        outcome.others.extend(others);
        outcome.slowest = outcome.slowest.max(slowest);
    }
    outcome
}

/// What a load saw.
#[derive(Default)]
pub struct Seen {
    pub answers: usize,
    /// Whatever was no redirect.
    pub others: Vec<u16>,
    pub slowest: Duration,
}

/// Users with held leases ask all nodes again and again while `act` happens.
pub fn during<T>(fleet: &Fleet, tokens: &[String], act: impl FnOnce() -> T) -> (T, Seen) {
    let (stop, answers) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let client = |number: usize| {
            let mut connection = Connection::open(&fleet.nodes[number % fleet.nodes.len()].address);
            let mut seen = Seen::default();
            for token in tokens.iter().cycle().skip(number * 7) {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let asked = Instant::now();
                let answer = connection.ask(&open(token));
                seen.slowest = seen.slowest.max(asked.elapsed());
                seen.answers += 1;
                answers.fetch_add(1, Ordering::Relaxed);
                if answer.status != 302 {
                    seen.others.push(answer.status);
                }
                // Pause: load enough to see a fault, and not so much that nothing else runs.
                std::thread::sleep(Duration::from_millis(2));
            }
            seen
        };
        let threads: Vec<_> = (0..fleet.nodes.len() * 2).map(|number| scope.spawn(move || client(number))).collect();
        let stopped = Stop(&stop);
        super::process::until("there is load", || (answers.load(Ordering::Relaxed) > 20).then_some(()));
        let result = act();
        drop(stopped);
        let mut all = Seen::default();
        for seen in threads.into_iter().map(|thread| thread.join().expect("no panic")) {
            all.answers += seen.answers;
            all.others.extend(seen.others);
            all.slowest = all.slowest.max(seen.slowest);
        }
        (result, all)
    })
}

/// Ends the load also when what happens fails; the threads would be waited for.
pub struct Stop<'a>(pub &'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

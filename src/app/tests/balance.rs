//! Which upstream gets a request, where nothing is against any.

use std::collections::HashMap;

use super::*;

const SUBJECTS: [&str; 7] = ["ada", "grace", "edsger", "barbara", "alan", "donald", ""];

#[test]
fn requests_go_to_one_upstream_after_the_other() {
    let bench = TestBench::at([1, 2, 3], json!({}));
    assert_eq!(bench.ports(7), [1, 2, 3, 1, 2, 3, 1]);
}

#[test]
fn a_retry_goes_elsewhere_as_long_as_there_is_an_elsewhere() {
    let bench = TestBench::at([1, 2, 3], json!({}));
    let elsewhere = |tried: &[u16]| {
        let tried: Vec<_> = tried.iter().map(|port| loopback(*port)).collect();
        bench.pool.pick(b"", &tried).unwrap().address().port()
    };
    for _ in 0..6 {
        assert_ne!(elsewhere(&[1]), 1);
        assert_eq!(elsewhere(&[1, 3]), 2);
        assert!((1..=3).contains(&elsewhere(&[1, 2, 3])));
    }
    let alone = TestBench::at([1], json!({}));
    assert_eq!(alone.pool.pick(b"", &[loopback(1)]).unwrap().address(), loopback(1));
}

#[test]
fn the_upstream_with_the_fewest_requests_under_way_is_next_and_ties_go_in_turn() {
    let bench = TestBench::at([1, 2, 3], json!({ "balance": "least-connections" }));
    let mut under_way: Vec<Picked> = (0..6).map(|_| bench.pick()).collect();
    let ports = |under_way: &[Picked]| {
        let mut counts = HashMap::new();
        under_way.iter().for_each(|picked| *counts.entry(picked.address().port()).or_insert(0) += 1);
        counts
    };
    assert_eq!(ports(&under_way), HashMap::from([(1, 2), (2, 2), (3, 2)]));
    // Both that were under way to the second end: it is next, twice.
    under_way.retain(|picked| picked.address().port() != 2);
    under_way.extend([bench.pick(), bench.pick()]);
    assert_eq!(ports(&under_way), HashMap::from([(1, 2), (2, 2), (3, 2)]));
    drop(under_way);
    assert_eq!(bench.ports_used(6), [1, 2, 3], "nothing is under way: all are alike");
}

#[test]
fn a_subject_comes_to_the_same_upstream_in_every_process_and_version() {
    let bench = TestBench::at([1, 2, 3, 4], json!({ "balance": "subject" }));
    // Worked out apart from this program: SHA-256, SplitMix64's finalizer, the heaviest.
    for (subject, port) in SUBJECTS.into_iter().zip([1, 1, 2, 4, 3, 3, 3]) {
        for _ in 0..3 {
            assert_eq!(bench.pick_for(subject).address().port(), port, "{subject:?}");
        }
    }
    let retry = bench.pool.pick(b"ada", &[loopback(1)]).unwrap();
    assert_eq!(retry.address().port(), 4, "a retry comes to the same second one, too");
}

#[test]
fn subjects_are_spread_evenly_and_only_those_of_an_ejected_upstream_move() {
    let bench = TestBench::at([1, 2, 3, 4], json!({ "balance": "subject" }));
    let home = |number: usize| bench.pick_for(&format!("subject-{number}")).address().port();
    let before: Vec<u16> = (0..4_000).map(home).collect();
    for port in 1..=4 {
        let here = before.iter().filter(|at| **at == port).count();
        assert!((900..1_100).contains(&here), "{here} of 4,000 come to {port}");
    }
    bench.fails(3, 5);
    let after: Vec<u16> = (0..4_000).map(home).collect();
    let mut taken = HashMap::new();
    for (before, after) in before.iter().zip(&after) {
        match before {
            3 => *taken.entry(*after).or_insert(0) += 1,
            other => assert_eq!(after, other, "a subject of another upstream has moved"),
        }
    }
    let mut shares: Vec<_> = taken.into_iter().collect();
    shares.sort_unstable();
    assert!(matches!(shares[..], [(1, 250..), (2, 250..), (4, 250..)]), "{shares:?}");
    bench.pass(Duration::from_secs(10));
    assert_eq!(home(before.iter().position(|port| *port == 3).unwrap()), 3, "one of its own tries whether it is back");
}

#[test]
fn what_is_under_way_ends_with_its_pick() {
    let bench = TestBench::at([1], json!({}));
    let under_way = || bench.pool.endpoints.list.load()[0].under_way.load(std::sync::atomic::Ordering::Relaxed);
    let (one, two) = (bench.pick(), bench.pick());
    assert_eq!(under_way(), 2);
    one.succeeded();
    drop(one);
    assert_eq!(under_way(), 1);
    two.failed(Cause::Broken);
    drop(two);
    assert_eq!(under_way(), 0);
}

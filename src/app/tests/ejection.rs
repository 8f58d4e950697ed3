//! Failures in a row, the pause, the trial, and the last one.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::super::outlier_detection::Availability;
use super::*;

const PAUSE: Duration = Duration::from_secs(10);

#[test]
fn so_many_failures_in_a_row_and_an_upstream_gets_no_requests_for_the_pause() {
    let bench = TestBench::at([1, 2], json!({}));
    bench.fails(1, 4);
    assert_eq!(bench.ports_used(4), [1, 2]);
    assert!(bench.is_up(1));
    bench.fails(1, 1);
    assert_eq!(bench.ports_used(4), [2]);
    assert!(!bench.is_up(1));
    assert_eq!(bench.ejections(1), 1);
    bench.pass(PAUSE - millis(1));
    assert_eq!(bench.ports_used(4), [2]);
    bench.pass(millis(1));
    assert_eq!(bench.ports_used(4), [1, 2]);
    assert!(!bench.is_up(1), "it is not up before its trial has gone well");
    assert!(!bench.is_degraded());
}

#[test]
fn a_success_in_between_begins_the_count_anew() {
    let bench = TestBench::at([1, 2], json!({}));
    for _ in 0..3 {
        bench.fails(1, 4);
        bench.pick_at(1).succeeded();
    }
    assert_eq!(bench.ejections(1), 0);
    bench.fails(1, 5);
    assert_eq!(bench.ejections(1), 1);
}

#[test]
fn every_kind_of_failure_counts_and_a_request_without_an_outcome_does_not() {
    use Cause::{Broken, Refused, TimedOut, Tls};
    let bench = TestBench::at([1, 2], json!({ "ejection": { "failures": 4, "pause": "1s" } }));
    for (why, ejections) in [Refused, Tls, TimedOut, Broken].into_iter().zip([0, 0, 0, 1]) {
        drop(bench.pick_at(1));
        bench.pick_at(1).failed(why);
        assert_eq!(bench.ejections(1), ejections);
    }
}

#[test]
fn an_answer_that_breaks_off_counts_although_its_head_came() {
    let bench = TestBench::at([1, 2], json!({}));
    for _ in 0..5 {
        let picked = bench.pick_at(1);
        picked.succeeded();
        picked.failed(Cause::Broken);
    }
    assert_eq!(bench.ejections(1), 1);
}

#[test]
fn after_the_pause_one_request_tries_and_its_success_brings_the_upstream_back() {
    let bench = TestBench::at([1, 2], json!({}));
    bench.fails(1, 5);
    bench.pass(PAUSE);
    let trial = bench.pick_at(1);
    assert_eq!(bench.ports_used(4), [2], "one is let through");
    trial.succeeded();
    assert_eq!(bench.ports_used(4), [1, 2]);
    assert!(bench.is_up(1));
    bench.fails(1, 4);
    assert_eq!(bench.ejections(1), 1, "the count began anew");
}

#[test]
fn a_trial_that_fails_leaves_it_alone_for_another_pause() {
    let bench = TestBench::at([1, 2], json!({}));
    bench.fails(1, 5);
    bench.pass(PAUSE + PAUSE);
    bench.fails(1, 1);
    assert_eq!(bench.ejections(1), 2);
    bench.pass(PAUSE - millis(1));
    assert_eq!(bench.ports_used(4), [2]);
    bench.pass(millis(1));
    bench.pick_at(1).succeeded();
    assert!(bench.is_up(1));
}

#[test]
fn a_trial_without_an_outcome_leaves_its_place_to_the_next() {
    let bench = TestBench::at([1, 2], json!({}));
    bench.fails(1, 5);
    bench.pass(PAUSE);
    drop(bench.pick_at(1));
    bench.pick_at(1).succeeded();
    assert!(bench.is_up(1));
}

#[test]
fn late_outcomes_of_requests_from_before_the_ejection_change_nothing() {
    let bench = TestBench::at([1, 2], json!({}));
    let (good, bad) = (bench.pick_at(1), bench.pick_at(1));
    bench.fails(1, 5);
    good.succeeded();
    assert_eq!(bench.ports_used(4), [2]);
    bench.pass(PAUSE - millis(1));
    bad.failed(Cause::TimedOut);
    assert_eq!(bench.ejections(1), 1);
    bench.pass(millis(1));
    assert_eq!(bench.ports_used(4), [1, 2], "the pause was not prolonged");
}

#[test]
fn the_last_upstream_is_never_ejected() {
    let bench = TestBench::at([1], json!({}));
    bench.fails(1, 50);
    assert_eq!(bench.ejections(1), 0);
    assert!(!bench.is_up(1));
    assert!(bench.is_degraded(), "it fails, and there is no other");
    bench.pick().succeeded();
    assert!(bench.is_up(1) && !bench.is_degraded());
}

#[test]
fn of_several_that_fail_the_last_one_left_gets_the_requests() {
    let bench = TestBench::at([1, 2, 3], json!({}));
    bench.fails(1, 5);
    bench.fails(2, 5);
    assert!(!bench.is_degraded());
    bench.fails(3, 20);
    assert_eq!([1, 2, 3].map(|port| bench.ejections(port)), [1, 1, 0]);
    assert_eq!(bench.ports_used(4), [3]);
    assert!(bench.is_degraded());
    // Once another is back, it may go.
    bench.pass(PAUSE);
    bench.pick_at(1).succeeded();
    assert!(!bench.is_degraded());
    bench.fails(3, 1);
    assert_eq!(bench.ejections(3), 1);
}

#[test]
fn two_that_fail_at_once_do_not_take_each_other_for_the_one_that_is_left() {
    for _ in 0..50 {
        let bench = TestBench::at([1, 2], json!({}));
        bench.fails(1, 4);
        bench.fails(2, 4);
        let (one, two) = (bench.pick_at(1), bench.pick_at(2));
        std::thread::scope(|scope| {
            scope.spawn(|| one.failed(Cause::Broken));
            scope.spawn(|| two.failed(Cause::Broken));
        });
        assert_eq!(bench.ejections(1) + bench.ejections(2), 1);
    }
}

#[test]
fn a_failed_trial_opens_the_gate_where_no_other_is_left() {
    let bench = TestBench::at([1, 2], json!({ "health": { "unhealthy": 1 } }));
    bench.fails(1, 5);
    bench.pass(PAUSE);
    let trial = bench.pick_at(1);
    let health = bench.pool.health.clone().unwrap();
    let other = Arc::clone(&bench.pool.endpoints.list.load()[1]);
    bench.pool.endpoints.answered(&other, Err(Unwell::Late), &health);
    trial.failed(Cause::Broken);
    assert_eq!(bench.ejections(1), 1);
    assert_eq!(bench.ports_used(4), [1]);
}

#[test]
fn where_none_is_fit_an_ejected_one_serves_and_its_success_brings_it_back() {
    let bench = TestBench::at([1, 2], json!({ "health": { "unhealthy": 1 } }));
    bench.fails(1, 5);
    let health = bench.pool.health.clone().unwrap();
    let other = Arc::clone(&bench.pool.endpoints.list.load()[1]);
    bench.pool.endpoints.answered(&other, Err(Unwell::Late), &health);
    assert!(bench.is_degraded());
    assert_eq!(bench.ports_used(4), [1], "what fails requests comes before what says that it is not well");
    bench.pick().failed(Cause::Broken);
    bench.pick().succeeded();
    assert!(bench.is_up(1) && !bench.is_degraded());
}

/// What may happen to a pool of three.
#[derive(Clone, Copy, Debug)]
enum Happens {
    Pick,
    /// The oldest pick has an outcome, or (`None`) ends without.
    Ends(Option<bool>),
    Passes(u64),
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        3 => Just(Happens::Pick),
        2 => Just(Happens::Ends(Some(false))),
        1 => prop_oneof![Just(None), Just(Some(true))].prop_map(Happens::Ends),
        1 => (0..1_500u64).prop_map(Happens::Passes),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn whatever_happens_one_is_left_and_the_ejected_get_one_trial_after_each_pause(
        story in proptest::collection::vec(happens(), 1..200)
    ) {
        let bench = TestBench::at([1, 2, 3], json!({ "ejection": { "failures": 2, "pause": "1s" } }));
        let mut under_way: VecDeque<Picked> = VecDeque::new();
        for event in story {
            match event {
                Happens::Pick => {
                    let now = bench.pool.endpoints.clock.tick();
                    let endpoints = bench.pool.endpoints.list.load_full();
                    let before: Vec<_> = endpoints.iter().map(|m| m.outlier_detection.availability(now)).collect();
                    let picked = bench.pick();
                    let place = usize::from(picked.address().port() - 1);
                    prop_assert_eq!(before[place], Availability::Fit);
                    let tries = endpoints[place].outlier_detection.is_on_trial();
                    prop_assert_eq!(tries, !endpoints[place].outlier_detection.is_open());
                    under_way.push_back(picked);
                }
                Happens::Ends(outcome) => {
                    if let Some(picked) = under_way.pop_front() {
                        match outcome {
                            Some(true) => picked.succeeded(),
                            Some(false) => picked.failed(Cause::Broken),
                            None => {}
                        }
                    }
                }
                Happens::Passes(span) => bench.pass(millis(span)),
            }
            prop_assert!(bench.pool.endpoints.list.load().iter().any(|m| m.outlier_detection.is_open()));
            bench.is_degraded();
        }
    }
}

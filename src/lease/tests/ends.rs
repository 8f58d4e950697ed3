//! When a lease ends, and what a wall clock that is set does to it.

use super::test_bench::*;
use crate::lease::{NoLease, Rules, Scope, Source};
use crate::provider::MintFailure;

#[tokio::test]
async fn a_held_lease_is_served_until_min_remaining_before_its_end() {
    let bench = TestBench::new();
    bench.hold("ada", HOUR).await;
    bench.clock_control.advance(55 * MINUTE - MILLI);
    assert_eq!(bench.held("ada"), Some((0, false)));
    assert_eq!(bench.get("ada").await, Ok((0, Source::Hit)));
    bench.clock_control.advance(MILLI);
    assert_eq!(bench.held("ada"), None);
    assert_eq!(bench.hold("ada", HOUR).await, 1);
    assert_eq!((bench.gauge(), bench.book.leases().sizes().1), (1, 1));
    bench.assert_forgets_everything().await;
}

#[tokio::test]
async fn a_url_without_an_end_is_held_for_six_hours_from_the_mints_start() {
    let bench = TestBench::new();
    let get = bench.getting("ada").await;
    bench.clock_control.advance(4 * SECOND);
    bench.vendor.answer(0, Answer::Endless);
    assert!(get.await.unwrap().is_ok());
    bench.clock_control.advance(6 * HOUR - 5 * MINUTE - 4 * SECOND - MILLI);
    assert_eq!(bench.held("ada"), Some((0, false)));
    bench.clock_control.advance(MILLI);
    assert_eq!(bench.held("ada"), None);
}

#[tokio::test]
async fn rules_that_have_become_tighter_shorten_what_is_held_and_looser_ones_prolong_nothing() {
    let bench = TestBench::new();
    let tighten = |rules: Rules| bench.book.leases().tighten_owner(&std::sync::Arc::from(b"ada".as_slice()), &rules);
    bench.hold("ada/en", HOUR).await;
    bench.hold("ada/nl", 5 * HOUR).await;
    bench.clock_control.advance(30 * MINUTE);
    tighten(Rules { max_age: 2 * HOUR, ..rules() });
    assert_eq!((bench.gauge(), bench.book.leases().sizes().1), (2, 2));
    tighten(rules());
    bench.clock_control.advance(25 * MINUTE - MILLI);
    assert_eq!((bench.held("ada/en"), bench.held("ada/nl")), (Some((0, false)), Some((1, false))));
    tighten(Rules { min_remaining: 10 * MINUTE, max_age: 2 * HOUR, ..rules() });
    assert_eq!((bench.held("ada/en"), bench.held("ada/nl"), bench.gauge()), (None, Some((1, false)), 1));
    bench.clock_control.advance(55 * MINUTE);
    assert_eq!(bench.held("ada/nl"), Some((1, false)), "1 ms is left before its 110 minutes are over");
    bench.clock_control.advance(MILLI);
    assert_eq!(bench.held("ada/nl"), None);
    bench.assert_forgets_everything().await;
}

#[tokio::test]
async fn a_mint_that_lands_behind_a_reload_with_tighter_rules_is_held_by_them() {
    // The scope's 32 bytes, and a subject.
    const OWNER: &str = "0123456789abcdef0123456789abcdef-ada";
    let (bench, scope) = (TestBench::new(), Scope::of(OWNER.as_bytes()).unwrap());
    let under_way = bench.getting(OWNER).await;
    let leases = bench.book.leases();
    for max_age in [6 * HOUR, 20 * MINUTE] {
        leases.set_rules([(scope, Rules { max_age, ..rules() })].into());
    }
    bench.clock_control.advance(MINUTE);
    bench.vendor.answer(0, Answer::Life(5 * HOUR));
    assert_eq!(under_way.await.unwrap(), Ok((0, Source::Minted)));
    bench.clock_control.advance(14 * MINUTE - MILLI);
    assert_eq!(bench.held(OWNER), Some((0, false)), "1 ms is left before min_remaining");
    bench.clock_control.advance(MILLI);
    assert_eq!(bench.held(OWNER), None);
    // Looser rules prolong nothing, and tighter ones of another scope say nothing.
    let other = Scope::of(&[0; 32]).unwrap();
    leases.set_rules(
        [(scope, Rules { max_age: 9 * HOUR, ..rules() }), (other, Rules { max_age: MINUTE, ..rules() })].into(),
    );
    bench.hold(OWNER, 9 * HOUR).await;
    bench.clock_control.advance(6 * HOUR - 5 * MINUTE - MILLI);
    assert_eq!(bench.held(OWNER), Some((1, false)));
    bench.clock_control.advance(MILLI);
    assert_eq!(bench.held(OWNER), None);
    bench.assert_forgets_everything().await;
}

#[tokio::test]
async fn a_short_url_goes_to_those_who_waited_and_is_not_kept() {
    let bench = TestBench::new();
    let (one, other) = (bench.getting("ada").await, bench.getting("ada").await);
    bench.vendor.answer(0, Answer::Life(5 * MINUTE));
    assert_eq!(one.await.unwrap(), Ok((0, Source::Minted)));
    assert_eq!(other.await.unwrap(), Ok((0, Source::Joined)));
    assert_eq!((bench.gauge(), bench.held("ada"), bench.mints("short"), bench.mints("ok")), (0, None, 1, 0));
    assert_eq!(bench.hold("ada", 5 * MINUTE + MILLI).await, 1);
    assert_eq!((bench.gauge(), bench.mints("ok")), (1, 1));
    bench.assert_forgets_everything().await;
}

#[tokio::test]
async fn a_url_that_ends_within_five_seconds_is_nonsense() {
    let bench = TestBench::new();
    let get = bench.getting("ada").await;
    bench.vendor.answer(0, Answer::Life(5 * SECOND));
    assert_eq!(get.await.unwrap(), Err(NoLease::Mint(MintFailure::Nonsense)));
    assert_eq!((bench.mints("nonsense"), bench.mints("ok"), bench.mints("short"), bench.gauge()), (1, 0, 0, 0));
    bench.clock_control.advance(SECOND);
    bench.hold("ada", 5 * SECOND + MILLI).await;
    assert_eq!(bench.mints("short"), 1);
}

#[tokio::test]
async fn a_wall_clock_set_back_prolongs_no_lease() {
    let bench = TestBench::new();
    bench.hold("ada", HOUR).await;
    bench.clock_control.step_wall(-3_600_000);
    assert_eq!(bench.held("ada"), Some((0, false)), "nor does it end one");
    bench.clock_control.advance(55 * MINUTE - MILLI);
    assert_eq!(bench.held("ada"), Some((0, false)));
    bench.clock_control.advance(MILLI);
    assert_eq!(bench.held("ada"), None);
    bench.assert_forgets_everything().await;
}

#[tokio::test]
async fn a_wall_clock_set_forward_ends_leases_by_what_it_says() {
    let bench = TestBench::new();
    bench.hold("ada", HOUR).await;
    bench.clock_control.step_wall(55 * 60_000 - 1);
    assert_eq!(bench.held("ada"), Some((0, false)));
    bench.clock_control.step_wall(1);
    assert_eq!(bench.held("ada"), None);
    bench.clock_control.step_wall(300_000);
    bench.book.leases().sweep();
    assert_eq!((bench.gauge(), bench.book.leases().sizes().1), (0, 0));
    bench.assert_forgets_everything().await;
}

#[tokio::test]
async fn a_wall_clock_set_back_by_a_year_strands_no_lease_in_memory() {
    const YEAR: i64 = 365 * 24 * 3_600_000;
    let bench = TestBench::with(rules(), 2);
    bench.hold("ada", HOUR).await;
    bench.hold("bob", HOUR).await;
    bench.clock_control.step_wall(-YEAR);
    bench.book.leases().sweep();
    assert_eq!(bench.gauge(), 0);
    bench.hold("eve", HOUR).await;
    assert_eq!((bench.held("eve"), bench.metrics.leases_evicted.get()), (Some((2, false)), 0));
    bench.assert_forgets_everything().await;
}

#[tokio::test]
async fn a_small_step_back_costs_no_mint() {
    let bench = TestBench::new();
    bench.hold("ada", 6 * HOUR).await;
    bench.clock_control.step_wall(-6 * 3_600_000);
    bench.book.leases().sweep();
    assert_eq!(bench.held("ada"), Some((0, false)));
}

#[tokio::test]
async fn failures_and_bounds_are_timed_by_the_tick() {
    let bench = TestBench::with(at_most(1), 10);
    bench.fail("ada").await;
    bench.clock_control.step_wall(3_600_000);
    assert!(bench.get("ada").await.is_err());
    bench.clock_control.step_wall(-7_200_000);
    bench.clock_control.advance(SECOND);
    bench.hold("ada", MINUTE).await;
    bench.clock_control.step_wall(7_200_000);
    assert_eq!(bench.get("ada").await, Err(NoLease::Limited(HOUR)));
    bench.assert_forgets_everything().await;
}

//! When a lease ends, and what a wall clock that is set does to it.

use super::bed::*;
use crate::lease::{NoLease, Source};
use crate::provider::MintFailure;

#[tokio::test]
async fn a_held_lease_is_served_until_min_remaining_before_its_end() {
    let bed = Bed::new();
    bed.hold("ada", HOUR).await;
    bed.hands.advance(55 * MINUTE - MILLI);
    assert_eq!(bed.held("ada"), Some((0, false)));
    assert_eq!(bed.get("ada").await, Ok((0, Source::Hit)));
    bed.hands.advance(MILLI);
    assert_eq!(bed.held("ada"), None);
    assert_eq!(bed.hold("ada", HOUR).await, 1);
    assert_eq!((bed.gauge(), bed.book.sizes().1), (1, 1));
    bed.assert_forgets_everything().await;
}

#[tokio::test]
async fn a_url_without_an_end_is_held_for_six_hours_from_the_mints_start() {
    let bed = Bed::new();
    let get = bed.getting("ada").await;
    bed.hands.advance(4 * SECOND);
    bed.vendor.answer(0, Answer::Endless);
    assert!(get.await.unwrap().is_ok());
    bed.hands.advance(6 * HOUR - 5 * MINUTE - 4 * SECOND - MILLI);
    assert_eq!(bed.held("ada"), Some((0, false)));
    bed.hands.advance(MILLI);
    assert_eq!(bed.held("ada"), None);
}

#[tokio::test]
async fn a_short_url_goes_to_those_who_waited_and_is_not_kept() {
    let bed = Bed::new();
    let (one, other) = (bed.getting("ada").await, bed.getting("ada").await);
    bed.vendor.answer(0, Answer::Life(5 * MINUTE));
    assert_eq!(one.await.unwrap(), Ok((0, Source::Minted)));
    assert_eq!(other.await.unwrap(), Ok((0, Source::Joined)));
    assert_eq!((bed.gauge(), bed.held("ada"), bed.mints("short"), bed.mints("ok")), (0, None, 1, 0));
    assert_eq!(bed.hold("ada", 5 * MINUTE + MILLI).await, 1);
    assert_eq!((bed.gauge(), bed.mints("ok")), (1, 1));
    bed.assert_forgets_everything().await;
}

#[tokio::test]
async fn a_url_that_ends_within_five_seconds_is_nonsense() {
    let bed = Bed::new();
    let get = bed.getting("ada").await;
    bed.vendor.answer(0, Answer::Life(5 * SECOND));
    assert_eq!(get.await.unwrap(), Err(NoLease::Mint(MintFailure::Nonsense)));
    assert_eq!((bed.mints("nonsense"), bed.mints("ok"), bed.mints("short"), bed.gauge()), (1, 0, 0, 0));
    bed.hands.advance(SECOND);
    bed.hold("ada", 5 * SECOND + MILLI).await;
    assert_eq!(bed.mints("short"), 1);
}

#[tokio::test]
async fn a_wall_clock_set_back_prolongs_no_lease() {
    let bed = Bed::new();
    bed.hold("ada", HOUR).await;
    bed.hands.step_wall(-3_600_000);
    assert_eq!(bed.held("ada"), Some((0, false)), "nor does it end one");
    bed.hands.advance(55 * MINUTE - MILLI);
    assert_eq!(bed.held("ada"), Some((0, false)));
    bed.hands.advance(MILLI);
    assert_eq!(bed.held("ada"), None);
    bed.assert_forgets_everything().await;
}

#[tokio::test]
async fn a_wall_clock_set_forward_ends_leases_by_what_it_says() {
    let bed = Bed::new();
    bed.hold("ada", HOUR).await;
    bed.hands.step_wall(55 * 60_000 - 1);
    assert_eq!(bed.held("ada"), Some((0, false)));
    bed.hands.step_wall(1);
    assert_eq!(bed.held("ada"), None);
    bed.hands.step_wall(300_000);
    bed.book.sweep();
    assert_eq!((bed.gauge(), bed.book.sizes().1), (0, 0));
    bed.assert_forgets_everything().await;
}

#[tokio::test]
async fn a_wall_clock_set_back_by_a_year_strands_no_lease_in_memory() {
    const YEAR: i64 = 365 * 24 * 3_600_000;
    let bed = Bed::with(rules(), 2);
    bed.hold("ada", HOUR).await;
    bed.hold("bob", HOUR).await;
    bed.hands.step_wall(-YEAR);
    bed.book.sweep();
    assert_eq!(bed.gauge(), 0);
    bed.hold("eve", HOUR).await;
    assert_eq!((bed.held("eve"), bed.metrics.leases_evicted.get()), (Some((2, false)), 0));
    bed.assert_forgets_everything().await;
}

#[tokio::test]
async fn a_small_step_back_costs_no_mint() {
    let bed = Bed::new();
    bed.hold("ada", 6 * HOUR).await;
    bed.hands.step_wall(-6 * 3_600_000);
    bed.book.sweep();
    assert_eq!(bed.held("ada"), Some((0, false)));
}

#[tokio::test]
async fn failures_and_bounds_are_timed_by_the_tick() {
    let bed = Bed::with(at_most(1), 10);
    bed.fail("ada").await;
    bed.hands.step_wall(3_600_000);
    assert!(bed.get("ada").await.is_err());
    bed.hands.step_wall(-7_200_000);
    bed.hands.advance(SECOND);
    bed.hold("ada", MINUTE).await;
    bed.hands.step_wall(7_200_000);
    assert_eq!(bed.get("ada").await, Err(NoLease::Limited(HOUR)));
    bed.assert_forgets_everything().await;
}

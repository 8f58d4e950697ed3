//! Refresh ahead: answered at once, minted in the background, and only when somebody asks.

use super::bed::*;
use crate::lease::{Rules, Source};
use crate::provider::MintFailure;

/// A book that holds ada's lease (call 0) of 6 h, with so much life left.
async fn bed_with(left: std::time::Duration) -> Bed {
    let bed = Bed::with(Rules { refresh_ahead: Some(30 * MINUTE), ..rules() }, 10);
    bed.hold("ada", 6 * HOUR).await;
    bed.hands.advance(6 * HOUR - left);
    bed
}

#[tokio::test]
async fn a_lease_with_little_life_left_is_given_at_once_and_minted_anew() {
    let bed = bed_with(25 * MINUTE).await;
    assert_eq!(bed.held("ada"), Some((0, true)));
    bed.ahead("ada").await;
    assert_eq!(bed.vendor.calls(), 2);
    assert_eq!(bed.get("ada").await, Ok((0, Source::Hit)), "nobody waits for it");
    bed.vendor.answer(1, Answer::Life(6 * HOUR));
    settle().await;
    assert_eq!(bed.held("ada"), Some((1, false)));
    assert_eq!((bed.leases("ahead"), bed.leases("minted"), bed.mints("ok"), bed.gauge()), (1, 1, 2, 1));
    bed.assert_forgets_everything().await;
}

#[tokio::test]
async fn it_begins_when_less_is_left_than_was_asked_for() {
    let bed = bed_with(30 * MINUTE + MILLI).await;
    assert_eq!(bed.held("ada"), Some((0, false)));
    bed.ahead("ada").await;
    assert_eq!(bed.vendor.calls(), 1, "asked too early, it does nothing");
    bed.hands.advance(MILLI);
    assert_eq!(bed.held("ada"), Some((0, true)));
}

#[tokio::test]
async fn nothing_is_minted_while_nobody_asks() {
    let bed = bed_with(25 * MINUTE).await;
    for _ in 0..30 {
        bed.hands.advance(MINUTE);
        bed.book.sweep();
        settle().await;
    }
    assert_eq!((bed.vendor.calls(), bed.gauge()), (1, 0));
    bed.assert_forgets_everything().await;
}

#[tokio::test]
async fn it_is_not_minted_twice() {
    let bed = bed_with(20 * MINUTE).await;
    bed.ahead("ada").await;
    assert_eq!(bed.held("ada"), Some((0, false)), "one is under way");
    bed.ahead("ada").await;
    assert_eq!(bed.vendor.calls(), 2);
}

#[tokio::test]
async fn when_it_fails_the_lease_serves_on_and_the_next_try_is_ten_seconds_later() {
    let bed = bed_with(20 * MINUTE).await;
    bed.ahead("ada").await;
    bed.vendor.answer(1, Answer::Fail(MintFailure::Unreachable));
    settle().await;
    assert_eq!(bed.held("ada"), Some((0, false)));
    assert_eq!(bed.get("ada").await, Ok((0, Source::Hit)));
    bed.hands.advance(10 * SECOND - MILLI);
    bed.ahead("ada").await;
    assert_eq!(bed.vendor.calls(), 2);
    bed.hands.advance(MILLI);
    assert_eq!(bed.held("ada"), Some((0, true)));
    bed.ahead("ada").await;
    assert_eq!((bed.vendor.calls(), bed.leases("ahead"), bed.gauge()), (3, 0, 1));
    bed.vendor.answer(2, Answer::Panic);
    settle().await;
    assert_eq!(bed.held("ada").map(|(call, _)| call), Some(0));
    bed.assert_forgets_everything().await;
}

#[tokio::test]
async fn a_url_that_ends_sooner_than_the_held_one_changes_nothing() {
    let bed = bed_with(20 * MINUTE).await;
    for (call, life) in [(1, 19 * MINUTE), (2, MINUTE), (3, SECOND)] {
        bed.ahead("ada").await;
        bed.vendor.answer(call, Answer::Life(life));
        settle().await;
        bed.hands.advance(10 * SECOND);
        assert_eq!(bed.held("ada"), Some((0, true)), "after a URL of {life:?}");
    }
    assert_eq!((bed.leases("ahead"), bed.gauge(), bed.book.sizes().1), (0, 1, 1));
    bed.ahead("ada").await;
    bed.vendor.answer(4, Answer::Life(20 * MINUTE));
    settle().await;
    assert_eq!((bed.held("ada").map(|(call, _)| call), bed.leases("ahead"), bed.gauge()), (Some(4), 1, 1));
    bed.assert_forgets_everything().await;
}

#[tokio::test]
async fn a_url_that_ends_with_the_held_one_takes_its_place_and_the_next_waits() {
    let bed = bed_with(20 * MINUTE).await;
    bed.ahead("ada").await;
    bed.vendor.answer(1, Answer::Life(20 * MINUTE));
    settle().await;
    assert_eq!(bed.held("ada"), Some((1, false)), "not at each request");
    bed.hands.advance(10 * SECOND);
    assert_eq!((bed.held("ada"), bed.leases("ahead"), bed.gauge()), (Some((1, true)), 1, 1));
    bed.assert_forgets_everything().await;
}

#[tokio::test]
async fn who_comes_when_the_lease_no_longer_serves_waits_for_the_mint_ahead() {
    let bed = bed_with(6 * MINUTE).await;
    bed.ahead("ada").await;
    bed.hands.advance(MINUTE);
    let get = bed.getting("ada").await;
    assert_eq!(bed.vendor.calls(), 2);
    bed.vendor.answer(1, Answer::Life(HOUR));
    assert_eq!(get.await.unwrap(), Ok((1, Source::Joined)));
    assert_eq!((bed.leases("ahead"), bed.leases("joined"), bed.gauge()), (1, 1, 1));
    bed.assert_forgets_everything().await;
}

#[tokio::test]
async fn it_keeps_to_the_bound_of_mints() {
    let bed = Bed::with(Rules { refresh_ahead: Some(30 * MINUTE), ..at_most(1) }, 10);
    bed.hold("ada", 40 * MINUTE).await;
    bed.hands.advance(30 * MINUTE);
    assert_eq!(bed.held("ada"), Some((0, true)));
    bed.ahead("ada").await;
    assert_eq!((bed.vendor.calls(), bed.held("ada")), (1, Some((0, false))));
    bed.hands.advance(4 * MINUTE);
    assert_eq!(bed.get("ada").await, Ok((0, Source::Hit)));
    bed.assert_forgets_everything().await;
}

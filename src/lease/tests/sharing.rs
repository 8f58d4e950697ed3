//! One mint for all who want one lease; a failure is shared like a success.

use std::task::Poll;

use tokio::sync::watch;

use super::bed::*;
use crate::lease::{NoLease, Source};
use crate::provider::MintFailure;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn four_hundred_callers_of_one_cold_key_share_one_mint() {
    let bed = Bed::new();
    let waiting = watch::Sender::new(0);
    let callers: Vec<_> = (0..400)
        .map(|_| {
            let (mut get, waiting) = (Box::pin(bed.get("ada")), waiting.clone());
            tokio::spawn(async move {
                assert!(poll_once(&mut get).await.is_pending());
                waiting.send_modify(|number| *number += 1);
                get.await
            })
        })
        .collect();
    waiting.subscribe().wait_for(|number| *number == 400).await.unwrap();
    bed.vendor.begun(1).await;
    bed.vendor.answer(0, Answer::Life(HOUR));
    let mut sources = Vec::new();
    for caller in callers {
        let (call, source) = caller.await.unwrap().unwrap();
        assert_eq!(call, 0);
        sources.push(source);
    }
    let count = |wanted| sources.iter().filter(|source| **source == wanted).count();
    assert_eq!((count(Source::Minted), count(Source::Joined), count(Source::Hit)), (1, 399, 0));
    assert_eq!((bed.leases("minted"), bed.leases("joined"), bed.leases("hit")), (1, 399, 0));
    assert_eq!((bed.vendor.calls(), bed.mints("ok"), bed.gauge()), (1, 1, 1));
    bed.assert_forgets_everything().await;
}

#[tokio::test]
async fn a_held_lease_is_given_without_a_mint_and_counted_once() {
    let bed = Bed::new();
    assert_eq!(bed.held("ada"), None);
    bed.hold("ada", HOUR).await;
    assert_eq!(bed.held("ada"), Some((0, false)));
    assert_eq!(bed.get("ada").await, Ok((0, Source::Hit)));
    assert_eq!((bed.vendor.calls(), bed.leases("hit"), bed.leases("minted")), (1, 2, 1));
}

#[tokio::test]
async fn each_person_plug_in_and_language_has_a_mint_of_its_own() {
    let bed = Bed::new();
    let names = ["ada/en", "ada/nl", "ada", "bob/en", "dashboard-ada/en"];
    for (call, name) in names.iter().enumerate() {
        assert_eq!(bed.hold(name, HOUR).await, call);
    }
    for (call, name) in names.iter().enumerate() {
        assert_eq!(bed.get(name).await, Ok((call, Source::Hit)));
    }
    assert_eq!(bed.vendor.asked(0), ("ada".into(), Some("en".into())));
    assert_eq!(bed.vendor.asked(2), ("ada".into(), None));
    assert_eq!(bed.gauge(), 5);
    bed.assert_forgets_everything().await;
}

#[tokio::test]
async fn a_failure_is_shared_by_all_who_wait_for_it() {
    let bed = Bed::new();
    let (one, other) = (bed.getting("ada").await, bed.getting("ada").await);
    bed.vendor.answer(0, Answer::Fail(MintFailure::TimedOut));
    let failed = Err(NoLease::Mint(MintFailure::TimedOut));
    assert_eq!((one.await.unwrap(), other.await.unwrap()), (failed, failed));
    assert_eq!((bed.vendor.calls(), bed.leases("minted"), bed.leases("joined"), bed.gauge()), (1, 0, 0, 0));
    bed.assert_forgets_everything().await;
}

#[tokio::test]
async fn a_failure_answers_for_its_own_key_for_one_second() {
    let bed = Bed::new();
    bed.fail("ada/en").await;
    bed.hands.advance(SECOND - MILLI);
    assert_eq!(bed.get("ada/en").await, Err(NoLease::Mint(MintFailure::Unreachable)));
    assert_eq!(bed.post("ada/en").await, Err(NoLease::Mint(MintFailure::Unreachable)));
    assert_eq!(bed.vendor.calls(), 1);
    bed.hold("ada/nl", HOUR).await;
    bed.hold("bob/en", HOUR).await;

    bed.hands.advance(MILLI);
    assert_eq!(bed.hold("ada/en", HOUR).await, 3);
    bed.assert_forgets_everything().await;
}

#[tokio::test]
async fn a_remembered_failure_is_not_remembered_anew_by_those_it_answers() {
    let bed = Bed::new();
    bed.fail("ada").await;
    for _ in 0..9 {
        bed.hands.advance(100 * MILLI);
        assert!(bed.get("ada").await.is_err());
    }
    bed.hands.advance(100 * MILLI);
    bed.hold("ada", HOUR).await;
    assert_eq!(bed.vendor.calls(), 2);
}

#[tokio::test]
async fn a_vendor_that_is_down_costs_nobody_the_lease_that_is_held() {
    let bed = Bed::new();
    bed.hold("ada", HOUR).await;
    bed.fail("bob").await;
    assert_eq!(bed.get("ada").await, Ok((0, Source::Hit)));
}

#[tokio::test]
async fn where_reuse_is_never_each_request_has_a_mint_of_its_own() {
    let bed = Bed::new();
    let (one, other) = (bed.onceing("ada").await, bed.onceing("ada").await);
    bed.vendor.answer(1, Answer::Life(HOUR));
    bed.vendor.answer(0, Answer::Life(HOUR));
    assert_eq!(one.await.unwrap(), Ok((0, Source::Minted)));
    assert_eq!(other.await.unwrap(), Ok((1, Source::Minted)));
    assert_eq!((bed.vendor.calls(), bed.gauge(), bed.held("ada")), (2, 0, None));

    let failing = bed.onceing("ada").await;
    bed.vendor.answer(2, Answer::Fail(MintFailure::Refused));
    assert_eq!(failing.await.unwrap(), Err(NoLease::Mint(MintFailure::Refused)));
    let next = bed.onceing("ada").await;
    bed.vendor.answer(3, Answer::Life(HOUR));
    assert_eq!(next.await.unwrap(), Ok((3, Source::Minted)));
    bed.assert_forgets_everything().await;
}

#[tokio::test]
async fn a_request_that_nobody_polls_asks_for_nothing() {
    let bed = Bed::new();
    drop(bed.get("ada"));
    settle().await;
    assert_eq!(bed.vendor.calls(), 0);
    assert_eq!(bed.book.sizes(), (0, 0, 0));
    let mut get = Box::pin(bed.get("ada"));
    assert_eq!(poll_once(&mut get).await, Poll::Pending);
    bed.vendor.begun(1).await;
}

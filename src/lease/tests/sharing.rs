//! One mint for all who want one lease; a failure is shared like a success.

use std::task::Poll;

use tokio::sync::watch;

use super::test_bench::*;
use crate::lease::{NoLease, Source};
use crate::provider::MintFailure;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn four_hundred_callers_of_one_cold_key_share_one_mint() {
    let bench = TestBench::new();
    let waiting = watch::Sender::new(0);
    let callers: Vec<_> = (0..400)
        .map(|_| {
            let (mut get, waiting) = (Box::pin(bench.get("ada")), waiting.clone());
            tokio::spawn(async move {
                assert!(poll_once(&mut get).await.is_pending());
                waiting.send_modify(|number| *number += 1);
                get.await
            })
        })
        .collect();
    waiting.subscribe().wait_for(|number| *number == 400).await.unwrap();
    bench.vendor.begun(1).await;
    bench.vendor.answer(0, Answer::Life(HOUR));
    let mut sources = Vec::new();
    for caller in callers {
        let (call, source) = caller.await.unwrap().unwrap();
        assert_eq!(call, 0);
        sources.push(source);
    }
    let count = |requirement| sources.iter().filter(|source| **source == requirement).count();
    assert_eq!((count(Source::Minted), count(Source::Joined), count(Source::Hit)), (1, 399, 0));
    assert_eq!((bench.leases("minted"), bench.leases("joined"), bench.leases("hit")), (1, 399, 0));
    assert_eq!((bench.vendor.calls(), bench.mints("ok"), bench.gauge()), (1, 1, 1));
    bench.assert_forgets_everything().await;
}

#[tokio::test]
async fn a_held_lease_is_given_without_a_mint_and_counted_once() {
    let bench = TestBench::new();
    assert_eq!(bench.held("ada"), None);
    bench.hold("ada", HOUR).await;
    assert_eq!(bench.held("ada"), Some((0, false)));
    assert_eq!(bench.get("ada").await, Ok((0, Source::Hit)));
    assert_eq!((bench.vendor.calls(), bench.leases("hit"), bench.leases("minted")), (1, 2, 1));
}

#[tokio::test]
async fn each_person_plug_in_and_language_has_a_mint_of_its_own() {
    let bench = TestBench::new();
    let names = ["ada/en", "ada/nl", "ada", "bob/en", "dashboard-ada/en"];
    for (call, name) in names.iter().enumerate() {
        assert_eq!(bench.hold(name, HOUR).await, call);
    }
    for (call, name) in names.iter().enumerate() {
        assert_eq!(bench.get(name).await, Ok((call, Source::Hit)));
    }
    assert_eq!(bench.vendor.asked(0), ("ada".into(), Some("en".into())));
    assert_eq!(bench.vendor.asked(2), ("ada".into(), None));
    assert_eq!(bench.gauge(), 5);
    bench.assert_forgets_everything().await;
}

#[tokio::test]
async fn a_failure_is_shared_by_all_who_wait_for_it() {
    let bench = TestBench::new();
    let (one, other) = (bench.getting("ada").await, bench.getting("ada").await);
    bench.vendor.answer(0, Answer::Fail(MintFailure::TimedOut));
    let failed = Err(NoLease::Mint(MintFailure::TimedOut));
    assert_eq!((one.await.unwrap(), other.await.unwrap()), (failed, failed));
    assert_eq!((bench.vendor.calls(), bench.leases("minted"), bench.leases("joined"), bench.gauge()), (1, 0, 0, 0));
    bench.assert_forgets_everything().await;
}

#[tokio::test]
async fn a_tenants_share_that_is_used_up_is_no_answer_to_others_who_wait() {
    let bench = TestBench::new();
    let (one, other) = (bench.getting("ada").await, bench.getting("ada").await);
    bench.vendor.answer(0, Answer::Fail(MintFailure::Limited(HOUR)));
    assert_eq!(one.await.unwrap(), Err(NoLease::Mint(MintFailure::Limited(HOUR))));
    bench.vendor.begun(2).await;
    bench.vendor.answer(1, Answer::Life(HOUR));
    assert_eq!(other.await.unwrap(), Ok((1, Source::Minted)));
    bench.assert_forgets_everything().await;
}

#[tokio::test]
async fn a_failure_answers_for_its_own_key_for_one_second() {
    let bench = TestBench::new();
    bench.fail("ada/en").await;
    bench.clock_control.advance(SECOND - MILLI);
    assert_eq!(bench.get("ada/en").await, Err(NoLease::Mint(MintFailure::Unreachable)));
    assert_eq!(bench.post("ada/en").await, Err(NoLease::Mint(MintFailure::Unreachable)));
    assert_eq!(bench.vendor.calls(), 1);
    bench.hold("ada/nl", HOUR).await;
    bench.hold("bob/en", HOUR).await;

    bench.clock_control.advance(MILLI);
    assert_eq!(bench.hold("ada/en", HOUR).await, 3);
    bench.assert_forgets_everything().await;
}

#[tokio::test]
async fn a_remembered_failure_is_not_remembered_anew_by_those_it_answers() {
    let bench = TestBench::new();
    bench.fail("ada").await;
    for _ in 0..9 {
        bench.clock_control.advance(100 * MILLI);
        assert!(bench.get("ada").await.is_err());
    }
    bench.clock_control.advance(100 * MILLI);
    bench.hold("ada", HOUR).await;
    assert_eq!(bench.vendor.calls(), 2);
}

#[tokio::test]
async fn a_vendor_that_is_down_costs_nobody_the_lease_that_is_held() {
    let bench = TestBench::new();
    bench.hold("ada", HOUR).await;
    bench.fail("bob").await;
    assert_eq!(bench.get("ada").await, Ok((0, Source::Hit)));
}

#[tokio::test]
async fn where_reuse_is_never_each_request_has_a_mint_of_its_own() {
    let bench = TestBench::new();
    let (one, other) = (bench.onceing("ada").await, bench.onceing("ada").await);
    bench.vendor.answer(1, Answer::Life(HOUR));
    bench.vendor.answer(0, Answer::Life(HOUR));
    assert_eq!(one.await.unwrap(), Ok((0, Source::Minted)));
    assert_eq!(other.await.unwrap(), Ok((1, Source::Minted)));
    assert_eq!((bench.vendor.calls(), bench.gauge(), bench.held("ada")), (2, 0, None));

    let failing = bench.onceing("ada").await;
    bench.vendor.answer(2, Answer::Fail(MintFailure::Refused));
    assert_eq!(failing.await.unwrap(), Err(NoLease::Mint(MintFailure::Refused)));
    let next = bench.onceing("ada").await;
    bench.vendor.answer(3, Answer::Life(HOUR));
    assert_eq!(next.await.unwrap(), Ok((3, Source::Minted)));
    bench.assert_forgets_everything().await;
}

#[tokio::test]
async fn a_request_that_nobody_polls_asks_for_nothing() {
    let bench = TestBench::new();
    drop(bench.get("ada"));
    settle().await;
    assert_eq!(bench.vendor.calls(), 0);
    assert_eq!(bench.book.leases().sizes(), (0, 0, 0));
    let mut get = Box::pin(bench.get("ada"));
    assert_eq!(poll_once(&mut get).await, Poll::Pending);
    bench.vendor.begun(1).await;
}

//! A mint belongs to the book: who leaves cancels nothing, and a mint that falls over leaves nobody waiting.

use std::future::Future;
use std::pin::Pin;

use super::test_bench::*;
use crate::lease::{NoLease, Source};
use crate::provider::MintFailure;

/// The ways a mint goes on while its first caller is polled `polls` times and then gone.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Gone {
    /// Before the mint's task has run at all.
    AtOnce,
    /// While the vendor thinks.
    Meanwhile,
    /// When the mint has landed, before the caller has looked.
    AtTheEnd,
}

type Request = Pin<Box<dyn Future<Output = Got> + Send>>;

async fn leave(bench: &TestBench, mut first: Request, polls: usize, when: Gone, call: usize) {
    for _ in 0..polls {
        if poll_once(&mut first).await.is_ready() {
            panic!("the vendor has not answered yet");
        }
        if when != Gone::AtOnce {
            settle().await;
        }
    }
    if when == Gone::AtTheEnd && polls > 0 {
        bench.vendor.answer(call, Answer::Life(HOUR));
        settle().await;
    }
    drop(first);
}

#[tokio::test]
async fn whenever_the_first_caller_leaves_the_others_get_its_one_mint() {
    for when in [Gone::AtOnce, Gone::Meanwhile, Gone::AtTheEnd] {
        for polls in 0..5 {
            let bench = TestBench::new();
            let first: Request = Box::pin(bench.get("ada"));
            let mut others: Vec<Request> = (0..3).map(|_| Box::pin(bench.get("ada")) as Request).collect();
            if polls > 0 {
                // They ask while the first is still there.
                let mut first = first;
                assert!(poll_once(&mut first).await.is_pending());
                for other in &mut others {
                    assert!(poll_once(other).await.is_pending());
                }
                leave(&bench, first, polls, when, 0).await;
            } else {
                leave(&bench, first, polls, when, 0).await;
            }
            let others: Vec<_> = others.into_iter().map(tokio::spawn).collect();
            settle().await;
            if polls == 0 || when != Gone::AtTheEnd {
                bench.vendor.answer(0, Answer::Life(HOUR));
            }
            for other in others {
                assert_eq!(other.await.unwrap().unwrap().0, 0, "{when:?}, {polls} polls");
            }
            assert_eq!((bench.vendor.calls(), bench.gauge()), (1, 1), "{when:?}, {polls} polls");
            bench.assert_forgets_everything().await;
        }
    }
}

#[tokio::test]
async fn a_mint_that_nobody_waits_for_any_more_is_held_for_the_next() {
    for when in [Gone::AtOnce, Gone::Meanwhile, Gone::AtTheEnd] {
        let bench = TestBench::new();
        leave(&bench, Box::pin(bench.get("ada")), 1, when, 0).await;
        settle().await;
        if when != Gone::AtTheEnd {
            bench.vendor.answer(0, Answer::Life(HOUR));
            settle().await;
        }
        assert_eq!(bench.get("ada").await, Ok((0, Source::Hit)));
        bench.assert_forgets_everything().await;
    }
}

#[tokio::test]
async fn whenever_a_post_leaves_its_mint_goes_on_and_the_next_post_gets_its_own() {
    for when in [Gone::AtOnce, Gone::Meanwhile, Gone::AtTheEnd] {
        let bench = TestBench::new();
        bench.hold("ada", HOUR).await;
        leave(&bench, Box::pin(bench.post("ada")), 1, when, 1).await;
        settle().await;
        if when != Gone::AtTheEnd {
            assert_eq!(bench.held("ada"), Some((0, false)), "it goes on until the scan's URL has come");
            bench.vendor.answer(1, Answer::Life(HOUR));
            settle().await;
        }
        assert_eq!(bench.get("ada").await, Ok((1, Source::Hit)));
        assert_eq!((bench.vendor.calls(), bench.gauge()), (2, 1));
        bench.assert_forgets_everything().await;
    }
}

#[tokio::test]
async fn a_queued_post_that_leaves_is_still_minted_for_those_that_share_it() {
    let bench = TestBench::new();
    let first = bench.posting("ada").await;
    let mut leaves: Request = Box::pin(bench.post("ada"));
    assert!(poll_once(&mut leaves).await.is_pending());
    let shares = bench.posting("ada").await;
    drop(leaves);
    bench.vendor.answer(0, Answer::Life(HOUR));
    assert_eq!(first.await.unwrap(), Ok((0, Source::Minted)));
    bench.vendor.begun(2).await;
    bench.vendor.answer(1, Answer::Life(HOUR));
    assert_eq!(shares.await.unwrap(), Ok((1, Source::Joined)));
    bench.assert_forgets_everything().await;
}

#[tokio::test]
async fn where_reuse_is_never_a_caller_that_leaves_leaves_nothing_behind() {
    for when in [Gone::AtOnce, Gone::Meanwhile, Gone::AtTheEnd] {
        let bench = TestBench::with(at_most(1), 10);
        leave(&bench, Box::pin(bench.once("ada")), 1, when, 0).await;
        settle().await;
        if when != Gone::AtTheEnd {
            bench.vendor.answer(0, Answer::Life(HOUR));
            settle().await;
        }
        assert!(matches!(bench.once("ada").await, Err(NoLease::Limited(_))), "it counts all the same");
        bench.assert_forgets_everything().await;
    }
}

#[tokio::test]
async fn a_mint_that_falls_over_is_lost_for_its_waiters_and_the_next_caller_mints_again() {
    let bench = TestBench::new();
    let (one, other) = (bench.getting("ada").await, bench.getting("ada").await);
    bench.vendor.answer(0, Answer::Panic);
    assert_eq!(one.await.unwrap(), Err(NoLease::Lost));
    assert_eq!(other.await.unwrap(), Err(NoLease::Lost));
    assert_eq!(bench.hold("ada", HOUR).await, 1);
    assert_eq!(bench.gauge(), 1);
    bench.assert_forgets_everything().await;
}

#[tokio::test]
async fn the_first_to_learn_of_a_lost_mint_can_mint_again() {
    let bench = TestBench::new();
    let first = bench.get("ada");
    let again = bench.get("ada");
    let tries = tokio::spawn(async move { (first.await, again.await) });
    settle().await;
    bench.vendor.answer(0, Answer::Panic);
    bench.vendor.begun(2).await;
    bench.vendor.answer(1, Answer::Life(HOUR));
    assert_eq!(tries.await.unwrap(), (Err(NoLease::Lost), Ok((1, Source::Minted))));
}

#[tokio::test]
async fn a_post_behind_a_mint_that_falls_over_is_minted_all_the_same() {
    let bench = TestBench::new();
    let first = bench.posting("ada").await;
    let second = bench.posting("ada").await;
    bench.vendor.answer(0, Answer::Panic);
    assert!(first.await.unwrap().is_err());
    bench.vendor.begun(2).await;
    bench.vendor.answer(1, Answer::Life(HOUR));
    assert_eq!(second.await.unwrap(), Ok((1, Source::Minted)));
    assert_eq!(bench.get("ada").await, Ok((1, Source::Hit)));
    bench.assert_forgets_everything().await;
}

#[tokio::test]
async fn a_post_behind_a_mint_that_fails_fails_with_it_so_that_nobody_waits_past_one_time_out() {
    let bench = TestBench::new();
    let first = bench.posting("ada").await;
    let second = bench.posting("ada").await;
    bench.vendor.answer(0, Answer::Fail(MintFailure::TimedOut));
    assert_eq!(first.await.unwrap(), Err(NoLease::Mint(MintFailure::TimedOut)));
    assert_eq!(second.await.unwrap(), Err(NoLease::Mint(MintFailure::TimedOut)));
    assert_eq!(bench.vendor.calls(), 1);
    bench.assert_forgets_everything().await;
}

#[tokio::test]
async fn where_reuse_is_never_a_mint_that_falls_over_is_lost_and_does_not_count() {
    let bench = TestBench::with(at_most(1), 10);
    let lost = bench.onceing("ada").await;
    bench.vendor.answer(0, Answer::Panic);
    assert_eq!(lost.await.unwrap(), Err(NoLease::Lost));
    let next = bench.onceing("ada").await;
    bench.vendor.answer(1, Answer::Life(HOUR));
    assert_eq!(next.await.unwrap(), Ok((1, Source::Minted)));
    bench.assert_forgets_everything().await;
}

#[tokio::test]
async fn a_caller_that_falls_over_before_its_mint_starts_does_not_block_its_key() {
    for name in ["obtain", "renew", "once", "ahead"] {
        let bench = TestBench::with(crate::lease::Rules { refresh_ahead: Some(30 * MINUTE), ..at_most(2) }, 10);
        if name == "ahead" {
            bench.hold("ada", 20 * MINUTE).await;
        }
        let (book, policy) = (bench.book.clone(), bench.policy.clone());
        let falls = tokio::spawn(async move {
            let (ada, input) = (key("ada"), || std::panic::resume_unwind(Box::new("no input")));
            match name {
                "obtain" => drop(book.obtain(&policy, &ada, input).await),
                "renew" => drop(book.renew(&policy, &ada, input).await),
                "once" => drop(book.once(&policy, &ada, input).await),
                _ => book.ahead(&policy, &ada, input),
            }
        });
        assert!(falls.await.unwrap_err().is_panic());
        let calls = bench.vendor.calls();
        let next = bench.posting("ada").await;
        bench.vendor.answer(calls, Answer::Life(HOUR));
        assert_eq!(next.await.unwrap(), Ok((calls, Source::Minted)), "after {name}");
        bench.assert_forgets_everything().await;
    }
}

#[test]
fn a_runtime_that_ends_leaves_no_flight_behind() {
    let bench = TestBench::new();
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    for request in [Box::pin(bench.get("ada")) as Request, Box::pin(bench.post("bob")), Box::pin(bench.once("eve"))] {
        let ending = runtime();
        ending.block_on(async {
            tokio::spawn(request);
            settle().await;
        });
        drop(ending);
    }
    let next = runtime();
    next.block_on(async {
        assert_eq!(bench.hold("ada", HOUR).await, 3);
        assert_eq!(bench.hold("bob", HOUR).await, 4);
        bench.assert_forgets_everything().await;
    });
}

//! `mints_per_subject`, `capacity`, and memory: nothing stays for ever.

use std::sync::Arc;

use tokio::sync::watch;

use super::test_bench::*;
use crate::lease::{NoLease, Scope, Source};
use crate::provider::MintFailure;

#[tokio::test]
async fn mints_of_one_subject_are_bounded_within_a_window() {
    let bench = TestBench::with(at_most(2), 10);
    bench.hold("ada/en", HOUR).await;
    bench.clock_control.advance(10 * MINUTE);
    bench.hold("ada/nl", HOUR).await;
    assert_eq!(bench.get("ada/fr").await, Err(NoLease::Limited(50 * MINUTE)));
    assert_eq!(bench.get("ada/en").await, Ok((0, Source::Hit)), "what is held is not a mint");
    bench.hold("bob", HOUR).await;

    bench.clock_control.advance(50 * MINUTE - MILLI);
    assert_eq!(bench.get("ada/fr").await, Err(NoLease::Limited(MILLI)));
    bench.clock_control.advance(MILLI);
    bench.hold("ada/fr", HOUR).await;
    assert_eq!(bench.get("ada/de").await, Err(NoLease::Limited(10 * MINUTE)));
    bench.assert_forgets_everything().await;
}

#[tokio::test]
async fn failed_mints_do_not_count() {
    let bench = TestBench::with(at_most(1), 10);
    for _ in 0..5 {
        bench.fail("ada").await;
        bench.clock_control.advance(SECOND);
    }
    bench.hold("ada", HOUR).await;
    assert!(matches!(bench.get("ada/nl").await, Err(NoLease::Limited(_))));
    bench.assert_forgets_everything().await;
}

#[tokio::test]
async fn short_urls_count() {
    let bench = TestBench::with(at_most(1), 10);
    bench.hold("ada", MINUTE).await;
    assert_eq!(bench.get("ada").await, Err(NoLease::Limited(HOUR)));
    bench.assert_forgets_everything().await;
}

#[tokio::test]
async fn mints_under_way_take_their_places_so_that_a_burst_passes_no_bound() {
    let bench = TestBench::with(at_most(2), 10);
    let (one, other) = (bench.onceing("ada").await, bench.onceing("ada").await);
    assert_eq!(bench.once("ada").await, Err(NoLease::Limited(SECOND)));
    assert_eq!(bench.get("ada").await, Err(NoLease::Limited(SECOND)));
    assert_eq!(bench.vendor.calls(), 2);
    bench.vendor.answer(0, Answer::Fail(MintFailure::Refused));
    assert!(one.await.unwrap().is_err());
    let third = bench.onceing("ada").await;
    assert_eq!(bench.once("ada").await, Err(NoLease::Limited(SECOND)), "one failed, one more began");
    bench.vendor.answer(1, Answer::Life(HOUR));
    bench.vendor.answer(2, Answer::Life(HOUR));
    assert!(other.await.unwrap().is_ok() && third.await.unwrap().is_ok());
    assert_eq!(bench.once("ada").await, Err(NoLease::Limited(HOUR)));
    bench.assert_forgets_everything().await;

    let bench = TestBench::with(at_most(2), 10);
    let (en, nl) = (bench.getting("ada/en").await, bench.getting("ada/nl").await);
    assert_eq!(bench.get("ada/fr").await, Err(NoLease::Limited(SECOND)));
    bench.vendor.answer(0, Answer::Life(HOUR));
    bench.vendor.answer(1, Answer::Life(HOUR));
    assert!(en.await.unwrap().is_ok() && nl.await.unwrap().is_ok());
    bench.assert_forgets_everything().await;
}

#[tokio::test]
async fn a_mint_that_has_landed_does_not_count_twice() {
    let bench = TestBench::with(at_most(2), 10);
    let (first, second) = (bench.post("ada"), bench.post("ada"));
    let both = tokio::spawn(async move { (first.await, second.await) });
    bench.vendor.begun(1).await;
    bench.vendor.answer(0, Answer::Life(HOUR));
    bench.vendor.begun(2).await;
    bench.vendor.answer(1, Answer::Life(HOUR));
    assert_eq!(both.await.unwrap(), (Ok((0, Source::Minted)), Ok((1, Source::Minted))));
}

#[tokio::test]
async fn a_slow_mint_that_is_never_reused_counts_although_sweeps_came_between() {
    let bench = TestBench::with(at_most(1), 10);
    let slow = bench.onceing("ada").await;
    for _ in 0..3 {
        bench.clock_control.advance(SECOND);
        bench.book.leases().sweep();
    }
    bench.vendor.answer(0, Answer::Life(HOUR));
    assert!(slow.await.unwrap().is_ok());
    for _ in 0..3 {
        bench.clock_control.advance(SECOND);
        bench.book.leases().sweep();
    }
    assert_eq!(bench.once("ada").await, Err(NoLease::Limited(HOUR - 3 * SECOND)));
    bench.assert_forgets_everything().await;
}

#[tokio::test]
async fn a_post_that_the_bound_refuses_forgets_nothing() {
    let bench = TestBench::with(at_most(2), 10);
    bench.hold("ada/en", HOUR).await;
    bench.hold("ada/nl", HOUR).await;
    assert_eq!(bench.post("ada/en").await, Err(NoLease::Limited(HOUR)));
    assert_eq!(bench.get("ada/en").await, Ok((0, Source::Hit)));
    assert_eq!(bench.get("ada/nl").await, Ok((1, Source::Hit)));
    assert_eq!(bench.gauge(), 2);
    bench.assert_forgets_everything().await;
}

#[tokio::test]
async fn callers_that_the_bound_turns_away_leave_nothing_behind() {
    let bench = TestBench::with(at_most(1), 10);
    bench.hold("ada", HOUR).await;
    for session in 0..100 {
        assert!(bench.get(&format!("ada/{session}")).await.is_err());
        assert!(bench.post(&format!("ada/{session}")).await.is_err());
    }
    assert_eq!(bench.book.leases().slots(&key("ada")), 1);
    bench.assert_forgets_everything().await;
}

#[tokio::test]
async fn at_the_capacity_the_lease_that_ends_soonest_goes() {
    let bench = TestBench::with(rules(), 3);
    for (name, hours) in [("ada", 3), ("bob", 1), ("eve", 2)] {
        bench.hold(name, hours * HOUR).await;
    }
    assert_eq!((bench.gauge(), bench.metrics.leases_evicted.get()), (3, 0));
    bench.hold("joe", 4 * HOUR).await;
    assert_eq!((bench.gauge(), bench.metrics.leases_evicted.get()), (3, 1));
    assert_eq!(bench.held("bob"), None);
    bench.hold("kim", 30 * MINUTE).await;
    assert_eq!(bench.held("kim"), None, "its caller has it; there is no room to hold it");
    assert_eq!((bench.gauge(), bench.metrics.leases_evicted.get()), (3, 2));
    assert!(["ada", "eve", "joe"].iter().all(|name| bench.held(name).is_some()));
    bench.assert_forgets_everything().await;
}

#[tokio::test]
async fn a_replaced_lease_takes_no_room() {
    let bench = TestBench::with(rules(), 2);
    bench.hold("ada", HOUR).await;
    for call in 1..10 {
        let post = bench.posting("bob").await;
        bench.vendor.answer(call, Answer::Life(2 * HOUR));
        assert!(post.await.unwrap().is_ok());
    }
    assert_eq!((bench.gauge(), bench.metrics.leases_evicted.get()), (2, 0));
    assert_eq!(bench.book.leases().sizes().1, 2);
    bench.assert_forgets_everything().await;
}

#[tokio::test]
async fn everything_is_cleared_away_however_it_ended() {
    let endings: [fn() -> Answer; 5] = [
        || Answer::Life(HOUR),
        || Answer::Endless,
        || Answer::Life(MINUTE),
        || Answer::Fail(MintFailure::TimedOut),
        || Answer::Panic,
    ];
    let bench = TestBench::with(at_most(3), 1_000);
    for ending in endings {
        for name in ["ada/en", "ada/nl", "bob"] {
            for kind in 0..3 {
                let call = bench.vendor.calls();
                let task = match kind {
                    0 => bench.getting(name).await,
                    1 => bench.posting(name).await,
                    _ => bench.onceing(name).await,
                };
                if bench.vendor.calls() > call {
                    bench.vendor.answer(call, ending());
                }
                let _ = task.await.unwrap();
                bench.gauge();
            }
        }
    }
    bench.assert_forgets_everything().await;
}

#[tokio::test]
async fn a_failure_is_cleared_away_soon_and_a_counted_mint_after_its_window() {
    let bench = TestBench::new();
    bench.fail("ada").await;
    assert_eq!(bench.book.leases().sizes(), (1, 0, 1));
    bench.clock_control.advance(SECOND);
    bench.book.leases().sweep();
    assert_eq!(bench.book.leases().sizes(), (0, 0, 0));

    bench.hold("ada", MINUTE).await;
    bench.clock_control.advance(HOUR - MILLI);
    bench.book.leases().sweep();
    assert_eq!(bench.book.leases().sizes(), (1, 0, 1));
    bench.clock_control.advance(MILLI);
    bench.book.leases().sweep();
    assert_eq!(bench.book.leases().sizes(), (0, 0, 0));
}

#[tokio::test]
async fn a_thousand_failures_of_one_person_ask_for_one_visit_at_a_time() {
    let bench = TestBench::new();
    for _ in 0..1_000 {
        bench.fail("ada").await;
        bench.clock_control.advance(SECOND);
    }
    let (records, ends, visits) = bench.book.leases().sizes();
    assert!(records == 1 && ends == 0 && visits <= 1, "{records} records, {ends} ends, {visits} visits");
    bench.assert_forgets_everything().await;
}

#[tokio::test]
async fn a_sweep_lets_others_run_and_ends_when_it_is_told() {
    let bench = TestBench::with(rules(), 10_000);
    let mut callers = Vec::new();
    for number in 0..2_000 {
        callers.push(tokio::spawn(bench.get(&format!("user-{number}"))));
    }
    bench.vendor.begun(2_000).await;
    for call in 0..2_000 {
        bench.vendor.answer(call, Answer::Life(HOUR));
    }
    for caller in callers {
        assert!(caller.await.unwrap().is_ok());
    }
    assert_eq!(bench.gauge(), 2_000);
    bench.clock_control.advance(HOUR);

    let stop = watch::Sender::new(false);
    let running = tokio::spawn(Arc::clone(bench.book.leases()).run(stop.subscribe()));
    let mut seen = Vec::new();
    while bench.gauge() > 0 {
        seen.push(bench.gauge());
        tokio::task::yield_now().await;
    }
    assert!(seen.iter().any(|held| (1..2_000).contains(held)), "nobody else ran during the sweep");
    stop.send_replace(true);
    running.await.unwrap();
    bench.assert_forgets_everything().await;
}

#[tokio::test]
async fn what_a_predecessor_counts_is_told_again_and_again_and_counts_once() {
    // The scope's 32 bytes, and a subject.
    const OWNER: &str = "0123456789abcdef0123456789abcdef-ada";
    let of = |variant: &str| format!("{OWNER}/{variant}");
    let (old, new) = (TestBench::with(at_most(4), 10), TestBench::with(at_most(4), 10));
    let policies = [(Scope::of(OWNER.as_bytes()).unwrap(), new.policy.clone())].into();
    let hand = || {
        for part in old.book.leases().hand_owner(OWNER.as_bytes()) {
            new.book.leases().take_owner(part, &policies);
        }
    };
    old.hold(&of("en"), HOUR).await;
    hand();
    new.hold(&of("nl"), HOUR).await;
    old.hold(&of("de"), HOUR).await;
    for _ in 0..3 {
        hand();
    }
    new.hold(&of("fr"), HOUR).await;
    assert_eq!(new.get(&of("it")).await, Err(NoLease::Limited(HOUR)), "four are counted: two here, and two there");
    for bench in [&old, &new] {
        bench.clock_control.advance(HOUR);
    }
    hand();
    new.hold(&of("it"), HOUR).await;
}

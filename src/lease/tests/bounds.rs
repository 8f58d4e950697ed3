//! `mints_per_subject`, `capacity`, and memory: nothing stays for ever.

use std::sync::Arc;

use tokio::sync::watch;

use super::bed::*;
use crate::lease::{NoLease, Source};
use crate::provider::MintFailure;

#[tokio::test]
async fn mints_of_one_subject_are_bounded_within_a_window() {
    let bed = Bed::with(at_most(2), 10);
    bed.hold("ada/en", HOUR).await;
    bed.hands.advance(10 * MINUTE);
    bed.hold("ada/nl", HOUR).await;
    assert_eq!(bed.get("ada/fr").await, Err(NoLease::Limited(50 * MINUTE)));
    assert_eq!(bed.get("ada/en").await, Ok((0, Source::Hit)), "what is held is not a mint");
    bed.hold("bob", HOUR).await;

    bed.hands.advance(50 * MINUTE - MILLI);
    assert_eq!(bed.get("ada/fr").await, Err(NoLease::Limited(MILLI)));
    bed.hands.advance(MILLI);
    bed.hold("ada/fr", HOUR).await;
    assert_eq!(bed.get("ada/de").await, Err(NoLease::Limited(10 * MINUTE)));
    bed.assert_forgets_everything().await;
}

#[tokio::test]
async fn failed_mints_do_not_count() {
    let bed = Bed::with(at_most(1), 10);
    for _ in 0..5 {
        bed.fail("ada").await;
        bed.hands.advance(SECOND);
    }
    bed.hold("ada", HOUR).await;
    assert!(matches!(bed.get("ada/nl").await, Err(NoLease::Limited(_))));
    bed.assert_forgets_everything().await;
}

#[tokio::test]
async fn short_urls_count() {
    let bed = Bed::with(at_most(1), 10);
    bed.hold("ada", MINUTE).await;
    assert_eq!(bed.get("ada").await, Err(NoLease::Limited(HOUR)));
    bed.assert_forgets_everything().await;
}

#[tokio::test]
async fn mints_under_way_take_their_places_so_that_a_burst_passes_no_bound() {
    let bed = Bed::with(at_most(2), 10);
    let (one, other) = (bed.onceing("ada").await, bed.onceing("ada").await);
    assert_eq!(bed.once("ada").await, Err(NoLease::Limited(SECOND)));
    assert_eq!(bed.get("ada").await, Err(NoLease::Limited(SECOND)));
    assert_eq!(bed.vendor.calls(), 2);
    bed.vendor.answer(0, Answer::Fail(MintFailure::Refused));
    assert!(one.await.unwrap().is_err());
    let third = bed.onceing("ada").await;
    assert_eq!(bed.once("ada").await, Err(NoLease::Limited(SECOND)), "one failed, one more began");
    bed.vendor.answer(1, Answer::Life(HOUR));
    bed.vendor.answer(2, Answer::Life(HOUR));
    assert!(other.await.unwrap().is_ok() && third.await.unwrap().is_ok());
    assert_eq!(bed.once("ada").await, Err(NoLease::Limited(HOUR)));
    bed.assert_forgets_everything().await;

    let bed = Bed::with(at_most(2), 10);
    let (en, nl) = (bed.getting("ada/en").await, bed.getting("ada/nl").await);
    assert_eq!(bed.get("ada/fr").await, Err(NoLease::Limited(SECOND)));
    bed.vendor.answer(0, Answer::Life(HOUR));
    bed.vendor.answer(1, Answer::Life(HOUR));
    assert!(en.await.unwrap().is_ok() && nl.await.unwrap().is_ok());
    bed.assert_forgets_everything().await;
}

#[tokio::test]
async fn a_mint_that_has_landed_does_not_count_twice() {
    let bed = Bed::with(at_most(2), 10);
    let (first, second) = (bed.post("ada"), bed.post("ada"));
    let both = tokio::spawn(async move { (first.await, second.await) });
    bed.vendor.begun(1).await;
    bed.vendor.answer(0, Answer::Life(HOUR));
    bed.vendor.begun(2).await;
    bed.vendor.answer(1, Answer::Life(HOUR));
    assert_eq!(both.await.unwrap(), (Ok((0, Source::Minted)), Ok((1, Source::Minted))));
}

#[tokio::test]
async fn a_slow_mint_that_is_never_reused_counts_although_sweeps_came_between() {
    let bed = Bed::with(at_most(1), 10);
    let slow = bed.onceing("ada").await;
    for _ in 0..3 {
        bed.hands.advance(SECOND);
        bed.book.sweep();
    }
    bed.vendor.answer(0, Answer::Life(HOUR));
    assert!(slow.await.unwrap().is_ok());
    for _ in 0..3 {
        bed.hands.advance(SECOND);
        bed.book.sweep();
    }
    assert_eq!(bed.once("ada").await, Err(NoLease::Limited(HOUR - 3 * SECOND)));
    bed.assert_forgets_everything().await;
}

#[tokio::test]
async fn a_post_that_the_bound_refuses_forgets_nothing() {
    let bed = Bed::with(at_most(2), 10);
    bed.hold("ada/en", HOUR).await;
    bed.hold("ada/nl", HOUR).await;
    assert_eq!(bed.post("ada/en").await, Err(NoLease::Limited(HOUR)));
    assert_eq!(bed.get("ada/en").await, Ok((0, Source::Hit)));
    assert_eq!(bed.get("ada/nl").await, Ok((1, Source::Hit)));
    assert_eq!(bed.gauge(), 2);
    bed.assert_forgets_everything().await;
}

#[tokio::test]
async fn callers_that_the_bound_turns_away_leave_nothing_behind() {
    let bed = Bed::with(at_most(1), 10);
    bed.hold("ada", HOUR).await;
    for session in 0..100 {
        assert!(bed.get(&format!("ada/{session}")).await.is_err());
        assert!(bed.post(&format!("ada/{session}")).await.is_err());
    }
    assert_eq!(bed.book.slots(&key("ada")), 1);
    bed.assert_forgets_everything().await;
}

#[tokio::test]
async fn at_the_capacity_the_lease_that_ends_soonest_goes() {
    let bed = Bed::with(rules(), 3);
    for (name, hours) in [("ada", 3), ("bob", 1), ("eve", 2)] {
        bed.hold(name, hours * HOUR).await;
    }
    assert_eq!((bed.gauge(), bed.metrics.leases_evicted.get()), (3, 0));
    bed.hold("joe", 4 * HOUR).await;
    assert_eq!((bed.gauge(), bed.metrics.leases_evicted.get()), (3, 1));
    assert_eq!(bed.held("bob"), None);
    bed.hold("kim", 30 * MINUTE).await;
    assert_eq!(bed.held("kim"), None, "its caller has it; there is no room to hold it");
    assert_eq!((bed.gauge(), bed.metrics.leases_evicted.get()), (3, 2));
    assert!(["ada", "eve", "joe"].iter().all(|name| bed.held(name).is_some()));
    bed.assert_forgets_everything().await;
}

#[tokio::test]
async fn a_replaced_lease_takes_no_room() {
    let bed = Bed::with(rules(), 2);
    bed.hold("ada", HOUR).await;
    for call in 1..10 {
        let post = bed.posting("bob").await;
        bed.vendor.answer(call, Answer::Life(2 * HOUR));
        assert!(post.await.unwrap().is_ok());
    }
    assert_eq!((bed.gauge(), bed.metrics.leases_evicted.get()), (2, 0));
    assert_eq!(bed.book.sizes().1, 2);
    bed.assert_forgets_everything().await;
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
    let bed = Bed::with(at_most(3), 1_000);
    for ending in endings {
        for name in ["ada/en", "ada/nl", "bob"] {
            for kind in 0..3 {
                let call = bed.vendor.calls();
                let task = match kind {
                    0 => bed.getting(name).await,
                    1 => bed.posting(name).await,
                    _ => bed.onceing(name).await,
                };
                if bed.vendor.calls() > call {
                    bed.vendor.answer(call, ending());
                }
                let _ = task.await.unwrap();
                bed.gauge();
            }
        }
    }
    bed.assert_forgets_everything().await;
}

#[tokio::test]
async fn a_failure_is_cleared_away_soon_and_a_counted_mint_after_its_window() {
    let bed = Bed::new();
    bed.fail("ada").await;
    assert_eq!(bed.book.sizes(), (1, 0, 1));
    bed.hands.advance(SECOND);
    bed.book.sweep();
    assert_eq!(bed.book.sizes(), (0, 0, 0));

    bed.hold("ada", MINUTE).await;
    bed.hands.advance(HOUR - MILLI);
    bed.book.sweep();
    assert_eq!(bed.book.sizes(), (1, 0, 1));
    bed.hands.advance(MILLI);
    bed.book.sweep();
    assert_eq!(bed.book.sizes(), (0, 0, 0));
}

#[tokio::test]
async fn a_thousand_failures_of_one_person_ask_for_one_visit_at_a_time() {
    let bed = Bed::new();
    for _ in 0..1_000 {
        bed.fail("ada").await;
        bed.hands.advance(SECOND);
    }
    let (records, ends, visits) = bed.book.sizes();
    assert!(records == 1 && ends == 0 && visits <= 1, "{records} records, {ends} ends, {visits} visits");
    bed.assert_forgets_everything().await;
}

#[tokio::test]
async fn a_sweep_lets_others_run_and_ends_when_it_is_told() {
    let bed = Bed::with(rules(), 10_000);
    let mut callers = Vec::new();
    for number in 0..2_000 {
        callers.push(tokio::spawn(bed.get(&format!("user-{number}"))));
    }
    bed.vendor.begun(2_000).await;
    for call in 0..2_000 {
        bed.vendor.answer(call, Answer::Life(HOUR));
    }
    for caller in callers {
        assert!(caller.await.unwrap().is_ok());
    }
    assert_eq!(bed.gauge(), 2_000);
    bed.hands.advance(HOUR);

    let stop = watch::Sender::new(false);
    let running = tokio::spawn(Arc::clone(&bed.book).run(stop.subscribe()));
    let mut seen = Vec::new();
    while bed.gauge() > 0 {
        seen.push(bed.gauge());
        tokio::task::yield_now().await;
    }
    assert!(seen.iter().any(|held| (1..2_000).contains(held)), "nobody else ran during the sweep");
    stop.send_replace(true);
    running.await.unwrap();
    bed.assert_forgets_everything().await;
}

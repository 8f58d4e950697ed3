//! Links that may be used only so often.

use super::test_bench::*;
use crate::lease::{NoLease, Rules, Source};

#[tokio::test]
async fn a_link_is_handed_out_as_often_as_it_may_be_used_and_then_the_next_request_mints() {
    let bench = TestBench::new();
    let first = bench.getting("ada").await;
    bench.vendor.answer(0, Answer::Counted(3));
    assert_eq!(first.await.unwrap(), Ok((0, Source::Minted)));
    assert_eq!(bench.get("ada").await, Ok((0, Source::Hit)));
    assert_eq!(bench.held("ada"), Some((0, false)));
    assert_eq!(bench.held("ada"), None, "it has been handed out three times");
    let fourth = bench.getting("ada").await;
    bench.vendor.answer(1, Answer::Life(HOUR));
    assert_eq!(fourth.await.unwrap(), Ok((1, Source::Minted)));
    for _ in 0..5 {
        assert_eq!(bench.get("ada").await, Ok((1, Source::Hit)), "nobody counts this one");
    }
    bench.assert_forgets_everything().await;
}

#[tokio::test]
async fn nobody_who_joins_a_mint_gets_a_link_that_others_have_used_up() {
    let bench = TestBench::new();
    let callers = [bench.getting("ada").await, bench.getting("ada").await, bench.getting("ada").await];
    bench.vendor.answer(0, Answer::Counted(1));
    bench.vendor.begun(2).await;
    bench.vendor.answer(1, Answer::Counted(1));
    bench.vendor.begun(3).await;
    bench.vendor.answer(2, Answer::Counted(1));
    let mut links = Vec::new();
    for caller in callers {
        links.push(caller.await.unwrap().unwrap().0);
    }
    links.sort_unstable();
    assert_eq!(links, [0, 1, 2]);
    bench.assert_forgets_everything().await;
}

#[tokio::test]
async fn a_vendor_whose_links_are_all_used_up_is_asked_no_more_often_than_a_subject_may() {
    let bench = TestBench::with(at_most(2), 10);
    for call in 0..2 {
        let get = bench.getting("ada").await;
        bench.vendor.answer(call, Answer::Counted(1));
        assert_eq!(get.await.unwrap(), Ok((call, Source::Minted)));
    }
    assert!(matches!(bench.get("ada").await, Err(NoLease::Limited(_))));
    assert_eq!(bench.vendor.calls(), 2);
}

#[tokio::test]
async fn a_renewal_ahead_uses_nothing_of_the_link_that_it_brings() {
    let bench = TestBench::with(Rules { refresh_ahead: Some(30 * MINUTE), ..rules() }, 10);
    bench.hold("ada", 20 * MINUTE).await;
    assert_eq!(bench.held("ada"), Some((0, true)));
    bench.ahead("ada").await;
    bench.vendor.answer(1, Answer::Counted(1));
    settle().await;
    assert_eq!(bench.held("ada"), Some((1, false)));
    assert_eq!(bench.held("ada"), None);
}

//! "Scan again": a `POST` is answered by a mint that began after it arrived; what is held is given up when its URL has come.

use super::test_bench::*;
use crate::lease::{NoLease, Source};
use crate::provider::MintFailure;

#[tokio::test]
async fn a_post_is_answered_by_a_new_mint_which_is_then_held() {
    let bench = TestBench::new();
    bench.hold("ada", HOUR).await;
    let post = bench.posting("ada").await;
    assert_eq!((bench.gauge(), bench.held("ada")), (1, Some((0, false))), "until the new one has come");
    bench.vendor.answer(1, Answer::Life(HOUR));
    assert_eq!(post.await.unwrap(), Ok((1, Source::Minted)));
    assert_eq!(bench.get("ada").await, Ok((1, Source::Hit)));
    assert_eq!(bench.gauge(), 1);
    bench.assert_forgets_everything().await;
}

#[tokio::test]
async fn a_post_forgets_every_language_and_nobody_elses() {
    let bench = TestBench::new();
    for name in ["ada/en", "ada/nl", "ada", "bob/en", "dashboard-ada/en"] {
        bench.hold(name, HOUR).await;
    }
    let post = bench.posting("ada/en").await;
    bench.vendor.answer(5, Answer::Life(HOUR));
    assert_eq!(post.await.unwrap(), Ok((5, Source::Minted)));
    assert_eq!((bench.held("ada/nl"), bench.held("ada")), (None, None));
    assert_eq!(bench.held("ada/en"), Some((5, false)));
    assert_eq!((bench.held("bob/en"), bench.held("dashboard-ada/en")), (Some((3, false)), Some((4, false))));
    assert_eq!(bench.gauge(), 3);
    bench.assert_forgets_everything().await;
}

#[tokio::test]
async fn twenty_posts_at_once_cost_two_mints_and_gets_meanwhile_cost_none() {
    let bench = TestBench::new();
    let first = bench.posting("ada").await;
    let get = bench.getting("ada").await;
    let mut others = Vec::new();
    for _ in 0..19 {
        others.push(bench.posting("ada").await);
        others.push(bench.getting("ada").await);
    }
    assert_eq!(bench.vendor.calls(), 1, "the waiting ones wait for the first");
    bench.vendor.answer(0, Answer::Life(HOUR));
    assert_eq!(first.await.unwrap(), Ok((0, Source::Minted)));
    assert_eq!(get.await.unwrap(), Ok((0, Source::Joined)));
    bench.vendor.begun(2).await;
    assert_eq!(bench.held("ada"), Some((0, false)), "what the first brought goes on until the second has come");
    bench.vendor.answer(1, Answer::Life(HOUR));
    for (number, other) in others.into_iter().enumerate() {
        let source = if number == 0 { Source::Minted } else { Source::Joined };
        assert_eq!(other.await.unwrap(), Ok((1, source)));
    }
    settle().await;
    assert_eq!((bench.vendor.calls(), bench.gauge(), bench.held("ada")), (2, 1, Some((1, false))));
    bench.assert_forgets_everything().await;
}

#[tokio::test]
async fn a_post_during_a_gets_mint_does_not_wait_for_it_and_does_not_get_its_url() {
    for get_lands_first in [true, false] {
        let bench = TestBench::new();
        let get = bench.getting("ada").await;
        let post = bench.posting("ada").await;
        assert_eq!(bench.vendor.calls(), 2);
        let later = bench.getting("ada").await;
        for call in if get_lands_first { [0, 1] } else { [1, 0] } {
            bench.vendor.answer(call, Answer::Life(if call == 0 { 2 * HOUR } else { HOUR }));
            settle().await;
        }
        assert_eq!(get.await.unwrap(), Ok((0, Source::Minted)), "those that waited for it get it");
        assert_eq!(post.await.unwrap(), Ok((1, Source::Minted)));
        assert_eq!(later.await.unwrap(), Ok((1, Source::Joined)));
        assert_eq!(bench.get("ada").await, Ok((1, Source::Hit)), "though the other has more life");
        assert_eq!((bench.vendor.calls(), bench.gauge()), (2, 1));
        bench.assert_forgets_everything().await;
    }
}

#[tokio::test]
async fn a_mint_that_began_before_a_post_in_another_language_is_not_kept() {
    let bench = TestBench::new();
    let get = bench.getting("ada/nl").await;
    let post = bench.posting("ada/en").await;
    bench.vendor.answer(0, Answer::Life(HOUR));
    bench.vendor.answer(1, Answer::Life(HOUR));
    assert_eq!(get.await.unwrap(), Ok((0, Source::Minted)));
    assert_eq!(post.await.unwrap(), Ok((1, Source::Minted)));
    assert_eq!(bench.held("ada/nl"), None);
    assert_eq!(bench.gauge(), 1);
    bench.assert_forgets_everything().await;
}

#[tokio::test]
async fn a_get_after_a_post_joins_no_mint_from_before_it_in_another_language_either() {
    let bench = TestBench::new();
    let before = bench.getting("ada/nl").await;
    let post = bench.posting("ada/en").await;
    let meanwhile = bench.getting("ada/nl").await;
    bench.vendor.answer(1, Answer::Life(HOUR));
    assert_eq!(post.await.unwrap(), Ok((1, Source::Minted)));
    let after = bench.getting("ada/nl").await;
    for call in [0, 2] {
        bench.vendor.answer(call, Answer::Life(HOUR));
    }
    assert_eq!(before.await.unwrap(), Ok((0, Source::Minted)));
    assert_eq!(meanwhile.await.unwrap(), Ok((0, Source::Joined)), "the scan had not come to its end");
    assert_eq!(after.await.unwrap(), Ok((2, Source::Minted)));
    assert_eq!(bench.held("ada/nl"), Some((2, false)));
    bench.assert_forgets_everything().await;
}

#[tokio::test]
async fn a_get_joins_a_mint_that_is_queued_although_a_post_in_another_language_came_between() {
    let bench = TestBench::new();
    let first = bench.posting("ada/en").await;
    let queued = bench.posting("ada/en").await;
    let other = bench.posting("ada/nl").await;
    let get = bench.getting("ada/en").await;
    assert_eq!(bench.vendor.calls(), 2);
    bench.vendor.answer(0, Answer::Life(HOUR));
    bench.vendor.begun(3).await;
    bench.vendor.answer(1, Answer::Life(HOUR));
    bench.vendor.answer(2, Answer::Life(HOUR));
    assert_eq!(first.await.unwrap(), Ok((0, Source::Minted)));
    assert_eq!(other.await.unwrap(), Ok((1, Source::Minted)));
    assert_eq!(queued.await.unwrap(), Ok((2, Source::Minted)));
    assert_eq!(get.await.unwrap(), Ok((2, Source::Joined)));
    assert_eq!((bench.held("ada/en"), bench.held("ada/nl")), (Some((2, false)), Some((1, false))));
    assert_eq!((bench.vendor.calls(), bench.gauge()), (3, 2));
    bench.assert_forgets_everything().await;
}

#[tokio::test]
async fn a_post_whose_mint_fails_is_refused_and_gets_go_on_in_every_language() {
    let bench = TestBench::new();
    for name in ["ada/en", "ada/nl"] {
        bench.hold(name, HOUR).await;
    }
    let post = bench.posting("ada/en").await;
    bench.vendor.answer(2, Answer::Fail(MintFailure::Refused));
    assert_eq!(post.await.unwrap(), Err(NoLease::Mint(MintFailure::Refused)));
    assert_eq!(bench.get("ada/en").await, Ok((0, Source::Hit)));
    assert_eq!(bench.get("ada/nl").await, Ok((1, Source::Hit)));
    assert_eq!(bench.post("ada/en").await, Err(NoLease::Mint(MintFailure::Refused)), "within a second");
    assert_eq!((bench.vendor.calls(), bench.gauge()), (3, 2));
    bench.assert_forgets_everything().await;
}

#[tokio::test]
async fn a_post_whose_mint_brings_less_life_takes_the_place_of_what_is_held_all_the_same() {
    for life in [HOUR, 2 * MINUTE] {
        let bench = TestBench::new();
        bench.hold("ada", 2 * HOUR).await;
        let post = bench.posting("ada").await;
        bench.vendor.answer(1, Answer::Life(life));
        assert_eq!(post.await.unwrap(), Ok((1, Source::Minted)));
        let held = (life == HOUR).then_some((1, false));
        assert_eq!(bench.held("ada"), held, "one with too little life to be held gives the other one up too");
        bench.assert_forgets_everything().await;
    }
}

#[tokio::test]
async fn what_a_get_brings_during_a_post_that_fails_is_held() {
    let bench = TestBench::new();
    let get = bench.getting("ada").await;
    let post = bench.posting("ada").await;
    bench.vendor.answer(0, Answer::Life(HOUR));
    assert_eq!(get.await.unwrap(), Ok((0, Source::Minted)));
    bench.vendor.answer(1, Answer::Fail(MintFailure::Unreachable));
    assert!(post.await.unwrap().is_err());
    assert_eq!(bench.get("ada").await, Ok((0, Source::Hit)));
    bench.assert_forgets_everything().await;
}

#[tokio::test]
async fn posts_one_after_the_other_each_get_a_mint() {
    let bench = TestBench::new();
    for call in 0..5 {
        let post = bench.posting("ada").await;
        bench.vendor.answer(call, Answer::Life(HOUR));
        assert_eq!(post.await.unwrap(), Ok((call, Source::Minted)));
    }
    assert_eq!(bench.gauge(), 1);
    bench.assert_forgets_everything().await;
}

#[tokio::test]
async fn a_post_does_not_get_what_a_mint_ahead_brings() {
    let bench = TestBench::with(crate::lease::Rules { refresh_ahead: Some(30 * MINUTE), ..rules() }, 10);
    bench.hold("ada", 20 * MINUTE).await;
    bench.ahead("ada").await;
    let post = bench.posting("ada").await;
    bench.vendor.answer(1, Answer::Life(5 * HOUR));
    settle().await;
    assert_eq!((bench.gauge(), bench.leases("ahead")), (1, 1), "it serves until the scan's URL has come");
    bench.vendor.answer(2, Answer::Life(HOUR));
    assert_eq!(post.await.unwrap(), Ok((2, Source::Minted)));
    assert_eq!(bench.held("ada"), Some((2, false)));
    bench.assert_forgets_everything().await;
}

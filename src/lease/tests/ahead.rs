//! Refresh ahead: answered at once, minted in the background, and only when somebody asks.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;

use super::test_bench::*;
use crate::clock::Clock;
use crate::lease::{Book, LeaseKey, LeasePolicy, Rules, ShardedRecords, Source};
use crate::provider::{Mint, MintFailure, MintInput, Minted, Pace, PluginUrl, Reason};
use crate::telemetry::Metrics;

/// A book that holds ada's lease (call 0) of 6 h, with so much life left.
async fn bed_with(left: std::time::Duration) -> TestBench {
    let bench = TestBench::with(Rules { refresh_ahead: Some(30 * MINUTE), ..rules() }, 10);
    bench.hold("ada", 6 * HOUR).await;
    bench.clock_control.advance(6 * HOUR - left);
    bench
}

#[tokio::test]
async fn a_lease_with_little_life_left_is_given_at_once_and_minted_anew() {
    let bench = bed_with(25 * MINUTE).await;
    assert_eq!(bench.held("ada"), Some((0, true)));
    bench.ahead("ada").await;
    assert_eq!(bench.vendor.calls(), 2);
    assert_eq!(bench.get("ada").await, Ok((0, Source::Hit)), "nobody waits for it");
    bench.vendor.answer(1, Answer::Life(6 * HOUR));
    settle().await;
    assert_eq!(bench.held("ada"), Some((1, false)));
    assert_eq!((bench.leases("ahead"), bench.leases("minted"), bench.mints("ok"), bench.gauge()), (1, 1, 2, 1));
    bench.assert_forgets_everything().await;
}

#[tokio::test]
async fn it_begins_when_less_is_left_than_was_asked_for() {
    let bench = bed_with(30 * MINUTE + MILLI).await;
    assert_eq!(bench.held("ada"), Some((0, false)));
    bench.ahead("ada").await;
    assert_eq!(bench.vendor.calls(), 1, "asked too early, it does nothing");
    bench.clock_control.advance(MILLI);
    assert_eq!(bench.held("ada"), Some((0, true)));
}

#[tokio::test]
async fn nothing_is_minted_while_nobody_asks() {
    let bench = bed_with(25 * MINUTE).await;
    for _ in 0..30 {
        bench.clock_control.advance(MINUTE);
        bench.book.leases().sweep();
        settle().await;
    }
    assert_eq!((bench.vendor.calls(), bench.gauge()), (1, 0));
    bench.assert_forgets_everything().await;
}

#[tokio::test]
async fn it_is_not_minted_twice() {
    let bench = bed_with(20 * MINUTE).await;
    bench.ahead("ada").await;
    assert_eq!(bench.held("ada"), Some((0, false)), "one is under way");
    bench.ahead("ada").await;
    assert_eq!(bench.vendor.calls(), 2);
}

#[tokio::test]
async fn when_it_fails_the_lease_serves_on_and_the_next_try_is_ten_seconds_later() {
    let bench = bed_with(20 * MINUTE).await;
    bench.ahead("ada").await;
    bench.vendor.answer(1, Answer::Fail(MintFailure::Unreachable));
    settle().await;
    assert_eq!(bench.held("ada"), Some((0, false)));
    assert_eq!(bench.get("ada").await, Ok((0, Source::Hit)));
    bench.clock_control.advance(10 * SECOND - MILLI);
    bench.ahead("ada").await;
    assert_eq!(bench.vendor.calls(), 2);
    bench.clock_control.advance(MILLI);
    assert_eq!(bench.held("ada"), Some((0, true)));
    bench.ahead("ada").await;
    assert_eq!((bench.vendor.calls(), bench.leases("ahead"), bench.gauge()), (3, 0, 1));
    bench.vendor.answer(2, Answer::Panic);
    settle().await;
    assert_eq!(bench.held("ada").map(|(call, _)| call), Some(0));
    bench.assert_forgets_everything().await;
}

#[tokio::test]
async fn a_url_that_ends_sooner_than_the_held_one_changes_nothing() {
    let bench = bed_with(20 * MINUTE).await;
    for (call, life) in [(1, 19 * MINUTE), (2, MINUTE), (3, SECOND)] {
        bench.ahead("ada").await;
        bench.vendor.answer(call, Answer::Life(life));
        settle().await;
        bench.clock_control.advance(10 * SECOND);
        assert_eq!(bench.held("ada"), Some((0, true)), "after a URL of {life:?}");
    }
    assert_eq!((bench.leases("ahead"), bench.gauge(), bench.book.leases().sizes().1), (0, 1, 1));
    bench.ahead("ada").await;
    bench.vendor.answer(4, Answer::Life(20 * MINUTE));
    settle().await;
    assert_eq!((bench.held("ada").map(|(call, _)| call), bench.leases("ahead"), bench.gauge()), (Some(4), 1, 1));
    bench.assert_forgets_everything().await;
}

#[tokio::test]
async fn a_url_that_ends_with_the_held_one_takes_its_place_and_the_next_waits() {
    let bench = bed_with(20 * MINUTE).await;
    bench.ahead("ada").await;
    bench.vendor.answer(1, Answer::Life(20 * MINUTE));
    settle().await;
    assert_eq!(bench.held("ada"), Some((1, false)), "not at each request");
    bench.clock_control.advance(10 * SECOND);
    assert_eq!((bench.held("ada"), bench.leases("ahead"), bench.gauge()), (Some((1, true)), 1, 1));
    bench.assert_forgets_everything().await;
}

#[tokio::test]
async fn who_comes_when_the_lease_no_longer_serves_waits_for_the_mint_ahead() {
    let bench = bed_with(6 * MINUTE).await;
    bench.ahead("ada").await;
    bench.clock_control.advance(MINUTE);
    let get = bench.getting("ada").await;
    assert_eq!(bench.vendor.calls(), 2);
    bench.vendor.answer(1, Answer::Life(HOUR));
    assert_eq!(get.await.unwrap(), Ok((1, Source::Joined)));
    assert_eq!((bench.leases("ahead"), bench.leases("joined"), bench.gauge()), (1, 1, 1));
    bench.assert_forgets_everything().await;
}

#[tokio::test]
async fn it_keeps_to_the_bound_of_mints() {
    let bench = TestBench::with(Rules { refresh_ahead: Some(30 * MINUTE), ..at_most(1) }, 10);
    bench.hold("ada", 40 * MINUTE).await;
    bench.clock_control.advance(30 * MINUTE);
    assert_eq!(bench.held("ada"), Some((0, true)));
    bench.ahead("ada").await;
    assert_eq!((bench.vendor.calls(), bench.held("ada")), (1, Some((0, false))));
    bench.clock_control.advance(4 * MINUTE);
    assert_eq!(bench.get("ada").await, Ok((0, Source::Hit)));
    bench.assert_forgets_everything().await;
}

/// A vendor whose URLs live six hours and whose calls ahead are bounded.
struct Paced {
    pace: Pace,
    clock: Clock,
    /// How many mints ahead there were in each second.
    ahead: Mutex<BTreeMap<i64, usize>>,
}

#[async_trait]
impl Mint for Paced {
    async fn mint(&self, input: &MintInput) -> Result<Minted, MintFailure> {
        let now = self.clock.now();
        if input.context.reason == Reason::Ahead {
            *self.ahead.lock().entry(now.as_secs()).or_default() += 1;
        }
        let url = PluginUrl::unchecked("https://vendor/");
        Ok(Minted { url, ends: Some(now.plus(6 * HOUR)), end_unread: false, hold_until: None, uses: None })
    }

    fn take_ahead(&self) -> bool {
        self.pace.take_ahead(self.clock.tick()).is_ok()
    }

    fn readmit(&self, url: &str) -> Option<PluginUrl> {
        Some(PluginUrl::unchecked(url))
    }
}

#[tokio::test]
async fn a_hundred_thousand_leases_with_one_anniversary_are_no_wave() {
    const LEASES: usize = 100_000;
    const RATE: u32 = 200;
    let (clock, clock_control) = Clock::manual(START);
    let metrics = Metrics::new("0", "test").unwrap();
    let vendor = Arc::new(Paced { pace: Pace::new(RATE), clock: clock.clone(), ahead: Mutex::default() });
    let rules = Rules { refresh_ahead: Some(30 * MINUTE), spread: 12 * MINUTE, ..rules() };
    let policy = Arc::new(LeasePolicy::new("face-scan", "acme", rules, vendor.clone(), &metrics));
    let book = Book::new(ShardedRecords::default(), 2 * LEASES, clock.clone(), &metrics);
    let keys: Vec<LeaseKey> = (0..LEASES).map(|n| LeaseKey::raw(&format!("user-{n}"), "")).collect();
    for key in &keys {
        assert!(book.obtain(&policy, key, || input(key)).await.is_ok());
    }
    clock_control.advance(6 * HOUR - 30 * MINUTE);
    // For as long as the leases serve, a three-hundredth of the users comes in each second, each of them every five minutes.
    for second in 0..25 * 60 {
        for key in keys.iter().skip(second % 300).step_by(300) {
            let (_, requirement) = book.held(&policy, key, clock.moment()).expect("held");
            if requirement {
                book.ahead(&policy, key, || input(key));
            }
        }
        settle().await;
        clock_control.advance(SECOND);
    }
    let ahead = vendor.ahead.lock();
    let most = ahead.values().max().copied().unwrap_or(0);
    assert!(most <= RATE as usize / 2, "{most} calls in one second");
    let renewed: usize = ahead.values().sum();
    assert!(renewed >= LEASES * 99 / 100, "{renewed} renewed before their end");
    // Spread: no ten minutes have them all.
    let first: usize =
        ahead.iter().filter(|(at, _)| **at < START.plus(6 * HOUR - 25 * MINUTE).as_secs()).map(|(_, n)| n).sum();
    assert!(first < LEASES / 2, "{first} in the first five minutes");
}

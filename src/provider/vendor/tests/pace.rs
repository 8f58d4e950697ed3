//! `rate`, and what a vendor says of the calls that are left.

use super::script::{Reply, START, Stage, StandStill, good, person, url_until};
use super::*;
use crate::clock::Tick;

/// When the clock of a stage begins.
const AT_FIRST: Tick = Tick::from_millis(0);

fn ahead(prepaid: Option<Tick>) -> MintInput {
    let mut input = person("https://idp.example", "ada");
    (input.context.reason, input.context.prepaid) = (Reason::Ahead, prepaid);
    input
}

#[tokio::test]
async fn a_mint_beyond_the_rate_is_busy_where_its_turn_comes_too_late() {
    let stage = Stage::without_registration("rate = 2\ntimeout = '200ms'", |_| good()).await;
    let _still = StandStill::begin();
    for _ in 0..2 {
        assert!(stage.mint().await.is_ok());
    }
    assert_eq!(stage.mint().await, Err(MintFailure::Busy(Duration::from_secs(1))));
    assert_eq!((stage.story().as_str(), stage.counted("busy"), stage.degraded()), ("MM", 1, 0));
    stage.clock_control.advance(Duration::from_millis(999));
    assert_eq!(stage.story(), "MM");
    stage.clock_control.advance(Duration::from_millis(1));
    assert!(stage.mint().await.is_ok());
}

#[tokio::test]
async fn a_mint_whose_turn_comes_in_time_waits_for_it_and_each_call_of_it_counts() {
    let stage = Stage::start(
        "rate = 3",
        |seen: &script::Seen| {
            if seen.is_registration() { script::status(201) } else { good() }
        },
    )
    .await;
    let stage = Arc::new(stage);
    assert!(stage.mint().await.is_ok());
    assert_eq!(stage.story(), "RM");
    stage.clock_control.advance(Duration::from_millis(990));
    let there = stage.clone();
    let second = tokio::spawn(async move { there.mint_for(&person("https://idp.example", "bob")).await });
    // Its registration is the third call of this second, its mint would be the fourth.
    while stage.story() != "RMR" {
        tokio::task::yield_now().await;
    }
    assert!(!second.is_finished());
    stage.clock_control.advance(Duration::from_millis(10));
    assert!(second.await.unwrap().is_ok());
    assert_eq!(stage.story(), "RMRM");
}

#[tokio::test]
async fn renewals_ahead_leave_half_of_the_rate_and_are_counted_once() {
    let stage = Stage::without_registration("rate = 4\ntimeout = '200ms'", |_| good()).await;
    let _still = StandStill::begin();
    let mint = stage.vendor.minter("embed").unwrap();
    assert_eq!([(); 3].map(|()| mint.take_ahead()), [true, true, false]);
    for _ in 0..2 {
        assert!(mint.mint(&ahead(Some(AT_FIRST))).await.is_ok(), "its call was counted when leave was given");
    }
    // An edge asks its minter ahead without leave.
    assert_eq!(mint.mint(&ahead(None)).await, Err(MintFailure::Busy(Duration::from_secs(1))));
    assert!(stage.mint().await.is_ok() && stage.mint().await.is_ok());
    assert!(stage.mint().await.is_err());
    assert_eq!(stage.story(), "MMMM");
}

/// A token was waited for meanwhile: the call falls into another second than its leave.
#[tokio::test]
async fn a_renewal_that_comes_long_behind_its_leave_is_counted_where_it_is_made() {
    let stage = Stage::without_registration("rate = 2\ntimeout = '200ms'", |_| good()).await;
    let _still = StandStill::begin();
    let mint = stage.vendor.minter("embed").unwrap();
    assert!(mint.take_ahead());
    stage.clock_control.advance(Duration::from_secs(1));
    assert!(mint.mint(&ahead(Some(AT_FIRST))).await.is_ok() && stage.mint().await.is_ok());
    assert!(stage.mint().await.is_err(), "two calls were made in this second");
    assert_eq!(stage.story(), "MM");
}

#[tokio::test]
async fn without_a_rate_nothing_is_held_back() {
    let stage = Stage::without_registration("", |_| good()).await;
    let mint = stage.vendor.minter("embed").unwrap();
    for _ in 0..20 {
        assert!(mint.take_ahead() && mint.mint(&ahead(None)).await.is_ok());
    }
}

#[tokio::test]
async fn what_a_vendor_says_of_the_calls_that_are_left_is_a_gauge() {
    let left = |extra: &'static str, header: &'static str| async move {
        let script = move |_: &script::Seen| Reply::Is(200, header, url_until(START + 6 * 3600));
        let stage = Stage::without_registration(extra, script).await;
        let gauge = |stage: &Stage| {
            let text = stage.metrics.text();
            let line = text.lines().find(|line| line.starts_with("valet_vendor_quota_remaining{")).map(str::to_owned);
            line.map(|line| line.rsplit(' ').next().unwrap().to_owned())
        };
        assert_eq!(gauge(&stage), None, "before the vendor has said anything");
        assert!(stage.mint().await.is_ok());
        gauge(&stage)
    };
    assert_eq!(left("", "x-ratelimit-remaining: 42\r\n").await.as_deref(), Some("42"));
    assert_eq!(left("", "RateLimit: \"default\";r=7;t=30\r\n").await.as_deref(), Some("7"));
    assert_eq!(
        left("quota_header = 'x-left'", "x-left: 5\r\nx-ratelimit-remaining: 42\r\n").await.as_deref(),
        Some("5")
    );
    assert_eq!(left("", "").await, None);
}

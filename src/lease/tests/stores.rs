//! A store whose answers the test gives one by one: what a node makes of each.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};

use super::test_bench::*;
use crate::lease::store::settings::OnStoreLoss;
use crate::lease::store::{Acquired, Backend, Claim, Kept, Known, Lost, Name, News, SealedStore, SealingKeys};
use crate::lease::{Freshness, NoLease, Rules, Source};
use crate::provider::{MintFailure, Reason};
use crate::secret::{SecretCell, SecretSource};

/// Answers in their order; where there is none left, the store is lost.
#[derive(Default)]
struct Script {
    begun: Mutex<VecDeque<Acquired>>,
    kept: Mutex<VecDeque<bool>>,
    forgotten: Mutex<VecDeque<oneshot::Receiver<u64>>>,
    announced: Mutex<VecDeque<u64>>,
    replaced: Mutex<VecDeque<bool>>,
    /// The numbers of scans whose results were to be kept.
    scans: Mutex<Vec<u64>>,
    /// The lives that each BEGIN wanted more of.
    lives: Mutex<Vec<Option<Duration>>>,
    /// The generations that each BEGIN said to know.
    known: Mutex<Vec<u64>>,
}

#[async_trait]
impl Backend for Script {
    async fn begin(&self, _: &Name, life: Option<Duration>, known: &Known) -> Result<Acquired, Lost> {
        self.lives.lock().push(life);
        self.known.lock().push(known.generation);
        self.begun.lock().pop_front().ok_or(Lost)
    }

    async fn renew(&self, _: &Name, _: Claim) -> Result<bool, Lost> {
        Ok(true)
    }

    async fn keep(&self, _: &Name, _: Claim, _: Duration, _: Vec<u8>) -> Result<bool, Lost> {
        self.kept.lock().pop_front().ok_or(Lost)
    }

    async fn give_up(&self, _: &Name, _: Claim, _: Option<u8>) -> Result<(), Lost> {
        Ok(())
    }

    async fn announce(&self, _: &[u8; 24]) -> Result<u64, Lost> {
        self.announced.lock().pop_front().ok_or(Lost)
    }

    async fn replace(&self, _: &Name, scan: u64, _: Duration, _: Vec<u8>, _: Vec<u8>) -> Result<bool, Lost> {
        self.scans.lock().push(scan);
        self.replaced.lock().pop_front().ok_or(Lost)
    }

    async fn forget(&self, _: &[u8; 24], _: Vec<u8>) -> Result<u64, Lost> {
        let next = self.forgotten.lock().pop_front();
        next.ok_or(Lost)?.await.map_err(|_| Lost)
    }

    fn subscription(&self, _: &Name) -> watch::Receiver<u64> {
        watch::Sender::new(0).subscribe()
    }

    fn epoch(&self) -> u32 {
        1
    }

    fn is_well(&self) -> bool {
        true
    }

    fn was_well(&self) -> bool {
        true
    }

    async fn revoke(&self, _: Kept) -> Result<(), Lost> {
        Err(Lost)
    }
    async fn run(&self, _: &News<'_>, _: watch::Receiver<bool>) {}
}

impl Script {
    fn begins(&self, answers: impl IntoIterator<Item = Acquired>) {
        self.begun.lock().extend(answers);
    }

    /// The next FORGET is answered when the sender says so.
    fn forgets(&self) -> oneshot::Sender<u64> {
        let (answer, answered) = oneshot::channel();
        self.forgotten.lock().push_back(answered);
        answer
    }
}

fn claim(generation: u64) -> Acquired {
    Acquired::Claim(Claim { fence: 1, generation })
}

fn bench() -> (TestBench, Arc<Script>, Arc<SealedStore>) {
    bench_of(rules())
}

fn bench_of(rules: Rules) -> (TestBench, Arc<Script>, Arc<SealedStore>) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("seal"), STANDARD.encode([1; 32])).unwrap();
    let cell = Arc::new(SecretCell::open(SecretSource::File("seal".into()), folder.path()).unwrap());
    let script = Arc::new(Script::default());
    let mut store = None;
    let bench = TestBench::behind(rules, 1_000, |metrics| {
        store = Some(SealedStore::new(SealingKeys::new(vec![cell], None), script.clone(), OnStoreLoss::Local, metrics));
        store.clone()
    });
    (bench, script, store.unwrap())
}

#[tokio::test]
async fn scan_again_replaces_what_the_store_holds_by_the_number_that_it_was_given() {
    let (bench, script, _) = bench();
    script.announced.lock().push_back(7);
    script.replaced.lock().push_back(true);
    let post = bench.posting("ada").await;
    bench.vendor.answer(0, Answer::Life(HOUR));
    assert_eq!(post.await.unwrap(), Ok((0, Source::Minted)));
    assert_eq!(*script.scans.lock(), [7]);
    assert_eq!(bench.held("ada"), Some((0, false)));
    assert!(script.known.lock().is_empty(), "no turn is taken for it");
}

#[tokio::test]
async fn a_scan_that_fails_leaves_the_store_and_this_node_as_they_are() {
    let (bench, script, _) = bench();
    script.begins([claim(4)]);
    script.kept.lock().push_back(true);
    bench.hold("ada", HOUR).await;
    script.announced.lock().push_back(7);
    let post = bench.posting("ada").await;
    bench.vendor.answer(1, Answer::Fail(MintFailure::Refused));
    assert_eq!(post.await.unwrap(), Err(NoLease::Mint(MintFailure::Refused)));
    assert_eq!(bench.held("ada"), Some((0, false)));
    assert!(script.scans.lock().is_empty() && script.forgotten.lock().is_empty());
}

#[tokio::test]
async fn the_url_of_a_scan_after_which_somebody_scanned_again_or_dropped_is_not_held() {
    let (bench, script, _) = bench();
    script.announced.lock().push_back(7);
    script.replaced.lock().push_back(false);
    let post = bench.posting("ada").await;
    bench.vendor.answer(0, Answer::Life(HOUR));
    assert_eq!(post.await.unwrap(), Ok((0, Source::Minted)));
    assert_eq!((bench.held("ada"), bench.gauge()), (None, 0));
}

#[tokio::test]
async fn a_scan_whose_result_the_store_may_not_have_owes_it_a_forgetting() {
    let (bench, script, store) = bench();
    script.begins([claim(4)]);
    script.kept.lock().push_back(true);
    bench.hold("ada/nl", HOUR).await;
    script.announced.lock().push_back(7);
    let post = bench.posting("ada/en").await;
    bench.vendor.answer(1, Answer::Life(HOUR));
    assert_eq!(post.await.unwrap(), Ok((1, Source::Minted)));
    assert_eq!((bench.held("ada/nl"), bench.held("ada/en")), (None, None), "the store is asked first");
    script.forgets().send(9).unwrap();
    assert_eq!(store.settle(b"ada").await, Ok(9));
}

#[tokio::test]
async fn what_this_node_adopts_from_the_store_during_a_scan_is_given_up_with_the_rest() {
    let (bench, script, _) = bench();
    script.announced.lock().push_back(7);
    script.replaced.lock().push_back(true);
    let post = bench.posting("ada/en").await;
    // A mint that begins later and ends earlier.
    script.begins([claim(4)]);
    script.kept.lock().push_back(true);
    let get = bench.getting("ada/nl").await;
    bench.vendor.answer(1, Answer::Life(HOUR));
    assert_eq!(get.await.unwrap(), Ok((1, Source::Minted)));
    assert_eq!(bench.held("ada/nl"), Some((1, false)));
    bench.vendor.answer(0, Answer::Life(HOUR));
    assert_eq!(post.await.unwrap(), Ok((0, Source::Minted)));
    assert_eq!((bench.held("ada/nl"), bench.held("ada/en")), (None, Some((0, false))));
}

#[tokio::test]
async fn what_the_store_does_not_know_goes_back_only_where_nothing_was_ever_forgotten() {
    for (generation, mints) in [(0, 1), (5, 2)] {
        let (bench, script, _) = bench();
        // The store is lost.
        bench.hold("ada", HOUR).await;
        script.begins([claim(generation)]);
        script.kept.lock().push_back(true);
        let again = bench.getting("ada").await;
        if mints > 1 {
            bench.vendor.answer(1, Answer::Life(HOUR));
        }
        assert_eq!(again.await.unwrap().unwrap().0, mints - 1);
        assert_eq!(bench.vendor.calls(), mints);
        assert_eq!(bench.held("ada"), Some((mints - 1, false)));
    }
}

#[tokio::test]
async fn anothers_failure_takes_nothing_away_that_is_of_the_same_generation() {
    let (bench, script, _) = bench();
    script.begins([claim(4)]);
    script.kept.lock().push_back(true);
    bench.hold("ada", HOUR).await;
    assert_eq!(bench.held("ada"), Some((0, false)));
    // Another lease than the held one is asked for: in another language, then of a store that has forgotten since.
    script.begins([Acquired::Failed(2, 4)]);
    assert_eq!(bench.get("ada/nl").await, Err(NoLease::Mint(MintFailure::Unreachable)));
    let (bench, script, _) = self::bench();
    bench.hold("ada", HOUR).await;
    script.begins([Acquired::Failed(2, 0), Acquired::Failed(2, 5)]);
    assert_eq!(bench.get("ada").await.map(|(call, _)| call), Ok(0));
    assert_eq!(bench.get("ada").await, Err(NoLease::Mint(MintFailure::Unreachable)));
    assert_eq!(bench.vendor.calls(), 1);
}

#[tokio::test]
async fn a_result_that_the_store_may_not_have_is_asked_for_again() {
    let (bench, script, _) = bench();
    script.begins([claim(0)]);
    // KEEP is lost.
    bench.hold("ada", HOUR).await;
    assert_eq!(bench.held("ada"), None);
    script.begins([claim(0)]);
    script.kept.lock().push_back(true);
    assert_eq!(bench.get("ada").await.map(|(call, _)| call), Ok(0));
    assert_eq!(bench.held("ada"), Some((0, false)));
    assert_eq!((bench.vendor.calls(), script.known.lock().len()), (1, 2));
}

#[tokio::test]
async fn a_forgetting_that_comes_while_another_is_told_is_told_too() {
    let (_, script, store) = bench();
    let told = script.forgets();
    let first = tokio::spawn({
        let store = store.clone();
        async move { store.forget(b"ada").await }
    });
    settle().await;
    // The second is lost; then the first arrives.
    assert_eq!(store.forget(b"ada").await, Err(Lost));
    told.send(1).unwrap();
    assert_eq!(first.await.unwrap(), Ok(1));
    script.forgets().send(2).unwrap();
    assert_eq!(store.settle(b"ada").await, Ok(2));
    assert_eq!(store.settle(b"ada").await, Ok(0));
}

#[tokio::test]
async fn what_was_held_for_a_session_that_another_node_ended_is_forgotten_by_the_store_too() {
    let (bench, script, store) = bench();
    let ada = key("ada");
    bench.book.forget_ended(ada.owner());
    assert_eq!(store.settle(ada.owner()).await, Ok(0), "nothing was held");
    script.begins([claim(0)]);
    script.kept.lock().push_back(true);
    bench.hold("ada", HOUR).await;
    bench.book.forget_ended(ada.owner());
    assert_eq!(bench.held("ada"), None);
    script.forgets().send(1).unwrap();
    assert_eq!(store.settle(ada.owner()).await, Ok(1), "the store is told");
}

#[tokio::test]
async fn what_is_held_while_the_store_is_lost_is_a_hit_and_no_mint_of_mints_per_subject() {
    let (bench, script, _) = bench_of(at_most(1));
    // The store is lost.
    bench.hold("ada", HOUR).await;
    for _ in 0..3 {
        assert_eq!(bench.get("ada").await, Ok((0, Source::Hit)), "the bound is on mints");
    }
    script.begins([Acquired::Failed(2, 0)]);
    assert_eq!(bench.get("ada").await, Ok((0, Source::Hit)), "another node's mint failed");
    assert_eq!(bench.get("ada/nl").await, Err(NoLease::Limited(HOUR)), "nothing of it is held");
    // The owner was forgotten meanwhile: what is held counts no longer, and the bound allows no mint.
    script.begins([claim(5)]);
    assert_eq!(bench.get("ada").await, Err(NoLease::Mint(MintFailure::Limited(HOUR))));
    assert_eq!((bench.vendor.calls(), bench.leases("minted"), bench.mints("ok")), (1, 1, 1));
    assert_eq!(bench.leases("hit"), 4);
    // And where it was not, it is put back.
    bench.clock_control.advance(SECOND);
    script.begins([claim(0)]);
    script.kept.lock().push_back(true);
    assert_eq!(bench.get("ada").await, Ok((0, Source::Shared)));
    assert_eq!((bench.held("ada"), bench.leases("shared")), (Some((0, false)), 1));
}

#[tokio::test]
async fn what_is_less_fresh_than_an_edge_asks_for_is_minted_anew_behind_a_store_too() {
    for (reason, lost) in [(Reason::Miss, false), (Reason::Ahead, false), (Reason::Miss, true), (Reason::Ahead, true)] {
        let (bench, script, _) = bench();
        script.begins([claim(4)]);
        script.kept.lock().push_back(true);
        bench.hold("ada", HOUR).await;
        bench.clock_control.advance(20 * MINUTE);
        if !lost {
            script.begins([claim(4)]);
            script.kept.lock().push_back(true);
        }
        let (book, policy, ada) = (bench.book.clone(), bench.policy.clone(), key("ada"));
        let fresher = Freshness { life: 50 * MINUTE, max_age: 6 * HOUR };
        let asked = tokio::spawn(async move { book.obtain_with(&policy, &ada, fresher, reason, || input(&ada)).await });
        settle().await;
        assert_eq!(bench.vendor.calls(), 2, "{reason:?}, lost: {lost}");
        bench.vendor.answer(1, Answer::Life(HOUR));
        let (lease, source) = asked.await.unwrap().unwrap();
        assert_eq!((number(&lease), source), (1, Source::Minted), "{reason:?}, lost: {lost}");
        assert_eq!(script.lives.lock().last(), Some(&Some(fresher.life)), "{reason:?}, lost: {lost}");
    }
}

//! The single flight under shuttle: the same book on a ground whose locks and tasks the model checker orders, thousands of ways.
//!
//! The index and the counters are not ordered by it. Their locks are never held across a scheduling point, so that they can't deadlock.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use shuttle::future::{JoinHandle, block_on, spawn, yield_now};
use shuttle::sync::Mutex;

use super::test_bench::{START, at_most, input, key, number, rules};
use crate::clock::{Clock, ClockControl};
use crate::lease::{Book, LeaseKey, LeasePolicy, NoLease, Record, Records, Rules};
use crate::provider::{Mint, MintFailure, MintInput, Minted, PluginUrl};
use crate::telemetry::Metrics;

const SCHEDULES: usize = 2_000;

/// What a broken ground leads to.
const BROKEN: &str = "the single flight is broken";

/// One lock around all records, and tasks that can be waited for and ended.
#[derive(Default)]
struct Stage {
    records: Mutex<HashMap<Arc<[u8]>, Record>>,
    tasks: std::sync::Mutex<Vec<JoinHandle<()>>>,
}

/// The deliberate fault of [`Stage`]: the record is looked up under one lock and put back under another.
#[derive(Default)]
struct LeakyStage(Stage);

/// The other one: whether a record is spent is found out under one lock, and acted on under another.
#[derive(Default)]
struct HastyStage(Stage);

/// What the tests need of a ground beyond [`Records`].
trait Staged: Records + Default {
    fn stage(&self) -> &Stage;
}

impl Stage {
    fn stow(&self, task: impl Future<Output = ()> + Send + 'static) {
        let task = spawn(task);
        self.tasks.lock().unwrap().push(task);
    }
}

impl Records for Stage {
    fn with<R>(&self, owner: &[u8], act: impl FnOnce(&Arc<[u8]>, &mut Record) -> R) -> R {
        let name: Arc<[u8]> = owner.into();
        act(&name, self.records.lock().unwrap().entry(name.clone()).or_default())
    }

    fn look<R>(&self, owner: &[u8], look: impl FnOnce(&Record) -> R) -> Option<R> {
        self.records.lock().unwrap().get(owner).map(look)
    }

    fn remove_if(&self, owner: &[u8], spent: impl FnOnce(&mut Record) -> bool) {
        let mut records = self.records.lock().unwrap();
        if records.get_mut(owner).is_some_and(spent) {
            records.remove(owner);
        }
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.stow(task);
    }
}

impl Staged for Stage {
    fn stage(&self) -> &Stage {
        self
    }
}

impl Records for LeakyStage {
    fn with<R>(&self, owner: &[u8], act: impl FnOnce(&Arc<[u8]>, &mut Record) -> R) -> R {
        let name: Arc<[u8]> = owner.into();
        let mut record = self.0.records.lock().unwrap().remove(owner).unwrap_or_default();
        let out = act(&name, &mut record);
        self.0.records.lock().unwrap().insert(name, record);
        out
    }

    fn look<R>(&self, owner: &[u8], look: impl FnOnce(&Record) -> R) -> Option<R> {
        self.0.look(owner, look)
    }

    fn remove_if(&self, owner: &[u8], spent: impl FnOnce(&mut Record) -> bool) {
        self.0.remove_if(owner, spent);
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.stow(task);
    }
}

impl Staged for LeakyStage {
    fn stage(&self) -> &Stage {
        &self.0
    }
}

impl Records for HastyStage {
    fn with<R>(&self, owner: &[u8], act: impl FnOnce(&Arc<[u8]>, &mut Record) -> R) -> R {
        self.0.with(owner, act)
    }

    fn look<R>(&self, owner: &[u8], look: impl FnOnce(&Record) -> R) -> Option<R> {
        self.0.look(owner, look)
    }

    fn remove_if(&self, owner: &[u8], spent: impl FnOnce(&mut Record) -> bool) {
        let remove = self.0.records.lock().unwrap().get_mut(owner).is_some_and(spent);
        if remove {
            self.0.records.lock().unwrap().remove(owner);
        }
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.stow(task);
    }
}

impl Staged for HastyStage {
    fn stage(&self) -> &Stage {
        &self.0
    }
}

/// A vendor that takes a while. The n-th mint's URL is `https://vendor/n`.
struct Vendor {
    clock: Clock,
    /// Counts everything whose order matters: a mint's beginning, a `POST`'s arrival.
    order: AtomicUsize,
    /// When the n-th mint began.
    began: std::sync::Mutex<Vec<usize>>,
    answer: Result<Duration, MintFailure>,
}

#[async_trait]
impl Mint for Vendor {
    async fn mint(&self, _: &MintInput) -> Result<Minted, MintFailure> {
        let number = {
            let mut began = self.began.lock().unwrap();
            began.push(self.next());
            began.len() - 1
        };
        yield_now().await;
        yield_now().await;
        let ends = Some(self.clock.now().plus(self.answer?));
        Ok(Minted {
            url: PluginUrl::unchecked(&format!("https://vendor/{number}")),
            ends,
            end_unread: false,
            hold_until: None,
            uses: None,
        })
    }

    fn readmit(&self, url: &str) -> Option<PluginUrl> {
        Some(PluginUrl::unchecked(url))
    }
}

impl Vendor {
    fn next(&self) -> usize {
        self.order.fetch_add(1, Ordering::SeqCst)
    }

    fn mints(&self) -> usize {
        self.began.lock().unwrap().len()
    }
}

type Answer = Result<usize, NoLease>;

/// A book on a stage. Cheap to clone into each task.
struct Play<G: Staged> {
    book: Arc<Book<G>>,
    policy: Arc<LeasePolicy>,
    vendor: Arc<Vendor>,
    clock_control: Arc<ClockControl>,
}

impl<G: Staged> Clone for Play<G> {
    fn clone(&self) -> Self {
        let Self { book, policy, vendor, clock_control } = self;
        Self {
            book: book.clone(),
            policy: policy.clone(),
            vendor: vendor.clone(),
            clock_control: clock_control.clone(),
        }
    }
}

impl<G: Staged> Play<G> {
    fn new() -> Self {
        Self::with(rules(), 100, Ok(Duration::from_secs(3600)))
    }

    fn with(rules: Rules, capacity: usize, answer: Result<Duration, MintFailure>) -> Self {
        let (clock, clock_control) = Clock::manual(START);
        let metrics = Metrics::new("0", "0").unwrap();
        let vendor =
            Arc::new(Vendor { clock: clock.clone(), order: AtomicUsize::new(0), began: Default::default(), answer });
        let policy = Arc::new(LeasePolicy::new("face-scan", "acme", rules, vendor.clone(), &metrics));
        Self { book: Book::new(G::default(), capacity, clock, &metrics), policy, vendor, clock_control }
    }

    fn get(&self, name: &'static str) -> JoinHandle<Answer> {
        let (play, key) = (self.clone(), key(name));
        spawn(async move { play.obtain(&key).await })
    }

    async fn obtain(&self, key: &LeaseKey) -> Answer {
        self.book.obtain(&self.policy, key, || input(key)).await.map(|(lease, _)| number(&lease))
    }

    /// A `POST`, which checks by itself that its mint began after it arrived, and that a `GET` after it gets nothing older, unless it failed.
    fn post(&self, name: &'static str) -> JoinHandle<Answer> {
        let (play, key) = (self.clone(), key(name));
        spawn(async move {
            let arrived = play.vendor.next();
            let answer = play.book.renew(&play.policy, &key, || input(&key)).await.map(|(lease, _)| number(&lease));
            let later = play.obtain(&key).await;
            for number in [answer, answer.and(later)].into_iter().flatten() {
                let began = play.vendor.began.lock().unwrap()[number];
                assert!(began > arrived, "a URL from before the POST");
            }
            answer
        })
    }

    /// Waits until every mint has come to its end.
    async fn finish(&self) {
        loop {
            let tasks = std::mem::take(&mut *self.book.leases().records().stage().tasks.lock().unwrap());
            if tasks.is_empty() {
                return;
            }
            for task in tasks {
                let _ = task.await;
            }
        }
    }

    fn held(&self, name: &str) -> Option<usize> {
        self.book.held(&self.policy, &key(name), self.vendor.clock.moment()).map(|(lease, _)| number(&lease))
    }

    /// Time goes by; nothing may be left.
    fn assert_forgets_everything(&self) {
        for _ in 0..2 {
            self.clock_control.advance(Duration::from_secs(7 * 3600));
            self.book.leases().sweep();
        }
        let records = self.book.leases().records().stage().records.lock().unwrap().len();
        assert_eq!((self.book.leases().len(), records), (0, 0), "{BROKEN}");
    }
}

/// Some of the schedules at random, some with few but well-placed switches.
fn check(scenario: impl Fn() + Send + Sync + Clone + 'static) {
    shuttle::check_random(scenario.clone(), SCHEDULES);
    shuttle::check_pct(scenario, SCHEDULES, 3);
}

fn callers_of_one_cold_key<G: Staged>() {
    block_on(async {
        let play = Play::<G>::new();
        let callers = [play.get("ada"), play.get("ada"), play.get("ada")];
        for caller in callers {
            assert_eq!(caller.await.unwrap(), Ok(0), "{BROKEN}");
        }
        play.finish().await;
        assert_eq!((play.vendor.mints(), play.book.leases().len(), play.held("ada")), (1, 1, Some(0)), "{BROKEN}");
        play.assert_forgets_everything();
    });
}

#[test]
fn callers_of_one_cold_key_share_one_mint_in_any_order() {
    check(callers_of_one_cold_key::<Stage>);
}

#[test]
#[should_panic(expected = "the single flight is broken")]
fn a_ground_that_lets_go_between_look_and_act_is_found_out() {
    check(callers_of_one_cold_key::<LeakyStage>);
}

#[test]
fn callers_that_leave_at_any_time_cost_no_second_mint() {
    check(|| {
        block_on(async {
            let play = Play::<Stage>::new();
            let leaves = play.get("ada");
            let stays = play.get("ada");
            let another = play.get("ada");
            leaves.abort();
            another.abort();
            assert_eq!(stays.await.unwrap(), Ok(0));
            let _ = (leaves.await, another.await);
            play.finish().await;
            assert_eq!((play.vendor.mints(), play.held("ada")), (1, Some(0)));
            play.assert_forgets_everything();
        });
    });
}

#[test]
fn a_failure_is_shared_and_remembered_in_any_order() {
    check(|| {
        block_on(async {
            let play = Play::<Stage>::with(rules(), 100, Err(MintFailure::TimedOut));
            let callers = [play.get("ada"), play.get("ada"), play.get("ada")];
            for caller in callers {
                assert_eq!(caller.await.unwrap(), Err(NoLease::Mint(MintFailure::TimedOut)));
            }
            play.finish().await;
            assert_eq!((play.vendor.mints(), play.book.leases().len()), (1, 0));
            play.assert_forgets_everything();
        });
    });
}

#[test]
fn posts_and_gets_in_any_order_never_get_or_keep_a_url_from_before_a_post() {
    check(|| {
        block_on(async {
            let play = Play::<Stage>::new();
            let first = play.get("ada/en");
            let posts = [play.post("ada/en"), play.post("ada/en"), play.post("ada/en")];
            let leaves = play.post("ada/en");
            let other = play.get("ada/nl");
            leaves.abort();
            for post in posts {
                assert!(post.await.unwrap().is_ok());
            }
            assert!(first.await.unwrap().is_ok() && other.await.unwrap().is_ok());
            let _ = leaves.await;
            play.finish().await;
            // Each POST needs one at most; each GET one, and one more for each POST that made it begin again.
            assert!(play.vendor.mints() <= 4 + 1 + 5, "{} mints", play.vendor.mints());
            assert_eq!(
                play.book.leases().len(),
                [play.held("ada/en"), play.held("ada/nl")].into_iter().flatten().count()
            );
            play.assert_forgets_everything();
        });
    });
}

#[test]
fn posts_at_once_cost_two_mints_at_most_for_all_that_arrive_before_the_first_lands() {
    check(|| {
        block_on(async {
            let play = Play::<Stage>::new();
            let key = key("ada");
            let posts: Vec<_> = (0..4)
                .map(|_| {
                    let (play, key) = (play.clone(), key.clone());
                    spawn(async move {
                        let before = play.vendor.mints();
                        let mut answer = std::pin::pin!(play.book.renew(&play.policy, &key, || input(&key)));
                        // The question is put by the first poll: what has begun by then is counted behind it.
                        let first = poll_fn(|cx| Poll::Ready(answer.as_mut().poll(cx))).await;
                        let asked = play.vendor.mints();
                        let answer = match first {
                            Poll::Ready(answer) => answer,
                            Poll::Pending => answer.await,
                        };
                        answer.map(|(lease, _)| (before, asked, number(&lease)))
                    })
                })
                .collect();
            for post in posts {
                let (before, asked, got) = post.await.unwrap().unwrap();
                assert!(got >= before, "a mint that had begun");
                // The one under way when it asked, if any, and its own.
                assert!(got <= asked + 1, "{asked} mints had begun, and it waited for mint {got}");
            }
            play.finish().await;
            assert_eq!(play.held("ada"), Some(play.vendor.mints() - 1), "the last one is held");
            assert!(play.vendor.mints() <= 4);
            play.assert_forgets_everything();
        });
    });
}

#[test]
fn a_mint_that_is_ended_at_any_time_leaves_nobody_waiting_and_no_key_blocked() {
    check(|| {
        block_on(async {
            let play = Play::<Stage>::new();
            let callers = [play.get("ada"), play.get("ada"), play.post("ada")];
            let ended = play.book.leases().records().stage().tasks.lock().unwrap().pop();
            if let Some(task) = ended {
                task.abort();
                let _ = task.await;
            }
            yield_now().await;
            let ended = play.book.leases().records().stage().tasks.lock().unwrap().pop();
            if let Some(task) = ended {
                task.abort();
                let _ = task.await;
            }
            for caller in callers {
                assert!(matches!(caller.await.unwrap(), Ok(_) | Err(NoLease::Lost)));
            }
            play.finish().await;
            assert!(play.obtain(&key("ada")).await.is_ok(), "the next caller");
            play.finish().await;
            play.assert_forgets_everything();
        });
    });
}

#[test]
fn a_burst_in_any_order_keeps_to_the_bound_of_mints() {
    check(|| {
        block_on(async {
            let play = Play::<Stage>::with(at_most(2), 100, Ok(Duration::from_secs(3600)));
            let once = |name| {
                let (play, key) = (play.clone(), key(name));
                spawn(async move { play.book.once(&play.policy, &key, || input(&key)).await.map(|_| ()) })
            };
            let callers = [once("ada"), once("ada"), once("ada")];
            let get = play.get("ada");
            let mut given = 0;
            for caller in callers {
                given += usize::from(caller.await.unwrap().is_ok());
            }
            given += usize::from(get.await.unwrap().is_ok());
            play.finish().await;
            assert_eq!((given, play.vendor.mints()), (2, 2));
            play.assert_forgets_everything();
        });
    });
}

fn sweeps_between<G: Staged>() {
    block_on(async {
        let play = Play::<G>::new();
        // A spent record: its failure or lease is over, and a sweep is about to remove it.
        assert!(play.obtain(&key("ada")).await.is_ok());
        play.finish().await;
        play.clock_control.advance(Duration::from_secs(7 * 3600));
        let sweeper = play.clone();
        let sweep = spawn(async move { sweeper.book.leases().sweep() });
        let callers = [play.get("ada"), play.get("ada"), play.get("bob")];
        sweep.await.unwrap();
        for caller in callers {
            assert!(caller.await.unwrap().is_ok(), "{BROKEN}");
        }
        play.finish().await;
        let held = [play.held("ada"), play.held("bob")].into_iter().flatten().count();
        assert_eq!((play.vendor.mints(), play.book.leases().len(), held), (3, 2, 2), "{BROKEN}");
        play.assert_forgets_everything();
    });
}

#[test]
fn a_sweep_at_any_time_removes_no_record_that_somebody_needs() {
    check(sweeps_between::<Stage>);
}

#[test]
#[should_panic(expected = "the single flight is broken")]
fn a_ground_that_removes_what_has_changed_is_found_out() {
    check(sweeps_between::<HastyStage>);
}

#[test]
fn mints_that_land_at_once_fill_the_book_to_its_capacity_exactly() {
    check(|| {
        block_on(async {
            let names = ["ada", "bob", "eve", "joe"];
            let play = Play::<Stage>::with(rules(), 2, Ok(Duration::from_secs(3600)));
            let callers = names.map(|name| play.get(name));
            for caller in callers {
                assert!(caller.await.unwrap().is_ok());
            }
            play.finish().await;
            let held = names.iter().filter(|name| play.held(name).is_some()).count();
            assert_eq!((play.book.leases().len(), held), (2, 2));
            play.assert_forgets_everything();
        });
    });
}

/// A vendor whose mints ask a list of revocations, as `revocation::Revocable` does. `late`: also once the lease is held.
struct Revocable {
    vendor: Arc<Vendor>,
    ended: Mutex<bool>,
    late: bool,
}

impl Revocable {
    fn has_ended(&self) -> bool {
        *self.ended.lock().unwrap()
    }
}

#[async_trait]
impl Mint for Revocable {
    async fn mint(&self, input: &MintInput) -> Result<Minted, MintFailure> {
        const ENDED: MintFailure = MintFailure::Session(crate::provider::SessionRefusal::Revoked);
        if self.has_ended() {
            return Err(ENDED);
        }
        let minted = self.vendor.mint(input).await;
        if self.has_ended() { Err(ENDED) } else { minted }
    }

    fn readmit(&self, url: &str) -> Option<PluginUrl> {
        self.vendor.readmit(url)
    }

    fn is_void(&self, _: &MintInput) -> bool {
        self.late && self.has_ended()
    }
}

/// Somebody opens a plug-in twice while his session is revoked: the list first, then his leases, as far as the index knows them.
fn a_revocation_amid_a_mint(late: bool) {
    block_on(async move {
        let mut play = Play::<Stage>::new();
        let list = Arc::new(Revocable { vendor: play.vendor.clone(), ended: Mutex::new(false), late });
        let metrics = Metrics::new("0", "0").unwrap();
        play.policy = Arc::new(LeasePolicy::new("face-scan", "acme", rules(), list.clone(), &metrics));
        let callers: Vec<_> = (0..2)
            .map(|_| {
                let (play, list, key) = (play.clone(), list.clone(), key("ada"));
                // As the gateway does: asked once more before it is sent.
                spawn(async move { play.obtain(&key).await.ok().filter(|_| !list.has_ended()) })
            })
            .collect();
        let (ending, there) = (play.clone(), list.clone());
        let ended = spawn(async move {
            *there.ended.lock().unwrap() = true;
            for listed in ending.book.leases().list(None, 10) {
                ending.book.leases().forget_here(&listed.owner);
            }
        });
        ended.await.unwrap();
        for caller in callers {
            let _ = caller.await.unwrap();
        }
        play.finish().await;
        assert_eq!((play.held("ada"), play.book.leases().len()), (None, 0), "{BROKEN}");
        assert_eq!(play.obtain(&key("ada")).await.ok().filter(|_| !list.has_ended()), None, "{BROKEN}");
    });
}

#[test]
fn a_mint_under_way_when_its_session_ends_leaves_no_lease_in_any_order() {
    check(|| a_revocation_amid_a_mint(true));
}

#[test]
#[should_panic(expected = "the single flight is broken")]
fn a_list_that_is_not_asked_once_the_lease_is_held_is_found_out() {
    check(|| a_revocation_amid_a_mint(false));
}

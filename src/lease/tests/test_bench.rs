//! A book on a manual clock, with a vendor whose answers the test gives one by one.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::clock::{Clock, ClockControl, Timestamp};
use crate::lease::settings::{MintsPerSubject, Reuse};
use crate::lease::store::SealedStore;
use crate::lease::{Book, Lease, LeaseKey, LeasePolicy, NoLease, Rules, ShardedRecords, Source};
use crate::provider::{Mint, MintFailure, MintInput, Minted, PluginUrl};
use crate::telemetry::Metrics;
use crate::units::Span;

pub const SECOND: Duration = Duration::from_secs(1);
pub const MINUTE: Duration = Duration::from_secs(60);
pub const HOUR: Duration = Duration::from_secs(3600);
pub const MILLI: Duration = Duration::from_millis(1);
/// Nothing here takes this long: who still waits then waits for ever.
const WATCHDOG: Duration = Duration::from_secs(10);
/// Where every test's wall clock starts.
pub const START: Timestamp = Timestamp::from_secs(1_800_000_000);

/// What the vendor says.
pub enum Answer {
    /// A URL with this much life from now on.
    Life(Duration),
    /// A URL of an hour that may be used so often.
    Counted(u32),
    /// A URL without an end of its own.
    Endless,
    Fail(MintFailure),
    Panic,
}

/// What the vendor saw: for whom, and in which language, a mint was asked.
pub type Asked = (Box<str>, Option<Box<str>>);

/// The n-th call's URL is `https://vendor/n`, counted from 0.
pub struct Vendor {
    clock: Clock,
    calls: Mutex<Vec<(Asked, Option<oneshot::Sender<Answer>>)>>,
    begun: watch::Sender<usize>,
}

#[async_trait]
impl Mint for Vendor {
    async fn mint(&self, input: &MintInput) -> Result<Minted, MintFailure> {
        let (answer, answered) = oneshot::channel();
        let number = {
            let mut calls = self.calls.lock();
            calls.push(((input.subject.clone(), input.language.clone()), Some(answer)));
            calls.len()
        };
        self.begun.send_replace(number);
        let url = PluginUrl::unchecked(&format!("https://vendor/{}", number - 1));
        match answered.await.unwrap() {
            Answer::Life(life) => Ok(Minted {
                url,
                ends: Some(self.clock.now().plus(life)),
                end_unread: false,
                hold_until: None,
                uses: None,
            }),
            Answer::Counted(uses) => Ok(Minted {
                url,
                ends: Some(self.clock.now().plus(HOUR)),
                end_unread: false,
                hold_until: None,
                uses: Some(uses),
            }),
            Answer::Endless => Ok(Minted { url, ends: None, end_unread: false, hold_until: None, uses: None }),
            Answer::Fail(failure) => Err(failure),
            Answer::Panic => std::panic::resume_unwind(Box::new("a mint that falls over")),
        }
    }

    fn readmit(&self, url: &str) -> Option<PluginUrl> {
        Some(PluginUrl::unchecked(url))
    }
}

impl Vendor {
    /// How many mints have begun.
    pub fn calls(&self) -> usize {
        self.calls.lock().len()
    }

    /// For whom the n-th mint was asked.
    pub fn asked(&self, call: usize) -> Asked {
        self.calls.lock()[call].0.clone()
    }

    /// Waits until so many mints have begun.
    pub async fn begun(&self, number: usize) {
        in_time(self.begun.subscribe().wait_for(|begun| *begun >= number)).await.unwrap();
    }

    /// Answers the n-th call.
    pub fn answer(&self, call: usize, answer: Answer) {
        let sender = self.calls.lock()[call].1.take().unwrap();
        assert!(sender.send(answer).is_ok(), "nobody waits for the vendor's answer {call}");
    }
}

/// What a caller got, as a test compares it: the vendor's call number, and where the lease came from.
pub type Got = Result<(usize, Source), NoLease>;

/// The number in `https://vendor/N`.
pub fn number(lease: &Lease) -> usize {
    lease.url.expose().rsplit('/').next().unwrap().parse().unwrap()
}

fn got(result: Result<(Arc<Lease>, Source), NoLease>) -> Got {
    result.map(|(lease, source)| (number(&lease), source))
}

pub struct TestBench {
    pub book: Arc<Book>,
    pub policy: Arc<LeasePolicy>,
    pub vendor: Arc<Vendor>,
    pub clock_control: Arc<ClockControl>,
    pub clock: Clock,
    pub metrics: Metrics,
}

pub fn rules() -> Rules {
    Rules {
        reuse: Reuse::User,
        max_age: 6 * HOUR,
        min_remaining: 5 * MINUTE,
        refresh_ahead: None,
        spread: Duration::ZERO,
        mints_per_subject: MintsPerSubject { count: 30, within: Span(HOUR) },
    }
}

/// Rules with at most `count` mints an hour.
pub fn at_most(count: u32) -> Rules {
    Rules { mints_per_subject: MintsPerSubject { count, within: Span(HOUR) }, ..rules() }
}

/// `ada/en`: the subject, and the variant, which is the language here.
pub fn key(name: &str) -> LeaseKey {
    let (owner, variant) = name.split_once('/').unwrap_or((name, ""));
    LeaseKey::raw(owner, variant)
}

pub fn input(key: &LeaseKey) -> MintInput {
    let text = |bytes: &[u8]| Box::<str>::from(std::str::from_utf8(bytes).unwrap());
    MintInput {
        external_id: text(key.owner()),
        issuer: "https://idp".into(),
        subject: text(key.owner()),
        language: Some(text(key.variant())).filter(|language| !language.is_empty()),
        claims: Box::new([]),
        parameters: [].into(),
        context: Default::default(),
    }
}

impl TestBench {
    pub fn new() -> Self {
        Self::with(rules(), 1_000)
    }

    pub fn with(rules: Rules, capacity: usize) -> Self {
        Self::behind(rules, capacity, |_| None)
    }

    /// With a store behind the book.
    pub fn behind(rules: Rules, capacity: usize, store: impl FnOnce(&Metrics) -> Option<Arc<SealedStore>>) -> Self {
        let (clock, clock_control) = Clock::manual(START);
        let metrics = Metrics::new("0", "0").unwrap();
        let vendor = Arc::new(Vendor { clock: clock.clone(), calls: Mutex::default(), begun: watch::Sender::new(0) });
        let policy = Arc::new(LeasePolicy::new("face-scan", "acme", rules, vendor.clone(), &metrics));
        let book = Book::with(ShardedRecords::default(), capacity, clock.clone(), &metrics, store(&metrics));
        Self { book, policy, vendor, clock_control, clock, metrics }
    }

    /// A `GET` that is not held, as a future of its own.
    pub fn get(&self, name: &str) -> impl Future<Output = Got> + Send + 'static {
        let (book, policy, key) = (self.book.clone(), self.policy.clone(), key(name));
        async move { got(in_time(book.obtain(&policy, &key, || input(&key))).await) }
    }

    /// A `POST`.
    pub fn post(&self, name: &str) -> impl Future<Output = Got> + Send + 'static {
        let (book, policy, key) = (self.book.clone(), self.policy.clone(), key(name));
        async move { got(in_time(book.renew(&policy, &key, || input(&key))).await) }
    }

    /// A request where `reuse = "never"`.
    pub fn once(&self, name: &str) -> impl Future<Output = Got> + Send + 'static {
        let (book, policy, key) = (self.book.clone(), self.policy.clone(), key(name));
        async move { got(in_time(book.once(&policy, &key, || input(&key))).await) }
    }

    /// The same as tasks, which have come as far as they can.
    pub async fn getting(&self, name: &str) -> JoinHandle<Got> {
        self.started(self.get(name)).await
    }
    pub async fn posting(&self, name: &str) -> JoinHandle<Got> {
        self.started(self.post(name)).await
    }
    pub async fn onceing(&self, name: &str) -> JoinHandle<Got> {
        self.started(self.once(name)).await
    }
    async fn started(&self, request: impl Future<Output = Got> + Send + 'static) -> JoinHandle<Got> {
        let task = tokio::spawn(request);
        settle().await;
        task
    }

    /// A `GET` whose mint gives a URL of this life at once; the lease is held, if it may be.
    pub async fn hold(&self, name: &str, life: Duration) -> usize {
        let call = self.vendor.calls();
        let task = self.getting(name).await;
        self.vendor.answer(call, Answer::Life(life));
        assert_eq!(task.await.unwrap(), Ok((call, Source::Minted)));
        call
    }

    /// A `GET` whose mint fails at once.
    pub async fn fail(&self, name: &str) {
        let call = self.vendor.calls();
        let task = self.getting(name).await;
        self.vendor.answer(call, Answer::Fail(MintFailure::Unreachable));
        assert_eq!(task.await.unwrap(), Err(NoLease::Mint(MintFailure::Unreachable)));
    }

    /// What the warm path has: the vendor's call, and whether it asks for a mint ahead.
    pub fn held(&self, name: &str) -> Option<(usize, bool)> {
        let found = self.book.held(&self.policy, &key(name), self.clock.moment());
        found.map(|(lease, ahead)| (number(&lease), ahead))
    }

    /// What the gateway does after a warm answer that asks for it.
    pub async fn ahead(&self, name: &str) {
        let key = key(name);
        self.book.ahead(&self.policy, &key, || input(&key));
        settle().await;
    }

    pub fn leases(&self, source: &str) -> u64 {
        self.metrics.leases.with_label_values(&["face-scan", source]).get()
    }

    pub fn mints(&self, outcome: &str) -> u64 {
        self.metrics.mints.with_label_values(&["acme", outcome]).get()
    }

    /// `valet_leases_held`, which the book's own count must equal.
    pub fn gauge(&self) -> i64 {
        let gauge = self.metrics.leases_held.get();
        assert_eq!(gauge, self.book.leases().len() as i64);
        assert_eq!(self.book.leases().is_empty(), gauge == 0);
        gauge
    }

    /// Time goes by until nothing can matter any more; then nothing may be left in memory.
    pub async fn assert_forgets_everything(&self) {
        settle().await;
        // Two sweeps: a lease's end leads to the record, and the record's window of counted mints ends at the same time or later.
        for _ in 0..2 {
            self.clock_control.advance(7 * HOUR);
            self.book.leases().sweep();
        }
        assert_eq!(self.gauge(), 0);
        assert_eq!(self.book.leases().sizes(), (0, 0, 0), "(records, names of leases, visits) are left");
    }
}

async fn in_time<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(WATCHDOG, future).await.expect("somebody waits for ever")
}

/// Lets every task run until it waits for something. The runtime of these tests has one thread.
pub async fn settle() {
    for _ in 0..64 {
        tokio::task::yield_now().await;
    }
}

/// Polls once.
pub async fn poll_once<F: Future + ?Sized>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
    poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await
}

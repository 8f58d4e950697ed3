//! Upstreams by name: what DNS says, and what it says next.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::super::resolve;
use super::*;

/// What DNS says of every name: addresses, a fault, or nothing at all.
#[derive(Clone)]
enum Says {
    Addresses(Vec<SocketAddr>),
    Fault,
    Nothing,
}

struct Zone {
    says: Mutex<Says>,
    questions: AtomicUsize,
}

#[async_trait]
impl Resolver for Zone {
    async fn resolve(&self, name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        assert_eq!((name, port), ("app.internal", 3000));
        self.questions.fetch_add(1, Ordering::SeqCst);
        let says = self.says.lock().clone();
        match says {
            Says::Addresses(addresses) => Ok(addresses),
            Says::Fault => Err(io::Error::other("no such name")),
            Says::Nothing => std::future::pending().await,
        }
    }
}

/// A pool with one name, followed on a task. Time is tokio's, paused.
struct Followed {
    bench: TestBench,
    zone: Arc<Zone>,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Followed {
    fn start(says: Says, keys: Value) -> Self {
        let zone = Arc::new(Zone { says: Mutex::new(says), questions: AtomicUsize::new(0) });
        let bench = TestBench::with(keys, zone.clone());
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(bench.pool.clone().run(stopped));
        Self { bench, zone, stop, task }
    }

    fn says(&self, says: Says) {
        *self.zone.says.lock() = says;
    }

    fn questions(&self) -> usize {
        self.zone.questions.load(Ordering::SeqCst)
    }

    /// Time goes on, and what is due happens.
    async fn goes_on(&self, span: Duration) {
        // Pause: on the paused clock, where nothing waits.
        tokio::time::sleep(span).await;
    }

    fn lookups(&self, outcome: &str) -> u64 {
        self.bench.metrics.upstream_lookups.with_label_values(&["portal", outcome]).get()
    }
}

fn addresses<const N: usize>(last: [u8; N]) -> Says {
    Says::Addresses(last.map(|last| SocketAddr::from(([10, 0, 0, last], 3000))).to_vec())
}

fn named() -> Value {
    json!({ "upstreams": ["app.internal:3000"] })
}

fn hosts(bench: &TestBench, picks: usize) -> Vec<String> {
    (0..picks).map(|_| bench.pick().address().ip().ip().to_string()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_name_with_several_addresses_is_several_upstreams_in_a_fixed_order() {
    let followed = Followed::start(addresses([3, 1, 2, 1]), named());
    assert!(followed.bench.pool.pick(b"", &[]).is_none(), "nobody has asked yet");
    assert!(followed.bench.is_degraded());
    followed.goes_on(millis(1)).await;
    let bench = &followed.bench;
    bench.pool.pick(b"", &[]).unwrap();
    assert_eq!(hosts(bench, 3), ["10.0.0.3", "10.0.0.1", "10.0.0.2"]);
    assert_eq!(bench.pick().name(), "app.internal:3000");
    assert!(!bench.is_degraded());
    assert!(bench.shows("valet_upstream_up{app=\"portal\",upstream=\"10.0.0.2:3000\"} 1"));
    assert!(bench.shows("valet_upstream_ejections_total{app=\"portal\",upstream=\"10.0.0.2:3000\"} 0"));
}

#[tokio::test(start_paused = true)]
async fn names_are_asked_for_again_and_new_addresses_take_the_place_of_old_ones() {
    let followed = Followed::start(addresses([1, 2]), named());
    followed.goes_on(millis(1)).await;
    let bench = &followed.bench;
    let under_way = [bench.pick(), bench.pick()];
    assert_eq!(under_way[0].address().ip().ip().to_string(), "10.0.0.1");
    followed.says(addresses([2, 3]));
    followed.goes_on(resolve::EVERY.mul_f64(0.9) - millis(2)).await;
    assert_eq!(followed.questions(), 1);
    followed.goes_on(resolve::EVERY.mul_f64(0.1) + millis(2)).await;
    assert_eq!(followed.questions(), 2);
    assert_eq!(hosts(bench, 4), ["10.0.0.2", "10.0.0.3", "10.0.0.2", "10.0.0.3"]);
    // What goes on at one that left harms nobody, and it has no line any more.
    under_way[0].succeeded();
    under_way[0].failed(Cause::Broken);
    assert!(!bench.metrics.text().contains("10.0.0.1"));
    // One that stayed is the same one.
    let stayed = bench.pool.endpoints.list.load()[0].under_way.load(Ordering::Relaxed);
    assert_eq!(stayed, 1);
}

#[tokio::test(start_paused = true)]
async fn addresses_stay_while_dns_fails_answers_nothing_or_does_not_answer() {
    let followed = Followed::start(addresses([1]), named());
    followed.goes_on(millis(1)).await;
    for says in [Says::Fault, Says::Addresses(Vec::new()), Says::Nothing] {
        followed.says(says);
        followed.goes_on(resolve::EVERY + resolve::DEADLINE).await;
        assert_eq!(hosts(&followed.bench, 1), ["10.0.0.1"]);
    }
    assert!(followed.lookups("error") >= 3);
    followed.says(addresses([2]));
    followed.goes_on(resolve::EVERY + resolve::DEADLINE).await;
    assert_eq!(hosts(&followed.bench, 1), ["10.0.0.2"]);
    assert!(followed.lookups("ok") >= 2);
}

#[tokio::test(start_paused = true)]
async fn without_any_address_it_is_asked_for_sooner() {
    let followed = Followed::start(Says::Fault, named());
    followed.goes_on(resolve::FIRST_PAUSE * 3 + millis(1)).await;
    assert!((4..=5).contains(&followed.questions()), "{}", followed.questions());
    assert!(followed.bench.pool.pick(b"", &[]).is_none());
    followed.says(addresses([1]));
    followed.goes_on(resolve::FIRST_PAUSE).await;
    assert!(followed.bench.pool.pick(b"", &[]).is_some());
}

#[tokio::test(start_paused = true)]
async fn what_is_known_of_an_upstream_outlives_a_change_of_the_others() {
    let followed = Followed::start(addresses([1, 2]), named());
    followed.goes_on(millis(1)).await;
    let bench = &followed.bench;
    let second = [Address::Ip(SocketAddr::from(([10, 0, 0, 2], 3000)))];
    for _ in 0..5 {
        bench.pool.pick(b"", &second).unwrap().failed(Cause::Refused);
    }
    followed.says(addresses([1, 3]));
    followed.goes_on(resolve::EVERY).await;
    assert_eq!(hosts(bench, 3), ["10.0.0.3"; 3], "the first is left alone as before");
    followed.says(addresses([1]));
    followed.goes_on(resolve::EVERY).await;
    assert_eq!(hosts(bench, 2), ["10.0.0.1"; 2], "and serves all the same where it is the last");
}

#[tokio::test(start_paused = true)]
async fn an_address_that_two_entries_lead_to_is_one_upstream() {
    let keys = json!({ "upstreams": ["10.0.0.1:3000", "app.internal:3000"] });
    let followed = Followed::start(addresses([1, 2]), keys);
    assert_eq!(hosts(&followed.bench, 2), ["10.0.0.1"; 2], "an address needs no DNS");
    followed.goes_on(millis(1)).await;
    assert_eq!(hosts(&followed.bench, 2), ["10.0.0.1", "10.0.0.2"]);
    assert_eq!(followed.bench.pool.endpoints.list.load()[0].target.text.as_ref(), "10.0.0.1:3000");
}

#[tokio::test(start_paused = true)]
async fn it_ends_when_it_is_told_to_and_when_nobody_can_tell_it_any_more() {
    let followed = Followed::start(Says::Nothing, named());
    followed.goes_on(millis(1)).await;
    followed.stop.send(true).unwrap();
    followed.task.await.unwrap();
    let Followed { stop, task, .. } = Followed::start(addresses([1]), named());
    drop(stop);
    task.await.unwrap();
    // Where there is nothing to keep up, there is nothing to wait for.
    let (_stop, stopped) = watch::channel(false);
    TestBench::at([1], json!({})).pool.run(stopped).await;
}

#[tokio::test]
async fn the_machine_knows_its_own_name() {
    let found = SystemResolver.resolve("localhost", 3000).await.unwrap();
    assert!(found.iter().all(|address| address.ip().is_loopback() && address.port() == 3000));
}

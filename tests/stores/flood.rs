//! Floods of refused credentials at a node with `[limits]`: what a good caller feels of them, what they cost in memory, how many signatures are
//! checked. A proof, for `tools/prove`: it takes two minutes, and its figures mean something on a quiet machine only.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::client::{Connection, once, request};
use super::fleet::{Fleet, Leases};
use super::load::Stop;
use super::stack::bearer;

/// Requests a second, so that two cores have room for a good caller besides.
const RATE: u32 = 2_000;
const CLIENTS: usize = 4;
const ADDRESSES: usize = 200_000;
/// `invalid_per_address`, and from how many addresses the second flood comes.
const BOUND: usize = 20;
const FEW: usize = 100;

/// How long a good caller waits, of a hundred times the second longest; and whatever was no redirect.
struct Felt {
    median: Duration,
    p99: Duration,
    others: usize,
}

/// A person with a token that was seen before and a URL that is held asks two hundred times a second while `act` happens.
fn felt<T>(fleet: &Fleet, token: &str, act: impl FnOnce() -> T) -> (T, Felt) {
    let stop = AtomicBool::new(false);
    let ask = request("GET", "/plugins/face-scan", &[&bearer(token), "x-forwarded-for: 198.51.100.7"], "");
    let (out, mut waits, others) = std::thread::scope(|scope| {
        let good = scope.spawn(|| {
            let mut connection = Connection::open(&fleet.nodes[0].address);
            let (mut waits, mut others) = (Vec::new(), 0);
            while !stop.load(Ordering::Relaxed) {
                let asked = Instant::now();
                others += usize::from(connection.ask(&ask).status != 302);
                waits.push(asked.elapsed());
                // Pause: a person who comes every 5 ms.
                std::thread::sleep(Duration::from_millis(5));
            }
            (waits, others)
        });
        let stopped = Stop(&stop);
        let out = act();
        drop(stopped);
        let (waits, others) = good.join().expect("no panic");
        (out, waits, others)
    });
    waits.sort_unstable();
    let at = |share: f64| waits[((waits.len() - 1) as f64 * share) as usize];
    (out, Felt { median: at(0.5), p99: at(0.99), others })
}

/// So many requests with bad tokens, each `number` from the address that `address` gives it; how many got which status.
fn flood(fleet: &Fleet, token: &str, count: usize, address: impl Fn(usize) -> usize + Sync) -> (usize, usize) {
    let (head, _) = token.rsplit_once('.').expect("three parts");
    let pause = Duration::from_secs(1) * CLIENTS as u32 / RATE;
    let client = |first: usize| {
        let mut connection = Connection::open(&fleet.nodes[0].address);
        let (mut invalid, mut limited) = (0, 0);
        let began = Instant::now();
        for (sent, number) in (first..count).step_by(CLIENTS).enumerate() {
            let [_, b, c, d] = (address(number) as u32).to_be_bytes();
            let signature: String = std::iter::repeat_with(fastrand::alphanumeric).take(85).chain(['A']).collect();
            let from = format!("x-forwarded-for: 10.{b}.{c}.{d}");
            let ask = request("GET", "/plugins/face-scan", &[&bearer(&format!("{head}.{signature}")), &from], "");
            match connection.ask(&ask).status {
                401 => invalid += 1,
                429 => limited += 1,
                other => panic!("{other}"),
            }
            // Pause: the load comes at a rate.
            std::thread::sleep((pause * sent as u32).saturating_sub(began.elapsed()));
        }
        (invalid, limited)
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..CLIENTS).map(|first| scope.spawn(move || client(first))).collect();
        let parts = threads.into_iter().map(|thread| thread.join().expect("no panic"));
        parts.fold((0, 0), |all, part| (all.0 + part.0, all.1 + part.1))
    })
}

/// Credentials that were read and found bad.
fn checked(fleet: &Fleet) -> u64 {
    let page = once(&fleet.nodes[0].admin, "GET", "/metrics", &[], "").body;
    let lines =
        page.lines().filter(|line| line.starts_with("valet_session_checks_total") && line.contains("\"invalid\""));
    lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
}

/// Resident memory of the node in bytes.
fn resident(fleet: &Fleet) -> u64 {
    let page = once(&fleet.nodes[0].admin, "GET", "/metrics", &[], "").body;
    let line = page.lines().find(|line| line.starts_with("process_resident_memory_bytes")).expect("Linux");
    line.rsplit_once(' ').expect("a value").1.parse::<f64>().expect("a number") as u64
}

#[test]
#[ignore = "takes two minutes: run by tools/prove"]
fn a_flood_from_200_000_addresses_costs_memory_by_the_page_and_good_callers_little() {
    let limits = format!(
        "[limits]\nper_address = {{ rate = 1000, burst = 2000 }}\ninvalid_per_address = {{ count = {BOUND}, within = \"1h\" }}\n"
    );
    let mut fleet = Fleet::empty()
        .replacing("[server]\n", "[server]\ntrusted_proxies = [\"127.0.0.1/32\"]\n")
        .replacing("[session]\n", &format!("{limits}\n[session]\n"));
    fleet.add(&Leases::file());
    let (good, bad) = (fleet.idp.token("good"), fleet.idp.token("bad"));
    fleet.url(0, &good);
    // Pause: what is measured is a quarter of a minute without the flood.
    let quiet = |fleet: &Fleet| felt(fleet, &good, || std::thread::sleep(Duration::from_secs(15))).1;
    let before = quiet(&fleet);
    let (memory, reads) = (resident(&fleet), checked(&fleet));
    let ((invalid, limited), many) = felt(&fleet, &good, || flood(&fleet, &bad, ADDRESSES, |number| number));
    assert_eq!((invalid, limited), (ADDRESSES, 0), "each address once");
    let (grown, read) = (resident(&fleet).saturating_sub(memory), checked(&fleet) - reads);
    assert_eq!(read, ADDRESSES as u64);
    // The page's figures are for a million addresses: 67 MB for the rate, 147 MB for one refused credential each.
    assert!(grown < (67_000_000 + 147_000_000) / 5 * 2, "{grown} bytes more");
    let reads = checked(&fleet);
    let asked = 50_000;
    let ((_, limited), few) = felt(&fleet, &good, || flood(&fleet, &bad, asked, |number| 0xff_0000 + number % FEW));
    let read = checked(&fleet) - reads;
    let most = (FEW * (BOUND + CLIENTS)) as u64;
    assert!(read <= most, "{read} signatures for {FEW} addresses with {BOUND} each");
    assert_eq!(limited as u64 + read, asked as u64);
    let after = quiet(&fleet);
    let times = |felt: &Felt| felt.p99.as_secs_f64() / before.p99.max(after.p99).as_secs_f64();
    eprintln!(
        "a good caller's p99: {:?} before, {:?} after; {:?} ({:.2} ×) in a flood from {ADDRESSES} addresses, {:?} ({:.2} ×) in one from {FEW}; medians {:?}, {:?}, {:?}; {:.1} MB more memory; {read} signatures checked of {asked} bad tokens ({RATE} a second)",
        before.p99,
        after.p99,
        many.p99,
        times(&many),
        few.p99,
        times(&few),
        before.median,
        many.median,
        few.median,
        grown as f64 / 1e6,
    );
    assert_eq!((before.others, many.others, few.others), (0, 0, 0));
    // A debug build's flood takes the processor that good callers need.
    assert!(cfg!(debug_assertions) || times(&many).max(times(&few)) <= 2.0, "good callers wait too long");
}

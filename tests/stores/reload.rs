//! What a reload of a large configuration costs those who ask meanwhile, and what it leaves in memory. A proof, for `tools/prove`: its figures mean
//! something on a quiet machine only.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::client::{Connection, once, request};
use super::fleet::{Fleet, Leases, as_it_ships};
use super::load::Stop;
use super::stack::bearer;

const TOKEN: &str = "the-admin-token-of-this-test-0123456789abcdef";
const PLUGINS: usize = 1_000;
const USERS: usize = 10_000;
/// Plug-ins that each user has opened.
const EACH: usize = 10;
const RELOADS: usize = 10;
/// Requests under way at a time, and how long a client rests between two: two cores have room for the reload and for this test.
const CLIENTS: usize = 2;
const REST: Duration = Duration::from_millis(1);
/// The longest that a reload may make a request wait.
const BOUND: Duration = Duration::from_millis(5);
/// The first reload raises what the allocator keeps for the next ones; each next one may not raise it by more than its own scatter.
const SCATTER: f64 = 0.15;
/// So much more may be resident at rest behind ten reloads than before the first.
const KEPT: f64 = 0.05;
/// The runtime's threads that have nothing to do end after 10 s, and what they held goes with them.
const REST_AT_MOST: Duration = Duration::from_secs(15);

/// How long requests waited, in ascending order.
struct Waits(Vec<Duration>);

impl Waits {
    fn at(&self, share: f64) -> Duration {
        self.0[((self.0.len() - 1) as f64 * share) as usize]
    }

    fn longest(&self) -> Duration {
        self.at(1.0)
    }

    fn all(parts: Vec<Self>) -> Self {
        let mut all: Vec<Duration> = parts.into_iter().flat_map(|part| part.0).collect();
        all.sort_unstable();
        Self(all)
    }
}

/// The plug-ins of a user, by number.
fn plugins_of(user: usize) -> impl Iterator<Item = usize> {
    (user * EACH..(user + 1) * EACH).map(|number| number % PLUGINS)
}

fn open(token: &str, plugin: usize) -> String {
    request("GET", &format!("/plugins/scan-{plugin}"), &[&bearer(token)], "")
}

/// A thousand plug-ins beside the one of every test. `round` is in each of them, so that each has changed with the next one.
fn plugins(round: usize) -> String {
    let plugin = |number| {
        format!(
            "\n[[plugin]]\nname = \"scan-{number}\"\nprovider = \"simulated\"\nmint = \"face-scan\"\npath = \"/plugins/scan-{number}\"\nreuse = \"user\"\nmin_remaining = \"{}s\"\n",
            300 + round
        )
    };
    (0..PLUGINS).map(plugin).collect()
}

/// A lease of each user for each of his plug-ins.
fn mint_all(fleet: &Fleet, tokens: &[String]) {
    std::thread::scope(|scope| {
        for first in 0..8 {
            scope.spawn(move || {
                let mut connection = Connection::open(&fleet.nodes[0].address);
                for user in (first..USERS).step_by(8) {
                    for plugin in plugins_of(user) {
                        let answer = connection.ask(&open(&tokens[user], plugin));
                        assert_eq!(answer.status, 302, "{answer:?}");
                    }
                }
            });
        }
    });
}

/// How long users with held leases wait while `act` happens. Each answer must be a redirect.
fn waits<T>(fleet: &Fleet, tokens: &[String], act: impl FnOnce() -> T) -> (T, Waits) {
    let (stop, next) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let client = || {
            let mut connection = Connection::open(&fleet.nodes[0].address);
            let mut waits = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let user = number * 7 % USERS;
                let plugin = plugins_of(user).nth(number % EACH).expect("one of his");
                let ask = open(&tokens[user], plugin);
                let asked = Instant::now();
                let answer = connection.ask(&ask);
                waits.push(asked.elapsed());
                assert_eq!(answer.status, 302, "{answer:?}");
                // Pause: the load comes at a rate.
                std::thread::sleep(REST);
            }
            Waits(waits)
        };
        let threads: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        let stopped = Stop(&stop);
        let out = act();
        drop(stopped);
        let parts = threads.into_iter().map(|thread| thread.join().expect("no panic")).collect();
        (out, Waits::all(parts))
    })
}

/// Resident memory of the node in bytes, as the kernel tells it: making the page of metrics of a thousand plug-ins takes memory.
fn resident(fleet: &Fleet) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", fleet.nodes[0].program.pid())).expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    line.trim().trim_end_matches(" kB").parse::<f64>().expect("a number") * 1024.0
}

/// The least of what is resident within [`REST_AT_MOST`].
fn resident_at_rest(fleet: &Fleet) -> f64 {
    let until = Instant::now() + REST_AT_MOST;
    let mut least = resident(fleet);
    while Instant::now() < until {
        // Pause: nothing tells when a thread has ended.
        std::thread::sleep(Duration::from_millis(500));
        least = least.min(resident(fleet));
    }
    least
}

/// Puts another configuration in force, in which every plug-in and the provider have changed; how long that took.
fn reload(fleet: &Fleet, file: &std::path::Path, round: usize) -> Duration {
    let text = std::fs::read_to_string(file).expect("our file");
    let text = text.split("\n[[plugin]]\nname = \"scan-0\"").next().expect("a beginning");
    let text = text.replacen(&format!("\"{}s\"", 19 + round), &format!("\"{}s\"", 20 + round), 1);
    std::fs::write(file, text + &plugins(round)).expect("our file");
    let began = Instant::now();
    let answer = once(&fleet.nodes[0].admin, "POST", "/api/reload", &[&bearer(TOKEN)], "");
    let took = began.elapsed();
    assert_eq!(answer.status, 200, "{answer:?}");
    let changed = answer.json()["changed"].as_array().expect("a list").len();
    assert_eq!(changed, PLUGINS + 1, "each plug-in and the provider");
    took
}

#[test]
#[ignore = "takes a minute: run by tools/prove"]
fn a_reload_of_1_000_plugins_and_100_000_leases_makes_nobody_wait_and_memory_comes_back_after_ten() {
    let admin = "[admin]\naddress = \"127.0.0.1:0\"\n";
    let mut fleet = Fleet::empty().replacing(admin, &format!("{admin}token = {{ file = \"admin.token\" }}\n"));
    fleet.folder.write("admin.token", TOKEN);
    let name = fleet.file(&Leases::memory());
    let file = fleet.path().join(&name);
    let text = std::fs::read_to_string(&file).expect("our file");
    std::fs::write(&file, text + &plugins(0)).expect("our file");
    let mut node = as_it_ships(super::process::valet(fleet.path(), &["run", "--config", &name]));
    // As the unit and the container run it.
    node.env("MIMALLOC_PURGE_DELAY", "10");
    fleet.add_by(node);
    fleet.nodes[0].until_ready();
    let tokens = fleet.tokens("user", USERS);
    mint_all(&fleet, &tokens);
    assert_eq!(fleet.mints(), (USERS * EACH) as u64);
    let (mut quiet, mut reloading, mut took) = (Vec::new(), Vec::new(), Vec::new());
    // Pause: what is resident before is measured in use, as it is measured later.
    quiet.push(waits(&fleet, &tokens, || std::thread::sleep(Duration::from_secs(5))).1);
    let mut memory = vec![resident(&fleet)];
    for round in 1..=RELOADS {
        let (span, waited) = waits(&fleet, &tokens, || {
            let took = reload(&fleet, &file, round);
            // Pause: what the configuration before held is given back behind the answer.
            std::thread::sleep(Duration::from_millis(500));
            took
        });
        took.push(span);
        reloading.push(waited);
        // Pause: what is measured is as long a time without a reload.
        quiet.push(waits(&fleet, &tokens, || std::thread::sleep(span + Duration::from_millis(500))).1);
        memory.push(resident(&fleet));
    }
    let bound = memory[0] * (1.0 + KEPT);
    let rest = resident_at_rest(&fleet);
    assert_eq!(fleet.mints(), (USERS * EACH) as u64, "no lease was lost");
    let (quiet, reloading) = (Waits::all(quiet), Waits::all(reloading));
    let (first, last) = (memory[1], memory[RELOADS]);
    let mib: Vec<String> = memory.iter().map(|bytes| format!("{:.1}", bytes / f64::from(1 << 20))).collect();
    eprintln!(
        "{RELOADS} reloads of {PLUGINS} plug-ins and {} leases: {:?} each in the middle, {:?} at most; {} requests meanwhile waited {:?} in the middle, {:?} of a thousand the second longest, {:?} at most; {} without a reload {:?}, {:?}, {:?}; resident MiB before and after each: {}, and at rest {:.1}",
        USERS * EACH,
        Waits::all(vec![Waits(took.clone())]).at(0.5),
        took.iter().max().expect("some"),
        reloading.0.len(),
        reloading.at(0.5),
        reloading.at(0.999),
        reloading.longest(),
        quiet.0.len(),
        quiet.at(0.5),
        quiet.at(0.999),
        quiet.longest(),
        mib.join(", "),
        rest / f64::from(1 << 20),
    );
    assert!(rest <= bound, "memory does not come back");
    assert!(last <= first * (1.0 + SCATTER), "each reload takes memory");
    // A debug build's reload takes the processor that requests need.
    assert!(cfg!(debug_assertions) || reloading.longest() <= quiet.longest() + BOUND, "requests wait for a reload");
}

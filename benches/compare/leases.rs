//! Few and many users whose URLs are held: memory, what a redirect costs among them, and how long one takes at half of the highest rate.

use std::io::{Error, Result};
use std::time::{Duration, Instant};

use crate::cases::target;
use crate::client::{Request, Way};
use crate::load::{Load, Until, closed, once, open};
use crate::meanwhile::{Meanwhile, fill};
use crate::peers::{FIXED, PEERS, Peer, Started, VALET, VALET_OF_MANY};
use crate::report::Table;
use crate::run::{median, seconds, setting};
use crate::site::{Algorithm, Site};
use crate::stage::{Stage, takes_part};
use crate::steady::{Latencies, Steady};

/// The load holds a rate at which it sees answers of the least server in this time, in milliseconds: two fifths of what Valet has. Less would be a
/// rate of some hundreds on a machine whose other guests take 1 to 3 ms of any second.
const HELD: f64 = 2.0;

/// The table of those that can be told so many users.
pub fn table(stage: &Stage) -> Table {
    let mut table = Table::new(
        "Leases",
        &format!(
            "Users whose URLs are held; 1,000 of them ask over HTTP/1.1. Valet signs each URL itself, the others read a file of them. Latencies are of requests at half of the highest rate, or at what the load \
             itself holds if that is less: the highest at which 99.9 % of the answers of a server that says the same to everybody, by bare system calls, come within {HELD} ms. Each counts from when it was due; \
             Valet is asked for a second before that. Meanwhile Valet sweeps a tenth as many leases that have ended, fetches keys of which one is new and one is gone, and takes another configuration. A server that was not ready with all users in \
             120 s is left out."
        ),
        &[
            "",
            "users",
            "filled in s",
            "MiB resident",
            "CPU µs/request",
            "highest rate",
            "the load holds",
            "at requests/s",
            "p50 / p99 / p99.9 / longest ms",
            "the load was away, ms at most",
            "the server waited for its core, ms",
            "meanwhile",
        ],
    );
    for users in [1000, setting("LEASES", 1_000_000)] {
        let site = Site::new(Algorithm::Es256, users);
        for peer in PEERS.iter().filter(|peer| peer.million && takes_part(peer)) {
            let peer = if peer.name == VALET { &VALET_OF_MANY } else { peer };
            let cells =
                one(stage, peer, &site).unwrap_or_else(|why| vec![users.to_string(), format!("left out: {why}")]);
            table.row(peer.name, &cells);
        }
    }
    table
}

fn one(stage: &Stage, peer: &'static Peer, site: &Site) -> std::result::Result<Vec<String>, String> {
    if peer.name == VALET {
        Meanwhile::prepare(stage, site)?;
    }
    let began = Instant::now();
    let server = peer.start(site, stage.origin.address, None)?;
    measure(stage, &server, site, began).map_err(|fault| fault.to_string())
}

fn measure(stage: &Stage, server: &Started, site: &Site, began: Instant) -> Result<Vec<String>> {
    let is_valet = server.peer.name == VALET;
    let asking = site.users.min(1000);
    if is_valet {
        fill(stage, server, site, "/plugins/face-scan", asking..site.users)?;
    }
    let load = Load {
        target: target(server, site, Way::Http1),
        requests: (0..asking).map(|user| Request::get("/plugins/face-scan", Some(&site.token(user, 0)))).collect(),
        status: 302,
        connections: setting("CONNECTIONS", 64),
        streams: 1,
    };
    stage.runtime.block_on(once(&load))?;
    let filled = began.elapsed();
    let (cpu, rate) = as_fast_as_it_can(stage, server, &load)?;
    let memory = server.running.memory() / 1048576.0;
    let requests: Vec<Vec<u8>> = load.requests.iter().map(|request| request.http1.clone()).collect();
    let holds = holds(stage, site, &requests, rate / 2.0)?;
    let length = if is_valet { seconds("SECONDS_LEASES", 30.0) } else { seconds("SECONDS_PACED", 2.0) * 5 };
    let connections = load.connections;
    let steady =
        Steady { address: server.plain, requests: &requests, connections, rate: holds.min(rate / 2.0), length };
    let waited = server.running.waited();
    let (latencies, said) = if is_valet {
        Meanwhile::begin(stage, server, site, length)?.during(|| {
            // It has slept for half a minute, and what it needs first may be out of the caches, or on disk.
            Steady { length: Duration::from_secs(1), ..steady }.run()?;
            steady.run()
        })?
    } else {
        (steady.run()?, "–".to_owned())
    };
    let waited = (server.running.waited() - waited) / 1e3;
    let longest: Vec<String> =
        latencies.seconds.iter().map(|most| format!("{:.1}", most.as_secs_f64() * 1e3)).collect();
    println!("{}, {} users, the longest of each second in ms: {}", server.peer.name, site.users, longest.join(" "));
    Ok(vec![
        site.users.to_string(),
        format!("{:.0}", filled.as_secs_f64()),
        format!("{memory:.0}"),
        format!("{cpu:.1}"),
        format!("{rate:.0}"),
        if holds < rate / 2.0 { format!("{holds:.0}") } else { format!("≥ {holds:.0}") },
        format!("{:.0}", steady.rate),
        latencies.text(),
        format!("{:.1}", latencies.away.as_secs_f64() * 1e3),
        format!("{waited:.0}"),
        said,
    ])
}

/// CPU of a request in microseconds, and requests a second.
fn as_fast_as_it_can(stage: &Stage, server: &Started, load: &Load) -> Result<(f64, f64)> {
    let (mut cpu, mut rate) = (Vec::new(), Vec::new());
    for _ in 0..setting("ROUNDS", 5) {
        let clients = stage.runtime.block_on(open(load))?;
        let (before, began) = (server.running.cpu(), Instant::now());
        let until = Until::Time(began + seconds("SECONDS", 1.0));
        let answered = stage.runtime.block_on(closed(load, clients, until))? as f64;
        cpu.push((server.running.cpu() - before) / answered);
        rate.push(answered / began.elapsed().as_secs_f64());
    }
    Ok((median(cpu).0, median(rate).0))
}

/// The rate that the load holds, of this one and lower ones: by the answers of a server that does nothing.
fn holds(stage: &Stage, site: &Site, requests: &[Vec<u8>], wanted: f64) -> Result<f64> {
    let fixed = FIXED.start(site, stage.origin.address, None).map_err(Error::other)?;
    let mut rate = wanted;
    while rate > 100.0 {
        let steady = Steady {
            address: fixed.plain,
            requests,
            connections: setting("CONNECTIONS", 64),
            rate,
            length: Duration::from_secs(2),
        };
        // Once may be somebody else's doing.
        let tries: Vec<Latencies> = (0..3).map(|_| steady.run()).collect::<Result<_>>()?;
        let best = tries.iter().map(|latencies| latencies.percentile(0.999)).fold(f64::INFINITY, f64::min);
        println!("the load at {rate:.0} requests/s of a fixed 302: 99.9 % within {best:.2} ms");
        if best <= HELD {
            return Ok(rate);
        }
        rate *= 0.8;
    }
    Err(Error::other("the load holds no rate: other work has its core"))
}

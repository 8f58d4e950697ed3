//! Few and many users whose URLs are held: memory, and what a redirect costs among them.

use std::time::Instant;

use crate::cases::target;
use crate::client::{Request, Way};
use crate::load::{Load, Until, closed, once, open, paced, percentile};
use crate::peers::{PEERS, Started, VALET};
use crate::report::Table;
use crate::run::{median, seconds, setting};
use crate::site::{Algorithm, Site};
use crate::stage::{Stage, takes_part};

/// Users whose tokens are made at once.
const BATCH: usize = 20_000;

/// The table of those that can be told so many users.
pub fn table(stage: &Stage) -> Table {
    let mut table = Table::new(
        "Leases",
        "Users whose URLs are held; 1,000 of them ask over HTTP/1.1. Valet got each URL from a vendor, the others read a file of them. Latencies at half of the highest rate; Valet reads its configuration and keys again meanwhile.",
        &["", "users", "MiB resident", "CPU µs/request", "requests/s", "p50 / p99 / p99.9 ms", "at requests/s"],
    );
    for users in [1000, setting("LEASES", 1_000_000)] {
        let site = Site::new(Algorithm::Es256, users);
        for peer in PEERS.iter().filter(|peer| peer.million && takes_part(peer)) {
            let started = peer.start(&site, stage.origin.address, None);
            let cells = started.and_then(|server| one(stage, &server, &site).map_err(|fault| fault.to_string()));
            let cells = cells.unwrap_or_else(|why| vec![users.to_string(), why]);
            table.row(peer.name, &cells);
        }
    }
    table
}

fn one(stage: &Stage, server: &Started, site: &Site) -> std::io::Result<Vec<String>> {
    let load = |from: usize, count: usize, connections: usize| Load {
        target: target(server, site, Way::Http1),
        requests: (from..from + count)
            .map(|user| Request::get("/plugins/face-scan", Some(&site.token(user, 0))))
            .collect(),
        status: 302,
        connections,
        streams: 1,
    };
    // A vendor mints each of them; the first thousand last, for their tokens are then in the cache.
    let minted = if server.peer.name == VALET { site.users } else { 0 };
    for from in (0..minted).step_by(BATCH).rev() {
        let count = BATCH.min(minted - from);
        stage.runtime.block_on(once(&load(from, count, 32)))?;
    }
    let load = load(0, site.users.min(1000), setting("CONNECTIONS", 64));
    stage.runtime.block_on(once(&load))?;
    let (mut cpu, mut rate) = (Vec::new(), Vec::new());
    for _ in 0..setting("ROUNDS", 5) {
        let clients = stage.runtime.block_on(open(&load))?;
        let (before, began) = (server.running.cpu(), Instant::now());
        let until = Until::Time(began + seconds("SECONDS", 1.0));
        let answered = stage.runtime.block_on(closed(&load, clients, until))? as f64;
        cpu.push((server.running.cpu() - before) / answered);
        rate.push(answered / began.elapsed().as_secs_f64());
    }
    let memory = server.running.memory() / 1048576.0;
    let (cpu, rate) = (median(cpu).0, median(rate).0);
    let length = seconds("SECONDS_PACED", 2.0) * 5;
    let mut took = stage.runtime.block_on(async {
        let half = rate / 2.0;
        let reload = async {
            tokio::time::sleep(length / 2).await;
            if server.peer.name == VALET {
                server.running.reload();
            }
        };
        tokio::join!(paced(&load, half, length), reload).0
    })?;
    took.sort_unstable();
    let latencies = [0.5, 0.99, 0.999].map(|share| format!("{:.2}", percentile(&took, share))).join(" / ");
    let numbers =
        [format!("{memory:.0}"), format!("{cpu:.1}"), format!("{rate:.0}"), latencies, format!("{:.0}", rate / 2.0)];
    Ok([vec![site.users.to_string()], numbers.to_vec()].concat())
}

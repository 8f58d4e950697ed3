//! The memory of a million leases, and what a hit costs among them. Through the book's own way: each lease is minted and landed.
//!
//! `cargo bench --profile dist --bench leases`; `LEASES=1000000` is the default.

// Tests and measurements take orders from the environment, and tell a story from its begin to its end.
#![allow(clippy::disallowed_methods, clippy::too_many_lines)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use valet_gateway::clock::Clock;
use valet_gateway::lease::bench::{Fixture, URL_BYTES};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() * 1024.0
}

fn hits(fixture: &Fixture, clock: &Clock) -> f64 {
    let warm: Vec<_> = (0..1000).map(|user| fixture.key(user)).collect();
    let mut rounds: Vec<f64> = (0..21)
        .map(|_| {
            let began = Instant::now();
            for _ in 0..100 {
                for key in &warm {
                    assert!(fixture.book.held(&fixture.policy, key, clock.moment()).is_some());
                }
            }
            began.elapsed().as_nanos() as f64 / 100_000.0
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds[10]
}

fn main() {
    let leases: usize = std::env::var("LEASES").ok().and_then(|text| text.parse().ok()).unwrap_or(1_000_000);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let clock = Clock::system();
        let fixture = Arc::new(Fixture::new(leases, &clock));
        for user in 0..1000 {
            fixture.mint(user).await;
        }
        let few = hits(&fixture, &clock);
        let before = resident();
        for user in 1000..leases {
            fixture.mint(user).await;
        }
        // Tasks that have ended are gone.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let each = (resident() - before) / (leases - 1000) as f64;
        let many = hits(&fixture, &clock);
        println!(
            "{} leases of a {URL_BYTES}-byte URL: {each:.0} bytes resident each, {:.0} MiB in all",
            fixture.book.leases().len(),
            resident() / 1048576.0
        );
        println!("a hit over 1,000 warm sessions: {few:.0} ns among 1,000 leases, {many:.0} ns among {leases}");
    });
}

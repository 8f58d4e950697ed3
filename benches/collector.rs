//! What an OpenTelemetry collector that hangs costs those whose requests are traced: p99 of warm redirects before, while it hangs for a minute, and
//! after; memory, and the spans that were dropped.
//!
//! `cargo bench --profile dist --bench collector`; `SECONDS=60 CONNECTIONS=8 USERS=1000` are the defaults. Each request is traced (`sample = 1.0`).

// Tests and measurements take orders from the environment, and tell a story from its begin to its end.
#![allow(clippy::disallowed_methods, clippy::too_many_lines)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    missing_docs
)]

mod kit;

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use kit::load::{load, requests};
use kit::process::{Server, role};
use kit::{ROLE, app, median, move_to_core_1, setting, stack};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Parts of a phase: the median of their p99 is told.
const PARTS: u64 = 12;

fn main() {
    match std::env::var(ROLE).as_deref() {
        Ok("collector") => app::serve_collector(),
        Ok("valet") => stack::serve(),
        _ => compare(),
    }
}

/// What was seen in one phase.
struct Phase {
    p99: (f64, f64, f64),
    requests: usize,
    resident: f64,
    spans: Vec<(&'static str, u64)>,
}

fn compare() {
    let seconds = setting("SECONDS", 60) as u64;
    move_to_core_1();
    let mut collector = Server::start_on("1", "the collector", &role("collector"));
    let mut command = role("valet");
    command.env("FRESH", "0");
    command.env("MORE", format!("[telemetry]\notlp = \"http://{}\"\nsample = 1.0\n", collector.address));
    let valet = Server::start("valet", &command);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let plain = requests(&valet.tokens);
    let far = Instant::now() + Duration::from_secs(3600);
    runtime.block_on(load(valet.address, &plain, 8, far, true));
    let phase = || {
        let (mut p99, mut requests) = (Vec::new(), 0);
        for _ in 0..PARTS {
            let until = Instant::now() + Duration::from_millis(seconds * 1000 / PARTS);
            let outcome = runtime.block_on(load(valet.address, &plain, setting("CONNECTIONS", 8), until, false));
            requests += outcome.answered;
            p99.push(outcome.p99());
        }
        let metrics = metrics(valet.word("admin"));
        let spans = ["sent", "dropped", "lost", "rejected"].map(|outcome| (outcome, spans(&metrics, outcome))).to_vec();
        Phase { p99: median(p99), requests, resident: resident(valet.pid()), spans }
    };
    let before = phase();
    assert_eq!(collector.tell("hang"), "hangs");
    let hung = phase();
    assert_eq!(collector.tell("answer"), "answers");
    let after = phase();
    println!("{seconds} s each, every request traced; p99 of {PARTS} parts: median (lowest–highest)");
    println!(
        "| the collector | p99 µs | requests | resident MiB | spans sent, dropped, lost, rejected so far |\n|---|---|---|---|---|"
    );
    for (name, phase) in [("answers", &before), ("hangs", &hung), ("answers again", &after)] {
        let ((mid, low, high), spans) = (phase.p99, phase.spans.iter().map(|(_, count)| count.to_string()));
        let spans = spans.collect::<Vec<_>>().join(", ");
        println!("| {name} | {mid:.0} ({low:.0}–{high:.0}) | {} | {:.1} | {spans} |", phase.requests, phase.resident);
    }
    let dropped = hung.spans[1].1 - before.spans[1].1 + hung.spans[2].1 - before.spans[2].1;
    assert!(dropped > 0, "a collector that hangs takes no spans");
    assert!(after.spans[0].1 > hung.spans[0].1, "it takes spans again");
    println!(
        "p99 while the collector hangs over before: {:.2} ×, after over before: {:.2} ×; resident {:.1}, {:.1}, {:.1} MiB; \
         {dropped} of {} spans dropped or lost, all counted",
        hung.p99.0 / before.p99.0,
        after.p99.0 / before.p99.0,
        before.resident,
        hung.resident,
        after.resident,
        hung.requests
    );
}

fn resident(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

fn metrics(admin: &str) -> String {
    let mut wire = std::net::TcpStream::connect(admin).unwrap();
    wire.write_all(b"GET /metrics HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    wire.read_to_string(&mut text).unwrap();
    text
}

fn spans(metrics: &str, outcome: &str) -> u64 {
    let name = format!("valet_spans_total{{outcome=\"{outcome}\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&name)).and_then(|count| count.parse().ok()).unwrap_or(0)
}

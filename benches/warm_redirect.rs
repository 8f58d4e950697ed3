//! The CPU of one warm redirect, everything on, beside bare Pingora's fixed 302, which looks at nothing. Both in one run, in rotation, medians.
//!
//! `cargo bench --profile dist --bench warm_redirect`; `ROUNDS=12 SECONDS=2 CONNECTIONS=64 USERS=1000` are the defaults. With
//! `INSTRUCTIONS=1` it counts instructions in user space by callgrind instead, which repeat where times do not; `BASELINE=PATH` then counts
//! another build of this bench beside it.

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

use std::process::Command;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use kit::load::{load, requests};
use kit::process::{Server, instructions, role};
use kit::{ROLE, bare, move_to_core_1, rotate, setting, stack, table};
use pingora::proxy::{ProxyHttp, Session};
use pingora::upstreams::peer::HttpPeer;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BARE: &str = "bare Pingora, fixed 302";
const WARM: &str = "Valet, warm redirect";

fn main() {
    match std::env::var(ROLE).as_deref() {
        Ok("bare") => bare::serve(Bare),
        Ok("valet") => stack::serve(),
        _ if setting("INSTRUCTIONS", 0) == 1 => count(),
        _ => compare(),
    }
}

struct Bare;

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = ();
    fn new_ctx(&self) {}
    fn init_downstream_modules(&self, _: &mut pingora::modules::http::HttpModules) {}
    async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> pingora::Result<Box<HttpPeer>> {
        Err(pingora::Error::new_str("never asked"))
    }
    async fn request_filter(&self, session: &mut Session, (): &mut ()) -> pingora::Result<bool> {
        bare::redirect(session, "https://plugin.example/?action_token=abc").await
    }
}

fn valet() -> Command {
    let mut command = role("valet");
    command.env("FRESH", "0");
    command
}

fn compare() {
    let (rounds, seconds) = (setting("ROUNDS", 12), setting("SECONDS", 2));
    let connections = setting("CONNECTIONS", 64);
    move_to_core_1();
    let servers = [Server::start(BARE, &role("bare")), Server::start(WARM, &valet())];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let plain = requests(&servers[1].tokens);
    let far = Instant::now() + Duration::from_secs(3600);
    runtime.block_on(load(servers[1].address, &plain, 8, far, true));

    let [bare, warm] = &servers;
    let rows = rotate(&[bare, warm], rounds, |_, server| {
        let until = Instant::now() + Duration::from_secs(seconds as u64);
        runtime.block_on(load(server.address, &plain, connections, until, false))
    });
    println!("{rounds} rounds of {seconds} s in rotation, {connections} connections; median (lowest–highest)");
    let medians = table(rows);
    println!("{WARM} over {BARE}: {:.2}", medians[1] / medians[0]);
}

fn count() {
    let mut servers = vec![(BARE, role("bare")), (WARM, valet())];
    if let Ok(path) = std::env::var("BASELINE") {
        let mut command = Command::new(path);
        command.env(ROLE, "valet").env("FRESH", "0");
        servers.push(("the same of the baseline", command));
    }
    println!("| server | instructions/request, user space |\n|---|---|");
    let mut counts = Vec::new();
    for (name, command) in servers {
        counts.push(instructions(name, &command, "/plugins/face-scan"));
        println!("| {name} | {:.0} |", counts[counts.len() - 1]);
    }
    if let [_, ours, baseline] = counts.as_slice() {
        println!("{WARM} over the baseline, instructions: {:.3}", ours / baseline);
    }
}

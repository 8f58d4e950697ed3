//! The CPU of proxying one answer of 1 KiB with the session checked, everything on, beside bare Pingora, which looks at nothing; the same
//! app behind both, in rotation, medians.
//!
//! `cargo bench --profile dist --bench proxied`; `ROUNDS=24 SECONDS=1 CONNECTIONS=64 USERS=1000` are the defaults. With `INSTRUCTIONS=1` it
//! counts instructions in user space by callgrind instead.

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
use kit::load::{load, requests_for};
use kit::process::{Server, instructions, role};
use kit::{ROLE, bare, move_to_core_1, rotate, setting, stack, table};
use pingora::proxy::{ProxyHttp, Session};
use pingora::upstreams::peer::HttpPeer;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BARE: &str = "bare Pingora, proxying 1 KiB";
const VALET: &str = "Valet, proxying 1 KiB, session checked";
const PATH: &str = "/app/orders";

fn main() {
    match std::env::var(ROLE).as_deref() {
        Ok("app") => kit::app::serve(),
        Ok("bare") => serve_bare(),
        Ok("valet") => stack::serve(),
        _ => compare(),
    }
}

struct Bare(HttpPeer);

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = ();
    fn new_ctx(&self) {}
    fn init_downstream_modules(&self, _: &mut pingora::modules::http::HttpModules) {}
    async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> pingora::Result<Box<HttpPeer>> {
        Ok(Box::new(self.0.clone()))
    }
}

fn serve_bare() {
    let peer = HttpPeer::new(std::env::var("APP").unwrap(), false, String::new());
    bare::serve(Bare(peer));
}

fn compare() {
    let (rounds, seconds) = (setting("ROUNDS", 24), setting("SECONDS", 1));
    move_to_core_1();
    let app = Server::start_on("1", "the app", &role("app"));
    let command = |name: &str| -> Command {
        let mut command = role(name);
        command.env("APP", app.address.to_string()).env("FRESH", "0");
        command
    };
    if setting("INSTRUCTIONS", 0) == 1 {
        println!("| server | instructions/request, user space |\n|---|---|");
        let counts = [(BARE, "bare"), (VALET, "valet")].map(|(name, role)| {
            let count = instructions(name, &command(role), PATH);
            println!("| {name} | {count:.0} |");
            count
        });
        println!("{VALET} over {BARE}, instructions: {:.3}", counts[1] / counts[0]);
        return;
    }
    let servers = [Server::start(BARE, &command("bare")), Server::start(VALET, &command("valet"))];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let plain = requests_for(PATH, &servers[1].tokens);
    let far = Instant::now() + Duration::from_secs(3600);
    runtime.block_on(load(servers[1].address, &plain, 8, far, true));
    let [bare, valet] = &servers;
    let rows = rotate(&[bare, valet], rounds, |_, server| {
        let until = Instant::now() + Duration::from_secs(seconds as u64);
        runtime.block_on(load(server.address, &plain, setting("CONNECTIONS", 64), until, false))
    });
    println!("{rounds} rounds of {seconds} s in rotation; median (lowest–highest)");
    let medians = table(rows);
    println!("{VALET} over {BARE}: {:.2}", medians[1] / medians[0]);
}

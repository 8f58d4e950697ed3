//! The CPU of the first sight of an ES256 token, every check, metric and line on, beside HAProxy's `jwt_verify` with a map by `sub` and a 302.
//! Then: what a hung identity provider costs those whose keys are known.
//!
//! `cargo bench --profile dist --bench first_sight`; `ROUNDS=12 CONNECTIONS=64 USERS=1000 FRESH=36000` are the defaults. Without HAProxy
//! (Debian's package `haproxy`) its row is left out.

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

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kit::load::{load, requests};
use kit::process::{Server, role};
use kit::{ROLE, median, move_to_core_1, rotate, setting, stack, table};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const FIRST: &str = "Valet, first sight (ES256)";
const HAPROXY: &str = "HAProxy, jwt_verify (ES256), map, 302";

fn main() {
    if std::env::var(ROLE).as_deref() == Ok("valet") {
        return stack::serve();
    }
    move_to_core_1();
    let rounds = setting("ROUNDS", 12);
    let mut command = role("valet");
    command.env("FRESH", setting("FRESH", 36_000).to_string());
    let mut valet = Server::start(FIRST, &command);
    let folder = tempfile::tempdir().unwrap();
    let haproxy = haproxy(folder.path(), &valet);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let far = Instant::now() + Duration::from_secs(3600);
        // Each user has a URL: what is measured is the token.
        load(valet.address, &requests(&valet.tokens), 8, far, true).await;
    });
    first_sight(&runtime, &valet, haproxy.as_ref(), rounds);
    drop(haproxy);
    tokio::task::LocalSet::new().block_on(&runtime, hung(&mut valet));
}

/// HAProxy with the issuer's key and a map from each subject to a URL of a usual length; `None` where there is none.
fn haproxy(folder: &Path, valet: &Server) -> Option<Server> {
    Command::new("haproxy").arg("-v").output().ok()?;
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address: SocketAddr = ([127, 0, 0, 1], port).into();
    let shown = folder.display();
    let key = valet.word("key");
    std::fs::write(folder.join("key.pem"), format!("-----BEGIN PUBLIC KEY-----\n{key}\n-----END PUBLIC KEY-----\n"))
        .unwrap();
    let url = |user: usize| {
        format!("user-{user} https://plugin.example/?action_token={}&patient=user-{user}\n", "x".repeat(370))
    };
    std::fs::write(folder.join("users.map"), (0..setting("USERS", 1000)).map(url).collect::<String>()).unwrap();
    let text = format!(
        r#"
global
    nbthread 1
    maxconn 1000
defaults
    mode http
    timeout client 60s
    timeout server 60s
    timeout connect 5s
    timeout http-keep-alive 60s
frontend gate
    bind {address}
    http-request set-var(txn.bearer) http_auth_bearer
    http-request set-var(txn.alg) var(txn.bearer),jwt_header_query('$.alg')
    http-request deny deny_status 401 unless {{ var(txn.alg) -m str ES256 }}
    http-request deny deny_status 401 unless {{ var(txn.bearer),jwt_verify(txn.alg,"{shown}/key.pem") 1 }}
    http-request set-var(txn.sub) var(txn.bearer),jwt_payload_query('$.sub')
    http-request redirect code 302 location %[var(txn.sub),map_str({shown}/users.map)]
"#
    );
    std::fs::write(folder.join("haproxy.cfg"), text).unwrap();
    let mut command = Command::new("haproxy");
    command.arg("-f").arg(folder.join("haproxy.cfg")).arg("-db");
    Some(Server::silent(HAPROXY, &command, address))
}

fn first_sight(runtime: &tokio::runtime::Runtime, valet: &Server, haproxy: Option<&Server>, rounds: usize) {
    let connections = setting("CONNECTIONS", 64);
    let fresh = requests(&valet.fresh);
    // Half is left for what comes after.
    let share = fresh.len() / 2 / rounds.max(1);
    let servers: Vec<&Server> = [Some(valet), haproxy].into_iter().flatten().collect();
    let rows = rotate(&servers, rounds, |round, server| {
        let far = Instant::now() + Duration::from_secs(3600);
        runtime.block_on(load(server.address, &fresh[round * share..(round + 1) * share], connections, far, true))
    });
    println!("{rounds} rounds of {share} tokens in rotation, {connections} connections; median (lowest–highest)");
    let medians = table(rows);
    match medians.as_slice() {
        [ours, theirs] => println!("{FIRST} over {HAPROXY}: {:.2}", ours / theirs),
        _ => println!("HAProxy is not installed: nothing to compare with"),
    }
}

/// Five rounds while the identity provider answers, five while it hangs and strangers name keys that it might have.
async fn hung(valet: &mut Server) {
    const ROUNDS: usize = 5;
    let fresh = requests(&valet.fresh[valet.fresh.len() / 2..]);
    let plain = requests(&valet.tokens);
    let share = fresh.len() / (2 * ROUNDS);
    let round = async |address, piece: &[Vec<u8>]| {
        let far = Instant::now() + Duration::from_secs(3600);
        // Half of them seen for the first time.
        let mixed: Vec<Vec<u8>> =
            piece.iter().zip(plain.iter().cycle()).flat_map(|(a, b)| [a.clone(), b.clone()]).collect();
        load(address, &mixed, 4, far, true).await.p99()
    };
    let mut before = Vec::new();
    for n in 0..ROUNDS {
        before.push(round(valet.address, &fresh[n * share..(n + 1) * share]).await);
    }
    let asked: u64 = valet.tell("fetches").parse().unwrap();
    assert_eq!(valet.tell("hang"), "hangs");
    let (address, token) = (valet.address, valet.tokens[0].clone());
    let strangers: Vec<_> = (0..200).map(|n| tokio::task::spawn_local(stranger(address, token.clone(), n))).collect();
    let mut while_hung = Vec::new();
    for n in ROUNDS..2 * ROUNDS {
        while_hung.push(round(address, &fresh[n * share..(n + 1) * share]).await);
    }
    for stranger in strangers {
        assert!(!stranger.is_finished(), "a stranger got something else than 401");
        stranger.abort();
    }
    let asked = valet.tell("fetches").parse::<u64>().unwrap() - asked;
    let ((before, low, high), (hung, worst_low, worst_high)) = (median(before), median(while_hung));
    println!("p99 of good tokens, half of them seen for the first time, 5 rounds: {before:.0} µs ({low:.0}–{high:.0})");
    println!(
        "the same while the identity provider hangs, beside bogus kids: {hung:.0} µs ({worst_low:.0}–{worst_high:.0}), {asked} fetches"
    );
    println!("p99 with a hung identity provider over before: {:.2}", hung / before);
}

/// Names one key after the other that nobody has: each token waits for the fetch that hangs, and is refused.
async fn stranger(address: SocketAddr, token: String, n: usize) {
    let (_, rest) = token.split_once('.').unwrap();
    for more in 0.. {
        let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"ES256","kid":"bogus-{n}-{more}"}}"#));
        let head = format!(
            "GET /plugins/face-scan HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: Bearer {header}.{rest}\r\n\r\n"
        );
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 401"), "{}", String::from_utf8_lossy(&answer));
        // Once the fetch has failed they are refused at once: a pause, or they would be the load.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

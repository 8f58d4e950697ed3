//! The CPU of one warm redirect, everything on, beside bare Pingora's fixed 302, which looks at nothing. Both in one run, in rotation, medians.
//!
//! Each server is a process of its own on core 0 with one worker; the load comes from core 1. CPU is user and system time of the server's
//! process over requests answered: steadier than requests a second on a shared machine.
//!
//! `cargo bench --profile dist --bench warm_redirect`; `ROUNDS=12 SECONDS=2 CONNECTIONS=64 USERS=1000` are the defaults.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::print_stderr, missing_docs)]

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use pingora::http::ResponseHeader;
use pingora::proxy::{ProxyHttp, Session, http_proxy_service};
use pingora::server::Server;
use pingora::upstreams::peer::HttpPeer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use valet_gateway::demo::app::Feed;
use valet_gateway::demo::idp::TokenRequest;
use valet_gateway::demo::provider::Faults;
use valet_gateway::demo::whole;
use valet_gateway::logging::LineSink;
use valet_gateway::telemetry::Metrics;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROLE: &str = "VALET_BENCH_ROLE";
const BARE: &str = "bare Pingora, fixed 302";
const WARM: &str = "Valet, warm redirect";
const FIRST: &str = "Valet, first sight (ES256)";

fn main() {
    match std::env::var(ROLE).as_deref() {
        Ok("bare") => serve_bare(),
        Ok("valet") => serve_valet(),
        _ => compare(),
    }
}

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
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
        let mut answer = ResponseHeader::build_no_case(302, Some(6))?;
        answer.insert_header("location", "https://plugin.example/?action_token=abc")?;
        answer.insert_header("cache-control", "no-store")?;
        answer.insert_header("referrer-policy", "no-referrer")?;
        answer.insert_header("content-length", "0")?;
        session.write_response_header(Box::new(answer), true).await?;
        Ok(true)
    }
}

fn serve_bare() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut server = Server::new(None).unwrap();
    server.bootstrap();
    let mut service = http_proxy_service(&server.configuration, Bare);
    service.threads = Some(1);
    service.add_tcp(&format!("127.0.0.1:{port}"));
    server.add_service(service);
    println!("address 127.0.0.1:{port}");
    println!("ready");
    std::io::stdout().flush().unwrap();
    server.run_forever();
}

fn serve_valet() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let users = setting("USERS", 1000);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let metrics = Metrics::new("bench", "bench").unwrap();
        let lost = metrics.log_lines_lost.with_label_values(&["stdout"]);
        let sink = std::fs::OpenOptions::new().write(true).open("/dev/null").unwrap();
        let access_log = LineSink::new(sink, lost).unwrap();
        let whole = whole::start(0, metrics, Some(access_log), Feed::default()).await.unwrap();
        // The page's vendor takes its time.
        whole.provider.sim.set_faults(Faults::default());
        println!("address {}", whole.gateway.addresses[0]);
        for user in 0..users {
            println!("token {}", whole.idp.sim.token(&TokenRequest::user(&format!("user-{user}")).session("s")));
        }
        // Seen for the first time in the measurement: one each.
        for fresh in 0..setting("FRESH", 40_000) {
            let user = format!("user-{}", fresh % users);
            println!("fresh {}", whole.idp.sim.token(&TokenRequest::user(&user).session(&format!("s{fresh}"))));
        }
        println!("ready");
        std::io::stdout().flush().unwrap();
        std::future::pending::<()>().await;
    });
}

struct Server_ {
    name: &'static str,
    child: Child,
    _stdout: BufReader<ChildStdout>,
    address: SocketAddr,
    tokens: Vec<String>,
    fresh: Vec<String>,
}

impl Server_ {
    fn start(name: &'static str, role: &str) -> Self {
        let mut child = Command::new("taskset")
            .args(["-c", "0"])
            .arg(std::env::current_exe().unwrap())
            .env(ROLE, role)
            .stdout(Stdio::piped())
            .spawn()
            .expect("taskset (util-linux) is needed");
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let (mut address, mut tokens, mut fresh) = (None, Vec::new(), Vec::new());
        loop {
            let mut line = String::new();
            assert!(stdout.read_line(&mut line).unwrap() > 0, "{name} ended before it was ready");
            match line.trim().split_once(' ') {
                Some(("address", text)) => address = text.parse().ok(),
                Some(("token", text)) => tokens.push(text.to_owned()),
                Some(("fresh", text)) => fresh.push(text.to_owned()),
                _ => break,
            }
        }
        Self { name, child, _stdout: stdout, address: address.unwrap(), tokens, fresh }
    }

    /// User and system time of the process so far, in microseconds.
    fn cpu(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        // _SC_CLK_TCK is 100 on Linux.
        ticks * 10_000
    }

    fn requests(tokens: &[String]) -> Vec<Vec<u8>> {
        let request = |token: &String| {
            format!("GET /plugins/face-scan HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n")
                .into_bytes()
        };
        tokens.iter().map(request).collect()
    }
}

impl Drop for Server_ {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends requests in turn over `connections` connections until `until` or, with `once`, until each was sent; the number answered with 302.
async fn load(address: SocketAddr, requests: &[Vec<u8>], connections: usize, until: Instant, once: bool) -> usize {
    let next = std::cell::Cell::new(0usize);
    let answered = std::cell::Cell::new(0usize);
    let one = async || {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut buffer = vec![0; 8192];
        while Instant::now() < until {
            let at = next.get();
            if once && at >= requests.len() {
                return;
            }
            next.set(at + 1);
            stream.write_all(&requests[at % requests.len()]).await.unwrap();
            let mut have = 0;
            while !buffer[..have].ends_with(b"\r\n\r\n") {
                let n = stream.read(&mut buffer[have..]).await.unwrap();
                assert!(n > 0, "the server closed the connection");
                have += n;
            }
            assert!(buffer.starts_with(b"HTTP/1.1 302"), "{}", String::from_utf8_lossy(&buffer[..have]));
            answered.set(answered.get() + 1);
        }
    };
    let mut all = Vec::new();
    for _ in 0..connections {
        all.push(Box::pin(one()));
    }
    // All connections on this one thread.
    let mut all: Vec<_> = all.into_iter().map(Some).collect();
    std::future::poll_fn(|cx| {
        let mut busy = false;
        for slot in &mut all {
            if let Some(task) = slot {
                match task.as_mut().poll(cx) {
                    std::task::Poll::Ready(()) => *slot = None,
                    std::task::Poll::Pending => busy = true,
                }
            }
        }
        if busy { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
    })
    .await;
    answered.get()
}

fn median(mut figures: Vec<f64>) -> (f64, f64, f64) {
    figures.sort_by(f64::total_cmp);
    (figures[figures.len() / 2], figures[0], figures[figures.len() - 1])
}

fn compare() {
    let (rounds, seconds) = (setting("ROUNDS", 12), setting("SECONDS", 2));
    let connections = setting("CONNECTIONS", 64);
    // The load stays off the servers' core.
    let _ = Command::new("taskset")
        .args(["-a", "-p", "-c", "1", &std::process::id().to_string()])
        .stdout(Stdio::null())
        .status();
    let servers = [Server_::start(BARE, "bare"), Server_::start(WARM, "valet")];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let plain = Server_::requests(&servers[1].tokens);
    let far = Instant::now() + Duration::from_secs(3600);
    runtime.block_on(load(servers[1].address, &plain, 8, far, true));

    let mut figures =
        vec![(BARE, Vec::new(), Vec::new()), (WARM, Vec::new(), Vec::new()), (FIRST, Vec::new(), Vec::new())];
    let fresh = Server_::requests(&servers[1].fresh);
    let share = fresh.len() / rounds.max(1);
    for round in 0..rounds {
        for turn in 0..2 {
            let at = (round + turn) % 2;
            let server = &servers[at];
            let (before, began) = (server.cpu(), Instant::now());
            let until = began + Duration::from_secs(seconds as u64);
            let answered = runtime.block_on(load(server.address, &plain, connections, until, false));
            figures[at].1.push((server.cpu() - before) as f64 / answered as f64);
            figures[at].2.push(answered as f64 / began.elapsed().as_secs_f64());
        }
        let (before, began) = (servers[1].cpu(), Instant::now());
        let piece = &fresh[round * share..(round + 1) * share];
        let answered = runtime.block_on(load(servers[1].address, piece, connections, far, true));
        figures[2].1.push((servers[1].cpu() - before) as f64 / answered as f64);
        figures[2].2.push(answered as f64 / began.elapsed().as_secs_f64());
    }
    println!("{rounds} rounds of {seconds} s in rotation, {connections} connections; median (lowest–highest)");
    println!("| server | CPU µs/request | requests/s |\n|---|---|---|");
    let mut medians = Vec::new();
    for (name, cpu, rate) in figures {
        let ((mid, low, high), (rate, ..)) = (median(cpu), median(rate));
        medians.push(mid);
        println!("| {name} | {mid:.1} ({low:.1}–{high:.1}) | {rate:.0} |");
    }
    println!("{} over {}: {:.2}", servers[1].name, servers[0].name, medians[1] / medians[0]);
}

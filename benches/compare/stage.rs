//! The run: the servers are started and tried, then the rows are measured one after the other.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use tokio::runtime::Runtime;

use crate::attack;
use crate::cases::{pass, target};
use crate::client::{Request, Way};
use crate::handshakes;
use crate::idle;
use crate::leases;
use crate::load::{Load, once};
use crate::peers::{FLOOR, PEERS, Peer, Started};
use crate::report::{Report, Table};
use crate::rows::{Row, Task, measure};
use crate::run::{ROLE, setting};
use crate::running::{on_core, ran};
use crate::site::{Algorithm, Site};
use crate::websockets;

/// The app and the vendor behind all servers.
pub struct Origin {
    child: Child,
    pub address: SocketAddr,
}

impl Origin {
    fn start() -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.env(ROLE, "origin");
        let mut command = on_core("1", &command, None);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("setpriv and taskset are needed");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, address: line.trim().parse().unwrap() }
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a row needs that is not its own.
pub struct Stage {
    pub runtime: Runtime,
    pub origin: Origin,
    pub site: Site,
}

/// Whether a row is wanted: `COMPARE` has parts of names, with commas between them.
pub fn is_wanted(name: &str) -> bool {
    let Ok(wanted) = std::env::var("COMPARE") else { return true };
    let name = name.to_lowercase();
    wanted.split(',').any(|part| name.contains(&part.trim().to_lowercase()))
}

/// Whether a server takes part: `PEERS` has parts of names.
pub fn takes_part(peer: &Peer) -> bool {
    let Ok(wanted) = std::env::var("PEERS") else { return true };
    let name = peer.name.to_lowercase();
    wanted.split(',').any(|part| name.contains(&part.trim().to_lowercase()))
}

/// All of it.
pub fn run() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let site = Site::new(Algorithm::Es256, setting("USERS", 1000));
    let stage = Stage { runtime, origin: Origin::start(), site };
    let mut report = Report::default();
    let wanted = Row::all().iter().any(|row| is_wanted(&row.name(&stage.site)));
    let servers = if wanted || SPECIAL.iter().any(|(name, _)| is_wanted(name)) {
        start_all(&stage, &stage.site, &mut report)
    } else {
        PEERS.iter().filter(|peer| takes_part(peer)).for_each(|peer| report.taken(peer));
        Vec::new()
    };
    let all: Vec<&Started> = servers.iter().collect();
    let others = Others::begin(&all, &stage.origin);
    for row in Row::all() {
        let name = row.name(&stage.site);
        if is_wanted(&name) {
            report.row(&name, row, &all, measure(&stage.runtime, row, &all, &stage.site));
        }
    }
    report.others = Some(others.share(&all, &stage.origin));
    // Written as far as it is: what comes takes long.
    report.write();
    special(&stage, &all, &mut report);
    drop(servers);
    other_algorithm(&stage, &mut report);
    for (name, table) in [
        ("leases", leases::table as fn(&Stage) -> Table),
        ("attack, uploads", attack::uploads),
        ("attack, readers", attack::readers),
    ] {
        if is_wanted(name) {
            println!("\n{name}");
            report.table(table(&stage));
            report.write();
        }
    }
    report.write();
}

type OfServers = fn(&Stage, &[&Started]) -> Table;

/// What is no request.
const SPECIAL: [(&str, OfServers); 3] =
    [("handshakes", handshakes::table), ("websockets", websockets::table), ("idle connections", idle::table)];

/// The same, of all servers.
fn special(stage: &Stage, servers: &[&Started], report: &mut Report) {
    for (name, table) in SPECIAL {
        if is_wanted(name) {
            println!("\n{name}");
            report.table(table(stage, servers));
        }
    }
}

/// Starts those that are there, and lets those take part that pass.
fn start_all(stage: &Stage, site: &Site, report: &mut Report) -> Vec<Started> {
    let mut servers = Vec::new();
    for peer in PEERS.iter().chain([&FLOOR]).filter(|peer| takes_part(peer)) {
        let started = match peer.version() {
            None => Err("it is not installed".to_owned()),
            Some(_) => peer.start(site, stage.origin.address, None),
        };
        let passed = started.and_then(|server| {
            stage.runtime.block_on(pass(&server, site))?;
            warm(stage, &server, site).map_err(|fault| format!("warming up: {fault}"))?;
            Ok(server)
        });
        match passed {
            Ok(server) => servers.push(server),
            Err(why) => report.absent(peer, &why),
        }
        report.taken(peer);
    }
    servers
}

/// Each user asks once, so that their tokens and URLs are held where that is done.
pub fn warm(stage: &Stage, server: &Started, site: &Site) -> std::io::Result<()> {
    let requests = (0..site.users.min(1000)).map(|user| Request::get("/plugins/face-scan", Some(&site.token(user, 0))));
    let load = Load {
        target: target(server, site, Way::Http1),
        requests: requests.collect(),
        status: 302,
        connections: 8,
        streams: 1,
    };
    stage.runtime.block_on(once(&load))
}

/// First sight of tokens that are signed in the other way: servers of their own, which have that key alone.
fn other_algorithm(stage: &Stage, report: &mut Report) {
    let row = Row { task: Task::FirstSight, way: Way::Http1 };
    let name = "first sight, RS256, HTTP/1.1";
    if !is_wanted(name) {
        return;
    }
    let site = Site::new(Algorithm::Rs256, setting("USERS", 1000));
    let mut ignored = Report::default();
    let mut servers = start_all(stage, &site, &mut ignored);
    servers.retain(|server| server.peer.looks);
    let all: Vec<&Started> = servers.iter().collect();
    report.row(name, row, &all, measure(&stage.runtime, row, &all, &site));
}

/// What others do on the machine meanwhile.
struct Others {
    /// Seconds that all cores have been busy, and how many of them for this run.
    busy: f64,
    ours: f64,
    began: std::time::Instant,
}

impl Others {
    fn begin(servers: &[&Started], origin: &Origin) -> Self {
        Self { busy: busy(), ours: ours(servers, origin), began: std::time::Instant::now() }
    }

    /// The part of all cores' time that was theirs since.
    fn share(&self, servers: &[&Started], origin: &Origin) -> f64 {
        let theirs = (busy() - self.busy) - (ours(servers, origin) - self.ours);
        let cores =
            std::fs::read_to_string("/proc/stat").unwrap().lines().filter(|line| line.starts_with("cpu")).count() - 1;
        (theirs / (self.began.elapsed().as_secs_f64() * cores as f64)).max(0.0)
    }
}

/// Seconds that all cores have been busy, by ticks of 10 ms.
fn busy() -> f64 {
    let text = std::fs::read_to_string("/proc/stat").unwrap();
    let ticks: Vec<f64> =
        text.lines().next().unwrap().split_whitespace().skip(1).filter_map(|tick| tick.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal
    [0, 1, 2, 5, 6, 7].iter().map(|at| ticks[*at]).sum::<f64>() / 100.0
}

fn ours(servers: &[&Started], origin: &Origin) -> f64 {
    let servers: f64 = servers.iter().map(|server| server.running.cpu()).sum();
    (servers + ran(origin.child.id()) + ran(std::process::id())) / 1e6
}

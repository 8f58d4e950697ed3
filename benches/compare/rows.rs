//! The rows: what is asked, and how it is measured, all servers in rotation.

use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::runtime::Runtime;

use crate::cases::target;
use crate::client::{Request, Way};
use crate::load::{Load, STREAMS, Until, closed, open, paced, percentile};
use crate::peers::Started;
use crate::run::{median, seconds, setting};
use crate::site::Site;

const PLUGIN: &str = "/plugins/face-scan";

/// What is asked in a row.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Task {
    Redirect,
    FirstSight,
    Get(&'static str),
    Post(&'static str),
}

/// One row of the tables.
#[derive(Clone, Copy)]
pub struct Row {
    pub task: Task,
    pub way: Way,
}

/// What came of one server in one row.
#[derive(Clone, Default)]
pub struct Figures {
    /// CPU of a request in microseconds: median, lowest, highest.
    pub cpu: (f64, f64, f64),
    pub rate: f64,
    /// The part of the time in which the server's core was its.
    pub busy: f64,
    /// p50, p99, p99.9 in milliseconds, at the rate of the row; `None`: it can't keep up.
    pub latencies: Option<[f64; 3]>,
    /// Resident afterwards, in bytes.
    pub memory: f64,
}

/// A cell: figures, or why there are none.
pub type Cell = Result<Figures, String>;

impl Row {
    /// Those of one algorithm, and what does not depend on it.
    pub fn all() -> Vec<Self> {
        let mut rows = vec![Task::Redirect; 3];
        rows.push(Task::FirstSight);
        for size in ["1k", "1m"] {
            rows.extend([Task::Get(size); 3]);
            rows.extend([Task::Post(size); 3]);
        }
        let mut ways = Way::ALL.into_iter().cycle();
        let way = |task: &Task| if *task == Task::FirstSight { Way::Http1 } else { ways.next().unwrap() };
        let ways: Vec<Way> = rows.iter().map(way).collect();
        rows.into_iter().zip(ways).map(|(task, way)| Self { task, way }).collect()
    }

    pub fn name(self, site: &Site) -> String {
        let size = |size: &str| if size == "1k" { "1 KiB" } else { "1 MiB" };
        let task = match self.task {
            Task::Redirect => "warm redirect".to_owned(),
            Task::FirstSight => return format!("first sight, {}, HTTP/1.1", site.algorithm.name()),
            Task::Get(bytes) => format!("app, GET of {}", size(bytes)),
            Task::Post(bytes) => format!("app, POST of {}", size(bytes)),
        };
        format!("{task}, {}", self.way.name())
    }

    fn is_large(self) -> bool {
        matches!(self.task, Task::Get("1m") | Task::Post("1m"))
    }

    /// Requests a second of the latencies.
    pub fn pace(self) -> f64 {
        if self.is_large() { setting("RATE_1M", 50) as f64 } else { setting("RATE", 1000) as f64 }
    }

    /// What is asked in one round: of all servers the same.
    pub fn requests(self, site: &Site, round: usize) -> Rc<[Request]> {
        let users = site.users.min(setting("USERS", 1000));
        let fresh = setting("FRESH", 2000);
        let request = |at: usize| match self.task {
            Task::Redirect => Request::get(PLUGIN, Some(&site.token(at, 0))),
            Task::FirstSight => Request::get(PLUGIN, Some(&site.token(at % users, 1 + round * fresh + at))),
            Task::Get(size) => Request::get(&format!("/app/{size}"), Some(&site.token(at, 0))),
            Task::Post(size) => {
                let length = if size == "1k" { 1 << 10 } else { 1 << 20 };
                Request::post(&format!("/app/{size}"), Some(&site.token(at, 0)), Bytes::from(vec![b'x'; length]))
            }
        };
        let count = match self.task {
            Task::FirstSight => fresh,
            // A megabyte each.
            _ if self.is_large() => 8,
            _ => users,
        };
        (0..count).map(request).collect()
    }

    pub fn load(self, requests: &Rc<[Request]>, server: &Started, site: &Site) -> Load {
        let (connections, streams) = match (self.way, self.is_large()) {
            (Way::Http2, false) => (8, STREAMS),
            (Way::Http2, true) => (2, 4),
            (_, false) => (setting("CONNECTIONS", 64), 1),
            (_, true) => (8, 1),
        };
        let status = if matches!(self.task, Task::Redirect | Task::FirstSight) { 302 } else { 200 };
        Load { target: target(server, site, self.way), requests: requests.clone(), status, connections, streams }
    }
}

/// Measures one row of all servers that have it, another one first in each round.
pub fn measure(runtime: &Runtime, row: Row, servers: &[&Started], site: &Site) -> Vec<Cell> {
    let mut all: Vec<Rounds> = servers.iter().map(|server| Rounds::new(row, server)).collect();
    let mut requests = row.requests(site, 0);
    for round in 0..setting("ROUNDS", 5) {
        if row.task == Task::FirstSight && round > 0 {
            requests = row.requests(site, round);
        }
        for turn in 0..servers.len() {
            let at = (round + turn) % servers.len();
            all[at].one(runtime, servers[at], &row.load(&requests, servers[at], site));
        }
    }
    let rounds = if row.task == Task::FirstSight { 0 } else { setting("ROUNDS_PACED", 3) };
    for round in 0..rounds {
        for turn in 0..servers.len() {
            let at = (round + turn) % servers.len();
            all[at].paced(runtime, row.pace(), &row.load(&requests, servers[at], site));
        }
    }
    servers.iter().zip(all).map(|(server, rounds)| rounds.cell(server)).collect()
}

/// What came of one server so far.
struct Rounds {
    fault: Option<String>,
    once: bool,
    cpu: Vec<f64>,
    rate: Vec<f64>,
    busy: Vec<f64>,
    took: Vec<Duration>,
    /// It can't answer at the rate of the row.
    is_slow: bool,
}

impl Rounds {
    fn new(row: Row, server: &Started) -> Self {
        let lacks = if !server.peer.ways.contains(&row.way) {
            Some("–".to_owned())
        } else if row.task == Task::FirstSight && !server.peer.looks {
            Some("looks at nothing".to_owned())
        } else {
            None
        };
        let once = row.task == Task::FirstSight;
        let (cpu, rate, busy, took) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { fault: lacks, once, cpu, rate, busy, took, is_slow: false }
    }

    fn one(&mut self, runtime: &Runtime, server: &Started, load: &Load) {
        if self.fault.is_some() {
            return;
        }
        let made = runtime.block_on(async {
            let clients = open(load).await?;
            let (before, began) = (server.running.cpu(), Instant::now());
            let until = if self.once { Until::Once } else { Until::Time(began + seconds("SECONDS", 1.0)) };
            let answered = closed(load, clients, until).await? as f64;
            Ok::<_, std::io::Error>((answered, server.running.cpu() - before, began.elapsed()))
        });
        match made {
            Ok((answered, cpu, took)) if answered > 0.0 => {
                self.cpu.push(cpu / answered);
                self.rate.push(answered / took.as_secs_f64());
                self.busy.push(cpu / 1e6 / took.as_secs_f64());
            }
            Ok(_) => self.fault = Some("failed: no answer came".to_owned()),
            Err(fault) => self.fault = Some(format!("failed: {fault}")),
        }
    }

    fn paced(&mut self, runtime: &Runtime, rate: f64, load: &Load) {
        if self.fault.is_some() {
            return;
        }
        // Beyond four fifths of what it can, the queue is what is measured.
        self.is_slow |= median(self.cpu.clone()).0 * rate > 8e5;
        if self.is_slow {
            return;
        }
        match runtime.block_on(paced(load, rate, seconds("SECONDS_PACED", 2.0))) {
            Ok(took) => self.took.extend(took),
            Err(fault) => self.fault = Some(format!("failed: {fault}")),
        }
    }

    fn cell(mut self, server: &Started) -> Cell {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        self.took.sort_unstable();
        let latencies = (!self.took.is_empty()).then(|| [0.5, 0.99, 0.999].map(|share| percentile(&self.took, share)));
        Ok(Figures {
            cpu: median(self.cpu),
            rate: median(self.rate).0,
            busy: median(self.busy).0,
            latencies,
            memory: server.running.memory(),
        })
    }
}

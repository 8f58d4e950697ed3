//! What users cost: two nodes and a Redis under a mixed load, beside what the cost of each kind of visit says of it. The figures of docs/capacity.md.

use std::time::Instant;

use super::client::Connection;
use super::fleet::{Fleet, Leases, as_it_ships, open};
use super::server::Server;

/// Users of each part of the measurement.
const USERS: usize = 5_000;

/// How often each user comes in the mixed part.
const VISITS: usize = 10;

/// What a process has used so far.
#[derive(Clone, Copy, Default)]
struct Used {
    /// CPU of the nodes together, in microseconds.
    nodes: f64,
    /// Of Redis.
    redis: f64,
    /// What Redis was asked.
    commands: f64,
    /// What the vendor was asked.
    mints: f64,
}

impl Used {
    fn since(self, before: Self) -> Self {
        Self {
            nodes: self.nodes - before.nodes,
            redis: self.redis - before.redis,
            commands: self.commands - before.commands,
            mints: self.mints - before.mints,
        }
    }

    /// For each of so many visits.
    fn each(self, visits: usize) -> Self {
        let each = |all: f64| all / visits as f64;
        Self {
            nodes: each(self.nodes),
            redis: each(self.redis),
            commands: each(self.commands),
            mints: each(self.mints),
        }
    }

    fn times(self, visits: f64) -> Self {
        Self {
            nodes: self.nodes * visits,
            redis: self.redis * visits,
            commands: self.commands * visits,
            mints: self.mints * visits,
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            nodes: self.nodes + other.nodes,
            redis: self.redis + other.redis,
            commands: self.commands + other.commands,
            mints: self.mints + other.mints,
        }
    }
}

/// What the threads of a process have run, as the scheduler counts it.
fn cpu(pid: u32) -> f64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    let run = tasks.flatten().filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok());
    run.filter_map(|text| text.split_whitespace().next()?.parse::<f64>().ok()).sum::<f64>() / 1_000.0
}

fn resident(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    line.split_whitespace().next().and_then(|kib| kib.parse::<f64>().ok()).expect("KiB") * 1024.0
}

fn number(server: &Server, name: &str) -> f64 {
    server.info(name).parse().expect("a number")
}

fn used(fleet: &Fleet, server: &Server) -> Used {
    let pid = number(server, "process_id") as u32;
    Used {
        nodes: fleet.nodes.iter().map(|node| cpu(node.program.pid())).sum(),
        redis: cpu(pid),
        commands: number(server, "total_commands_processed"),
        mints: fleet.mints() as f64,
    }
}

/// Asks for each of these, on one connection to each node.
fn visit(fleet: &Fleet, visits: impl Iterator<Item = (usize, String)>) {
    let mut connections: Vec<_> = fleet.nodes.iter().map(|node| Connection::open(&node.address)).collect();
    for (node, token) in visits {
        let answer = connections[node].ask(&open(&token));
        assert_eq!(answer.status, 302, "{answer:?}");
    }
}

fn node(fleet: &mut Fleet, leases: &Leases) {
    let command = fleet.command(leases);
    let number = fleet.add_by(as_it_ships(command));
    fleet.nodes[number].until_ready();
}

/// `make prove`.
#[test]
#[ignore = "a measurement: run by tools/prove"]
fn two_nodes_and_a_redis_cost_what_their_parts_do() {
    let Some(server) = Server::redis(&[]) else { return };
    let leases = Leases::redis(&[server.url()]);
    let mut fleet = Fleet::empty();
    node(&mut fleet, &leases);
    node(&mut fleet, &leases);
    let (alone, mixed) = (fleet.tokens("alone", USERS), fleet.tokens("mixed", USERS));
    // Warm: connections, code, room.
    let warm = fleet.tokens("warm", 500);
    visit(&fleet, (0..4).flat_map(|round| warm.iter().map(move |token| (round % 2, token.clone()))));

    let measured = |visits: &mut dyn Iterator<Item = (usize, String)>| {
        let before = used(&fleet, &server);
        let began = Instant::now();
        visit(&fleet, visits);
        (used(&fleet, &server).since(before), began.elapsed())
    };
    let resident_before: f64 = fleet.nodes.iter().map(|node| resident(node.program.pid())).sum();
    let stored_before = number(&server, "used_memory");
    let each = |node: usize| alone.iter().map(move |token| (node, token.clone()));
    // In all what Redis is asked stands what the nodes ask it without a visit: some commands a second.
    let first = measured(&mut each(0)).0.each(USERS);
    let elsewhere = measured(&mut each(1)).0.each(USERS);
    let again = measured(&mut each(0).chain(each(1))).0.each(2 * USERS);
    let resident_each = (fleet.nodes.iter().map(|node| resident(node.program.pid())).sum::<f64>() - resident_before)
        / (2 * USERS) as f64;
    let stored_each = (number(&server, "used_memory") - stored_before) / USERS as f64;

    // Users in any order at any node.
    let mut visits: Vec<usize> = (0..USERS * VISITS).map(|visit| visit % USERS).collect();
    fastrand::shuffle(&mut visits);
    let visits: Vec<(usize, String)> =
        visits.into_iter().map(|user| (fastrand::usize(..2), mixed[user].clone())).collect();
    let (outcome, took) = measured(&mut visits.iter().cloned());
    // The first visit mints, the first one at the other node asks Redis, all others ask nobody.
    let both = 1.0 - 0.5_f64.powi(VISITS as i32 - 1);
    let expected = first.plus(elsewhere.times(both)).plus(again.times(VISITS as f64 - 1.0 - both)).times(USERS as f64);

    for (what, cost) in [("first visit (a mint)", first), ("first at another node", elsewhere), ("later", again)] {
        let Used { nodes, redis, commands, mints } = cost;
        eprintln!(
            "{what}: {nodes:.1} µs at the node, {redis:.1} µs and {commands:.2} commands at Redis, {mints:.2} mints"
        );
    }
    eprintln!(
        "{resident_each:.0} bytes resident for each user at each node, {stored_each:.0} bytes in Redis for each user"
    );
    for (what, expected, outcome) in [
        ("CPU of the nodes, s", expected.nodes / 1e6, outcome.nodes / 1e6),
        ("CPU of Redis, s", expected.redis / 1e6, outcome.redis / 1e6),
        ("commands", expected.commands, outcome.commands),
        ("mints", expected.mints, outcome.mints),
    ] {
        let share = outcome / expected;
        eprintln!("{what}: {expected:.2} expected, {outcome:.2} measured, {share:.2} ×");
    }
    eprintln!("{} visits in {took:.1?}", USERS * VISITS);
    assert_eq!(outcome.mints, USERS as f64, "one mint for each user, at whichever node");
    assert!((outcome.commands / expected.commands - 1.0).abs() < 0.1, "Redis is asked for what is expected");
}

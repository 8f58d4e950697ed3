//! Nodes that die or stand still amid a mint, and a store that dies under load.

use std::time::{Duration, Instant};

use super::client::Connection;
use super::fleet::{Fleet, Leases, settled};
use super::load::during;
use super::process::until;
use super::server::Server;
use super::stopwatch::Stopwatch;

/// Another node takes over, and trouble is seen or over, within this time.
const SOON: Duration = Duration::from_secs(2);

/// Three nodes; the first mints for the user, slowly, and another waits for it.
struct Amid {
    fleet: Fleet,
    server: Server,
    token: String,
    first: Connection,
    second: Connection,
}

impl Amid {
    fn start() -> Option<Self> {
        let server = Server::redis(&[])?;
        let fleet = Fleet::start(3, &Leases::redis(&[server.url()]));
        let token = fleet.idp.token("ada");
        let first = fleet.minting(0, &token, "3s");
        let second = fleet.asking(1, &token);
        // The second waits for the first: nothing tells from outside, but it has not asked the vendor.
        // Pause: two mints would show within it.
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(fleet.mints(), 1, "two nodes mint for one user");
        // Mints that begin from now on are quick; the first one's is not.
        fleet.vendor.faults(serde_json::json!({}));
        Some(Self { fleet, server, token, first, second })
    }
}

#[test]
fn another_node_takes_over_from_one_that_was_killed_amid_a_mint() {
    let Some(mut amid) = Amid::start() else { return };
    let killed = Stopwatch::start();
    amid.fleet.kill(0);
    let answer = amid.second.answer().expect("an answer");
    let took = killed.elapsed();
    assert_eq!(answer.status, 302, "{answer:?}");
    assert!(took < SOON, "{took:?}");
    assert_eq!(settled(&amid.fleet, &amid.token), answer.location());
    assert_eq!(amid.fleet.mints(), 2);
    assert!(amid.first.answer().is_none());
}

#[test]
fn a_node_that_stood_still_amid_a_mint_does_not_bring_its_own_url_back() {
    let Some(mut amid) = Amid::start() else { return };
    let node = &amid.fleet.nodes[0].program;
    node.signal("STOP");
    let (stopped, since) = (Stopwatch::start(), Instant::now());
    let answer = amid.second.answer().expect("an answer");
    assert_eq!(answer.status, 302, "{answer:?}");
    assert!(stopped.elapsed() < SOON, "{:?}", stopped.elapsed());
    until("the vendor has answered the first mint", || (since.elapsed() > SOON + SOON).then_some(()));
    node.signal("CONT");
    let late = amid.first.answer().expect("an answer");
    assert_eq!(late.status, 302, "{late:?}");
    let began = Stopwatch::start();
    assert_eq!(settled(&amid.fleet, &amid.token), answer.location(), "the URL that the others have is the one");
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(amid.fleet.mints(), 2);
}

/// The store forgets who mints, and counts from the start.
#[test]
fn a_store_that_comes_back_empty_amid_a_mint_ends_with_one_url() {
    let Some(mut amid) = Amid::start() else { return };
    amid.server.restart_empty();
    for answer in [amid.first.answer(), amid.second.answer()] {
        let answer = answer.expect("an answer");
        assert_eq!(answer.status, 302, "{answer:?}");
    }
    let began = Stopwatch::start();
    settled(&amid.fleet, &amid.token);
    assert!(began.elapsed() < SOON, "the nodes went on with two URLs for {:?}", began.elapsed());
    assert!(amid.fleet.mints() <= 3, "{}", amid.fleet.mints());
}

#[test]
fn a_store_that_dies_and_comes_back_empty_costs_no_held_lease() {
    let Some(mut server) = Server::redis(&[]) else { return };
    let fleet = Fleet::start(2, &Leases::redis(&[server.url()]));
    let tokens = fleet.tokens("user", 20);
    let held = fleet.urls(0, &tokens);
    assert_eq!(fleet.urls(1, &tokens), held);
    let ((noticed, over), seen) = during(&fleet, &tokens, || {
        server.kill();
        let noticed = fleet.until_degraded(true);
        // Pause: an outage lasts, under load.
        std::thread::sleep(Duration::from_millis(500));
        server.start_again();
        let over = fleet.until_degraded(false);
        // Pause: what comes behind the outage, under load.
        std::thread::sleep(Duration::from_millis(700));
        (noticed, over)
    });
    assert!(noticed < SOON && over < SOON, "noticed after {noticed:?}, over after {over:?}");
    assert!(
        seen.others.is_empty(),
        "{} of {} were no redirects: {:?}",
        seen.others.len(),
        seen.answers,
        seen.others[0]
    );
    assert!(seen.slowest < SOON, "{:?}", seen.slowest);
    assert_eq!(fleet.mints(), 20);
    assert_eq!([fleet.urls(0, &tokens), fleet.urls(1, &tokens)], [held.clone(), held]);
    // And new users are shared again.
    let token = fleet.idp.token("new");
    settled(&fleet, &token);
    assert_eq!(fleet.mints(), 21);
    let log = fleet.nodes[0].program.so_far(super::process::Stream::Stderr);
    assert!(log.lines().count() < 60, "a store that is gone floods the log:\n{log}");
}

#[test]
fn a_store_that_restarts_with_its_data_is_the_same_store() {
    let Some(mut server) = Server::redis(&[]) else { return };
    let leases = Leases::redis(&[server.url()]);
    let mut fleet = Fleet::start(1, &leases);
    let tokens = fleet.tokens("user", 10);
    let held = fleet.urls(0, &tokens);
    server.restart_with_data();
    fleet.until_degraded(false);
    let late = fleet.add(&leases);
    assert_eq!(fleet.urls(late, &tokens), held);
    assert_eq!(fleet.mints(), 10);
}

/// A fail-over loses what was written last; a node that was told "forget" while it could not hear must learn of it.
#[test]
fn what_was_forgotten_while_a_node_heard_nothing_is_gone_from_it_too() {
    let Some(server) = Server::redis(&[]) else { return };
    let relay = super::relay::Relay::before(server.port);
    let mut fleet = Fleet::start(1, &Leases::redis(&[server.url()]));
    let deaf = fleet.add(&Leases::redis(&[relay.url()]));
    let token = fleet.idp.token("ada");
    let old = fleet.url(0, &token);
    assert_eq!(fleet.url(deaf, &token), old);
    relay.refuse();
    until("the node has noticed", || fleet.degraded(deaf).then_some(()));
    let new = fleet.again(0, &token);
    relay.resume();
    until("the store is back", || (!fleet.degraded(deaf)).then_some(()));
    let began = Stopwatch::start();
    assert_eq!(settled(&fleet, &token), new);
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(fleet.mints(), 2);
}

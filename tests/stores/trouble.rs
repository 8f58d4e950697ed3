//! A store that is there and of no use: slow, silent, full, or a copy that takes no writes.

use std::time::Duration;

use serde_json::json;

use super::fleet::{Fleet, Leases, timed};
use super::groups::Cluster;
use super::process::until;
use super::relay::{Relay, Way};
use super::server::{Kind, Server};

/// Nobody waits longer for a store that is of no use.
const BOUND: Duration = Duration::from_secs(3);

/// What happens to the store, and how it ends.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    Slow,
    Silent,
    Cut,
    Paused,
    Stopped,
    Full,
    ReadOnly,
}

impl Trouble {
    fn begin(self, server: &Server, relay: &Relay) {
        match self {
            Self::Slow => relay.delay(Way::Back, Duration::from_secs(2)),
            Self::Silent => relay.hold(Way::Both),
            Self::Cut => relay.refuse(),
            Self::Paused => drop(server.ask(&["CLIENT", "PAUSE", "20000", "ALL"])),
            Self::Stopped => server.signal("STOP"),
            Self::Full => drop(server.ask(&["CONFIG", "SET", "maxmemory", "1"])),
            // A replica of a master that nobody reaches keeps what it has, and takes no writes.
            Self::ReadOnly => drop(server.ask(&["REPLICAOF", "127.0.0.1", "1"])),
        }
    }

    /// Why the store can't be reached anew; `None`: it can, or it is not known yet.
    fn cause(self) -> Option<&'static str> {
        match self {
            Self::Cut => Some("refused_connection"),
            Self::Silent | Self::Stopped => Some("timeout"),
            Self::Full | Self::ReadOnly => Some("other"),
            Self::Slow | Self::Paused => None,
        }
    }

    fn end(self, server: &Server, relay: &Relay) {
        match self {
            Self::Slow | Self::Silent | Self::Cut => relay.resume(),
            Self::Paused => drop(server.ask(&["CLIENT", "UNPAUSE"])),
            Self::Stopped => server.signal("CONT"),
            Self::Full => drop(server.ask(&["CONFIG", "SET", "maxmemory", "0"])),
            Self::ReadOnly => drop(server.ask(&["REPLICAOF", "NO", "ONE"])),
        }
    }
}

/// One node mints for itself, one refuses; both come through the trouble and share again after it.
fn goes_on(trouble: Trouble) {
    let Some(server) = Server::redis(&["maxmemory-policy noeviction"]) else { return };
    let relay = Relay::before(server.port);
    let leases = Leases::redis(&[relay.url()]);
    let mut fleet = Fleet::start(1, &leases);
    let (local, refusing) = (0, fleet.add(&leases.on_loss("refuse")));
    let held = fleet.idp.token("held");
    let url = fleet.url(local, &held);
    assert_eq!(fleet.url(refusing, &held), url);
    assert_eq!(fleet.nodes[refusing].admin("/readyz").json()["degraded"], json!([]));

    trouble.begin(&server, &relay);
    // The first one to come finds the trouble; nobody may wait long, neither he nor those after him.
    for user in 0..3 {
        let token = fleet.idp.token(&format!("new-{user}"));
        let (answer, took) = timed(|| fleet.nodes[local].open(&token));
        assert_eq!(answer.status, 302, "{trouble:?}: {answer:?}");
        assert!(took < BOUND, "{trouble:?}: {took:?}");
        assert_eq!(fleet.url(local, &token), answer.location(), "{trouble:?}: what was minted is held");
        let (answer, took) = timed(|| fleet.nodes[refusing].open(&token));
        assert_eq!((answer.status, answer.problem().as_str()), (503, "store-unavailable"), "{trouble:?}: {answer:?}");
        assert!(answer.header("retry-after").is_some(), "{answer:?}");
        assert!(took < BOUND, "{trouble:?}: {took:?}");
    }
    let (answer, took) = timed(|| fleet.nodes[local].open(&held));
    assert_eq!((answer.status, answer.location()), (302, url.as_str()), "{trouble:?}");
    assert!(took < Duration::from_secs(1), "{trouble:?}: {took:?}");
    fleet.until_degraded(true);
    let (says, refuses) = (fleet.nodes[local].admin("/readyz"), fleet.nodes[refusing].admin("/readyz"));
    assert_eq!((says.status, &says.json()["degraded"]), (200, &json!(["leases.store"])), "{trouble:?}");
    assert_eq!(refuses.status, 503, "{trouble:?}: {refuses:?}");
    if let Some(cause) = trouble.cause() {
        let metric = format!("valet_store_failures_total{{cause=\"{cause}\"}}");
        until("why is counted", || (fleet.nodes[local].metric(&metric) > 0).then_some(()));
    }
    let mints = fleet.mints();
    assert_eq!(mints, 4, "{trouble:?}");

    trouble.end(&server, &relay);
    fleet.until_degraded(false);
    until("it is ready", || (fleet.nodes[refusing].admin("/readyz").status == 200).then_some(()));
    let token = fleet.idp.token("after");
    assert_eq!(fleet.url(local, &token), fleet.url(refusing, &token), "{trouble:?}");
    assert_eq!(fleet.mints(), mints + 1, "{trouble:?}");
    assert_eq!(fleet.url(refusing, &held), url, "{trouble:?}");
}

#[test]
fn what_was_minted_while_the_store_is_gone_is_served_more_often_than_mints_are_allowed() {
    let Some(server) = Server::redis(&["maxmemory-policy noeviction"]) else { return };
    let relay = Relay::before(server.port);
    let fleet = Fleet::start(1, &Leases::redis(&[relay.url()]));
    relay.refuse();
    fleet.until_degraded(true);
    let token = fleet.idp.token("ada");
    let url = fleet.url(0, &token);
    // `mints_per_subject` allows 30 mints an hour.
    for _ in 0..35 {
        assert_eq!(fleet.url(0, &token), url);
    }
    assert_eq!(fleet.mints(), 1);
}

#[test]
fn requests_go_on_while_the_store_is_slow() {
    goes_on(Trouble::Slow);
}

#[test]
fn requests_go_on_while_the_store_is_silent() {
    goes_on(Trouble::Silent);
}

#[test]
fn requests_go_on_while_the_store_is_gone() {
    goes_on(Trouble::Cut);
}

#[test]
fn requests_go_on_while_the_store_is_paused() {
    goes_on(Trouble::Paused);
}

#[test]
fn requests_go_on_while_the_stores_process_stands_still() {
    goes_on(Trouble::Stopped);
}

#[test]
fn requests_go_on_while_the_store_is_full() {
    goes_on(Trouble::Full);
}

#[test]
fn requests_go_on_while_the_store_takes_no_writes() {
    goes_on(Trouble::ReadOnly);
}

/// One answer of the store is lost, and its connections with it: no user notices.
#[test]
fn connections_to_the_store_that_are_cut_cost_no_request() {
    let Some(server) = Server::redis(&[]) else { return };
    let relay = Relay::before(server.port);
    let fleet = Fleet::start(2, &Leases::redis(&[relay.url()]));
    for round in 0..5 {
        relay.cut();
        let token = fleet.idp.token(&format!("user-{round}"));
        let (answer, took) = timed(|| fleet.nodes[round % 2].open(&token));
        assert_eq!(answer.status, 302, "{answer:?}");
        assert!(took < BOUND, "{took:?}");
    }
    fleet.until_degraded(false);
    assert_eq!(fleet.mints(), 5);
}

/// A store that is not there at the start makes no node fail, and is used once it comes.
#[test]
fn a_node_starts_without_its_store_and_is_ready_once_the_store_has_answered() {
    let Some(mut server) = Server::redis(&[]) else { return };
    server.kill();
    let mut fleet = Fleet::empty();
    let node = fleet.add_unready(&Leases::redis(&[server.url()]));
    let token = fleet.idp.token("ada");
    until("the keys of the issuer are there", || (fleet.nodes[node].open(&token).status == 302).then_some(()));
    assert_eq!(fleet.nodes[node].admin("/readyz").status, 503);
    assert!(fleet.degraded(node));
    server.start_again();
    fleet.nodes[node].until_ready();
    fleet.until_degraded(false);
}

/// A proxy's or the store's own limit on idle connections, say.
#[test]
fn a_connection_that_the_store_has_just_closed_costs_nobody_a_mint_of_his_own() {
    let Some(server) = Server::redis(&[]) else { return };
    let fleet = Fleet::start(2, &Leases::redis(&[server.url()]).patient());
    let tokens = fleet.tokens("user", 10);
    let urls = fleet.urls(0, &tokens);
    for (token, url) in tokens.iter().zip(&urls) {
        drop(server.ask(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]));
        assert_eq!(&fleet.url(1, token), url);
    }
    assert_eq!(fleet.mints(), 10);
}

/// The same of a cluster: the call goes on by way of a server that names the right one.
#[test]
fn a_connection_that_a_server_of_a_cluster_has_just_closed_costs_nobody_a_mint_of_his_own() {
    let Some(cluster) = Cluster::start(Kind::Redis) else { return };
    let fleet = Fleet::start(2, &Leases::redis(&cluster.urls()).patient());
    let tokens = fleet.tokens("user", 30);
    let urls = fleet.urls(0, &tokens);
    for (round, (token, url)) in tokens.iter().zip(&urls).enumerate() {
        // One after the other, and at last all at once.
        let closing = if round < 20 { &cluster.servers[round % 3..=round % 3] } else { &cluster.servers[..] };
        for server in closing {
            drop(server.ask(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]));
        }
        assert_eq!(&fleet.url(1, token), url, "round {round}");
    }
    assert_eq!(fleet.mints(), 30);
}

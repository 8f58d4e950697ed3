//! A session that was ended at one node is ended at all, and stays so whatever becomes of nodes and store.

use std::time::Duration;

use serde_json::json;

use super::client::{Answer, Connection, once, request};
use super::fleet::{Fleet, Leases, timed};
use super::groups::Cluster;
use super::process::{until, valet};
use super::server::{Kind, Server};
use super::stack::{bearer, echo};
use super::stopwatch::Stopwatch;

const TOKEN: &str = "the-token-of-this-test";

const ADMIN: &str = "[admin]\naddress = \"127.0.0.1:0\"\n";

/// Every node refuses within this time of the answer to the call.
const EVERYWHERE: Duration = Duration::from_secs(1);

fn administered() -> Fleet {
    let fleet = Fleet::empty();
    fleet.folder.write("admin.token", &format!("{TOKEN}\n"));
    fleet.replacing(ADMIN, &format!("{ADMIN}token = {{ file = \"admin.token\" }}\n"))
}

fn nodes(count: usize, leases: &Leases) -> Fleet {
    let mut fleet = administered();
    for _ in 0..count {
        fleet.add(leases);
    }
    fleet
}

fn revoke(fleet: &Fleet, node: usize, subject: &str) -> Answer {
    let body = json!({ "issuer": fleet.idp.url, "subject": subject }).to_string();
    let headers = [&*bearer(TOKEN), "content-type: application/json"];
    once(&fleet.nodes[node].admin, "POST", "/api/sessions/revoke", &headers, &body)
}

/// This token opens nothing at this node.
#[track_caller]
fn assert_refused(fleet: &Fleet, node: usize, token: &str) {
    let answer = fleet.nodes[node].open(token);
    assert_eq!((answer.status, answer.problem().as_str()), (401, "session-invalid"), "node {node}: {answer:?}");
}

#[test]
fn eight_nodes_refuse_within_a_second_and_after_a_kill_and_without_a_message() {
    let Some(server) = Server::redis(&[]) else { return };
    let leases = Leases::redis(&[server.url()]);
    let mut fleet = nodes(8, &leases);
    let tokens = fleet.tokens("user", 5);
    let mut slowest = Duration::ZERO;
    for (round, token) in tokens.iter().enumerate() {
        for node in 0..8 {
            fleet.url(node, token);
        }
        assert_eq!(revoke(&fleet, round, &format!("user-{round}")).status, 204);
        let answered = Stopwatch::start();
        for node in 0..8 {
            until("it refuses", || (fleet.nodes[node].open(token).status == 401).then_some(()));
        }
        slowest = slowest.max(answered.elapsed());
    }
    assert!(slowest < EVERYWHERE, "{slowest:?}");
    eprintln!("eight nodes: refused everywhere {slowest:?} after the answer, the slowest of 5");
    // A node that is killed and one that is new know it from their first answer on. The token is the ended session's own: one that is issued in a
    // later second is a new session, and stays.
    let token = &tokens[0];
    fleet.kill(7);
    let command = fleet.command(&leases);
    let new = fleet.add_by(command);
    // As early as can be: it is not even ready.
    assert_refused(&fleet, new, token);
    fleet.nodes[new].until_ready();
    assert_refused(&fleet, new, token);
    assert_eq!(fleet.nodes[new].metric("valet_revocations_total{outcome=\"applied\",source=\"store\"}"), 5);
}

#[test]
fn a_revocation_that_the_store_did_not_hear_is_in_force_here_and_written_when_the_store_is_back() {
    let Some(mut server) = Server::redis(&[]) else { return };
    let leases = Leases::redis(&[server.url()]);
    let mut fleet = nodes(2, &leases);
    let tokens = fleet.tokens("user", 2);
    for node in 0..2 {
        fleet.urls(node, &tokens);
    }
    assert_eq!(revoke(&fleet, 0, "user-0").status, 204);
    until("the other node refuses", || (fleet.nodes[1].open(&tokens[0]).status == 401).then_some(()));
    server.kill();
    fleet.until_degraded(true);
    let (answer, took) = timed(|| revoke(&fleet, 0, "user-1"));
    assert_eq!((answer.status, answer.problem().as_str()), (503, "store-unavailable"), "{answer:?}");
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert_refused(&fleet, 0, &tokens[1]);
    assert_eq!(fleet.nodes[1].open(&tokens[1]).status, 302, "it can't know");
    assert_eq!(fleet.nodes[0].metric("valet_revocations_total{outcome=\"unwritten\",source=\"api\"}"), 1);
    // The store has lost everything: the nodes put back what they know.
    server.restart_empty();
    fleet.until_degraded(false);
    until("the other node refuses", || (fleet.nodes[1].open(&tokens[1]).status == 401).then_some(()));
    let new = fleet.add(&leases);
    for token in &tokens {
        assert_refused(&fleet, new, token);
    }
}

#[test]
fn without_the_store_sessions_are_refused_where_the_configuration_says_so() {
    let Some(mut server) = Server::redis(&[]) else { return };
    let leases = Leases::redis(&[server.url()]);
    let session = "[session]\n";
    let mut fleet = administered().replacing(session, &format!("{session}revocations_unknown = \"refuse\"\n"));
    fleet.add(&leases);
    let token = fleet.idp.token("ada");
    fleet.url(0, &token);
    server.kill();
    let refused = || {
        let answer = fleet.nodes[0].open(&token);
        (answer.status == 503).then(|| answer.problem())
    };
    assert_eq!(until("it refuses", refused), "store-unavailable");
    server.start_again();
    until("it serves again", || (fleet.nodes[0].open(&token).status == 302).then_some(()));
}

/// A cluster whose servers go on without one of them, and two nodes that refuse sessions where they can't know.
fn refusing_nodes_on(cluster: &Cluster) -> Fleet {
    for server in &cluster.servers {
        server.ask(&["CONFIG", "SET", "cluster-require-full-coverage", "no"]);
    }
    let session = "[session]\n";
    let mut fleet = administered().replacing(session, &format!("{session}revocations_unknown = \"refuse\"\n"));
    for _ in 0..2 {
        fleet.add(&Leases::redis(&cluster.urls()));
    }
    fleet
}

/// Among the three are the one at which revocations lie, and the one that a node listens at.
#[test]
fn a_sign_out_is_obeyed_or_sessions_are_refused_while_one_server_of_a_cluster_is_silent() {
    let Some(cluster) = Cluster::start(Kind::Redis) else { return };
    let fleet = refusing_nodes_on(&cluster);
    for (number, server) in cluster.servers.iter().enumerate() {
        let subject = format!("user-{number}");
        let token = fleet.idp.token(&subject);
        until("it serves", || (fleet.nodes[0].open(&token).status == 302).then_some(()));
        server.signal("STOP");
        let answer = revoke(&fleet, 1, &subject);
        assert!(matches!(answer.status, 204 | 503), "server {number}: {answer:?}");
        let status = until("it serves no more", || {
            let status = fleet.nodes[0].open(&token).status;
            (status != 302).then_some(status)
        });
        assert!(matches!(status, 401 | 503), "server {number}: {status}");
        server.signal("CONT");
        fleet.until_degraded(false);
        until("the sign-out has been heard", || (fleet.nodes[0].open(&token).status == 401).then_some(()));
    }
}

/// The silent one is neither the one at which revocations lie, nor the one that the node listens at: what hangs is the node's look at all of them.
#[test]
fn a_sign_out_is_heard_while_a_silent_server_of_a_cluster_is_waited_for() {
    let Some(cluster) = Cluster::start(Kind::Redis) else { return };
    for server in &cluster.servers {
        server.ask(&["CONFIG", "SET", "cluster-require-full-coverage", "no"]);
    }
    let leases = Leases::redis(&cluster.urls()).patient();
    let mut fleet = nodes(1, &leases);
    let listened_at = |server: &Server| !server.ask(&["CLIENT", "LIST", "TYPE", "pubsub"]).text().is_empty();
    let its: Vec<bool> = cluster.servers.iter().map(listened_at).collect();
    fleet.add(&leases);
    assert_eq!(revoke(&fleet, 1, "user-0").status, 204);
    let lie_at =
        |server: &Server| server.entries().iter().any(|entry| String::from_utf8_lossy(&entry.key).contains("revo"));
    let silent = cluster.servers.iter().zip(its).find(|(server, is_its)| !is_its && !lie_at(server));
    let (silent, _) = silent.expect("there are three");
    // A person of whom it holds nothing: else it is asked to forget that.
    let held = || silent.entries().len();
    let tokens = fleet.tokens("user", 40);
    let user = (1..40).find(|user| {
        let before = held();
        fleet.url(0, &tokens[*user]);
        held() == before
    });
    let user = user.expect("two thirds lie elsewhere");
    silent.signal("STOP");
    // Pause: until the node's next look, of which it has two a second, waits for the silent server. It does so for 10 s.
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(revoke(&fleet, 1, &format!("user-{user}")).status, 204);
    until("it is heard", || (fleet.nodes[0].open(&tokens[user]).status == 401).then_some(()));
    assert!(!fleet.degraded(0), "it was heard behind the look");
    silent.signal("CONT");
}

#[test]
fn nodes_share_again_when_another_server_of_a_cluster_has_taken_the_place_of_a_silent_one() {
    let Some(cluster) = Cluster::start(Kind::Redis) else { return };
    let Some(replica) = cluster.add_replica(Kind::Redis) else { return };
    let fleet = refusing_nodes_on(&cluster);
    let tokens = fleet.tokens("user", 2);
    for token in &tokens {
        until("it serves", || (fleet.nodes[0].open(token).status == 302).then_some(()));
    }
    cluster.servers[0].signal("STOP");
    fleet.until_degraded(true);
    until("the replica is master", || (replica.info("role") == "master").then_some(()));
    // The silent one is still silent.
    fleet.until_degraded(false);
    until("it is told to the store", || (revoke(&fleet, 1, "user-0").status == 204).then_some(()));
    until("the other node refuses", || (fleet.nodes[0].open(&tokens[0]).status == 401).then_some(()));
    until("others are served", || (fleet.nodes[0].open(&tokens[1]).status == 302).then_some(()));
}

#[test]
fn a_revocation_outlives_the_process_in_a_file_and_the_file_does_not_tell_of_whom() {
    let mut fleet = nodes(1, &Leases::file());
    let person = "canary-revoked-7q4x!w2k9z@example.com";
    let (token, other) = (fleet.idp.token(person), fleet.idp.token("other"));
    fleet.url(0, &token);
    fleet.url(0, &other);
    assert_eq!(revoke(&fleet, 0, person).status, 204);
    fleet.kill(0);
    let bytes = std::fs::read(fleet.path().join("leases.redb")).unwrap();
    assert!(!bytes.windows(person.len()).any(|window| window == person.as_bytes()));
    fleet.add(&Leases::file());
    assert_refused(&fleet, 0, &token);
    assert_eq!(fleet.nodes[0].open(&other).status, 302);
}

#[test]
fn redis_does_not_tell_of_whom_a_revocation_is() {
    let Some(server) = Server::redis(&[]) else { return };
    let fleet = nodes(1, &Leases::redis(&[server.url()]));
    let person = "canary-revoked-7q4x!w2k9z@example.com";
    assert_eq!(revoke(&fleet, 0, person).status, 204);
    let bytes = server.all_bytes();
    assert!(bytes.windows(11).any(|window| window == b"revocations"));
    assert!(!bytes.windows(person.len()).any(|window| window == person.as_bytes()));
    assert!(server.entries().iter().all(|entry| entry.ttl > 0), "everything ends by itself");
}

/// The process that has taken over from it is gone, and cannot tell it: the store does.
#[test]
fn a_websocket_that_stays_in_a_process_that_was_taken_over_ends_by_what_the_store_says() {
    let Some(server) = Server::redis(&[]) else { return };
    let leases = Leases::redis(&[server.url()]);
    let mut fleet = nodes(1, &leases);
    let app = format!("[[app]]\nname = \"echo\"\npath = \"/echo/\"\nupstreams = [\"{}\"]\n\n[session]\n", echo());
    let drain = "drain = \"30s\"\n";
    fleet =
        fleet.replacing("[session]\n", &app).replacing(drain, &format!("{drain}upgrade_socket = \"upgrade.sock\"\n"));
    let file = fleet.file(&leases);
    let old = fleet.add_by(valet(fleet.path(), &["run", "--config", &file]));
    fleet.nodes[old].until_ready();
    let ada = fleet.idp.token("ada");
    let mut socket = Connection::open(&fleet.nodes[old].address);
    assert!(socket.send(request("GET", "/echo/", &["connection: upgrade", "upgrade: websocket", &bearer(&ada)], "")));
    assert_eq!(socket.head(), 101);
    let new = fleet.add_by(valet(fleet.path(), &["run", "--config", &file, "--upgrade"]));
    fleet.kill(new);
    assert!(socket.send("hello") && socket.bytes(5).is_some(), "the WebSocket was cut");
    assert_eq!(revoke(&fleet, 0, "ada").status, 204);
    let answered = Stopwatch::start();
    socket.rest();
    // Long before the end of `drain`.
    assert!(answered.elapsed() < Duration::from_secs(10), "{:?}", answered.elapsed());
}

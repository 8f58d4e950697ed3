//! The kit does what it says, or no test that uses it is worth anything.

use std::time::{Duration, Instant};

use super::groups::{Cluster, Watched};
use super::process::until;
use super::relay::{Relay, Way};
use super::resp::{Reply, Resp};
use super::secrets::places;
use super::server::{Kind, Server};

#[test]
fn a_server_keeps_or_loses_its_data_as_asked() {
    for kind in [Kind::Redis, Kind::Valkey] {
        let Some(mut server) = Server::start(kind, &[]) else { continue };
        server.ask(&["SET", "a", "1", "EX", "100"]);
        server.ask(&["HSET", "b", "field", "canary-of-the-kit"]);
        server.restart_with_data();
        let entries = server.entries();
        assert_eq!(entries.len(), 2);
        assert!(entries[0].ttl > 0 && entries[1].ttl == -1, "{entries:?}");
        let found = places(&server.all_bytes(), b"canary-of-the-kit");
        assert!(found >= 3, "by HGETALL, by DUMP and in the file; found {found} times");
        server.restart_empty();
        assert!(server.entries().is_empty());
        server.signal("STOP");
        let mut hung = Resp::open(server.port).expect("the kernel still takes connections");
        hung.patience(Duration::from_millis(300));
        assert_eq!(hung.ask(&[b"PING"]), None);
        server.signal("CONT");
        server.ask(&["PING"]);
    }
}

#[test]
fn three_servers_become_a_cluster() {
    let Some(cluster) = Cluster::start(Kind::Redis) else { return };
    let moved = (0..20)
        .map(|key| cluster.servers[0].connection().ask(&[b"SET", format!("key-{key}").as_bytes(), b"1"]).unwrap());
    assert!(moved.filter(|reply| matches!(reply, Reply::Error(fault) if fault.starts_with("MOVED"))).count() > 3);
}

#[test]
fn a_replica_becomes_master_within_seconds() {
    let Some(mut watched) = Watched::start() else { return };
    assert_eq!(watched.master_port(), watched.master.port);
    let began = Instant::now();
    watched.fail_over();
    until("the sentinel says so", || (watched.master_port() == watched.replica.port).then_some(()));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[test]
fn a_relay_is_slow_silent_or_gone_when_told() {
    let Some(server) = Server::redis(&[]) else { return };
    let relay = Relay::before(server.port);
    let ping = |connection: &mut Resp| connection.ask(&[b"PING"]).map(|reply| reply.text());
    let mut connection = Resp::open(relay.port).unwrap();
    assert_eq!(ping(&mut connection).as_deref(), Some("PONG"));
    relay.delay(Way::Back, Duration::from_millis(300));
    let began = Instant::now();
    assert_eq!(ping(&mut connection).as_deref(), Some("PONG"));
    assert!(began.elapsed() >= Duration::from_millis(300));
    relay.hold(Way::There);
    connection.patience(Duration::from_millis(500));
    assert_eq!(ping(&mut connection), None);
    relay.resume();
    connection.patience(Duration::from_secs(5));
    assert_eq!(connection.reply().map(|reply| reply.text()).as_deref(), Some("PONG"));
    relay.cut();
    assert_eq!(ping(&mut connection), None);
    relay.refuse();
    assert!(Resp::open(relay.port).is_none());
    relay.resume();
    let taken = relay.taken();
    assert_eq!(ping(&mut Resp::open(relay.port).unwrap()).as_deref(), Some("PONG"));
    assert!(relay.taken() > taken);
}

//! The ways to a store: TLS, users of its own, sentinels, a cluster.

use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::fleet::{Fleet, Leases, only};
use super::groups::{Cluster, MASTER, Watched};
use super::process::{free_port, until};
use super::server::{Kind, Server};
use super::stack::Folder;

/// An authority that writes `NAME.pem`, and `server.pem` with its key for this machine's names.
fn authority(folder: &Folder, name: &str) {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
    let key = KeyPair::generate().expect("a key");
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let site = CertificateParams::new(names).expect("parameters").signed_by(&key, &issuer).expect("signed");
    folder.write(&format!("{name}.pem"), &issuer.pem());
    folder.write(&format!("{name}-server.pem"), &site.pem());
    folder.write(&format!("{name}-server.key"), &key.serialize_pem());
}

/// One node mints, the other shares.
fn assert_shared(fleet: &Fleet) {
    let before = fleet.mints();
    let tokens = fleet.tokens(&format!("user-of-{before}"), 5);
    let urls: Vec<_> = (0..fleet.nodes.len()).map(|node| fleet.urls(node, &tokens)).collect();
    assert!(urls.iter().all(|of_node| *of_node == urls[0]), "{urls:?}");
    assert_eq!(fleet.mints(), before + 5);
}

#[test]
fn a_store_behind_tls_is_believed_with_the_right_authority_only() {
    let mut fleet = Fleet::empty();
    authority(&fleet.folder, "ca");
    authority(&fleet.folder, "other");
    let tls = free_port(0);
    let lines = [
        &*format!("tls-port {tls}"),
        "tls-cert-file FOLDER/ca-server.pem",
        "tls-key-file FOLDER/ca-server.key",
        "tls-ca-cert-file FOLDER/ca.pem",
        "tls-auth-clients no",
    ];
    let Some(server) = Server::with(Kind::Redis, &fleet.folder, &lines, None) else { return };
    for name in ["localhost", "127.0.0.1"] {
        fleet.add(&Leases::redis(&[format!("rediss://{name}:{tls}/0")]).and("ca = \"ca.pem\""));
    }
    assert_shared(&fleet);
    assert!(!server.entries().is_empty());

    let url = format!("rediss://localhost:{tls}/0");
    for leases in [Leases::redis(&[&url]).and("ca = \"other.pem\""), Leases::redis(&[&url])] {
        let stranger = fleet.add_unready(&leases);
        let token = fleet.idp.token("ada");
        until("it mints for itself", || (fleet.nodes[stranger].open(&token).status == 302).then_some(()));
        assert!(fleet.degraded(stranger));
        assert_ne!(fleet.url(stranger, &token), fleet.url(0, &token), "it shares with whom it does not believe");
    }
}

#[test]
fn a_user_and_a_password_of_the_store_are_used() {
    let password = format!("password-{:016x}", fastrand::u64(..));
    let mut fleet = Fleet::empty();
    fleet.folder.write("redis.password", &format!("{password}\n"));
    fleet.folder.write("wrong.password", "another\n");
    // What docs/leases.md gives the user, and no more: its own keys and channels, nothing dangerous.
    let user = format!(
        "user valet on >{password} ~valet:* resetchannels &valet:* -@all +@read +@write +@scripting +@pubsub +@connection \
         -@dangerous"
    );
    let lines = ["user default off", "user kit on >kit ~* &* +@all", &user];
    let Some(server) = Server::with(Kind::Redis, &fleet.folder, &lines, Some(("kit", "kit"))) else { return };
    let leases = Leases::redis(&[server.url()]).and("username = \"valet\"");
    let right = leases.clone().and("password = { file = \"redis.password\" }");
    fleet.add(&right);
    fleet.add(&right);
    assert_shared(&fleet);

    let wrong = fleet.add_unready(&leases.and("password = { file = \"wrong.password\" }"));
    let token = fleet.idp.token("ada");
    until("it mints for itself", || (fleet.nodes[wrong].open(&token).status == 302).then_some(()));
    assert!(fleet.degraded(wrong));
    for node in fleet.nodes {
        let all = node.terminate().all();
        assert!(!all.contains(&password) && !all.contains("another\n"), "a password stands in the log");
    }
}

#[test]
fn a_password_without_a_user_is_the_default_users() {
    let mut fleet = Fleet::empty();
    fleet.folder.write("redis.password", "of-the-default-user\n");
    let login = Some(("default", "of-the-default-user"));
    let Some(server) = Server::with(Kind::Redis, &fleet.folder, &["requirepass of-the-default-user"], login) else {
        return;
    };
    let leases = Leases::redis(&[server.url()]).and("password = { file = \"redis.password\" }");
    fleet.add(&leases);
    fleet.add(&leases);
    assert_shared(&fleet);
}

#[test]
fn a_fail_over_of_the_sentinels_is_followed_and_loses_no_lease() {
    let Some(mut watched) = Watched::start() else { return };
    let leases = Leases::redis(&watched.urls()).and(&format!("sentinel_master = {MASTER:?}"));
    let mut fleet = Fleet::start(2, &leases);
    assert_shared(&fleet);
    let tokens = fleet.tokens("user", 10);
    let held = fleet.urls(0, &tokens);
    assert_eq!(fleet.urls(1, &tokens), held);
    until("the replica has it all", || {
        (watched.master.entries().len() == watched.replica.entries().len()).then_some(())
    });
    let mints = fleet.mints();
    watched.fail_over();
    assert_eq!(fleet.urls(1, &tokens), held, "amid the fail-over");
    until("the sentinel says so", || (watched.master_port() == watched.replica.port).then_some(()));
    let took = fleet.until_degraded(false);
    assert!(took < Duration::from_secs(5), "{took:?}");
    let late = fleet.add(&leases);
    assert_eq!(fleet.urls(late, &tokens), held);
    assert!(fleet.mints() <= mints, "{} mints more", fleet.mints() - mints);
    assert_shared(&fleet);
}

#[test]
fn a_cluster_of_three_holds_the_leases_on_all_of_them() {
    let Some(mut cluster) = Cluster::start(Kind::Redis) else { return };
    let leases = Leases::redis(&cluster.urls());
    let mut fleet = Fleet::start(2, &leases);
    let tokens = fleet.tokens("user", 30);
    let held = fleet.urls(0, &tokens);
    assert_eq!(fleet.urls(1, &tokens), held);
    assert_eq!(fleet.mints(), 30);
    let sizes: Vec<usize> = cluster.servers.iter().map(|server| server.entries().len()).collect();
    assert!(sizes.iter().all(|size| *size > 0), "{sizes:?}");
    let again = fleet.again(0, &tokens[0]);
    until("the other node has heard it", || (fleet.url(1, &tokens[0]) == again).then_some(()));

    // One of the three dies: who holds a lease keeps it, and nobody is refused.
    cluster.servers[1].kill();
    assert_eq!(fleet.urls(1, &tokens[1..]), held[1..]);
    for token in fleet.tokens("new", 6) {
        let (answer, took) = super::fleet::timed(|| fleet.nodes[0].open(&token));
        assert_eq!(answer.status, 302, "{answer:?}");
        assert!(took < Duration::from_secs(3), "{took:?}");
    }
    cluster.servers[1].start_again();
    cluster.until_whole();
    fleet.until_degraded(false);
    let late = fleet.add(&leases);
    let token = fleet.idp.token("at the end");
    only((0..=late).map(|node| fleet.url(node, &token)));
}

//! Who reads the store learns nothing, who writes to it gains nothing, and nothing stays in it for ever.

use std::collections::BTreeSet;
use std::time::Duration;

use super::fleet::{Fleet, Leases, only};
use super::process::until;
use super::secrets::places;
use super::server::{Entry, Server, bytes_in};
use super::stack::KEY;

/// No entry outlives the longest lease by more than the counters need.
const LONGEST: i64 = 24 * 3600 * 1000;

/// A user whose name stands nowhere by chance.
fn canary() -> String {
    format!("canary-{:016x}@example.com", fastrand::u64(..))
}

/// Everything that a store must not know, after `fleet` has handed out this URL.
fn secrets(fleet: &Fleet, subject: &str, token: &str, url: &str) -> Vec<(&'static str, String)> {
    let action = url.split_once("action_token=").expect("an action token").1;
    let parts: Vec<&str> = action.split('.').collect();
    vec![
        ("the subject", subject.to_owned()),
        ("the token", token.to_owned()),
        ("the token's claims", token.split('.').nth(1).expect("claims").to_owned()),
        ("the URL", url.to_owned()),
        ("the URL's claims", parts[1].to_owned()),
        ("the URL's signature", parts[2].to_owned()),
        ("the vendor's address", fleet.vendor.url.clone()),
        ("the issuer", fleet.idp.url.clone()),
        ("the plug-in", "face-scan".to_owned()),
        ("the provider", "simulated".to_owned()),
        ("the API key", KEY.to_owned()),
    ]
}

fn assert_none_of(secrets: &[(&str, String)], all: &[u8]) {
    for (what, secret) in secrets {
        assert_eq!(places(all, secret.as_bytes()), 0, "{what} stands in the store");
    }
}

#[test]
fn a_dump_of_the_store_and_all_that_is_sent_to_it_say_nothing_of_anybody() {
    let Some(server) = Server::redis(&[]) else { return };
    let mut monitor = server.connection();
    monitor.ask(&[b"MONITOR"]);
    let fleet = Fleet::start(2, &Leases::redis(&[server.url()]));
    let subject = canary();
    let token = fleet.idp.token(&subject);
    let mut all = secrets(&fleet, &subject, &token, &fleet.url(0, &token));
    fleet.url(1, &token);
    let new = fleet.again(1, &token);
    all.extend(secrets(&fleet, &subject, &token, &new));

    let dump = server.all_bytes();
    assert!(dump.len() > 500, "only {} bytes", dump.len());
    assert_none_of(&all, &dump);
    let mut sent = Vec::new();
    monitor.patience(Duration::from_millis(100));
    while let Some(line) = monitor.reply() {
        sent.extend(line.bytes());
    }
    assert!(sent.len() > 2000, "only {} bytes", sent.len());
    assert_none_of(&all, &sent);

    // The same look finds what is there.
    server.ask(&["SET", "planted", &format!("x{subject}"), "EX", "60"]);
    assert!(places(&server.all_bytes(), subject.as_bytes()) >= 3);
}

#[test]
fn the_file_says_nothing_of_anybody() {
    let mut fleet = Fleet::start(1, &Leases::file());
    let subject = canary();
    let token = fleet.idp.token(&subject);
    let url = fleet.url(0, &token);
    let all = secrets(&fleet, &subject, &token, &url);
    // Pause: the promise is that a lease is on disk after this.
    std::thread::sleep(Duration::from_millis(600));
    let bytes = bytes_in(fleet.path(), "leases.redb");
    fleet.kill(0);
    fleet.add(&Leases::file());
    assert_eq!(fleet.url(0, &token), url, "it was not in the file");
    assert_none_of(&all, &bytes);
    assert_eq!(places(&[&bytes[..], subject.as_bytes()].concat(), subject.as_bytes()), 1);
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(fleet.path().join("leases.redb")).expect("the file").permissions(),
    );
    assert_eq!(mode & 0o077, 0, "others may read the file: {mode:o}");
}

#[test]
fn everything_in_the_store_ends_by_itself() {
    let Some((server, fleet)) = Fleet::on_redis(2) else { return };
    let token = fleet.idp.token("ada");
    let assert_all_end = |when: &str| {
        let entries = server.entries();
        assert!(!entries.is_empty(), "{when}");
        for entry in &entries {
            assert!((0..=LONGEST).contains(&entry.ttl), "{when}: {entry:?}");
        }
    };
    let mut first = fleet.minting(0, &token, "800ms");
    assert_all_end("amid a mint");
    assert_eq!(first.answer().map(|answer| answer.status), Some(302));
    assert_all_end("held");
    fleet.again(1, &token);
    assert_all_end("after another scan");
    fleet.vendor.faults(serde_json::json!({ "on": "mint", "fail": "500" }));
    assert_eq!(fleet.nodes[0].open(&fleet.idp.token("bob")).status, 502);
    assert_all_end("after a failure");
}

/// The entries that hold a sealed lease: nothing else is as long as a URL.
fn leases(server: &Server) -> Vec<Entry> {
    server.entries().into_iter().filter(|entry| entry.bytes.len() > 600).collect()
}

/// Ada's entry and Bob's, each minted at the first node.
fn two_entries(server: &Server, fleet: &Fleet) -> [(String, Entry); 2] {
    let mut known: BTreeSet<Vec<u8>> = BTreeSet::new();
    ["ada", "bob"].map(|user| {
        let token = fleet.idp.token(user);
        fleet.url(0, &token);
        let new: Vec<Entry> = leases(server).into_iter().filter(|entry| known.insert(entry.key.clone())).collect();
        assert_eq!(new.len(), 1, "one entry for one lease: {new:?}");
        (token, new.into_iter().next().expect("one"))
    })
}

#[test]
fn an_entry_moved_to_another_user_does_not_open_and_he_gets_his_own() {
    let Some(server) = Server::redis(&[]) else { return };
    let shared = Leases::redis(&[server.url()]);
    for rename in [false, true] {
        let mut fleet = Fleet::start(1, &shared);
        let [(ada, hers), (bob, his)] = two_entries(&server, &fleet);
        let urls = [fleet.url(0, &ada), fleet.url(0, &bob)];
        if rename {
            server.ask_bytes(&[b"RENAME", &hers.key, &his.key]);
        } else {
            server.ask_bytes(&[b"COPY", &hers.key, &his.key, b"REPLACE"]);
        }
        // These know nothing but what the store says.
        let nodes = [fleet.add(&shared), fleet.add(&shared)];
        let fresh = only(nodes.map(|node| fleet.url(node, &bob)));
        assert!(!urls.contains(&fresh), "somebody else's URL, or one that the store does not hold");
        assert_eq!(fleet.mints(), 3);
        let hers = only(nodes.map(|node| fleet.url(node, &ada)));
        assert!(hers != fresh && hers != urls[1]);
        server.ask(&["FLUSHALL"]);
    }
}

#[test]
fn an_entry_that_was_changed_does_not_open_and_harms_nobody() {
    let Some(server) = Server::redis(&[]) else { return };
    let shared = Leases::redis(&[server.url()]);
    let mut fleet = Fleet::start(1, &shared);
    let [(ada, hers), (bob, his)] = two_entries(&server, &fleet);
    let old = [fleet.url(0, &ada), fleet.url(0, &bob)];
    // The longest part is what is sealed.
    let mut flipped = false;
    for field in server.ask_bytes(&[b"HKEYS", &hers.key]).list() {
        let mut value = server.ask_bytes(&[b"HGET", &hers.key, &field.bytes()]).bytes();
        if value.len() > 200 {
            let middle = value.len() / 2;
            value[middle] ^= 1;
            server.ask_bytes(&[b"HSET", &hers.key, &field.bytes(), &value]);
            server.ask_bytes(&[b"HSET", &his.key, &field.bytes(), b"nonsense"]);
            flipped = true;
        }
    }
    assert!(flipped, "nothing to change in {:?}", hers.kind);
    // And an entry of another kind altogether.
    let carol = fleet.idp.token("carol");
    let known: BTreeSet<_> = leases(&server).into_iter().map(|entry| entry.key).collect();
    fleet.url(0, &carol);
    let key = leases(&server).into_iter().find(|entry| !known.contains(&entry.key)).expect("hers").key;
    server.ask_bytes(&[b"DEL", &key]);
    server.ask_bytes(&[b"SET", &key, b"text", b"EX", b"600"]);

    let late = fleet.add(&shared);
    let new = [fleet.url(late, &ada), fleet.url(late, &bob)];
    assert!(new.iter().all(|url| !old.contains(url)) && new[0] != new[1]);
    assert_eq!(fleet.nodes[late].open(&carol).status, 302);
    until("the store is well", || (!fleet.degraded(late)).then_some(()));
}

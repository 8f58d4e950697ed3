//! Nodes that share a store act as one: each user has one URL, wherever he comes in.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use super::fleet::{Fleet, Leases, only, seal_key, settled};
use super::load::{Outcome, all_at_once};
use super::process::until;
use super::server::{Kind, Server};
use super::stopwatch::Stopwatch;

/// A node learns within this time what another did.
const NEWS: Duration = Duration::from_secs(1);

/// Everybody comes at once and nothing is held: the vendor is asked once for each user.
fn one_mint_each(fleet: &Fleet, users: usize, each: usize, at_once: usize) -> Outcome {
    let tokens = fleet.tokens("user", users);
    let outcome = all_at_once(fleet, &tokens, each, at_once);
    assert!(outcome.others.is_empty(), "{} others, such as {:?}", outcome.others.len(), outcome.others.first());
    let counts: Vec<usize> = outcome.urls.iter().map(BTreeSet::len).collect();
    assert!(counts.iter().all(|count| *count == 1), "URLs of each user: {counts:?}");
    assert_eq!(outcome.urls.iter().flatten().collect::<BTreeSet<_>>().len(), users, "no two users have one URL");
    assert_eq!(fleet.mints(), users as u64);
    outcome
}

fn four_nodes(kind: Kind) {
    let Some(server) = Server::start(kind, &[]) else { return };
    let fleet = Fleet::start(4, &Leases::redis(&[server.url()]).patient());
    fleet.slow_mints("20ms");
    one_mint_each(&fleet, 100, 16, 64);
    let of = |source: &str| {
        let sample = format!("valet_leases_total{{plugin=\"face-scan\",source=\"{source}\"}}");
        fleet.nodes.iter().map(|node| node.metric(&sample)).sum::<u64>()
    };
    assert_eq!(of("minted"), 100);
    assert!(of("shared") > 0, "no URL came from the store");
    assert_eq!(["minted", "shared", "hit", "joined"].map(of).iter().sum::<u64>(), 1600);
}

#[test]
fn four_nodes_mint_once_for_each_user() {
    four_nodes(Kind::Redis);
}

#[test]
fn four_nodes_mint_once_for_each_user_with_valkey() {
    four_nodes(Kind::Valkey);
}

/// `make prove`.
#[test]
#[ignore = "a proof: minutes of load"]
fn eight_nodes_answer_fifty_thousand_requests_with_a_thousand_mints() {
    let (users, each, at_once) = (1000, 50, 1000);
    let Some((_server, fleet)) = Fleet::on_redis(8) else { return };
    fleet.slow_mints("50ms");
    let outcome = one_mint_each(&fleet, users, each, at_once);
    let rate = (users * each) as f64 / outcome.took.as_secs_f64();
    eprintln!(
        "50,000 requests at 8 nodes, 1,000 at once: {} mints for {users} users in {:.1?}, {rate:.0}/s, slowest {:.1?}",
        fleet.mints(),
        outcome.took,
        outcome.slowest
    );
}

#[test]
fn a_node_that_starts_later_hands_out_what_the_others_hold() {
    let Some(server) = Server::redis(&[]) else { return };
    let leases = Leases::redis(&[server.url()]).patient();
    let mut fleet = Fleet::start(1, &leases);
    let tokens = fleet.tokens("user", 10);
    let held = fleet.urls(0, &tokens);
    let late = fleet.add(&leases);
    assert_eq!(fleet.urls(late, &tokens), held);
    fleet.kill(0);
    let later = fleet.add(&leases);
    assert_eq!(fleet.urls(later, &tokens), held, "leases outlive the node that minted them");
    assert_eq!(fleet.mints(), 10);
}

#[test]
fn a_url_of_the_store_costs_one_call_and_one_in_memory_none() {
    let Some(server) = Server::redis(&[]) else { return };
    let leases = Leases::redis(&[server.url()]).patient();
    let mut fleet = Fleet::start(1, &leases);
    let tokens = fleet.tokens("user", 10);
    let held = fleet.urls(0, &tokens);
    let late = fleet.add(&leases);
    let calls = |operation: &str| {
        let sample = format!("valet_store_operations_total{{operation=\"{operation}\",outcome=\"ok\"}}");
        fleet.nodes[late].metric(&sample)
    };
    // What BEGIN alone asks inside the store.
    let begun = || {
        let line = server.info("cmdstat_hmget");
        let calls = line.strip_prefix("calls=").and_then(|line| line.split(',').next());
        calls.and_then(|calls| calls.parse::<u64>().ok()).unwrap_or(0)
    };
    let before = begun();
    assert_eq!(fleet.urls(late, &tokens), held);
    assert_eq!((calls("begin"), begun() - before), (10, 10));
    assert_eq!(fleet.urls(late, &tokens), held);
    assert_eq!((calls("begin"), begun() - before), (10, 10), "what is in memory asks nobody");
    assert_eq!(["renew", "keep", "give_up", "forget"].map(calls), [0; 4]);
}

#[test]
fn nodes_with_another_prefix_or_another_data_base_share_nothing() {
    let Some((server, mut fleet)) = Fleet::on_redis(1) else { return };
    fleet.add(&Leases::redis(&[server.url()]).patient().and("prefix = \"other:\""));
    fleet.add(&Leases::redis(&[server.url().replace("/0", "/1")]).patient());
    let token = fleet.idp.token("ada");
    let urls: BTreeSet<String> = (0..3).map(|node| fleet.url(node, &token)).collect();
    assert_eq!((urls.len(), fleet.mints()), (3, 3));
}

#[test]
fn a_url_for_one_use_is_never_in_the_store() {
    let Some(server) = Server::redis(&[]) else { return };
    let mut fleet = Fleet::empty().replacing("reuse = \"user\"", "reuse = \"never\"");
    for _ in 0..2 {
        fleet.add(&Leases::redis(&[server.url()]).patient());
    }
    let token = fleet.idp.token("ada");
    let urls: BTreeSet<String> = [0, 1, 0, 1].map(|node| fleet.url(node, &token)).into();
    assert_eq!((urls.len(), fleet.mints()), (4, 4));
    let large: Vec<_> = server.entries().into_iter().filter(|entry| entry.bytes.len() > 300).collect();
    assert!(large.is_empty(), "{large:?}");
}

#[test]
fn a_session_of_its_own_has_a_url_of_its_own_at_all_nodes() {
    let Some(server) = Server::redis(&[]) else { return };
    let mut fleet = Fleet::empty().replacing("reuse = \"user\"", "reuse = \"session\"");
    for _ in 0..2 {
        fleet.add(&Leases::redis(&[server.url()]).patient());
    }
    let of = |session: &str| fleet.idp.token_with("ada", json!({ "session": session }));
    let (desk, phone) = (of("desk"), of("phone"));
    assert_ne!(only([0, 1].map(|node| fleet.url(node, &desk))), only([1, 0].map(|node| fleet.url(node, &phone))));
    assert_eq!(fleet.mints(), 2);
}

#[test]
fn a_failed_mint_is_everybodys_for_a_moment_and_not_repeated_by_each_node() {
    let Some((_server, fleet)) = Fleet::on_redis(4) else { return };
    let token = fleet.idp.token("ada");
    fleet.vendor.faults(json!({ "on": "mint", "fail": "500", "delay": "300ms" }));
    let all: Vec<u16> = std::thread::scope(|scope| {
        let asks = fleet.nodes.iter().map(|node| scope.spawn(|| node.open(&token).status)).collect::<Vec<_>>();
        asks.into_iter().map(|ask| ask.join().expect("no panic")).collect()
    });
    assert_eq!(all, [502; 4]);
    assert_eq!(fleet.mints(), 1);
    fleet.vendor.faults(json!({}));
    until("the failure is forgotten", || (fleet.nodes[1].open(&token).status == 302).then_some(()));
    settled(&fleet, &token);
    assert_eq!(fleet.mints(), 2);
}

#[test]
fn who_scans_again_at_one_node_has_the_new_url_at_all_within_a_second() {
    let Some((_server, fleet)) = Fleet::on_redis(3) else { return };
    let tokens = fleet.tokens("user", 5);
    let old = fleet.urls(0, &tokens);
    assert_eq!([fleet.urls(1, &tokens), fleet.urls(2, &tokens)], [old.clone(), old.clone()]);
    for (number, token) in tokens.iter().enumerate().take(4) {
        let new = fleet.again(number % 3, token);
        let dropped = Stopwatch::start();
        assert_ne!(new, old[number]);
        for node in 0..3 {
            until("the old URL is gone", || (fleet.url(node, token) == new).then_some(()));
        }
        assert!(dropped.elapsed() < NEWS, "{:?}", dropped.elapsed());
    }
    assert_eq!(only((0..3).map(|node| fleet.url(node, &tokens[4]))), old[4], "another user keeps his");
    assert_eq!(fleet.mints(), 9);
}

/// A mint that began before the user scanned again must not come out after it.
#[test]
fn a_mint_under_way_at_another_node_is_not_what_a_new_scan_gets() {
    let Some((_server, fleet)) = Fleet::on_redis(3) else { return };
    let token = fleet.idp.token("ada");
    let mut first = fleet.minting(0, &token, "1s");
    let again = fleet.again(1, &token);
    let first = first.answer().expect("an answer");
    assert_eq!(first.status, 302, "{first:?}");
    let began = Stopwatch::start();
    assert_eq!(settled(&fleet, &token), again, "what was minted before is nobody's any more");
    assert!(began.elapsed() < NEWS, "{:?}", began.elapsed());
    assert_eq!(fleet.mints(), 2);
}

#[test]
fn scans_again_at_all_nodes_at_once_end_with_one_url() {
    let Some((_server, fleet)) = Fleet::on_redis(3) else { return };
    let token = fleet.idp.token("ada");
    fleet.slow_mints("50ms");
    for _ in 0..4 {
        let before = settled(&fleet, &token);
        let news: Vec<String> = std::thread::scope(|scope| {
            let (fleet, token) = (&fleet, &token);
            let asks: Vec<_> = (0..3).map(|node| scope.spawn(move || fleet.again(node, token))).collect();
            asks.into_iter().map(|ask| ask.join().expect("no panic")).collect()
        });
        let began = Stopwatch::start();
        let end = settled(&fleet, &token);
        assert!(began.elapsed() < NEWS + NEWS, "{:?}", began.elapsed());
        assert_ne!(end, before);
        assert!(news.contains(&end) && !news.contains(&before), "one of the new URLs is left");
    }
}

#[test]
fn a_new_seal_key_before_the_old_one_loses_nothing() {
    let Some(server) = Server::redis(&[]) else { return };
    let old = Leases::redis(&[server.url()]).patient().sealed_by(&["old.key"]);
    let both = old.clone().sealed_by(&["new.key", "old.key"]);
    let new = old.clone().sealed_by(&["new.key"]);
    let mut fleet = Fleet::empty();
    fleet.folder.write("old.key", &seal_key());
    fleet.folder.write("new.key", &seal_key());
    let (early, late) = (fleet.tokens("early", 5), fleet.tokens("late", 5));
    let node = fleet.add(&old);
    let before = fleet.urls(node, &early);

    let rotated = fleet.add(&both);
    assert_eq!(fleet.urls(rotated, &early), before, "what the old key sealed is still shared");
    let after = fleet.urls(rotated, &late);
    let another = fleet.add(&both);
    assert_eq!(fleet.urls(another, &late), after);
    assert_eq!(fleet.mints(), 10);

    // The old key is gone: what it alone opens is minted anew, once for all nodes, and nothing fails.
    fleet.nodes.clear();
    for _ in 0..2 {
        fleet.add(&new);
    }
    let urls = fleet.urls(0, &[&early[..], &late[..]].concat());
    assert_eq!(fleet.urls(1, &[&early[..], &late[..]].concat()), urls);
    assert!(fleet.mints() <= 20, "{}", fleet.mints());
    assert!(before.iter().all(|url| !urls.contains(url)), "the old key is still known");
}

#[test]
fn nodes_with_different_seal_keys_share_nothing_and_disturb_nobody() {
    let Some(server) = Server::redis(&[]) else { return };
    let mut fleet = Fleet::empty();
    let mut nodes = Vec::new();
    for name in ["one.key", "two.key"] {
        fleet.folder.write(name, &seal_key());
        nodes.push(fleet.add(&Leases::redis(&[server.url()]).patient().sealed_by(&[name])));
    }
    let token = fleet.idp.token("ada");
    let urls = [fleet.url(0, &token), fleet.url(1, &token)];
    assert_ne!(urls[0], urls[1]);
    for _ in 0..3 {
        assert_eq!([fleet.url(0, &token), fleet.url(1, &token)], urls);
    }
    assert_eq!(fleet.mints(), 2);
}

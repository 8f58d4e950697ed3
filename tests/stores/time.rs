//! Clocks that jump: no URL past its end is sent, and no storm of mints follows.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::json;

use super::fleet::{Fleet, Leases};
use super::process::{there_is, until};
use super::server::Server;

/// The library that lies to a process about the time.
fn library() -> Option<PathBuf> {
    let folders = ["x86_64-linux-gnu", "aarch64-linux-gnu"].map(|machine| format!("/usr/lib/{machine}/faketime"));
    there_is("faketime").then(|| {
        folders.iter().map(|folder| Path::new(folder).join("libfaketimeMT.so.1")).find(|path| path.is_file())
    })?
}

/// Starts a node whose wall clock goes wrong by what stands in this file; its monotonic clock stays right, as a computer's does.
fn add_lied_to(fleet: &mut Fleet, leases: &Leases, library: &Path, lie: &str) -> usize {
    set(fleet, lie);
    let mut command = fleet.command(leases);
    command.env("LD_PRELOAD", library).env("FAKETIME_TIMESTAMP_FILE", fleet.path().join("lie"));
    command.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("DONT_FAKE_MONOTONIC", "1");
    let node = fleet.add_by(command);
    fleet.nodes[node].until_ready();
    node
}

/// In one rename: half a lie would be another one.
fn set(fleet: &Fleet, lie: &str) {
    fleet.folder.replace("lie", &format!("{lie}\n"));
}

/// Tokens that are good at every hour that a clock here says.
fn tokens_for_all_times(fleet: &Fleet, users: usize) -> Vec<String> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a time").as_secs();
    let day = 24 * 3600;
    let times = json!({ "iat": now - day, "nbf": now - day, "exp": now + day });
    (0..users).map(|user| fleet.idp.token_with(&format!("user-{user}"), times.clone())).collect()
}

#[test]
fn a_clock_that_jumps_by_hours_and_back_disturbs_no_other_node_and_makes_no_storm() {
    let (Some(library), Some(server)) = (library(), Server::redis(&[])) else { return };
    let leases = Leases::redis(&[server.url()]);
    let mut fleet = Fleet::start(1, &leases);
    let liar = add_lied_to(&mut fleet, &leases, &library, "+0");
    let tokens = tokens_for_all_times(&fleet, 5);
    let held = fleet.urls(0, &tokens);
    assert_eq!(fleet.urls(liar, &tokens), held);
    for lie in ["+3h", "-3h", "+0", "-40h", "+0"] {
        set(&fleet, lie);
        for _ in 0..20 {
            for (token, url) in tokens.iter().zip(&held) {
                let answer = fleet.nodes[liar].open(token);
                // Who lives before his token was issued is not let in, and that is all.
                assert!(answer.status == 302 || (lie == "-40h" && answer.status == 401), "{lie}: {answer:?}");
                if answer.status == 302 && lie != "+3h" {
                    assert_eq!(answer.location(), url, "{lie}");
                }
            }
        }
        assert_eq!(fleet.urls(0, &tokens), held, "{lie}: the other node's users keep their URLs");
    }
    assert!(fleet.mints() <= 10, "{} mints for 5 users", fleet.mints());
}

/// By a clock seven hours fast every URL has ended: the node can hand out none, but it must not take them from the others.
#[test]
fn a_clock_past_every_end_costs_its_own_node_only() {
    let (Some(library), Some(server)) = (library(), Server::redis(&[])) else { return };
    let leases = Leases::redis(&[server.url()]);
    let mut fleet = Fleet::start(1, &leases);
    let liar = add_lied_to(&mut fleet, &leases, &library, "+0");
    let tokens = tokens_for_all_times(&fleet, 3);
    let held = fleet.urls(0, &tokens);
    assert_eq!(fleet.urls(liar, &tokens), held);
    set(&fleet, "+7h");
    let began = Instant::now();
    for _ in 0..20 {
        for token in &tokens {
            let status = fleet.nodes[liar].open(token).status;
            assert!(matches!(status, 502 | 503 | 429), "{status}");
        }
    }
    let bound = 3 + 3 * (2 + began.elapsed().as_secs());
    assert!(fleet.mints() <= bound, "{} mints in {:?}", fleet.mints(), began.elapsed());
    assert_eq!(fleet.urls(0, &tokens), held);
    set(&fleet, "+0");
    let mints = fleet.mints();
    until("its clock is right and it hands them out again", || {
        tokens.iter().all(|token| fleet.nodes[liar].open(token).status == 302).then_some(())
    });
    let late = fleet.add(&leases);
    assert_eq!(fleet.urls(late, &tokens), held, "the store still holds them");
    assert_eq!((fleet.urls(liar, &tokens), fleet.mints()), (held, mints), "it shares again");
}

/// Short URLs: these end while the test runs.
fn short_lived(lies: [&str; 2]) {
    let (Some(library), Some(server)) = (library(), Server::redis(&[])) else { return };
    let leases = Leases::redis(&[server.url()]);
    let mut fleet =
        Fleet::empty().replacing("reuse = \"user\"", "reuse = \"user\"\nmin_remaining = \"1s\"\nmax_age = \"1h\"");
    fleet.add(&leases);
    let liar = add_lied_to(&mut fleet, &leases, &library, lies[0]);
    let tokens = tokens_for_all_times(&fleet, 3);
    fleet.vendor.faults(json!({ "on": "mint", "life": "9s" }));
    let minted = Instant::now();
    let old = fleet.urls(0, &tokens);
    assert_eq!(fleet.urls(liar, &tokens), old);
    fleet.vendor.faults(json!({}));
    set(&fleet, lies[1]);
    let end = minted + Duration::from_secs(10);
    until("the URLs have ended", || (Instant::now() > end).then_some(()));
    for node in [liar, 0] {
        let new = fleet.urls(node, &tokens);
        assert!(new.iter().all(|url| !old.contains(url)), "node {node} sends URLs that have ended");
    }
    assert!(fleet.mints() <= 3 * 3, "{}", fleet.mints());
}

#[test]
fn a_clock_set_back_after_the_mint_sends_no_url_past_its_end() {
    short_lived(["+0", "-3h"]);
}

#[test]
fn a_clock_three_hours_slow_sends_no_url_of_another_node_past_its_end() {
    short_lived(["-3h", "-3h"]);
}

/// Who can write to the store lets an entry stay; the URL ends all the same.
#[test]
fn an_entry_whose_life_is_prolonged_by_hand_is_not_handed_out_past_its_end() {
    let Some(server) = Server::redis(&[]) else { return };
    let leases = Leases::redis(&[server.url()]);
    let mut fleet = Fleet::empty().replacing("reuse = \"user\"", "reuse = \"user\"\nmin_remaining = \"1s\"");
    fleet.add(&leases);
    fleet.vendor.faults(json!({ "on": "mint", "life": "7s" }));
    let (minted, token) = (Instant::now(), fleet.idp.token("ada"));
    let old = fleet.url(0, &token);
    for entry in server.entries() {
        server.ask_bytes(&[b"EXPIRE", &entry.key, b"7200"]);
    }
    let reads_early = fleet.add(&leases);
    assert_eq!(fleet.url(reads_early, &token), old);
    fleet.vendor.faults(json!({}));
    until("the URL has ended", || (minted.elapsed() > Duration::from_secs(8)).then_some(()));
    let reads_late = fleet.add(&leases);
    for node in [reads_late, reads_early, 0] {
        assert_ne!(fleet.url(node, &token), old, "node {node}");
    }
    assert!(fleet.mints() <= 4, "{}", fleet.mints());
}

#[test]
fn a_durable_lease_that_ended_while_the_process_was_down_is_not_handed_out() {
    let mut fleet = Fleet::empty().replacing("reuse = \"user\"", "reuse = \"user\"\nmin_remaining = \"1s\"");
    fleet.add(&Leases::file());
    fleet.vendor.faults(json!({ "on": "mint", "life": "7s" }));
    let minted = Instant::now();
    let token = fleet.idp.token("ada");
    let old = fleet.url(0, &token);
    // Pause: the promise is that a lease is on disk after this.
    std::thread::sleep(Duration::from_millis(600));
    fleet.kill(0);
    fleet.add(&Leases::file());
    assert_eq!(fleet.url(0, &token), old);
    fleet.kill(0);
    fleet.vendor.faults(json!({}));
    until("the URL has ended", || (minted.elapsed() > Duration::from_secs(8)).then_some(()));
    fleet.add(&Leases::file());
    assert_ne!(fleet.url(0, &token), old);
    assert_eq!(fleet.mints(), 2);
}

//! Leases in a file outlive the process, whatever happens to both.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::fleet::{Fleet, Leases, Owners, seal_key, timed};
use super::load::all_at_once;
use super::process::{Program, VALET, there_is};
use super::stopwatch::{Stopwatch, pass};

/// What was minted is on disk after this.
const ON_DISK: Duration = Duration::from_millis(600);

/// Returns when what was minted must be on disk: a disk that others keep busy has ended a write that began before one of ours.
fn on_disk(folder: &Path) {
    pass(ON_DISK);
    for _ in 0..2 {
        let mut probe = File::create(folder.join("probe")).expect("a file");
        probe.write_all(b"after what was minted").and_then(|()| probe.sync_all()).expect("a disk");
    }
}

const STORE: &str = "leases.redb";

/// One node with a lease for each of so many users; the node is killed once they are on disk.
fn killed(users: usize) -> (Fleet, Vec<String>, Vec<String>) {
    let mut fleet = Fleet::start(1, &Leases::file());
    let tokens = fleet.tokens("user", users);
    let outcome = all_at_once(&fleet, &tokens, 1, 16);
    assert!(outcome.others.is_empty(), "{:?}", outcome.others);
    let held = outcome.urls.into_iter().map(|urls| urls.into_iter().next().expect("one")).collect();
    on_disk(fleet.path());
    fleet.kill(0);
    (fleet, tokens, held)
}

#[test]
fn a_lease_outlives_a_kill_six_tenths_of_a_second_after_its_mint() {
    let mut fleet = Fleet::start(1, &Leases::file());
    for round in 0..3 {
        let token = fleet.idp.token(&format!("user-{round}"));
        let url = fleet.url(0, &token);
        on_disk(fleet.path());
        fleet.kill(0);
        fleet.add(&Leases::file());
        assert_eq!(fleet.url(0, &token), url);
    }
    assert_eq!(fleet.mints(), 3);
}

#[test]
fn a_clean_end_keeps_what_was_minted_a_moment_before() {
    let mut fleet = Fleet::start(1, &Leases::file());
    let tokens = fleet.tokens("user", 10);
    let held = fleet.urls(0, &tokens);
    fleet.nodes.remove(0).terminate().assert_code(0);
    fleet.add(&Leases::file());
    assert_eq!(fleet.urls(0, &tokens), held);
    assert_eq!(fleet.mints(), 10);
}

#[test]
fn what_was_forgotten_stays_forgotten_over_a_kill() {
    let mut fleet = Fleet::start(1, &Leases::file());
    let token = fleet.idp.token("ada");
    let old = fleet.url(0, &token);
    on_disk(fleet.path());
    let new = fleet.again(0, &token);
    on_disk(fleet.path());
    fleet.kill(0);
    fleet.add(&Leases::file());
    let after = fleet.url(0, &token);
    assert_ne!(after, old);
    assert_eq!((after, fleet.mints()), (new, 2));
}

/// So many leases are there again after a restart.
fn restarts_with(users: usize) -> Duration {
    let (mut fleet, tokens, held) = killed(users);
    let began = Stopwatch::start();
    fleet.add(&Leases::file());
    let took = began.elapsed();
    assert!(took < Duration::from_secs(2), "ready after {took:?}");
    assert_eq!(fleet.urls(0, &tokens), held);
    assert_eq!(fleet.mints(), users as u64);
    took
}

#[test]
fn a_thousand_leases_are_there_two_seconds_after_a_start() {
    restarts_with(1000);
}

/// `make prove`.
#[test]
#[ignore = "a proof: minutes of mints"]
fn a_hundred_thousand_leases_are_there_two_seconds_after_a_start() {
    let took = restarts_with(100_000);
    eprintln!("100,000 leases in the file: ready {took:.2?} after the start");
}

/// Killed again and again under load: each user has one URL at a time, and never somebody else's.
#[test]
fn kills_under_load_mix_nothing_up() {
    let mut fleet = Fleet::start(1, &Leases::file());
    let mut owners = Owners::default();
    for round in 0..4 {
        let tokens = fleet.tokens("user", 30 * (round + 1));
        let outcome = all_at_once(&fleet, &tokens, 2, 8);
        assert!(outcome.others.is_empty(), "{:?}", outcome.others);
        for (user, urls) in outcome.urls.iter().enumerate() {
            assert_eq!(urls.len(), 1);
            urls.iter().for_each(|url| owners.saw(&user.to_string(), url));
        }
        fleet.kill(0);
        fleet.add(&Leases::file());
    }
}

#[derive(Clone, Copy, Debug)]
enum Torn {
    Half,
    Header,
    Middle,
    Text,
    Empty,
    Foreign,
}

impl Torn {
    fn tear(self, path: &Path) {
        let bytes = std::fs::read(path).expect("the store");
        let torn = match self {
            Self::Half => bytes[..bytes.len() / 2].to_vec(),
            Self::Header => [&[0xA5; 512], &bytes[512..]].concat(),
            Self::Middle => {
                let mut bytes = bytes;
                bytes[4096..].chunks_mut(97).for_each(|some| some[0] ^= 0x55);
                bytes
            }
            Self::Text => b"[leases]\nstore = \"file\"\n".to_vec(),
            Self::Empty => Vec::new(),
            Self::Foreign => {
                std::fs::remove_file(path).expect("our file");
                let other = redb::Database::create(path).expect("a data base");
                let table = redb::TableDefinition::<&str, &str>::new("recipes");
                let change = other.begin_write().expect("a transaction");
                change.open_table(table).expect("a table").insert("soup", "leek").expect("a row");
                change.commit().expect("written");
                return;
            }
        };
        std::fs::write(path, torn).expect("our file");
    }
}

/// It starts, serves, says what it did; and whoever comes gets what is his.
fn comes_back(torn: Torn) {
    let (mut fleet, tokens, held) = killed(20);
    let mut owners = Owners::default();
    held.iter().enumerate().for_each(|(user, url)| owners.saw(&user.to_string(), url));
    let path = fleet.path().join(STORE);
    torn.tear(&path);
    let what = std::fs::read(&path).expect("the file");
    fleet.add(&Leases::file());
    let urls = fleet.urls(0, &tokens);
    urls.iter().enumerate().for_each(|(user, url)| owners.saw(&user.to_string(), url));
    assert_eq!(urls.iter().collect::<BTreeSet<_>>().len(), 20);
    if matches!(torn, Torn::Half | Torn::Header | Torn::Text) {
        fleet.says(0, &["leases.redb", "set aside"]);
        let aside = std::fs::read_dir(fleet.path()).expect("a folder").map(|entry| entry.expect("an entry").path());
        let aside: Vec<_> =
            aside.filter(|other| *other != path && other.to_string_lossy().contains("set-aside")).collect();
        assert_eq!(aside.len(), 1, "{torn:?}: {aside:?}");
        // A data base that was cut short may be touched before it is given up; anything else is kept as it was.
        let kept = std::fs::read(&aside[0]).expect("a file");
        assert!(matches!(torn, Torn::Half) || kept == what, "{torn:?}: what was set aside has changed");
    }
    // And it keeps again.
    on_disk(fleet.path());
    fleet.kill(0);
    fleet.add(&Leases::file());
    assert_eq!(fleet.urls(0, &tokens), urls, "{torn:?}");
}

#[test]
fn a_file_cut_in_half_is_set_aside() {
    comes_back(Torn::Half);
}

#[test]
fn a_file_with_another_header_is_set_aside() {
    comes_back(Torn::Header);
}

#[test]
fn a_file_with_bent_pages_costs_leases_and_mixes_nothing_up() {
    comes_back(Torn::Middle);
}

#[test]
fn a_text_file_is_set_aside() {
    comes_back(Torn::Text);
}

#[test]
fn an_empty_file_is_a_start_from_nothing() {
    comes_back(Torn::Empty);
}

#[test]
fn the_data_base_of_another_program_harms_nobody() {
    comes_back(Torn::Foreign);
}

#[test]
fn a_file_of_another_seal_key_is_nobodys() {
    let (mut fleet, tokens, held) = killed(10);
    fleet.folder.write("seal.key", &seal_key());
    fleet.add(&Leases::file());
    let urls = fleet.urls(0, &tokens);
    assert!(urls.iter().all(|url| !held.contains(url)));
    assert_eq!(fleet.mints(), 20);
}

#[test]
fn a_second_process_on_one_file_is_refused_in_one_line() {
    let mut fleet = Fleet::start(1, &Leases::file());
    let token = fleet.idp.token("ada");
    let url = fleet.url(0, &token);
    let (second, took) = {
        let began = Stopwatch::start();
        (Program::start(fleet.command(&Leases::file())).end(), began.elapsed())
    };
    second.assert_code(70);
    let lines: Vec<&str> = second.stderr.lines().filter(|line| line.contains(STORE)).collect();
    assert_eq!(lines.len(), 1, "{}", second.stderr);
    assert!(second.stderr.lines().count() <= 2, "{}", second.stderr);
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(fleet.url(0, &token), url, "the first one serves on");
    assert!(!fleet.degraded(0));
}

/// A command whose process obeys the rights of files also as root, who may else do everything. `None` without the tool.
fn obedient(fleet: &Fleet, file: &str) -> Option<Command> {
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set=-dac_override,-dac_read_search", "--", VALET, "run", "--config", file]);
    command.current_dir(fleet.path());
    there_is("setpriv").then_some(command)
}

fn allow(folder: &Path, mode: u32) {
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(mode)).expect("our folder");
}

#[test]
fn a_folder_that_can_not_be_written_is_said_at_the_start_in_one_line() {
    let mut fleet = Fleet::empty();
    let folder = fleet.path().join("store");
    std::fs::create_dir(&folder).expect("a folder");
    allow(&folder, 0o555);
    let file = fleet.file(&Leases::file_at("store/leases.redb"));
    let Some(command) = obedient(&fleet, &file) else { return };
    let ended = Program::start(command).end();
    assert!(ended.assert_code(70).only_line().contains("store/leases.redb"), "{}", ended.stderr);
}

#[test]
fn a_folder_that_can_not_be_written_any_more_stops_no_request() {
    let mut fleet = Fleet::empty();
    let folder = fleet.path().join("store");
    std::fs::create_dir(&folder).expect("a folder");
    let leases = Leases::file_at("store/leases.redb");
    let file = fleet.file(&leases);
    let Some(command) = obedient(&fleet, &file) else { return };
    let node = fleet.add_by(command);
    fleet.nodes[node].until_ready();
    let mut held = fleet.urls(node, &fleet.tokens("before", 5));
    allow(&folder, 0o555);
    held.extend(fleet.urls(node, &fleet.tokens("after", 5)));
    on_disk(fleet.path());
    allow(&folder, 0o755);
    fleet.kill(node);
    fleet.add(&leases);
    let tokens = [fleet.tokens("before", 5), fleet.tokens("after", 5)].concat();
    assert_eq!(fleet.urls(0, &tokens), held);
    assert_eq!(fleet.mints(), 10);
}

/// The file may grow no more: requests go on from memory, and the file is used again once there is room.
#[test]
fn a_full_disk_stops_no_request() {
    if !there_is("prlimit") {
        return;
    }
    let mut fleet = Fleet::empty();
    let file = fleet.file(&Leases::file());
    // Without the trap the kernel would end the process at the first write too many.
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; exec \"$@\"", "sh", VALET, "run", "--config", &file]).current_dir(fleet.path());
    let node = fleet.add_by(command);
    fleet.nodes[node].until_ready();
    let before = fleet.idp.token("before");
    let url = fleet.url(node, &before);
    let limit = |bytes: &str| {
        let pid = fleet.nodes[node].program.id().to_string();
        let done = Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={bytes}:unlimited")]).status();
        assert!(done.expect("prlimit runs").success());
    };
    limit("8192");
    let tokens = fleet.tokens("user", 40);
    for token in &tokens {
        let (answer, took) = timed(|| fleet.nodes[node].open(token));
        assert_eq!(answer.status, 302, "{answer:?}");
        assert!(took < Duration::from_secs(2), "{took:?}");
    }
    fleet.until_degraded(true);
    fleet.urls(node, &tokens);
    assert_eq!(fleet.url(node, &before), url);
    assert_eq!(fleet.mints(), 41, "what is in memory is held");
    limit("unlimited");
    fleet.until_degraded(false);
    let after = fleet.idp.token("after");
    let last = fleet.url(node, &after);
    pass(ON_DISK);
    on_disk(fleet.path());
    assert!(fleet.nodes[node].program.runs());
    fleet.kill(node);
    fleet.add(&Leases::file());
    assert_eq!([fleet.url(0, &before), fleet.url(0, &after)], [url, last]);
    // What was minted while there was no room may have been in memory only: then it is minted anew.
    fleet.urls(0, &tokens);
    assert!(fleet.mints() <= 42 + 40, "{}", fleet.mints());
}

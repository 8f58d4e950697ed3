//! `valet simulate provider|idp`, and the complete run of their page in the documentation.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

use super::client::once;
use super::process::{Program, VALET, end_of, free_port, there_is, valet};
use super::stack::{Folder, Idp, Vendor, listening};

const PAGE: &str = include_str!("../../docs/simulators.md");

const BOTH: [&str; 2] = ["provider", "idp"];

fn start(words: &[&str]) -> Program {
    Program::start(valet(Path::new("."), &[&["simulate"], words].concat()))
}

#[test]
fn each_says_that_it_is_not_for_production_and_ends_on_a_signal() {
    for which in BOTH {
        for signal in ["TERM", "INT"] {
            let program = start(&[which, "--listen", "127.0.0.1:0"]);
            let url = listening(&program);
            assert!(url.starts_with("http://127.0.0.1:") && !url.ends_with(":0"), "{url}");
            program.signal(signal);
            let ended = program.end();
            ended.assert_code(0);
            assert!(ended.stdout.lines().next().is_some_and(|line| line.contains("Not for production")));
            assert_eq!(ended.stderr, "");
        }
        let help = end_of(Path::new("."), &["simulate", which, "--help"]);
        assert!(help.stdout.contains("Not for production") && help.stdout.contains("Examples:"), "{}", help.stdout);
    }
}

#[test]
fn an_address_that_others_can_reach_needs_a_switch() {
    for which in BOTH {
        for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:80"] {
            let ended = end_of(Path::new("."), &["simulate", which, "--listen", address]);
            assert!(matches!(ended.code, Some(70)), "{address}: {}", ended.all());
            let line = ended.only_line();
            assert!(line.contains(address) && line.contains("--allow-remote"), "{line}");
            assert_eq!(ended.stdout, "");
        }
        let program = start(&[which, "--listen", "0.0.0.0:0", "--allow-remote"]);
        listening(&program);
        program.terminate().assert_code(0);
    }
}

#[test]
fn an_address_in_use_is_one_line_that_names_it() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    for which in BOTH {
        let ended = end_of(Path::new("."), &["simulate", which, "--listen", &address]);
        ended.assert_code(70);
        assert!(ended.only_line().contains(&address), "{}", ended.stderr);
    }
}

#[test]
fn words_that_are_wrong_are_refused_with_the_usage() {
    for words in [
        &["provider", "--fail", "now and then"][..],
        &["provider", "--life", "long"],
        &["provider", "--listen", "8091"],
        &["idp", "--algorithm", "none"],
        &["idp", "--issuer", "no url"],
    ] {
        end_of(Path::new("."), &[&["simulate"], words].concat()).assert_code(2);
    }
}

#[test]
fn the_lines_to_copy_of_the_vendor_hold_the_key_that_it_made_or_was_given() {
    let made = start(&["provider", "--listen", "127.0.0.1:0"]);
    let key = made
        .line(super::process::Stream::Stdout, |line| line.strip_prefix("API key ").map(|key| key.trim().to_owned()));
    let address = listening(&made).replace("http://", "");
    assert_eq!(once(&address, "GET", "/v1/auth/me", &[&format!("x-api-key: {key}")], "").status, 200);
    assert_eq!(once(&address, "GET", "/v1/auth/me", &["x-api-key: another"], "").status, 403);
    let given = Vendor::start("it's a key").program.terminate();
    let header = r"-H 'x-api-key: it'\''s a key' ";
    assert_eq!(given.all().matches(header).count(), 2, "{}", given.all());
}

#[test]
fn a_call_that_hangs_does_not_hold_the_end() {
    let idp = Idp::start();
    idp.faults(json!({ "fail": "hang" }));
    let address = idp.url.trim_start_matches("http://").to_owned();
    let mut waiting = super::client::Connection::open(&address);
    waiting.send(super::client::request("GET", "/jwks.json", &[], ""));
    idp.program.terminate().assert_code(0);
}

/// The first block of the page behind this heading.
fn block(heading: &str) -> &'static str {
    let rest = PAGE.split(heading).nth(1).unwrap_or_else(|| panic!("no {heading}"));
    let block = rest.split("```").nth(1).expect("a block");
    block.split_once('\n').expect("lines").1
}

#[test]
fn the_complete_run_of_the_documentation_works_as_written() {
    if !there_is("curl") {
        return;
    }
    let folder = Folder::new();
    // As written, but for the ports, which others may use on this machine.
    let ports = free_port(3);
    let moved = |text: &str| {
        let standard = ["8080", "9090", "8091", "8092"];
        let moved = standard.iter().zip(ports..).fold(text.to_owned(), |text, (standard, port)| {
            text.replace(&format!("127.0.0.1:{standard}"), &format!("127.0.0.1:{port}"))
        });
        let (vendor, idp) = (ports + 2, ports + 3);
        moved
            .replace("valet simulate provider", &format!("valet simulate provider --listen 127.0.0.1:{vendor}"))
            .replace("valet simulate idp", &format!("valet simulate idp --listen 127.0.0.1:{idp}"))
    };
    folder.write("ci/valet.toml", &moved(block("`ci/valet.toml`:")));
    folder.write("ci/test.sh", &moved(block("`ci/test.sh`:")));
    let programs = Path::new(VALET).parent().expect("a folder").display().to_string();
    let path = format!("{programs}:{}", std::env::var("PATH").expect("a path"));
    let mut command = Command::new("sh");
    command.arg("ci/test.sh").env("PATH", path).current_dir(folder.path()).stdin(Stdio::null());
    let ended = Program::start(command).end();
    assert_eq!(ended.code, Some(0), "{}", ended.all());
    assert!(ended.stdout.lines().any(|line| line == "passed"), "{}", ended.all());
    // Its trap leaves nobody behind.
    super::process::until("all have ended", || {
        (ports..=ports + 3).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()).then_some(())
    });
}

#[test]
fn each_preset_has_a_simulator_that_prints_the_lines_which_lead_to_it() {
    for preset in [
        "intelliprove-v1",
        "intelliprove-widgets",
        "jumio",
        "metabase",
        "onfido",
        "plaid",
        "stripe-portal",
        "sumsub",
        "superset",
    ] {
        let program = start(&["provider", "--listen", "127.0.0.1:0", "--preset", preset, "--api-key", "key-of-a-ci"]);
        let url = listening(&program);
        program.signal("TERM");
        let ended = program.end();
        ended.assert_code(0);
        let out = &ended.stdout;
        assert!(
            out.contains(&format!("preset = \"{preset}\"")) && out.contains(&format!("base_url = \"{url}\"")),
            "{out}"
        );
    }
}

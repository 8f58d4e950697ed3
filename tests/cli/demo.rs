//! `valet demo`: everything in one process, and what it prints works.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use super::client::{Connection, once};
use super::process::{Ended, Program, Stream, end_of, free_port, there_is, until, valet};
use super::stack::bearer;

fn start(port: &str) -> Program {
    start_with(port, &[])
}

fn start_with(port: &str, more: &[&str]) -> Program {
    let words = [&["demo", "--no-open", "--port", port], more].concat();
    let program = Program::start(valet(Path::new("."), &words));
    program.line(Stream::Stdout, |line| line.contains("Ctrl-C").then_some(()));
    program
}

/// The one line of what it printed that begins so.
pub fn line(program: &Program, begins: &str) -> String {
    program.line(Stream::Stdout, |line| line.starts_with(begins).then(|| line.to_owned()))
}

/// The addresses on the line that says this.
pub fn addresses(program: &Program, what: &str) -> Vec<String> {
    let line = program.line(Stream::Stdout, |line| line.contains(what).then(|| line.to_owned()));
    let words = line.split("http://").skip(1).map(|rest| rest.split([' ', ',', '/']).next().unwrap_or_default());
    words.map(|address| address.trim().to_owned()).collect()
}

/// The address that it prints for the gateway.
pub fn address(program: &Program) -> String {
    addresses(program, "Valet is serving").pop().expect("an address")
}

#[test]
fn it_prints_an_address_a_token_and_the_line_that_follows_the_redirect() {
    let program = start("0");
    let (token, curl, address) = (line(&program, "TOKEN="), line(&program, "curl "), address(&program));
    assert!(!address.ends_with(":0") && curl.contains(&address), "{curl}");
    let held = once(&address, "GET", "/plugins/face-scan", &[&bearer(token.trim_start_matches("TOKEN="))], "");
    assert_eq!(held.status, 302, "{held:?}");
    if there_is("curl") {
        // Copied and pasted by a person.
        let shell = Command::new("sh").arg("-c").arg(format!("{token}\n{curl}")).output().expect("sh runs");
        let shown = Ended::from(shell);
        assert_eq!(shown.code, Some(0), "{}", shown.all());
        let statuses: Vec<&str> = shown.stdout.lines().filter(|line| line.starts_with("HTTP/")).collect();
        assert!(statuses.len() == 2 && statuses[0].contains(" 302 ") && statuses[1].contains(" 200 "), "{statuses:?}");
        assert!(shown.stdout.contains(&format!("location: {}", held.location())), "the URL was held");
        assert!(shown.stdout.contains("Face scan"), "the plug-in's page is shown");
    }
    let ended = program.terminate();
    ended.assert_code(0);
    assert!(ended.stdout.lines().any(|line| line.starts_with('{')), "no access line:\n{}", ended.stdout);
    assert!(!ended.all().contains("action_token"), "{}", ended.all());
}

#[test]
fn the_app_behind_it_learns_who_has_the_token_and_gets_no_credential() {
    let program = start("0");
    let (token, address) = (line(&program, "TOKEN="), address(&program));
    let host = address.replace("127.0.0.1", "app.localhost");
    let token = bearer(token.trim_start_matches("TOKEN="));
    let request = format!("GET /me HTTP/1.1\r\nhost: {host}\r\n{token}\r\nconnection: close\r\n\r\n");
    let me = Connection::open(&address).ask(&request).json();
    assert_eq!(
        (&me["name"], &me["received"]["x-auth-subject"], &me["credential"]),
        (&"Ada".into(), &"ada".into(), &false.into())
    );
    let nobody = Connection::open(&address).ask(&request.replace(&format!("{token}\r\n"), ""));
    assert_eq!((nobody.status, &nobody.json()["name"]), (200, &serde_json::Value::Null));
}

#[test]
fn its_health_and_metrics_are_where_it_says() {
    let program = start("0");
    let url = program.line(Stream::Stdout, |line| {
        line.contains("health and metrics").then(|| line.split("http://").nth(1).expect("an address").to_owned())
    });
    let (admin, path) = url.trim().split_once('/').expect("a path");
    let metrics = once(admin, "GET", &format!("/{path}"), &[], "");
    assert!(metrics.status == 200 && metrics.body.contains("valet_build_info"), "{metrics:?}");
}

#[test]
fn a_signal_ends_it_well_as_soon_as_it_has_said_so() {
    for signal in ["INT", "TERM"].repeat(5) {
        let program = start("0");
        program.signal(signal);
        program.end().assert_code(0);
    }
}

#[test]
fn a_port_can_be_chosen_and_the_others_come_behind_it_in_their_order() {
    for split in [&[][..], &["--split"]] {
        in_their_order(split);
    }
}

fn in_their_order(split: &[&str]) {
    let port = free_port(4);
    let program = start_with(&port.to_string(), split);
    assert!(line(&program, "  Open in a browser").ends_with(&format!(" http://app.localhost:{port}")));
    let at = |offset: u16| format!("127.0.0.1:{}", port + offset);
    assert_eq!(addresses(&program, "Valet is serving"), [at(0)], "the browser opens the gateway");
    assert_eq!(addresses(&program, "the app behind it"), [at(1)]);
    assert_eq!(addresses(&program, "the simulated vendor"), [at(4), at(2)]);
    assert_eq!(addresses(&program, "the simulated IdP"), [at(3)]);
    // Under another name than its own it says where it is.
    let page = once(&format!("127.0.0.1:{port}"), "GET", "/", &[], "");
    assert!(
        page.status == 421 && page.body.contains(&format!("the demo is at http://app.localhost:{port}")),
        "{page:?}"
    );
}

/// The gateway's port, and the four behind it: one after the other taken. What the demo says.
fn with_a_port_taken() -> Vec<(u16, Ended)> {
    [&["demo"][..], &["demo", "--split"]].into_iter().flat_map(with_a_port_taken_from).collect()
}

fn with_a_port_taken_from(demo: &[&str]) -> Vec<(u16, Ended)> {
    let port = free_port(4);
    let try_with = |taken: u16| {
        // The demo's own processes, and tests beside this one that look for ports, may have it for a moment.
        let _taken = until("a port is free", || TcpListener::bind(("127.0.0.1", taken)).ok());
        (taken, end_of(Path::new("."), &[demo, &["--port", &port.to_string()]].concat()))
    };
    (port..=port + 4).map(try_with).collect()
}

#[test]
fn a_port_in_use_is_one_line_that_names_it() {
    for (taken, ended) in with_a_port_taken() {
        ended.assert_code(70);
        assert!(ended.only_line().contains(&format!("127.0.0.1:{taken}")), "{}", ended.stderr);
        assert_eq!(ended.stdout, "");
    }
}

#[test]
fn a_port_in_use_is_mended_with_a_switch_that_the_demo_has() {
    for (taken, ended) in with_a_port_taken() {
        let line = ended.only_line();
        assert!(line.contains("--port") && !line.contains("--listen"), "{taken}: {line}");
    }
}

#[test]
fn ports_with_too_few_behind_them_are_refused() {
    for port in ["65532", "65534", "65535"] {
        let ended = end_of(Path::new("."), &["demo", "--port", port]);
        ended.assert_code(70);
        assert!(ended.only_line().contains(&format!("five ports in a row are needed, and {port} has fewer")));
    }
}

//! `valet run`, and the command line around it.

use std::net::TcpListener;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;

use super::client::{Connection, request};
use super::process::{Program, Stream, end_of, valet};
use super::stack::{Folder, Gateway, Idp, KEY, Stack, Vendor, bearer};

/// A folder with a configuration whose vendor and identity provider nobody asks.
fn folder(listener: &str, admin: &str) -> Folder {
    let folder = Folder::new();
    folder.configure("http://127.0.0.1:9", "http://127.0.0.1:9", KEY, |config| {
        config
            .replacen("address = \"127.0.0.1:0\"", &format!("address = \"{listener}\""), 1)
            .replace("[admin]\naddress = \"127.0.0.1:0\"", &format!("[admin]\naddress = \"{admin}\""))
    });
    folder
}

fn run(folder: &Folder) -> super::process::Ended {
    end_of(folder.path(), &["run", "--config", "valet.toml"])
}

#[test]
fn a_session_is_led_to_the_plug_in_and_then_to_the_same_url_again() {
    let stack = Stack::start();
    let token = stack.idp.token("ada");
    let first = stack.gateway.open(&token);
    assert_eq!(first.status, 302, "{first:?}");
    assert!(first.location().starts_with(&format!("{}/?", stack.vendor.url)), "{first:?}");
    assert_eq!(stack.gateway.open(&token).location(), first.location());
    assert_eq!(stack.vendor.mint_calls(), 1);
    assert_eq!(stack.gateway.admin("/livez").status, 200);
    let ended = stack.gateway.terminate();
    ended.assert_code(0);
}

#[test]
fn an_address_in_use_is_one_line_that_names_it() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    for folder in [folder(&address, "127.0.0.1:0"), folder("127.0.0.1:0", &address)] {
        let ended = run(&folder);
        ended.assert_code(70);
        let line = ended.only_line();
        assert!(line.contains(&address) && line.contains("in use"), "{line}");
        assert_eq!(ended.stdout, "");
    }
}

#[test]
fn all_addresses_that_are_taken_are_named_and_check_warns_of_them() {
    let (one, other) =
        (TcpListener::bind("127.0.0.1:0").expect("a port"), TcpListener::bind("127.0.0.1:0").expect("a port"));
    let [one, other] = [&one, &other].map(|taken| taken.local_addr().expect("an address").to_string());
    let folder = folder(&one, &other);
    let ended = run(&folder);
    ended.assert_code(70);
    let lines: Vec<&str> = ended.stderr.lines().collect();
    let (first, second) =
        (format!(" listener.address: {one}: the address"), format!(" admin.address: {other}: the address"));
    assert!(lines.len() == 2 && lines[0].contains(&first) && lines[1].contains(&second), "{}", ended.stderr);
    let checked = end_of(folder.path(), &["check", "--config", "valet.toml"]);
    checked.assert_code(0);
    for line in lines {
        assert!(
            line.starts_with("valet.toml:") && checked.stderr.contains(&format!("warning: {line}")),
            "{}",
            checked.stderr
        );
    }
}

#[test]
fn check_warns_of_a_sockets_folder_that_is_not_there_and_makes_nothing() {
    let place = Folder::new();
    let socket = place.path().join("nowhere/valet.sock");
    let folder = folder(&format!("unix:{}", socket.display()), "127.0.0.1:0");
    let checked = end_of(folder.path(), &["check", "--config", "valet.toml"]);
    checked.assert_code(0);
    let (socket, parent) = (socket.display().to_string(), place.path().join("nowhere"));
    let line = format!(" listener.address: unix:{socket}: there is no folder {}", parent.display());
    assert!(checked.stderr.starts_with("warning: valet.toml:") && checked.stderr.contains(&line), "{}", checked.stderr);
    assert!(!parent.exists());
    std::fs::create_dir(&parent).expect("a folder");
    let checked = end_of(folder.path(), &["check", "--config", "valet.toml"]);
    assert_eq!((checked.stderr.as_str(), parent.read_dir().expect("a folder").count()), ("", 0));
}

/// The message of each line on stderr.
fn messages(stderr: &str) -> Vec<String> {
    let message =
        |line: &str| serde_json::from_str::<serde_json::Value>(line).ok()?["message"].as_str().map(ToOwned::to_owned);
    stderr.lines().filter_map(message).collect()
}

#[test]
fn signals_that_do_nothing_say_so_and_sigquit_drains() {
    let mut stack = Stack::start();
    for (name, part) in [("USR1", "SIGUSR1 does nothing"), ("USR2", "SIGUSR2 does nothing")] {
        stack.gateway.program.signal(name);
        stack.gateway.program.line(Stream::Stderr, |line| line.contains(part).then_some(()));
    }
    assert!(stack.gateway.program.runs());
    assert_eq!(stack.gateway.open(&stack.idp.token("ada")).status, 302);
    stack.gateway.program.signal("QUIT");
    let ended = stack.gateway.program.end();
    ended.assert_code(0);
    assert!(messages(&ended.stderr).ends_with(&["draining".into(), "stopped".into()]), "{}", ended.stderr);
}

#[test]
fn a_configuration_that_has_changed_is_put_in_force_at_a_hangup_or_refused_in_one_line() {
    let stack = Stack::start();
    let said = |part: &str| {
        stack.gateway.program.signal("HUP");
        stack.gateway.program.line(Stream::Stderr, |line| line.contains(part).then(|| line.to_owned()))
    };
    said("read again: nothing has changed");
    let file = stack.folder.path().join("valet.toml");
    let text = std::fs::read_to_string(&file).expect("our file");
    stack.folder.replace("valet.toml", &format!("{text}[limits]\nper_subject = {{ rate = 10, burst = 20 }}\n"));
    let line = said("the new configuration is in force");
    assert!(line.contains("\"changed\":\"limits\""), "{line}");
    stack.folder.replace("valet.toml", &format!("{text}[limits]\nper_subject = {{ rate = 0, burst = 20 }}\n"));
    let line = said("the configuration before stays in force");
    let place = format!("valet.toml:{}:", text.lines().count() + 2);
    assert!(line.contains(&place) && line.contains("limits.per_subject"), "{line}");
    let unknown: String = (1..=25).map(|number| format!("unknown-{number} = 1\n")).collect();
    stack.folder.replace("valet.toml", &format!("{text}[limits]\n{unknown}"));
    let line = said("and 5 more");
    assert!(line.contains("limits.unknown-20") && !line.contains("unknown-21"), "{line}");
    stack.gateway.terminate().assert_code(0);
}

#[test]
fn an_address_of_another_machine_is_one_line_that_names_it() {
    // RFC 5737: documentation; no machine has it.
    let ended = run(&folder("192.0.2.1:8080", "127.0.0.1:0"));
    ended.assert_code(70);
    assert!(ended.only_line().contains("192.0.2.1:8080"), "{}", ended.stderr);
}

#[test]
fn a_port_that_is_not_permitted_is_one_line_that_names_it() {
    if TcpListener::bind("127.0.0.1:1").is_ok() {
        eprintln!("left out: this user may listen on every port");
        return;
    }
    let ended = run(&folder("127.0.0.1:1", "127.0.0.1:0"));
    ended.assert_code(70);
    assert!(ended.only_line().contains("127.0.0.1:1: not permitted"), "{}", ended.stderr);
}

#[test]
fn an_address_that_is_none_is_a_fault_of_the_configuration() {
    for address in ["127.0.0.1", "localhost:http", "127.0.0.1:99999", ":8080", "", "unix:"] {
        let ended = run(&folder(address, "127.0.0.1:0"));
        ended.assert_code(78);
        assert!(ended.only_line().contains("listener.address: "), "{address:?}: {}", ended.stderr);
    }
}

#[test]
fn a_socket_file_serves() {
    let (vendor, idp, folder) = (Vendor::start(KEY), Idp::start(), Folder::new());
    let path = folder.path().join("valet.sock");
    folder.configure(&vendor.url, &idp.url, KEY, |config| {
        config.replacen("127.0.0.1:0", &format!("unix:{}", path.display()), 1)
    });
    // A leftover: bound, and nobody listens any more.
    drop(UnixListener::bind(&path).expect("a socket file"));
    assert!(path.symlink_metadata().expect("a leftover").file_type().is_socket());

    let gateway = Gateway::start(&folder);
    let token = idp.token("ada");
    let open = request("GET", "/plugins/face-scan", &[&bearer(&token)], "");
    assert_eq!(Connection::open_unix(&path).ask(&open).status, 302);

    // A live one stays with whom it belongs to.
    let second = run(&folder);
    second.assert_code(70);
    assert!(second.only_line().contains("valet.sock"), "{}", second.stderr);
    assert_eq!(Connection::open_unix(&path).ask(&open).status, 302);

    gateway.terminate().assert_code(0);
    // And after an end, or a crash, the next start works.
    let mut again = Gateway::start(&folder);
    again.program.signal("KILL");
    super::process::until("it is gone", || (!again.program.runs()).then_some(()));
    drop(again);
    Gateway::start(&folder).terminate().assert_code(0);
}

#[test]
fn a_file_that_is_no_socket_is_not_replaced() {
    let elsewhere = Folder::new();
    let path = elsewhere.write("precious", "content");
    let folder = folder(&format!("unix:{}", path.display()), "127.0.0.1:0");
    let ended = run(&folder);
    ended.assert_code(70);
    assert!(ended.only_line().contains("precious"), "{}", ended.stderr);
    assert_eq!(std::fs::read_to_string(path).expect("the file"), "content");
}

#[test]
fn a_socket_file_in_a_folder_that_is_not_there_is_one_line() {
    let ended = run(&folder("unix:/nowhere/valet.sock", "127.0.0.1:0"));
    ended.assert_code(70);
    assert!(ended.only_line().contains("/nowhere/valet.sock"), "{}", ended.stderr);
}

#[test]
fn a_key_file_that_cannot_be_read_is_one_line() {
    let folder = folder("127.0.0.1:0", "127.0.0.1:0");
    let key = folder.path().join("vendor.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o000)).expect("our file");
    if std::fs::read(&key).is_ok() {
        eprintln!("left out: this user may read every file");
        return;
    }
    let ended = run(&folder);
    ended.assert_code(78);
    assert!(ended.only_line().contains("vendor.key"), "{}", ended.stderr);
}

#[test]
fn it_serves_before_the_identity_provider_is_there_and_says_that_it_is_not_ready() {
    let folder = folder("127.0.0.1:0", "127.0.0.1:0");
    let gateway = Gateway::serving(Program::start(valet(folder.path(), &["run", "--config", "valet.toml"])));
    assert_eq!(gateway.admin("/livez").status, 200);
    assert_eq!(gateway.admin("/readyz").status, 503);
    let answer = gateway.open("eyJhbGciOiJFUzI1NiJ9.e30.AAAA");
    assert!(matches!(answer.status, 401 | 503), "{answer:?}");
    gateway.terminate().assert_code(0);
}

#[test]
fn a_second_signal_while_it_drains_changes_nothing() {
    let stack = Stack::start();
    let mut idle = Connection::open(&stack.gateway.address);
    stack.gateway.program.signal("TERM");
    stack.gateway.program.signal("TERM");
    stack.gateway.program.signal("HUP");
    assert!(idle.rest().is_empty());
    stack.gateway.program.end().assert_code(0);
}

#[test]
fn the_version_names_version_and_revision() {
    let ended = end_of(Path::new("."), &["--version"]);
    ended.assert_code(0);
    let expected = format!("valet {} (", env!("CARGO_PKG_VERSION"));
    assert!(ended.stdout.starts_with(&expected) && ended.stdout.trim_end().ends_with(')'), "{}", ended.stdout);
    assert_eq!(ended.stdout.lines().count(), 1);
}

#[test]
fn every_command_has_help() {
    for words in [
        &["--help"][..],
        &["run", "--help"],
        &["check", "--help"],
        &["open", "--help"],
        &["demo", "--help"],
        &["simulate", "--help"],
        &["simulate", "provider", "--help"],
        &["simulate", "idp", "--help"],
    ] {
        let ended = end_of(Path::new("."), words);
        ended.assert_code(0);
        assert!(ended.stdout.contains("Usage: valet") && ended.stdout.lines().count() > 4, "{words:?}");
        // What it does stands before how it is called.
        assert!(!ended.stdout.starts_with("Usage"), "{words:?}");
        assert_eq!(ended.stderr, "", "{words:?}");
    }
}

#[test]
fn a_command_line_that_is_wrong_is_refused_with_the_usage() {
    for words in [
        &[][..],
        &["serve"],
        &["run"],
        &["check"],
        &["check", "--config"],
        &["check", "--config", "a", "--lively"],
        &["open", "--config", "a"],
        &["demo", "--port", "65536"],
        &["simulate"],
        &["simulate", "vendor"],
    ] {
        let ended = end_of(Path::new("."), words);
        ended.assert_code(2);
        assert_eq!(ended.stdout, "", "{words:?}");
        assert!(ended.stderr.contains("Usage") || ended.stderr.contains("--help"), "{words:?}: {}", ended.stderr);
    }
}

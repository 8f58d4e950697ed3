//! `valet doctor`: what gets lost between a client and the gateway, in an operator's words.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use super::process::{Ended, NOBODY, end_of};
use super::stack::Stack;

/// A gateway that trusts whoever is on this machine.
fn stack() -> Stack {
    Stack::with("canary-api-key-of-doctor", |config| {
        config.replacen("[server]\n", "[server]\ntrusted_proxies = [\"127.0.0.1\"]\n", 1)
    })
}

/// A proxy before `to` that changes heads. It ends with the test's process.
fn proxy(to: &str, change: fn(String) -> String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, to) = (listener.local_addr().unwrap().to_string(), to.to_owned());
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let to = to.clone();
            thread::spawn(move || pass(client, &to, change));
        }
    });
    address
}

fn pass(mut client: TcpStream, to: &str, change: fn(String) -> String) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = change(String::from_utf8(head).ok()?).replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n");
    let mut gateway = TcpStream::connect(to).ok()?;
    gateway.write_all(head.as_bytes()).ok()?;
    let mut answer = Vec::new();
    gateway.read_to_end(&mut answer).ok()?;
    client.write_all(&answer).ok()
}

/// As an honest proxy: who the client is, in place of what it says.
fn honest(head: String) -> String {
    let own = without(without(head, "x-forwarded-"), "forwarded");
    own.replace("\r\n\r\n", "\r\nx-forwarded-for: 203.0.113.7\r\nx-forwarded-proto: http\r\n\r\n")
}

fn without(head: impl AsRef<str>, name: &str) -> String {
    let lines = head.as_ref().split_inclusive("\r\n").filter(|line| !line.to_ascii_lowercase().starts_with(name));
    lines.collect()
}

fn doctor(address: &str) -> Ended {
    let folder = tempfile::tempdir().unwrap();
    end_of(folder.path(), &["doctor", "--from", &format!("http://{address}")])
}

#[track_caller]
fn lost(ended: &Ended) -> Vec<&str> {
    let lines = ended.stdout.lines().filter_map(|line| line.strip_prefix("LOST     "));
    lines.map(|line| line[..14].trim()).collect()
}

#[test]
fn behind_an_honest_proxy_nothing_is_lost_but_the_way_to_authorize() {
    let stack = stack();
    let shut = |head: String| honest(head).replace("/.valet/authorize", "/nothing");
    let ended = doctor(&proxy(&stack.gateway.address, shut));
    ended.assert_code(0);
    assert!(ended.stdout.lines().count() > 10 && ended.stdout.contains("you for 203.0.113.7"), "{}", ended.stdout);
    let ended = doctor(&proxy(&stack.gateway.address, honest));
    assert_eq!(lost(ended.assert_code(1)), ["authorize"], "{}", ended.stdout);
}

#[test]
fn each_loss_is_named() {
    let stack = stack();
    let address = &stack.gateway.address;
    let of = |change| doctor(&proxy(address, change));
    let host = |head: String| without(honest(head), "host:").replacen("\r\n", "\r\nhost: valet.internal\r\n", 1);
    assert_eq!(lost(&of(host)), ["Host", "authorize"]);
    let credentials = |head: String| without(without(honest(head), "cookie"), "authorization");
    assert_eq!(lost(&of(credentials)), ["Cookie", "Authorization", "authorize"]);
    let fields = |head: String| without(without(honest(head), "sec-fetch"), "origin");
    let ended = of(fields);
    assert_eq!(lost(&ended), ["sec-fetch-site", "sec-fetch-mode", "sec-fetch-dest", "origin", "authorize"]);
    assert_eq!(ended.stderr, "5 things are lost on the way\n");
    let scheme = |head: String| honest(head).replace("x-forwarded-proto: http\r\n", "x-forwarded-proto: https\r\n");
    assert_eq!(lost(&of(scheme)), ["scheme", "authorize"]);
    let silent = |head: String| without(honest(head), "x-forwarded-for");
    assert_eq!(lost(&of(silent)), ["address", "authorize"]);
    let credulous = |head: String| match head.contains("192.0.2.66") {
        true => head,
        false => honest(head),
    };
    assert_eq!(lost(&of(credulous)), ["own word", "authorize"]);
    let decoding = |head: String| honest(head).replacen("%7E", "~", 1);
    assert_eq!(lost(&of(decoding)), ["path", "authorize"]);
}

#[test]
fn an_address_that_does_not_lead_to_valet_is_told() {
    let stack = stack();
    let elsewhere = |head: String| honest(head).replacen("/.valet/", "/", 1);
    let ended = doctor(&proxy(&stack.gateway.address, elsewhere));
    assert!(ended.assert_code(1).only_line().contains("answers 404 to /.valet/doctor"), "{}", ended.stderr);
    assert!(doctor(NOBODY).assert_code(69).only_line().contains("can't be reached"));
    let folder = tempfile::tempdir().unwrap();
    for wrong in ["app.example.com", "ftp://app.example.com", "https://a.example/path", "https://u@a.example/"] {
        end_of(folder.path(), &["doctor", "--from", wrong]).assert_code(78);
    }
}

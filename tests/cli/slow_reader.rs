//! A reader of the logs that is slow, or gone: requests do not wait for it, and what it does not get is counted.

use super::client::{Connection, request};
use super::process::{Program, Stream, until, valet};
use super::stack::{Folder, Gateway, KEY};

const LOST: &str = "valet_log_lines_lost_total{stream=\"stdout\"}";

/// More than the buffer holds, whatever a line's length.
const MANY: u64 = 60_000;

/// Requests that are sent together.
const TOGETHER: usize = 250;

/// A gateway that nobody needs to stand behind, and whose stdout nobody reads. Its access lines are long.
fn unread() -> (Folder, Gateway) {
    let folder = Folder::new();
    folder.configure("http://127.0.0.1:9", "http://127.0.0.1:9", KEY, |config| config);
    let mut program = Program::start_unread(valet(folder.path(), &["run", "--config", "valet.toml"]));
    program.read_stderr();
    (folder, Gateway::serving(program))
}

/// Sends requests for as long as `more` says, and gets an answer to each. How many.
fn ask_while(gateway: &Gateway, mut more: impl FnMut(u64) -> bool) -> u64 {
    let one = request("GET", &format!("/{}", "a".repeat(250)), &[], "");
    let mut connection = Connection::open(&gateway.address);
    let mut asked = 0;
    while more(asked) {
        assert!(connection.send(one.repeat(TOGETHER)));
        for _ in 0..TOGETHER {
            assert_eq!(connection.answer().expect("an answer").status, 404);
        }
        asked += TOGETHER as u64;
    }
    asked
}

#[test]
fn requests_do_not_wait_for_a_reader_that_does_not_read() {
    let (_folder, mut gateway) = unread();
    let asked = ask_while(&gateway, |asked| {
        assert!(asked < MANY, "no line was lost of {asked} that nobody read");
        gateway.metric(LOST) == 0
    });
    // It reads again: each line is whole, and what is missing was counted.
    gateway.program.read_stdout();
    let counted = || gateway.metric(LOST) + gateway.program.so_far(Stream::Stdout).matches('\n').count() as u64;
    until("every line was read or counted", || (counted() == asked).then_some(()));
    let ended = gateway.terminate();
    ended.assert_code(0);
    for line in ended.stdout.lines() {
        assert!(serde_json::from_str::<serde_json::Value>(line).is_ok_and(|line| line.is_object()), "{line}");
    }
}

#[test]
fn a_reader_that_does_not_read_does_not_hold_the_end() {
    let (_folder, gateway) = unread();
    ask_while(&gateway, |asked| asked < 2000);
    gateway.program.signal("TERM");
    // The pipe is still full, and held by us.
    let mut gateway = gateway;
    until("it ends", || (!gateway.program.runs()).then_some(()));
    gateway.program.end().assert_code(0);
}

#[test]
fn a_reader_that_is_gone_costs_lines_and_nothing_else() {
    let (_folder, mut gateway) = unread();
    gateway.program.close_stdout();
    let asked = ask_while(&gateway, |asked| asked < 1000);
    until("the lines are counted", || (gateway.metric(LOST) == asked).then_some(()));
    gateway.terminate().assert_code(0);
}

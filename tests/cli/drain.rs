//! SIGTERM: what was asked is answered, and the process is gone soon after the last answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;

use super::client::{Answer, Connection, request};
use super::process::until;
use super::stack::{Stack, bearer};
use super::stopwatch::Stopwatch;

/// `drain` of these tests is 30 s. What ends before this has not waited for it.
const SOON: Duration = Duration::from_secs(15);

const CLIENTS: usize = 20;

#[derive(Default)]
struct Tally {
    sent: AtomicU64,
    answered: AtomicU64,
}

/// Whether a client whose connection was closed opens another.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Client {
    Leaves,
    ComesBack,
}

/// Asks again and again, on one connection for as long as it is kept.
fn ask_on(address: &str, request: &str, tally: &Tally, client: Client) {
    while let Some(mut connection) = Connection::try_open(address) {
        // What can't be sent was never asked.
        while connection.send(request) {
            tally.sent.fetch_add(1, Ordering::Relaxed);
            let Some(answer) = connection.answer() else { break };
            assert_eq!(answer.status, 302, "{answer:?}");
            tally.answered.fetch_add(1, Ordering::Relaxed);
            if answer.header("connection") == Some("close") {
                break;
            }
        }
        if client == Client::Leaves {
            return;
        }
    }
}

/// SIGTERM under the load of such clients. How many requests were sent, and how many of them were answered.
fn terminated_under_load(client: Client) -> (u64, u64) {
    let stack = Stack::start();
    let open = request("GET", "/plugins/face-scan", &[&bearer(&stack.idp.token("ada"))], "");
    let tally = Arc::new(Tally::default());
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (address, open, tally) = (stack.gateway.address.clone(), open.clone(), tally.clone());
            std::thread::spawn(move || ask_on(&address, &open, &tally, client))
        })
        .collect();
    until("there is load", || (tally.answered.load(Ordering::Relaxed) > 1000).then_some(()));
    let asked = Stopwatch::start();
    let ended = stack.gateway.terminate();
    let took = asked.elapsed();
    for client in clients {
        client.join().expect("a client saw only whole, good answers");
    }
    ended.assert_code(0);
    assert!(took < SOON, "it took {took:?}");
    let (sent, answered) = (tally.sent.load(Ordering::Relaxed), tally.answered.load(Ordering::Relaxed));
    // Each answer has its line, up to the last.
    assert_eq!(ended.stdout.lines().count() as u64, answered);
    (sent, answered)
}

#[test]
fn no_request_is_lost_under_keep_alive_load() {
    let (sent, answered) = terminated_under_load(Client::Leaves);
    assert_eq!(sent, answered, "{} of {sent} requests were lost", sent - answered);
}

#[test]
fn no_request_is_lost_when_clients_whose_connection_was_closed_come_back() {
    let (sent, answered) = terminated_under_load(Client::ComesBack);
    assert_eq!(sent, answered, "{} of {sent} requests were lost", sent - answered);
}

/// Waits until the listeners have stopped: then idle connections are closed.
fn until_stopped(idle: &mut Connection) {
    assert!(idle.rest().is_empty());
}

#[test]
fn a_connection_that_comes_while_it_drains_is_refused_and_does_not_hang() {
    let stack = Stack::start();
    stack.vendor.faults(json!({ "fail": "hang", "on": "mint" }));
    let (mut idle, mut waiting) = (Connection::open(&stack.gateway.address), Connection::open(&stack.gateway.address));
    let token = stack.idp.token("ada");
    assert!(waiting.send(request("GET", "/plugins/face-scan", &[&bearer(&token)], "")));
    until("the vendor is asked", || (stack.vendor.mint_calls() == 1).then_some(()));
    stack.gateway.program.signal("TERM");
    until_stopped(&mut idle);
    let late = (0..100).any(|_| {
        // Pause: between two looks for a sign.
        std::thread::sleep(Duration::from_millis(20));
        Connection::try_open(&stack.gateway.address).is_none()
    });
    assert!(late, "the kernel still takes connections two seconds after the listeners have stopped");
    stack.vendor.faults(json!({}));
    assert_eq!(waiting.answer().expect("a whole answer").status, 302);
    stack.gateway.program.end().assert_code(0);
}

#[test]
fn idle_connections_are_closed_and_do_not_hold_it() {
    let stack = Stack::start();
    let open = request("GET", "/plugins/face-scan", &[&bearer(&stack.idp.token("ada"))], "");
    let mut idle: Vec<_> = (0..CLIENTS).map(|_| Connection::open(&stack.gateway.address)).collect();
    for connection in idle.iter_mut().step_by(2) {
        assert_eq!(connection.ask(&open).status, 302);
    }
    let asked = Stopwatch::start();
    stack.gateway.terminate().assert_code(0);
    assert!(asked.elapsed() < SOON, "it took {:?}", asked.elapsed());
    for connection in &mut idle {
        assert!(connection.rest().is_empty());
    }
}

#[test]
fn without_connections_it_ends_at_once() {
    let stack = Stack::start();
    let asked = Stopwatch::start();
    stack.gateway.terminate().assert_code(0);
    assert!(asked.elapsed() < SOON, "it took {:?}", asked.elapsed());
}

/// Three requests wait for the vendor when SIGTERM comes; then it answers. What they got.
fn answers_after_the_stop() -> Vec<Answer> {
    let stack = Stack::start();
    stack.vendor.faults(json!({ "fail": "hang", "on": "mint" }));
    let open = request("GET", "/plugins/face-scan", &[&bearer(&stack.idp.token("ada"))], "");
    let mut idle = Connection::open(&stack.gateway.address);
    let mut waiting: Vec<_> = (0..3).map(|_| Connection::open(&stack.gateway.address)).collect();
    for connection in &mut waiting {
        assert!(connection.send(&open));
    }
    until("the vendor is asked", || (stack.vendor.mint_calls() == 1).then_some(()));
    stack.gateway.program.signal("TERM");
    until_stopped(&mut idle);
    stack.vendor.faults(json!({}));
    let released = Stopwatch::start();
    let answers: Vec<_> = waiting.iter_mut().map(|one| one.answer().expect("a whole answer")).collect();
    stack.gateway.program.end().assert_code(0);
    assert!(released.elapsed() < SOON, "it took {:?}", released.elapsed());
    assert_eq!(stack.vendor.mint_calls(), 1);
    answers
}

#[test]
fn a_request_that_waits_for_the_vendor_gets_its_answer() {
    for answer in answers_after_the_stop() {
        assert_eq!(answer.status, 302, "{answer:?}");
    }
}

#[test]
fn an_answer_to_a_request_from_before_the_stop_says_that_its_connection_closes() {
    for answer in answers_after_the_stop() {
        assert_eq!(answer.header("connection"), Some("close"), "{answer:?}");
    }
}

#[test]
fn a_vendor_that_never_answers_holds_it_until_the_end_of_the_drain_and_the_waiting_are_told() {
    let stack = Stack::with("a-key", |config| config.replace("drain = \"30s\"", "drain = \"1s\""));
    stack.vendor.faults(json!({ "fail": "hang", "on": "mint" }));
    let mut waiting = Connection::open(&stack.gateway.address);
    let token = stack.idp.token("ada");
    assert!(waiting.send(request("GET", "/plugins/face-scan", &[&bearer(&token)], "")));
    until("the vendor is asked", || (stack.vendor.mint_calls() == 1).then_some(()));
    let asked = Stopwatch::start();
    stack.gateway.program.signal("TERM");
    let answer = waiting.answer().expect("a whole answer");
    assert_eq!((answer.status, answer.problem().as_str()), (503, "draining"));
    stack.gateway.program.end().assert_code(0);
    assert!(asked.elapsed() < SOON, "it took {:?}", asked.elapsed());
}

#[test]
fn readiness_says_no_for_the_delay_while_requests_are_still_answered() {
    let stack = Stack::with("a-key", |config| config.replace("drain = \"30s\"", "drain_delay = \"2s\""));
    let token = stack.idp.token("ada");
    stack.gateway.program.signal("TERM");
    until("it is not ready", || (stack.gateway.admin("/readyz").status == 503).then_some(()));
    // A new connection, for a balancer has not noticed yet.
    assert_eq!(stack.gateway.open(&token).status, 302);
    assert_eq!(stack.gateway.admin("/livez").status, 200);
    stack.gateway.program.end().assert_code(0);
}

#[test]
fn a_head_that_has_begun_may_end() {
    let stack = Stack::start();
    let open = request("GET", "/plugins/face-scan", &[&bearer(&stack.idp.token("ada"))], "");
    let (mut idle, mut slow) = (Connection::open(&stack.gateway.address), Connection::open(&stack.gateway.address));
    let (first, rest) = open.split_at(30);
    assert!(slow.send(first));
    // It has been read when an answer on a later connection is there.
    assert_eq!(stack.gateway.open("x").status, 401);
    stack.gateway.program.signal("TERM");
    until_stopped(&mut idle);
    assert!(slow.send(rest));
    assert_eq!(slow.answer().expect("a whole answer").status, 302);
    stack.gateway.program.end().assert_code(0);
}

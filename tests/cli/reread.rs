//! New keys without a restart.

use std::fs::File;
use std::io::Write;

use super::process::until;
use super::stack::Stack;

const OLD: &str = "old-key-of-this-test";
const NEW: &str = "new-key-of-this-test";

/// A stack whose vendor accepts the new key only, and the gateway still has the old one.
fn stack() -> Stack {
    let stack = Stack::with(OLD, |config| config);
    assert_eq!(stack.gateway.open(&stack.idp.token("before")).status, 302);
    stack.vendor.accept_only(NEW);
    assert_eq!(stack.gateway.open(&stack.idp.token("between")).status, 502);
    stack
}

/// Mints for one subject after the other until it works: a failure is remembered for its own subject.
fn until_it_mints(stack: &Stack) {
    let mut number = 0;
    until("a mint works", || {
        number += 1;
        (stack.gateway.open(&stack.idp.token(&format!("after-{number}"))).status == 302).then_some(())
    });
}

#[test]
fn a_hangup_signal_brings_the_new_key() {
    let mut stack = stack();
    let key = stack.folder.path().join("vendor.key");
    // In place, of the same length and with the time of the old one: whoever only looks at the file sees no change.
    let before = key.metadata().and_then(|meta| meta.modified()).expect("our file");
    let mut file = File::options().write(true).open(&key).expect("our file");
    file.write_all(format!("{NEW}\n").as_bytes()).and_then(|()| file.set_modified(before)).expect("our file");
    assert_eq!(stack.gateway.open(&stack.idp.token("not yet")).status, 502);

    stack.gateway.program.signal("HUP");
    until_it_mints(&stack);
    assert!(stack.gateway.program.runs());
    let ended = stack.gateway.terminate();
    ended.assert_code(0);
    assert!(!ended.all().contains(NEW) && !ended.all().contains(OLD));
}

#[test]
fn a_replaced_file_brings_the_new_key_without_a_signal() {
    let stack = stack();
    stack.folder.replace("vendor.key", &format!("{NEW}\n"));
    until_it_mints(&stack);
    stack.gateway.terminate().assert_code(0);
}

#[test]
fn a_key_file_that_is_gone_or_empty_leaves_the_key_before_it() {
    let stack = Stack::with(OLD, |config| config);
    let gauge = "valet_degraded{what=\"secret:simulated.api_key\"}";
    assert!(stack.gateway.admin("/metrics").body.contains(&format!("{gauge} 0")));
    for change in
        [|path: &std::path::Path| std::fs::write(path, ""), |path: &std::path::Path| std::fs::remove_file(path)]
    {
        change(&stack.folder.path().join("vendor.key")).expect("our file");
        let warnings = || stack.gateway.program.so_far(super::process::Stream::Stderr).matches("\"warn\"").count();
        let before = warnings();
        stack.gateway.program.signal("HUP");
        until("it says so", || (warnings() > before).then_some(()));
        assert_eq!(stack.gateway.open(&stack.idp.token(&format!("ada-{before}"))).status, 302);
        until("the metrics say so", || (stack.gateway.metric(gauge) == 1).then_some(()));
        let ready = stack.gateway.admin("/readyz");
        assert!(ready.status == 200 && ready.body.contains("secret:simulated.api_key"), "{ready:?}");
    }
    stack.folder.write("vendor.key", &format!("{NEW}\n"));
    stack.vendor.accept_only(NEW);
    until_it_mints(&stack);
    until("the trouble is over", || (stack.gateway.metric(gauge) == 0).then_some(()));
    stack.gateway.terminate().assert_code(0);
}

#[test]
fn of_two_keys_the_second_is_tried_when_the_first_is_refused() {
    let stack = Stack::with(OLD, |config| {
        config.replace("{ file = \"vendor.key\" }", "[{ file = \"vendor.key\" }, { env = \"HOME\" }]")
    });
    stack.vendor.accept_only(&std::env::var("HOME").expect("a home"));
    assert_eq!(stack.gateway.open(&stack.idp.token("ada")).status, 302);
    stack.gateway.terminate().assert_code(0);
}

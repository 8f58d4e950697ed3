//! Heads of answers.

use super::*;

/// The fields that pass.
fn passed(said: &str, replaces_hsts: bool) -> Vec<(String, String)> {
    let parsed = parse(said.as_bytes()).expect("an answer").expect("whole");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let head = parsed.with_bytes(said.as_bytes());
    head.passed(replaces_hsts).map(|(name, value, _)| (text(name), text(value))).collect()
}

fn names(said: &str) -> Vec<String> {
    passed(said, false).into_iter().map(|(name, _)| name).collect()
}

#[test]
fn what_is_between_the_app_and_us_stays_there() {
    let said = "HTTP/1.1 200 OK\r\nConnection: close, X-Secret , content-length\r\nX-SECRET: 1\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: \
                Basic\r\nTE: x\r\nUpgrade: h2c\r\nTrailer: x\r\nProxy-Connection: x\r\nX-Request-Id: theirs\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\ncontent-length: 007\r\n\r\n";
    assert_eq!(names(said), ["Set-Cookie", "Set-Cookie", "content-length"]);
    assert_eq!(passed(said, false)[2].1, "7");
    assert_eq!(names("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\ncontent-length: 7\r\n\r\n"), [""; 0]);
    assert_eq!(names("HTTP/1.1 204 OK\r\ncontent-length: 0\r\n\r\n"), [""; 0]);
    assert_eq!(names("HTTP/1.1 304 OK\r\ncontent-length: 7\r\n\r\n"), ["content-length"]);
    assert_eq!(names("HTTP/1.1 101 OK\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"), ["upgrade"]);
}

#[test]
fn what_we_say_of_tls_replaces_what_the_app_says() {
    let said = "HTTP/1.1 200 OK\r\nStrict-Transport-Security: max-age=0\r\n\r\n";
    assert_eq!((passed(said, true).len(), passed(said, false).len()), (0, 1));
}

#[test]
fn a_value_that_goes_on_in_the_next_line_stands_in_one() {
    let said = "HTTP/1.1 200 OK\r\nx: one\r\n  two\r\n\r\n";
    assert!(parse(said.as_bytes()).expect("an answer").expect("whole").folded);
    let mut line = Vec::new();
    write_unfolded(passed(said, false)[0].1.as_bytes(), &mut line);
    assert!(line.starts_with(b"one ") && line.ends_with(b" two") && memchr2(b'\r', b'\n', &line).is_none());
}

#[test]
fn a_head_that_is_not_whole_is_waited_for() {
    let said = "HTTP/1.1 200 OK\r\nx: y\r\n\r\n";
    for end in 0..said.len() {
        assert!(parse(&said.as_bytes()[..end]).expect("so far").is_none(), "{end}");
    }
    assert_eq!(parse(said.as_bytes()).expect("an answer").expect("whole").length, said.len());
}

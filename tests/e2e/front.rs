//! Connections: what can't be read safely, what is too large or too slow, what is kept alive, and nothing hidden in a body is ever answered.

use std::time::Duration;

use valet_gateway::demo::idp::{IdpFaults, TokenRequest};

use crate::kit::{FACE_SCAN, HOST, Setup, Stack};

/// Sends a whole head that must be refused: 400, closed, counted, logged, and nothing reached the vendor.
async fn assert_malformed(stack: &Stack, raw: &str) {
    let before = stack.answered("malformed");
    let mut wire = stack.wire().await;
    wire.write(raw).await;
    let answer = wire.try_answer(false).await.unwrap_or_else(|| panic!("no answer to {raw:?}"));
    assert_eq!(answer.status, 400, "{raw:?}: {answer}");
    answer.assert_problem(400, "bad-request").assert_field("connection", "close");
    wire.assert_closed().await;
    assert_eq!(stack.answered("malformed"), before + 1, "{raw:?}");
    assert_eq!(stack.answered("redirect"), 0, "{raw:?}");
}

#[tokio::test]
async fn what_two_parsers_could_read_in_two_ways_is_refused_closed_and_counted() {
    let stack = Stack::start().await;
    let token = stack.token("ada");
    let auth = format!("Authorization: Bearer {token}");
    let get = |line: &str, fields: &str| format!("{line}\r\n{fields}{auth}\r\n\r\n");
    let host = format!("Host: {HOST}\r\n");
    let post = |fields: &str, body: &str| format!("POST {FACE_SCAN} HTTP/1.1\r\n{host}{auth}\r\n{fields}\r\n{body}");
    let line = format!("GET {FACE_SCAN} HTTP/1.1");
    let smuggled = format!("GET {FACE_SCAN} HTTP/1.1\r\n{host}{auth}\r\n\r\n");
    let cases = [
        post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", &format!("0\r\n\r\n{smuggled}")),
        post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", &format!("0\r\n\r\n{smuggled}")),
        post("Content-Length: 0\r\nContent-Length: 0\r\n", &smuggled),
        post("Content-Length: 0\r\nContent-Length: 5\r\n", &smuggled),
        post("Content-Length: 5, 5\r\n", "12345"),
        post("Content-Length: +5\r\n", "12345"),
        post("Content-Length: 0x5\r\n", "12345"),
        post("Content-Length: -1\r\n", ""),
        post("Content-Length: \r\n", ""),
        post("Content-Length: 18446744073709551616\r\n", ""),
        post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"),
        post("Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n"),
        post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"),
        post("Transfer-Encoding: identity\r\n", ""),
        post("Transfer-Encoding: \u{b}chunked\r\n", "0\r\n\r\n"),
        post("Transfer-Encoding:\r\n", ""),
        format!("POST {FACE_SCAN} HTTP/1.0\r\n{host}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        get(&line, ""),
        get(&line, "Host: \r\n"),
        get(&line, "Host: a,b\r\n"),
        get(&line, "Host: a b\r\n"),
        get(&line, "Host: a/b\r\n"),
        get(&line, "Host: user@a\r\n"),
        get(&line, &format!("{host}{host}")),
        get(&line, &format!("{host}X: a\r\n b\r\n")),
        get(&line, &format!(" X: a\r\n{host}")),
        get(&line, &format!("{host}X : a\r\n")),
        get(&line, &format!("{host}X Y: a\r\n")),
        get(&line, &format!("{host}X: a\rb\r\n")),
        get(&line, &format!("{host}X: a\0b\r\n")),
        get(&line, &format!("{host}: a\r\n")),
        get(&line, &format!("{host}no-colon\r\n")),
        get(&format!("GET {FACE_SCAN} HTTP/1.2"), &host),
        get(&format!("GET {FACE_SCAN} HTTP/2.0"), &host),
        get(&format!("GET {FACE_SCAN} http/1.1"), &host),
        get(&format!("GET {FACE_SCAN}"), &host),
        get(&format!("GET  {FACE_SCAN} HTTP/1.1"), &host),
        get(&format!("GET {FACE_SCAN}  HTTP/1.1"), &host),
        get(&format!("GET {FACE_SCAN} x HTTP/1.1"), &host),
        get(&format!("GET {FACE_SCAN}\t HTTP/1.1"), &host),
        get(&format!("GET {FACE_SCAN}\0 HTTP/1.1"), &host),
        get(&format!("GET {FACE_SCAN}?é HTTP/1.1"), &host),
        get(&format!("G\0T {FACE_SCAN} HTTP/1.1"), &host),
        get(" ", &host),
    ];
    for case in &cases {
        assert_malformed(&stack, case).await;
    }
    assert_eq!(stack.vendor().calls().len(), 0);
    let lines = stack.lines.all(cases.len()).await;
    assert_eq!(lines.len(), cases.len());
    for line in lines {
        assert_eq!((&line["status"], &line["outcome"]), (&400.into(), &"malformed".into()), "{line}");
        assert!(line["method"].is_null() && line["path"].is_null() && line["route"].is_null(), "{line}");
    }
}

#[tokio::test]
async fn a_bare_line_feed_is_refused_where_it_comes() {
    let stack = Stack::start().await;
    let head = format!("GET {FACE_SCAN} HTTP/1.1\r\nHost: {HOST}\r\nX: y\r\n\r\n");
    let ends: Vec<usize> = head.match_indices("\r\n").map(|(at, _)| at).collect();
    for at in &ends {
        let bare = format!("{}\n{}", &head[..*at], &head[at + 2..]);
        assert_malformed(&stack, &bare).await;
    }
    assert_malformed(&stack, &head.replace("\r\n", "\n")).await;
    let mut wire = stack.wire().await;
    for byte in head.replacen("\r\n", "\n", 1).bytes() {
        wire.write([byte]).await;
    }
    wire.answer().await.assert_status(400);
}

#[tokio::test]
async fn a_request_hidden_in_a_chunked_body_is_never_answered() {
    let stack = Stack::start().await;
    let hidden = stack.get(FACE_SCAN).as_user("eve").bytes();
    let head = stack.post(FACE_SCAN).as_user("ada").field("Transfer-Encoding", "chunked").bytes();
    let chunk = [format!("{:x}\r\n", hidden.len()).as_bytes(), &hidden, b"\r\n0\r\n\r\n"].concat();
    for body in [chunk, [b"0\r\n\r\n", &hidden[..]].concat(), hidden.clone()] {
        let mut wire = stack.wire().await;
        wire.write([&head[..], &body].concat()).await;
        wire.answer().await.assert_status(303).assert_field("connection", "close");
        wire.assert_closed().await;
    }
    assert_eq!(stack.answered("redirect"), 3);
    assert_eq!(stack.vendor().users(), ["ada"]);
}

#[tokio::test]
async fn a_body_is_skipped_and_what_follows_it_is_the_next_request() {
    let stack = Stack::start().await;
    let hidden = stack.get(FACE_SCAN).as_user("eve").bytes();
    let post = stack.post(FACE_SCAN).as_user("ada").body(&hidden).bytes();
    let next = stack.get(FACE_SCAN).as_user("bob").bytes();
    let mut wire = stack.wire().await;
    wire.write([post.clone(), next.clone()].concat()).await;
    wire.answer().await.assert_status(303);
    wire.answer().await.assert_status(302);
    // The same again, byte by byte.
    for byte in [post, next].concat() {
        wire.write([byte]).await;
    }
    wire.answer().await.assert_status(303);
    wire.answer().await.assert_status(302);
    // A refused request's body is skipped as well.
    wire.write(stack.post("/nothing").body(&hidden).bytes()).await;
    wire.answer().await.assert_status(404);
    wire.write(stack.get(FACE_SCAN).as_user("bob").bytes()).await;
    wire.answer().await.assert_status(302);
    assert_eq!(stack.answered("redirect"), 5);
    assert_eq!(stack.vendor().users(), ["ada", "bob"]);
}

#[tokio::test]
async fn pipelined_requests_are_answered_each_in_its_order() {
    let stack = Stack::start().await;
    let mut all = Vec::new();
    for n in 0..50 {
        let ask = if n % 2 == 0 { stack.get(FACE_SCAN).as_user("ada") } else { stack.get("/nothing") };
        all.extend(ask.bytes());
    }
    let mut wire = stack.wire().await;
    wire.write(all).await;
    for n in 0..50 {
        wire.answer().await.assert_status(if n % 2 == 0 { 302 } else { 404 }).assert_no_field("connection");
    }
    wire.write(stack.get(FACE_SCAN).as_user("ada").field("Connection", "close").bytes()).await;
    wire.answer().await.assert_status(302).assert_field("connection", "close");
    wire.assert_closed().await;
    assert_eq!(stack.lines.all(51).await.len(), 51);
}

#[tokio::test]
async fn a_refusal_does_not_end_a_connection() {
    let stack = Stack::start().await;
    let mut wire = stack.wire().await;
    for (ask, status) in [
        (stack.get("/nothing"), 404),
        (stack.ask("PUT", FACE_SCAN), 405),
        (stack.get(FACE_SCAN), 401),
        (stack.get(FACE_SCAN).bearer("x"), 401),
        (stack.get(FACE_SCAN).as_user("ada"), 302),
    ] {
        wire.write(ask.bytes()).await;
        wire.answer().await.assert_status(status).assert_no_field("connection");
    }
}

#[tokio::test]
async fn old_clients_are_answered_and_closed() {
    let stack = Stack::start().await;
    let token = stack.token("ada");
    for fields in ["", "Host: app.example.com\r\n", "Connection: keep-alive\r\n"] {
        let mut wire = stack.wire().await;
        wire.write(format!("GET {FACE_SCAN} HTTP/1.0\r\n{fields}Authorization: Bearer {token}\r\n\r\n")).await;
        wire.answer().await.assert_status(302).assert_field("connection", "close");
        wire.assert_closed().await;
    }
}

#[tokio::test]
async fn nobody_is_asked_to_go_on_with_a_body_that_is_not_wanted() {
    let stack = Stack::start().await;
    let mut wire = stack.wire().await;
    let ask = stack.post(FACE_SCAN).as_user("ada").field("Expect", "100-continue").field("Content-Length", "5");
    wire.write(ask.bytes()).await;
    wire.answer().await.assert_status(303).assert_field("connection", "close");
    wire.assert_closed().await;
}

#[tokio::test]
async fn too_long_a_line_and_too_large_a_head_have_their_own_statuses() {
    let stack = Setup::new().limits(|limits| (limits.max_line, limits.max_head) = (512, 2048)).start().await;
    let head = |query: usize, field: usize, lines: usize| {
        let line = format!("GET {FACE_SCAN}?{} HTTP/1.1\r\nHost: {HOST}\r\n", "q".repeat(query));
        format!("{line}X: {}\r\n{}\r\n", "x".repeat(field), "Y: z\r\n".repeat(lines))
    };
    for (raw, status) in [
        (head(400, 1000, 0), 401),
        (head(600, 0, 0), 414),
        (head(100_000, 0, 0), 414),
        (head(0, 3000, 0), 431),
        (head(0, 100_000, 0), 431),
        (head(0, 0, 150), 431),
    ] {
        let mut wire = stack.wire().await;
        wire.write(&raw).await;
        let answer = wire.answer().await;
        if status == 401 {
            answer.assert_problem(401, "session-required");
            continue;
        }
        answer.assert_problem(status, "header-too-large").assert_field("connection", "close");
        wire.assert_closed().await;
    }
    assert_eq!(stack.answered("too_large"), 5);
}

#[tokio::test]
async fn an_endless_line_is_cut_off_without_its_end() {
    let stack = Stack::start().await;
    for (start, status) in [("GET /", 414), ("GET / HTTP/1.1\r\nX: ", 431)] {
        let mut wire = stack.wire().await;
        wire.write(start).await;
        wire.write(vec![b'a'; 200_000]).await;
        wire.answer().await.assert_problem(status, "header-too-large");
    }
}

fn in_a_hurry() -> Setup {
    Setup::new().limits(|limits| (limits.idle, limits.head) = (Duration::from_millis(300), Duration::from_millis(300)))
}

#[tokio::test]
async fn a_quiet_connection_is_closed_without_a_word() {
    let stack = in_a_hurry().start().await;
    stack.wire().await.assert_closed().await;
    let mut wire = stack.wire().await;
    wire.write(stack.get(FACE_SCAN).as_user("ada").bytes()).await;
    wire.answer().await.assert_status(302);
    wire.assert_closed().await;
    assert_eq!(stack.lines.all(1).await.len(), 1);
}

#[tokio::test]
async fn half_a_head_is_told_that_it_is_too_slow() {
    let stack = in_a_hurry().start().await;
    for start in ["G", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: a\r\n"] {
        let mut wire = stack.wire().await;
        wire.write(start).await;
        wire.answer().await.assert_problem(408, "too-slow").assert_field("connection", "close");
        wire.assert_closed().await;
    }
    assert_eq!(stack.answered("too_slow"), 3);
}

#[tokio::test]
async fn a_dripping_head_gains_no_time_by_dripping() {
    let stack = in_a_hurry().start().await;
    let mut wire = stack.wire().await;
    wire.write("GET / HTTP/1.1\r\nX: ").await;
    let mut drops = tokio::time::interval(Duration::from_millis(20));
    let answer = loop {
        tokio::select! {
            biased;
            answer = wire.answer() => break answer,
            _ = drops.tick() => {}
        }
        // What was read of an answer stays with the wire.
        wire.write("x").await;
    };
    answer.assert_problem(408, "too-slow");
}

#[tokio::test]
async fn a_body_that_does_not_come_ends_the_connection() {
    let stack = in_a_hurry().start().await;
    let mut wire = stack.wire().await;
    wire.write(stack.post(FACE_SCAN).as_user("ada").field("Content-Length", "10").bytes()).await;
    wire.write("123").await;
    wire.answer().await.assert_status(303);
    wire.assert_closed().await;
}

#[tokio::test]
async fn a_slow_request_of_one_client_keeps_no_other_waiting() {
    let stack = Stack::start().await;
    let mut slow = Vec::new();
    for _ in 0..100 {
        let mut wire = stack.wire().await;
        wire.write("GET / HTTP/1.1\r\nX: ").await;
        slow.push(wire);
    }
    stack.url_of("ada").await;
}

#[tokio::test]
async fn an_upgrade_header_skips_no_question() {
    let stack = Stack::start().await;
    for upgrade in ["x", "websocket", "h2c", "HTTP/2.0", "TLS/1.0"] {
        let ask = stack.get(FACE_SCAN).field("Connection", "Upgrade").field("Upgrade", upgrade);
        ask.send().await.assert_problem(401, "session-required");
        let bad = stack.get(FACE_SCAN).field("Upgrade", upgrade).bearer("nonsense");
        bad.send().await.assert_problem(401, "session-invalid");
        stack.get(FACE_SCAN).field("Upgrade", upgrade).as_user("ada").send().await.assert_status(302);
    }
    assert_eq!(stack.vendor().users(), ["ada"]);
}

#[tokio::test]
async fn no_user_agent_is_let_through() {
    let stack = Stack::start().await;
    for agent in ["kube-probe/1.30", "ELB-HealthChecker/2.0", "GoogleHC/1.0", "Googlebot/2.1", ""] {
        stack.get(FACE_SCAN).field("User-Agent", agent).send().await.assert_problem(401, "session-required");
    }
}

#[tokio::test]
async fn what_only_a_proxy_may_say_has_no_effect() {
    let stack = Setup::new().plugin("host = \"app.example.com\"").session("login_url = \"/login\"").start().await;
    for (name, value) in [
        ("X-Original-URL", FACE_SCAN),
        ("X-Rewrite-URL", FACE_SCAN),
        ("X-Forwarded-Uri", FACE_SCAN),
        ("X-Forwarded-Path", FACE_SCAN),
        ("X-Forwarded-Prefix", "/plugins"),
        ("X-Original-Host", HOST),
    ] {
        let answer = stack.get("/nothing").as_user("ada").field(name, value).send().await;
        assert_eq!(answer.status, 404, "{name}");
    }
    for (name, value) in
        [("X-Forwarded-Host", HOST), ("Forwarded", "for=10.0.0.1;host=app.example.com;proto=https"), ("X-Host", HOST)]
    {
        let answer = stack.get(FACE_SCAN).host("other.example").as_user("ada").field(name, value).send().await;
        assert_eq!(answer.status, 404, "{name}");
    }
    for (name, value) in [
        ("X-HTTP-Method-Override", "POST"),
        ("X-HTTP-Method", "DELETE"),
        ("X-Auth-Subject", "root"),
        ("X-User", "root"),
    ] {
        let answer = stack.get(FACE_SCAN).as_user("ada").field(name, value).send().await;
        assert_eq!(answer.status, 302, "{name}");
        assert_eq!(stack.get(FACE_SCAN).field(name, value).send().await.status, 401, "{name}");
    }
    let spoofed = ["X-Forwarded-For", "X-Real-IP", "Forwarded", "True-Client-IP"];
    for name in spoofed {
        stack.get("/from").field(name, "for=203.0.113.7").send().await;
    }
    let lines = stack.lines.all(21).await;
    assert!(lines.iter().all(|line| line["peer"] == "127.0.0.1"), "{lines:#?}");
    assert_eq!(stack.vendor().users(), ["ada"]);
}

#[tokio::test]
async fn a_path_is_read_once_and_what_a_second_reading_would_change_is_refused() {
    let stack = Stack::start().await;
    for (target, status) in [
        ("/plugins/face-scan", 302),
        ("/plugins/face-scan?", 302),
        ("/plugins/face-scan?a=%2f..%00#".trim_end_matches('#'), 302),
        ("//plugins//face-scan", 302),
        ("/plugins/./face-scan", 302),
        ("/x/../plugins/face-scan", 302),
        ("/../../plugins/face-scan", 302),
        ("http://app.example.com/plugins/face-scan", 302),
        ("/plugins/face-scan/", 404),
        ("/plugins/face-scan/.", 404),
        ("/plugins/face-scan/..", 404),
        ("/plugins/face-scan;x=1", 404),
        ("/plugins/FACE-SCAN", 404),
        ("/Plugins/face-scan", 404),
        ("/x/plugins/face-scan", 404),
        ("/plugins/face-sca%6e", 404),
        ("/plugins%2fface-scan", 400),
        ("/plugins%2Fface-scan", 400),
        ("/plugins%5cface-scan", 400),
        ("/plugins\\face-scan", 400),
        ("/plugins/%2e/face-scan", 400),
        ("/x/%2e%2e/plugins/face-scan", 400),
        ("/x/..;/plugins/face-scan", 400),
        ("/x/.;a/plugins/face-scan", 400),
        ("/x/%252e%252e/plugins/face-scan", 400),
        ("/plugins%252fface-scan", 400),
        ("/plugins/face-scan%00", 400),
        ("/plugins/face-scan%0d%0aX:y", 400),
        ("/plugins/face-scan%7f", 400),
        ("/plugins/face-scan%", 400),
        ("/plugins/face-scan%zz", 400),
        ("/plugins/face-scan%ff", 400),
        ("/plugins/face-scan#x", 400),
        ("http://evil.example/plugins/face-scan", 400),
        ("ftp://app.example.com/plugins/face-scan", 400),
        ("file:/plugins/face-scan", 400),
        ("plugins/face-scan", 400),
        ("?x", 400),
        ("*", 400),
    ] {
        let answer = stack.get(target).as_user("ada").send().await;
        assert_eq!(answer.status, status, "{target}");
        if status == 400 {
            answer.assert_problem(400, "bad-request");
        }
    }
}

#[tokio::test]
async fn a_huge_token_is_refused_unread() {
    let stack = Setup::new().limits(|limits| limits.max_head = 4 << 20).start().await;
    let answer = stack.get(FACE_SCAN).bearer("x".repeat(1 << 20)).send().await;
    answer.assert_problem(401, "session-invalid");
    let real = stack.idp().token(&TokenRequest::user("ada").claim("padding", "x".repeat(9000)));
    stack.get(FACE_SCAN).bearer(real).send().await.assert_problem(401, "session-invalid");
}

#[tokio::test]
async fn good_tokens_are_as_fast_as_before_while_the_identity_provider_hangs() {
    let stack = Stack::start().await;
    stack.url_of("ada").await;
    stack.idp().set_faults(IdpFaults::failing(valet_gateway::demo::fault::Fail::Hang));
    stack.advance(Duration::from_secs(30));
    let (head, rest) = stack.token("bob").split_once('.').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    drop(head);
    let unknown = format!("eyJhbGciOiJFUzI1NiIsImtpZCI6InVua25vd24ifQ.{rest}");
    let mut waiting = stack.get(FACE_SCAN).bearer(unknown).start().await;
    stack.idp().until_fetches(1).await;
    for user in ["ada", "bob", "carl"] {
        stack.url_of(user).await;
    }
    stack.idp().set_faults(IdpFaults::default());
    waiting.answer().await.assert_problem(401, "session-invalid");
}

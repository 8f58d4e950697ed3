//! Answers of an app: to a request with a body as to one without, and to clients of HTTP/1.0.

use tokio::net::TcpListener;

use crate::kit::app::{large, says};
use crate::kit::ask::Ask;
use crate::kit::wire::Wire;
use crate::kit::{Answer, App, HOST, NOBODY, Setup, Stack, until};

async fn before(app: &App, lines: &str) -> Stack {
    Stack::before(app, &format!("session = \"none\"\n{lines}")).await
}

/// The same request with a body, which the app reads and nobody else looks at.
fn bodied(ask: Ask<'_>) -> Ask<'_> {
    ask.body("x")
}

/// The same request without a body and with one.
fn both<'s>(stack: &'s Stack, target: &str) -> [Ask<'s>; 2] {
    [stack.get(target), bodied(stack.get(target))]
}

/// The fields that an app said.
fn said(answer: &Answer) -> Vec<String> {
    let ours = ["date", "connection", "x-request-id"];
    let fields = answer.fields.iter().map(|(name, value)| (name.to_ascii_lowercase(), value));
    let mut said: Vec<String> = fields
        .filter(|(name, _)| !ours.contains(&name.as_str()))
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    said.sort_unstable();
    said
}

/// All that comes until the connection is closed, which this request asks for.
async fn whole(ask: Ask<'_>) -> String {
    let mut sent = ask.field("Connection", "close").start().await;
    sent.wire.to_end().await
}

#[tokio::test]
async fn requests_with_a_body_and_without_are_answered_alike() {
    let app = App::start().await;
    let stack = before(&app, "").await;
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Thing: One\r\nx-thing: two\r\nSet-Cookie: a=b\r\n\r\nhello",
        "HTTP/1.1 200 All Is Well\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nx: y\r\n\r\n",
        "HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\netag: \"a\"\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\netag: \"a\"\r\ntransfer-encoding: chunked\r\n\r\n",
        "HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\nno",
        "HTTP/1.1 503 Busy\r\nretry-after: 5\r\ncontent-length: 2\r\n\r\nno",
        "HTTP/1.1 200 OK\r\nconnection: x-private, close\r\nx-private: 1\r\nkeep-alive: timeout=5\r\ncontent-length: 1\r\n\r\nx",
        "HTTP/1.1 200 OK\r\nupgrade: h2c\r\ntrailer: x\r\nte: gzip\r\nproxy-authenticate: Basic\r\nproxy-connection: close\r\ncontent-length: 1\r\n\r\nx",
        "HTTP/1.1 200 OK\r\nx-request-id: the-apps-own\r\ncontent-length: 1\r\n\r\nx",
        "HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello",
    ] {
        let target = says("/say", answer);
        let bare = stack.get(&target).send().await;
        let other = bodied(stack.get(&target)).send().await;
        assert_eq!((bare.status, said(&bare)), (other.status, said(&other)), "{answer}");
        assert_eq!(bare.body, other.body, "{answer}");
        for (way, answer) in [("bare", &bare), ("with a body", &other)] {
            let id = answer.field("x-request-id").unwrap_or_default();
            assert_eq!(id.len(), 36, "{way}: {answer}");
            assert!(answer.field("date").is_some(), "{way}: {answer}");
            // What the app said of its own connection is not said of ours.
            assert!(matches!(answer.field("connection"), None | Some("keep-alive")), "{way}: {answer}");
        }
    }
}

/// What the chunks of a whole body hold (RFC 9112, section 7.1).
#[track_caller]
fn unchunked(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    loop {
        let line = body.windows(2).position(|two| two == b"\r\n").expect("a line");
        let size = usize::from_str_radix(std::str::from_utf8(&body[..line]).expect("text"), 16).expect("a size");
        let (chunk, rest) = body[line + 2..].split_at(size);
        whole.extend_from_slice(chunk);
        body = rest.strip_prefix(b"\r\n").expect("the end of a chunk");
        if size == 0 {
            assert_eq!(body, b"");
            return whole;
        }
    }
}

#[tokio::test]
async fn large_bodies_arrive_byte_for_byte_with_a_body_and_without() {
    let app = App::start().await;
    let stack = before(&app, "").await;
    for kind in ["sized", "chunks"] {
        let target = format!("/large-{kind}");
        for ask in both(&stack, &target) {
            let mut sent = ask.field("Connection", "close").start().await;
            let raw = sent.wire.rest().await;
            let end = raw.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
            let body = if kind == "sized" { raw[end..].to_vec() } else { unchunked(&raw[end..]) };
            assert!(body == large(), "{kind}: {} bytes", body.len());
        }
    }
}

#[tokio::test]
async fn a_client_of_http_1_0_gets_no_chunks_and_no_interim_answers() {
    let app = App::start().await;
    let stack = before(&app, "").await;
    let target = says(
        "/say",
        "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    );
    let mut wire = stack.wire().await;
    wire.write(format!("GET {target} HTTP/1.0\r\nHost: {HOST}\r\n\r\n")).await;
    let text = wire.to_end().await;
    assert!(text.starts_with("HTTP/1.1 200 ") && text.ends_with("\r\n\r\nok"), "{text}");
    assert!(!text.to_ascii_lowercase().contains("transfer-encoding"), "{text}");
}

#[tokio::test]
async fn a_head_is_answered_without_a_body_and_both_connections_stay() {
    let app = App::start().await;
    let stack = before(&app, "").await;
    let mut wire = stack.wire().await;
    for framing in ["content-length: 5", "transfer-encoding: chunked", "x: y"] {
        let target = says("/say", &format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n"));
        wire.write(stack.ask("HEAD", &target).bytes()).await;
        let answer = wire.answer_to("HEAD").await;
        assert_eq!((answer.status, answer.field("connection")), (200, None), "{answer}");
        for (name, said) in [("content-length", "5"), ("transfer-encoding", "chunked")] {
            assert_eq!(answer.field(name), (framing == format!("{name}: {said}")).then_some(said), "{answer}");
        }
    }
    wire.write(stack.get("/").bytes()).await;
    assert_eq!(wire.answer().await.assert_status(200).text(), "hello");
    assert_eq!(app.connections(), 1);
}

#[tokio::test]
async fn expect_100_continue_without_a_body_is_answered_too() {
    let app = App::start().await;
    let stack = before(&app, "").await;
    let mut sent = stack.get("/").field("Expect", "100-continue").start().await;
    sent.answer().await.assert_status(100);
    assert_eq!(sent.answer().await.assert_status(200).text(), "hello");
}

#[tokio::test]
async fn bodies_without_a_length_are_chunks_with_a_body_and_without() {
    let app = App::start().await;
    let stack = before(&app, "").await;
    for (path, answer, pieces) in [
        (
            "/say",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nx-trailer: z\r\n\r\n",
            "abcde",
        ),
        ("/say", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", ""),
        ("/say-and-close", "HTTP/1.1 200 OK\r\n\r\nuntil the end", "until the end"),
        ("/say-and-close", "HTTP/1.0 200 OK\r\n\r\n", ""),
    ] {
        let target = says(path, answer);
        for (way, ask) in ["bare", "with a body"].into_iter().zip(both(&stack, &target)) {
            let text = whole(ask).await;
            let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{way}: {text}"));
            assert!(head.to_ascii_lowercase().contains("transfer-encoding: chunked"), "{way}: {head}");
            assert!(!head.contains("trailer"), "{way}: {head}");
            assert_eq!(String::from_utf8_lossy(&unchunked(body.as_bytes())), pieces, "{way}: {text}");
        }
    }
}

#[tokio::test]
async fn what_is_no_answer_is_502_with_a_body_and_without() {
    let app = App::start().await;
    let stack = before(&app, "").await;
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxy",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: gzip, chunked\r\n\r\nx",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nx",
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\nx",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "SSH-2.0-x\r\n\r\n",
    ] {
        let target = says("/say-and-close", answer);
        for ask in both(&stack, &target) {
            ask.send().await.assert_problem(502, "app-unavailable");
        }
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_never_looks_whole_and_counts_as_a_fault() {
    let app = App::start().await;
    let stack = before(&app, "read_timeout = \"200ms\"").await;
    let broken = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabc";
    for (path, outcome) in [("/say-and-close", "app_error"), ("/say", "app_timeout")] {
        let target = says(path, broken);
        for ask in both(&stack, &target) {
            let mut sent = ask.start().await;
            let text = sent.wire.to_end().await;
            // Nothing had gone out yet, or it just ends.
            let refused = path == "/say-and-close" && text.starts_with("HTTP/1.1 502 ");
            assert!(refused || (text.starts_with("HTTP/1.1 200 ") && text.trim_end().ends_with("abc")), "{text}");
        }
        until("two faults", || stack.answered(outcome) == 2).await;
    }
    for line in stack.lines.all(4).await {
        assert_eq!(line["upstream"], *app.address);
    }
}

#[tokio::test]
async fn an_apps_date_is_its_own_and_one_is_said_where_it_says_none() {
    let app = App::start().await;
    let stack = before(&app, "").await;
    let date = "Tue, 15 Nov 1994 08:12:31 GMT";
    let target = says("/say", &format!("HTTP/1.1 200 OK\r\nDate: {date}\r\ncontent-length: 0\r\n\r\n"));
    stack.get(&target).send().await.assert_field("date", date);
    let now = stack.get("/").send().await;
    assert!(now.field("date").is_some_and(|now| now.ends_with(" GMT") && now != date), "{now}");
}

#[tokio::test]
async fn interim_answers_reach_the_client_before_the_answer() {
    let app = App::start().await;
    let stack = before(&app, "").await;
    let early =
        "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let target = says("/say", early);
    for ask in both(&stack, &target) {
        let mut sent = ask.start().await;
        sent.answer().await.assert_status(103).assert_field("link", "</a.css>; rel=preload").assert_no_field("date");
        assert_eq!(sent.answer().await.assert_status(200).text(), "ok");
    }
}

#[tokio::test]
async fn an_interim_answer_says_nothing_of_a_body_and_their_number_has_a_bound() {
    let app = App::start().await;
    let stack = before(&app, "").await;
    let early = |count| "HTTP/1.1 103 Early Hints\r\nconnection: x\r\nx: y\r\ncontent-length: 3\r\n\r\n".repeat(count);
    let last = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    for count in [32, 33] {
        for ask in both(&stack, &says("/say", &(early(count) + last))) {
            let mut sent = ask.start().await;
            for _ in 0..32 {
                let answer = sent.answer().await;
                answer.assert_status(103).assert_no_field("content-length");
                answer.assert_no_field("x").assert_no_field("connection");
            }
            sent.answer().await.assert_status(if count == 32 { 200 } else { 502 });
        }
    }
}

#[tokio::test]
async fn a_request_is_not_asked_again_once_the_client_has_heard_of_it() {
    let app = App::start().await;
    let stack = before(&app, "").await;
    let target = says("/say-and-close", "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n");
    for ask in both(&stack, &target) {
        stack.get("/").send().await.assert_status(200);
        bodied(stack.get("/")).send().await.assert_status(200);
        let before = app.seen().len();
        let mut sent = ask.start().await;
        sent.answer().await.assert_status(103);
        sent.answer().await.assert_problem(502, "app-unavailable");
        assert_eq!(app.seen().len(), before + 1);
    }
}

#[tokio::test]
async fn the_time_out_is_for_each_gap_of_a_head_and_not_for_all_of_it() {
    let app = App::start().await;
    let (fast, slow) =
        (before(&app, "read_timeout = \"100ms\"").await, before(&app, "read_timeout = \"2500ms\"").await);
    for (fast, slow) in both(&fast, "/drip").into_iter().zip(both(&slow, "/drip")) {
        fast.send().await.assert_problem(504, "app-timeout");
        assert_eq!(slow.send().await.assert_status(200).text(), "ok");
    }
}

#[tokio::test]
async fn a_time_out_that_no_clock_reaches_is_none() {
    let app = App::start().await;
    let stack = before(&app, "read_timeout = \"9223372036854775807s\"").await;
    for ask in both(&stack, "/") {
        ask.send().await.assert_status(200);
    }
}

#[tokio::test]
async fn requests_at_once_on_one_connection_are_answered_each_in_its_order() {
    let app = App::start().await;
    let stack = before(&app, "").await;
    let mut all = Vec::new();
    for n in 0..50 {
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{n:02}");
        all.extend(stack.get(&says("/say", &answer)).bytes());
    }
    let mut wire = stack.wire().await;
    wire.write(all).await;
    for n in 0..50 {
        assert_eq!(wire.answer().await.assert_status(200).text(), format!("{n:02}"));
    }
    assert_eq!(app.connections(), 1);
}

#[tokio::test]
async fn what_a_client_sends_ahead_is_judged_as_a_request_of_its_own() {
    let app = App::start().await;
    let stack = before(&app, "").await;
    let mut wire = stack.wire().await;
    let later = stack.get("/later").bytes();
    wire.write([later, b"GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_vec()].concat()).await;
    until("the app has it", || !app.seen().is_empty()).await;
    app.go_on();
    wire.answer().await.assert_status(200);
    wire.answer().await.assert_problem(400, "bad-request");
    wire.assert_closed().await;
    assert_eq!(app.seen().len(), 1);
}

#[tokio::test]
async fn an_idle_connection_that_the_app_has_closed_costs_nobody_an_answer() {
    let app = App::start().await;
    let stack = before(&app, "").await;
    // It says that it stays, and goes.
    let target = says("/say-and-close", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    for _ in 0..20 {
        stack.get(&target).send().await.assert_status(200);
    }
    assert_eq!(stack.answered("app_error"), 0);
}

#[tokio::test]
async fn a_connection_is_dropped_that_dies_as_a_request_goes_out_and_the_request_asked_again() {
    let app = App::start().await;
    let stack = before(&app, "").await;
    stack.get("/").send().await.assert_status(200);
    // Taken from the pool alive; the app closes it when it has the request, and answers on the next.
    stack.get("/gone").send().await.assert_problem(502, "app-unavailable");
    assert_eq!((app.seen().len(), app.connections()), (3, 2));
}

#[tokio::test]
async fn what_an_app_says_behind_its_answer_is_nobodys_answer() {
    let app = App::start().await;
    let stack = before(&app, "").await;
    let target =
        says("/say", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil");
    for _ in 0..3 {
        assert_eq!(stack.get(&target).send().await.assert_status(200).text(), "ok");
        assert_eq!(stack.get("/").send().await.assert_status(200).text(), "hello");
    }
}

#[tokio::test]
async fn an_app_learns_that_the_client_went() {
    let app = App::start().await;
    let stack = before(&app, "").await;
    let sent = stack.get("/hang").start().await;
    until("the app has it", || !app.seen().is_empty()).await;
    drop(sent);
    until("it is told of", || stack.answered("cancelled") == 1).await;
    assert_eq!(stack.lines.all(1).await[0]["status"], 0);
}

#[tokio::test]
async fn the_end_of_the_answer_is_the_end_where_the_client_asked_for_it() {
    let app = App::start().await;
    let stack = before(&app, "").await;
    let mut wire: Wire = stack.wire().await;
    wire.write(stack.get("/").field("Connection", "close").bytes()).await;
    wire.answer().await.assert_status(200).assert_field("connection", "close");
    wire.assert_closed().await;
    // To the app that is no word: its connection stays.
    stack.get("/").send().await.assert_status(200);
    assert_eq!(app.connections(), 1);
}

/// Before these upstreams, of which one is left alone after so many failures.
async fn before_all(upstreams: &[&str], failures: u32) -> Stack {
    let table = "[[app]]\nname = \"portal\"\nsession = \"none\"\n";
    let stack =
        Setup::new().tables(&format!("{table}upstreams = {upstreams:?}\nejection = {{ failures = {failures} }}\n"));
    let stack = stack.start().await;
    stack.until_ready().await;
    stack
}

#[tokio::test]
async fn an_upstream_that_fails_is_left_alone_with_a_body_and_without() {
    for with_body in [false, true] {
        let app = App::start().await;
        let closes = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = closes.local_addr().expect("an address").to_string();
        tokio::spawn(async move { while closes.accept().await.is_ok() {} });
        let stack = before_all(&[&address, &app.address], 2).await;
        let mut refused = 0;
        for _ in 0..10 {
            let ask = if with_body { bodied(stack.get("/")) } else { stack.get("/") };
            refused += u64::from(ask.send().await.status == 502);
        }
        assert_eq!((refused, stack.count("valet_upstream_ejections_total", &[])), (2, 1));
    }
}

#[tokio::test]
async fn an_answer_begins_the_count_of_failures_anew() {
    let (one, other) = (App::start().await, App::start().await);
    let stack = before_all(&[&one.address, &other.address], 2).await;
    for _ in 0..4 {
        for path in ["/gone", "/gone", "/", "/"] {
            stack.get(path).send().await;
        }
    }
    assert_eq!((stack.answered("app_error"), stack.answered("forwarded")), (8, 8));
    assert_eq!(stack.count("valet_upstream_ejections_total", &[]), 0);
}

#[tokio::test]
async fn where_nobody_listens_another_upstream_answers() {
    let app = App::start().await;
    let stack = before_all(&[NOBODY, &app.address], 2).await;
    for _ in 0..10 {
        stack.get("/").send().await.assert_status(200);
    }
    assert_eq!(stack.count("valet_upstream_ejections_total", &[]), 1);
}

#[tokio::test]
async fn a_client_that_leaves_is_no_fault_of_the_app() {
    let (one, other) = (App::start().await, App::start().await);
    let stack = before_all(&[&one.address, &other.address], 1).await;
    for gone in 1..=6 {
        let sent = stack.get("/hang").start().await;
        until("an app has it", || one.seen().len() + other.seen().len() == gone).await;
        drop(sent);
        until("it is told of", || stack.answered("cancelled") == gone as u64).await;
    }
    assert_eq!(stack.count("valet_upstream_ejections_total", &[]), 0);
}

//! Requests with bodies to an app, by a connection on which the test decides what the app reads and says.

use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpListener;

use crate::http2::{ask, http2_before, http2_with};
use crate::kit::app::large;
use crate::kit::{App, HOST, Setup, Stack, Wire, in_time, until};

/// An app of which each connection is the test's.
struct ByHand(TcpListener);

impl ByHand {
    async fn start() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.expect("a port"))
    }

    fn address(&self) -> String {
        self.0.local_addr().expect("an address").to_string()
    }

    /// A gateway before it.
    async fn before(&self, app: &str, server: &str) -> Stack {
        let address = self.address();
        let app = format!("[[app]]\nname = \"portal\"\nsession = \"none\"\nupstreams = [\"{address}\"]\n{app}");
        let stack = Setup::new().server(server).tables(&app).start().await;
        stack.until_ready().await;
        stack
    }

    /// The next connection to it.
    async fn accept(&self) -> Wire {
        let (stream, _) = in_time("a connection to the app", self.0.accept()).await.expect("a connection");
        Wire::over(stream)
    }
}

fn head(method: &str, fields: &str) -> String {
    format!("{method} /x HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n")
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn large_bodies_arrive_byte_for_byte_and_the_connections_stay() {
    let app = App::start().await;
    let stack = Stack::before(&app, "session = \"none\"").await;
    let mut wire = stack.wire().await;
    let body = large();
    for _ in 0..2 {
        wire.write(head("POST", &format!("Content-Length: {}\r\n", body.len()))).await;
        wire.write(&body).await;
        let answer = wire.answer().await;
        assert_ne!(answer.assert_status(200).field("connection"), Some("close"));
        assert!(app.last().body == body);
        wire.write(head("POST", "Transfer-Encoding: CHUNKED\r\n")).await;
        for piece in body.chunks(70_000) {
            wire.write(format!("{:X};a=\"b\"\r\n", piece.len())).await;
            wire.write(piece).await;
            wire.write("\r\n").await;
        }
        wire.write("0\r\nx-trailer: y\r\n\r\n").await;
        wire.answer().await.assert_status(200);
        let seen = app.last();
        assert!(seen.body == body);
        assert_eq!((seen.field("transfer-encoding"), seen.field("content-length")), (Some("chunked"), None));
    }
    assert_eq!(app.connections(), 1);
}

#[tokio::test]
async fn an_app_that_answers_as_it_reads_holds_up_neither_side() {
    let app = ByHand::start().await;
    let stack = app.before("", "").await;
    let mut wire = stack.wire().await;
    let body = large();
    wire.write(head("POST", &format!("Content-Length: {}\r\n", body.len()))).await;
    let mut to = app.accept().await;
    to.read_to("\r\n\r\n").await;
    to.write(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len())).await;
    assert_eq!(wire.answer_to("HEAD").await.field("connection"), Some("close"));
    // Nobody reads before it has written: more than the sockets hold is under way in both directions at once.
    let (mut got, mut gone) = (Vec::new(), Vec::new());
    for piece in body.chunks(16 * 1024) {
        wire.write(piece).await;
        got.extend(to.exactly(piece.len()).await);
        to.write(piece).await;
        gone.extend(wire.exactly(piece.len()).await);
    }
    assert!(got == body && gone == body);
}

#[tokio::test]
async fn expect_100_continue_is_answered_by_the_app_before_the_body() {
    let app = ByHand::start().await;
    let stack = app.before("", "").await;
    let mut wire = stack.wire().await;
    wire.write(head("POST", "Expect: 100-continue\r\nContent-Length: 3\r\n")).await;
    let mut to = app.accept().await;
    assert!(to.read_to("\r\n\r\n").await.to_ascii_lowercase().contains("expect: 100-continue\r\n"));
    to.write("HTTP/1.1 100 Continue\r\n\r\n").await;
    wire.answer().await.assert_status(100);
    wire.write("xyz").await;
    to.read_to("xyz").await;
    to.write(OK).await;
    let answer = wire.answer().await;
    assert_ne!(answer.assert_status(200).field("connection"), Some("close"));
    // An answer in its place costs no body, and nobody waits for one.
    wire.write(head("POST", "Expect: 100-continue\r\nContent-Length: 3\r\n")).await;
    to.read_to("\r\n\r\n").await;
    to.write("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n").await;
    wire.answer().await.assert_status(403).assert_field("connection", "close");
    wire.assert_closed().await;
    to.assert_closed().await;
    assert_eq!(stack.answered("forwarded"), 2);
}

#[tokio::test]
async fn a_client_that_expects_100_continue_waits_for_the_app_and_not_the_app_for_it() {
    let app = ByHand::start().await;
    let stack = app.before("", "body_stall = \"3s\"").await;
    for asked in [true, false] {
        let mut wire = stack.wire().await;
        wire.write(head("POST", "Expect: 100-continue\r\nContent-Length: 3\r\n")).await;
        let mut to = app.accept().await;
        to.read_to("\r\n\r\n").await;
        if !asked {
            to.write("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nn").await;
            wire.read_to("\r\n\r\nn").await;
        }
        // Pause: the app takes longer than a client may for a piece of its body.
        tokio::time::sleep(Duration::from_millis(3500)).await;
        if asked {
            to.write("HTTP/1.1 100 Continue\r\n\r\n").await;
            wire.answer().await.assert_status(100);
            wire.write("xyz").await;
            to.read_to("xyz").await;
            to.write(OK).await;
            wire.answer().await.assert_status(200);
        } else {
            to.write("o").await;
            wire.read_to("o").await;
            wire.assert_closed().await;
        }
    }
    assert_eq!(stack.answered("forwarded"), 2);
    // The client's time begins when it is asked.
    let mut wire = stack.wire().await;
    wire.write(head("POST", "Expect: 100-continue\r\nContent-Length: 3\r\n")).await;
    let mut to = app.accept().await;
    to.read_to("\r\n\r\n").await;
    to.write("HTTP/1.1 100 Continue\r\n\r\n").await;
    wire.answer().await.assert_status(100);
    wire.answer().await.assert_problem(408, "too-slow");
    assert_eq!(stack.count("valet_upstream_failures_total", &[]), 0);
}

#[tokio::test]
async fn an_app_that_neither_asks_for_a_body_nor_answers_is_too_slow() {
    let app = ByHand::start().await;
    let stack = app.before("read_timeout = \"300ms\"", "").await;
    let mut wire = stack.wire().await;
    wire.write(head("POST", "Expect: 100-continue\r\nContent-Length: 3\r\n")).await;
    let _to = app.accept().await;
    wire.answer().await.assert_problem(504, "app-timeout");
    assert_eq!(stack.answered("app_timeout"), 1);
    let failures = stack.count("valet_upstream_failures_total", &[("app", "portal"), ("cause", "timeout")]);
    assert_eq!(failures, 0, "a client that waits would have it ejected");
}

#[tokio::test]
async fn a_client_that_is_asked_for_its_body_and_answered_at_once_may_send_all_of_it() {
    let app = ByHand::start().await;
    let stack = app.before("", "").await;
    let body = large();
    let mut wire = stack.wire().await;
    wire.write(head("POST", &format!("Expect: 100-continue\r\nContent-Length: {}\r\n", body.len()))).await;
    let mut to = app.accept().await;
    to.read_to("\r\n\r\n").await;
    to.write("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await;
    wire.answer().await.assert_status(100);
    wire.answer().await.assert_status(404).assert_field("connection", "close");
    let ((), got) = tokio::join!(wire.write(&body), to.exactly(body.len()));
    assert!(got == body);
    wire.assert_closed().await;
    assert_eq!(stack.answered("forwarded"), 1);
}

#[tokio::test]
async fn an_answer_before_the_body_goes_on_and_so_does_the_body() {
    let app = ByHand::start().await;
    let stack = app.before("", "").await;
    for fields in ["Content-Length: 6\r\n\r\nxyz", "Transfer-Encoding: chunked\r\n\r\n3\r\nxyz\r\n"] {
        let mut wire = stack.wire().await;
        wire.write(format!("POST /x HTTP/1.1\r\nHost: {HOST}\r\n{fields}")).await;
        let mut to = app.accept().await;
        to.read_to("xyz").await;
        to.write(OK).await;
        wire.answer().await.assert_status(200).assert_field("connection", "close");
        wire.write(if fields.starts_with('C') { "uvw" } else { "3\r\nuvw\r\n0\r\n\r\n" }).await;
        to.read_to("uvw").await;
        wire.assert_closed().await;
    }
    assert_eq!(stack.answered("forwarded"), 2);
}

#[tokio::test]
async fn an_app_that_answers_and_closes_in_the_middle_of_a_body_is_heard() {
    let app = ByHand::start().await;
    let stack = app.before("", "").await;
    let mut wire = stack.wire().await;
    wire.write(head("POST", "Content-Length: 10000000\r\n")).await;
    let mut to = app.accept().await;
    to.read_to("\r\n\r\n").await;
    to.write("HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno").await;
    drop(to);
    assert_eq!(wire.answer().await.assert_status(413).assert_field("connection", "close").text(), "no");
    wire.write(vec![b'x'; 100_000]).await;
    wire.assert_closed().await;
    assert_eq!((stack.answered("forwarded"), stack.answered("app_error")), (1, 0));
}

#[tokio::test]
async fn an_app_that_dies_in_the_middle_of_a_body_is_502_and_counts() {
    let app = ByHand::start().await;
    let stack = app.before("", "").await;
    for method in ["POST", "PUT"] {
        let mut wire = stack.wire().await;
        wire.write(head(method, "Content-Length: 6\r\n") + "xyz").await;
        let mut to = app.accept().await;
        to.read_to("xyz").await;
        drop(to);
        wire.answer().await.assert_problem(502, "app-unavailable").assert_field("connection", "close");
        wire.assert_closed().await;
    }
    assert_eq!(stack.count("valet_upstream_failures_total", &[("app", "portal"), ("cause", "broken")]), 2);
}

#[tokio::test]
async fn only_an_idempotent_request_is_repeated_when_a_kept_connection_is_dead() {
    let app = ByHand::start().await;
    let stack = app.before("", "").await;
    for (method, repeated) in [("PUT", true), ("POST", false), ("DELETE", true), ("PATCH", false)] {
        let mut wire = stack.wire().await;
        wire.write(head("GET", "")).await;
        let mut kept = app.accept().await;
        kept.read_to("\r\n\r\n").await;
        kept.write(OK).await;
        wire.answer().await.assert_status(200);
        wire.write(head(method, "Content-Length: 6\r\n") + "xyz").await;
        kept.read_to("xyz").await;
        drop(kept);
        if repeated {
            let mut to = app.accept().await;
            to.read_to("xyz").await;
            wire.write("uvw").await;
            to.read_to("uvw").await;
            to.write(OK.replace("content-length", "connection: close\r\ncontent-length")).await;
            assert_eq!(wire.answer().await.assert_status(200).text(), "ok");
        } else {
            wire.answer().await.assert_problem(502, "app-unavailable");
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_its_body_ends_the_request_to_the_app() {
    let app = ByHand::start().await;
    let stack = app.before("", "").await;
    let mut wire = stack.wire().await;
    wire.write(head("POST", "Content-Length: 6\r\n") + "xyz").await;
    let mut to = app.accept().await;
    to.read_to("xyz").await;
    drop(wire);
    to.assert_closed().await;
    until("it is told of", || stack.answered("cancelled") == 1).await;
    assert_eq!(stack.count("valet_upstream_failures_total", &[("app", "portal"), ("cause", "broken")]), 0);
}

#[tokio::test]
async fn a_body_that_stalls_behind_its_answer_ends_in_its_time() {
    let app = ByHand::start().await;
    let stack = app.before("", "body_stall = \"1s\"").await;
    let mut wire = stack.wire().await;
    wire.write(head("POST", "Content-Length: 6\r\n") + "xyz").await;
    let mut to = app.accept().await;
    to.read_to("xyz").await;
    to.write(OK).await;
    wire.answer().await.assert_status(200);
    wire.assert_closed().await;
    until("it is told of", || stack.answered("forwarded") == 1).await;
}

#[tokio::test]
async fn an_app_that_takes_nothing_of_a_body_is_too_slow_and_so_is_one_that_says_nothing_behind_it() {
    let app = ByHand::start().await;
    let stack = app.before("read_timeout = \"300ms\"", "").await;
    let mut wire = stack.wire().await;
    wire.write(head("POST", "Content-Length: 3\r\n") + "xyz").await;
    let _to = app.accept().await;
    wire.answer().await.assert_problem(504, "app-timeout");
    let mut wire = stack.wire().await;
    wire.write(head("POST", "Content-Length: 100000000\r\n")).await;
    let _to = app.accept().await;
    let send = async {
        for _ in 0..1000 {
            wire.write(vec![b'x'; 100_000]).await;
        }
    };
    // What does not go in any more is no matter.
    let _ = send.await;
    wire.answer().await.assert_problem(504, "app-timeout");
    assert_eq!(stack.count("valet_upstream_failures_total", &[("app", "portal"), ("cause", "timeout")]), 2);
}

#[tokio::test]
async fn requests_with_bodies_sent_ahead_are_answered_each_in_its_order() {
    let app = App::start().await;
    let stack = Stack::before(&app, "session = \"none\"").await;
    let mut wire = stack.wire().await;
    let one = head("POST", "Content-Length: 3\r\n") + "one";
    let two = head("POST", "Transfer-Encoding: chunked\r\n") + "3\r\ntwo\r\n0\r\n\r\n";
    wire.write([one.as_str(), &two, &head("GET", ""), &one].concat()).await;
    for _ in 0..4 {
        wire.answer().await.assert_status(200);
    }
    let bodies: Vec<Vec<u8>> = app.seen().into_iter().map(|seen| seen.body).collect();
    assert_eq!(bodies, [&b"one"[..], b"two", b"", b"one"]);
    assert_eq!(app.connections(), 1);
}

/// Sends this over HTTP/2 in pieces, each as the window opens.
async fn send_all(stream: &mut h2::SendStream<Bytes>, body: &[u8]) {
    let mut left = Bytes::copy_from_slice(body);
    while !left.is_empty() {
        stream.reserve_capacity(left.len());
        let room = in_time("a window", std::future::poll_fn(|cx| stream.poll_capacity(cx))).await;
        let now = left.split_to(room.expect("a stream").expect("a window").min(left.len()));
        stream.send_data(now, false).expect("sent");
    }
    stream.send_data(Bytes::new(), true).expect("sent");
}

fn post() -> http::Request<()> {
    http::Request::post(format!("https://{HOST}/x")).body(()).expect("a request")
}

#[tokio::test]
async fn large_bodies_arrive_over_http_2_byte_for_byte_and_the_connection_to_the_app_stays() {
    let app = App::start().await;
    let (stack, mut send) = http2_with(Some(&app), "session = \"none\"").await;
    let body = large();
    for announced in [false, true] {
        let mut request = post();
        if announced {
            request.headers_mut().insert("content-length", body.len().into());
        }
        let (answer, mut stream) = send.send_request(request, false).expect("sent");
        send_all(&mut stream, &body).await;
        assert_eq!(in_time("an answer", answer).await.expect("an answer").status(), 200);
        let seen = app.last();
        assert!(seen.body == body);
        assert_eq!(seen.field("transfer-encoding"), (!announced).then_some("chunked"));
    }
    assert_eq!(app.connections(), 1);
    until("they are told of", || stack.answered("forwarded") == 2).await;
}

#[tokio::test]
async fn bounds_of_a_body_hold_over_http_2() {
    let app = App::start().await;
    let (stack, mut send) =
        http2_with(Some(&app), "session = \"none\"\nmax_body = \"10B\"\nread_timeout = \"300ms\"").await;
    assert_eq!(ask(&mut send, "POST", "/x", &[], "0123456789").await.status, 200);
    assert_eq!(ask(&mut send, "POST", "/x", &[], "0123456789x").await.status, 413);
    assert_eq!(ask(&mut send, "POST", "/x", &[("content-length", "11")], "0123456789x").await.status, 413);
    // One that does not come.
    let (answer, mut stream) = send.send_request(post(), false).expect("sent");
    stream.send_data(Bytes::from_static(b"half"), false).expect("sent");
    assert_eq!(in_time("an answer", answer).await.expect("an answer").status(), 408);
    // One whose client takes it back.
    let seen = app.seen().len();
    let (answer, mut stream) = send.send_request(post(), false).expect("sent");
    stream.send_data(Bytes::from_static(b"half"), false).expect("sent");
    until("the app has its head", || app.seen().len() > seen).await;
    stream.send_reset(h2::Reason::CANCEL);
    drop(answer);
    until("it is told of", || stack.answered("cancelled") == 1).await;
    assert_eq!((stack.answered("too_slow"), stack.answered("too_large")), (1, 2));
    assert_eq!(app.seen().iter().filter(|seen| seen.body.len() == 4).count(), 0);
}

#[tokio::test]
async fn an_answer_before_the_body_goes_on_over_http_2() {
    let app = ByHand::start().await;
    let (stack, mut send) = http2_before(&app.address(), "session = \"none\"").await;
    let (answer, mut stream) = send.send_request(post(), false).expect("sent");
    stream.send_data(Bytes::from_static(b"xyz"), false).expect("sent");
    let mut to = app.accept().await;
    to.read_to("3\r\nxyz\r\n").await;
    to.write(OK).await;
    let mut answer = in_time("an answer", answer).await.expect("an answer");
    assert_eq!(answer.status(), 200);
    assert_eq!(in_time("a body", answer.body_mut().data()).await.expect("a piece").expect("a piece"), "ok");
    stream.send_data(Bytes::from_static(b"uvw"), true).expect("sent");
    to.read_to("3\r\nuvw\r\n0\r\n\r\n").await;
    until("it is told of", || stack.answered("forwarded") == 1).await;
}

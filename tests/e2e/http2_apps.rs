//! Apps that speak HTTP/2 in the clear, as gRPC services do: what differs is inside of the gateway, and not what its clients may rely on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::server::SendResponse;
use http::{Request, Response};
use serde_json::json;
use tokio::net::TcpListener;

use crate::framing::{WRONG, post};
use crate::http2::{ask, http2_of};
use crate::kit::{App, HOST, Setup, Stack, in_time, until};

/// Larger than all windows of a connection together.
const LARGE: usize = 16 << 20;

/// An app of HTTP/2 that answers at once; to `/silent` it sends a piece and nothing more, to `/large` as much as it may, to `/echo` what comes as it comes,
/// with a field behind it.
struct Http2App {
    address: String,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    /// The heads that came.
    asked: AtomicUsize,
    /// Those of which a whole body came.
    whole: AtomicUsize,
    /// Those that were taken back.
    reset: AtomicUsize,
    /// Bytes of bodies that the gateway had room for.
    left: AtomicUsize,
}

impl Http2App {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let app = Self { address, counts: Arc::default() };
        let counts = Arc::clone(&app.counts);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let counts = Arc::clone(&counts);
                tokio::spawn(async move {
                    let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
                    while let Some(Ok((request, answer))) = connection.accept().await {
                        tokio::spawn(answer_to(request, answer, Arc::clone(&counts)));
                    }
                });
            }
        });
        app
    }

    fn count(&self, which: impl FnOnce(&Counts) -> &AtomicUsize) -> usize {
        which(&self.counts).load(Ordering::Relaxed)
    }

    fn table(&self, lines: &str) -> String {
        format!("[[app]]\nname = \"portal\"\nupstreams = [\"h2c://{}\"]\n{lines}", self.address)
    }
}

async fn answer_to(request: Request<h2::RecvStream>, mut answer: SendResponse<Bytes>, counts: Arc<Counts>) {
    counts.asked.fetch_add(1, Ordering::Relaxed);
    let (head, mut body) = request.into_parts();
    if head.uri.path() == "/echo" {
        return echo(body, answer).await;
    }
    while let Some(piece) = body.data().await {
        match piece {
            Ok(piece) => drop(body.flow_control().release_capacity(piece.len())),
            Err(_) => {
                counts.reset.fetch_add(1, Ordering::Relaxed);
                return;
            }
        }
    }
    counts.whole.fetch_add(1, Ordering::Relaxed);
    let mut body = answer.send_response(Response::new(()), false).expect("sent");
    match head.uri.path() {
        "/silent" => {
            body.send_data(Bytes::from_static(b"hello"), false).expect("sent");
            let _ = std::future::poll_fn(|cx| body.poll_reset(cx)).await;
            counts.reset.fetch_add(1, Ordering::Relaxed);
        }
        "/large" => {
            body.reserve_capacity(LARGE);
            while let Some(Ok(room)) = std::future::poll_fn(|cx| body.poll_capacity(cx)).await {
                body.send_data(vec![b'x'; room].into(), false).expect("sent");
                counts.left.fetch_add(room, Ordering::Relaxed);
                body.reserve_capacity(LARGE);
            }
        }
        _ => body.send_data(Bytes::from_static(b"hello"), true).expect("sent"),
    }
}

/// Reads no more than has gone back.
async fn echo(mut body: h2::RecvStream, mut answer: SendResponse<Bytes>) {
    let mut back = answer.send_response(Response::new(()), false).expect("sent");
    while let Some(Ok(mut piece)) = body.data().await {
        let size = piece.len();
        while !piece.is_empty() {
            back.reserve_capacity(piece.len());
            let Some(Ok(room)) = std::future::poll_fn(|cx| back.poll_capacity(cx)).await else { return };
            back.send_data(piece.split_to(room.min(piece.len())), false).expect("sent");
        }
        let _ = body.flow_control().release_capacity(size);
    }
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
    back.send_trailers(trailers).expect("sent");
}

fn get(path: &str, token: &str) -> Request<()> {
    let request = Request::get(format!("https://{HOST}{path}"));
    let request = if token.is_empty() { request } else { request.header("authorization", format!("Bearer {token}")) };
    request.body(()).expect("a request")
}

async fn begun(send: &mut SendRequest<Bytes>, path: &str, token: &str) -> h2::RecvStream {
    let (answer, _) = send.send_request(get(path, token), true).expect("sent");
    in_time("a head", answer).await.expect("a head").into_body()
}

async fn revoke(stack: &Stack, subject: &str) {
    let body = json!({ "issuer": stack.idp().issuer(), "subject": subject });
    stack.admin_post("/api/sessions/revoke", &body).await.assert_status(204);
}

#[tokio::test]
async fn a_stream_on_which_nobody_says_anything_ends_with_its_session() {
    let app = Http2App::start().await;
    let (stack, mut send, _authority) = http2_of(Setup::new().administered().tables(&app.table(""))).await;
    let (ada, bob) = (stack.token("ada"), stack.token("bob"));
    let mut ended = begun(&mut send, "/silent", &ada).await;
    let mut other = begun(&mut send, "/silent", &bob).await;
    for body in [&mut ended, &mut other] {
        assert_eq!(in_time("a piece", body.data()).await.expect("a piece").expect("a piece"), "hello");
    }
    revoke(&stack, "ada").await;
    let end = in_time("the end of it", ended.data()).await;
    assert!(matches!(end, Some(Err(_))), "{end:?}: it must not look whole");
    until("the app learns of it", || app.count(|counts| &counts.reset) == 1).await;
    until("it is told of", || stack.answered("session_ended") == 1).await;
    let line = &stack.lines.all(1).await[0];
    assert_eq!((&line["status"], &line["outcome"]), (&200.into(), &"session_ended".into()));
    assert_eq!(line["upstream"], app.address.as_str());
    // The other one's goes on, on the same two connections.
    drop(other);
    until("the app learns of it", || app.count(|counts| &counts.reset) == 2).await;
    assert_eq!(stack.answered("session_ended"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_take_nothing_are_held_little_for_and_hold_up_nobody_else() {
    const STREAMS: usize = 60;
    /// A window, and what of it is read at once.
    const EACH: usize = 128 * 1024;
    let app = Http2App::start().await;
    let (stack, mut others, authority) = http2_of(Setup::new().tables(&app.table("session = \"none\""))).await;
    let tls = authority.client(&["h2"]).connect(&stack.address, HOST).await.expect("a handshake");
    let mut builder = h2::client::Builder::new();
    let (mut send, connection) = builder.initial_window_size(0).handshake::<_, Bytes>(tls).await.expect("HTTP/2");
    tokio::spawn(connection);
    let mut kept = Vec::new();
    for _ in 0..STREAMS {
        kept.push(begun(&mut send, "/large", "").await);
    }
    // Each has filled its window; of what goes beyond it only the bound is known.
    until("the windows are full", || app.count(|counts| &counts.left) >= STREAMS * 64 * 1024).await;
    // The same connection to the app serves others.
    for _ in 0..20 {
        let mut body = begun(&mut others, "/hello", "").await;
        assert_eq!(in_time("a piece", body.data()).await.expect("a piece").expect("a piece"), "hello");
    }
    let left = app.count(|counts| &counts.left);
    assert!(left <= STREAMS * EACH, "{left}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_may_answer_while_it_reads_however_large_both_bodies_are() {
    let app = Http2App::start().await;
    let (_stack, mut send, _authority) = http2_of(Setup::new().tables(&app.table("session = \"none\""))).await;
    let request = Request::post(format!("https://{HOST}/echo")).body(()).expect("a request");
    let (answer, mut to) = send.send_request(request, false).expect("sent");
    let sending = tokio::spawn(async move {
        let mut left = Bytes::from(vec![b'x'; LARGE]);
        while !left.is_empty() {
            to.reserve_capacity(left.len());
            let room = std::future::poll_fn(|cx| to.poll_capacity(cx)).await.expect("a stream").expect("room");
            let piece = left.split_to(room.min(left.len()));
            to.send_data(piece, left.is_empty()).expect("sent");
        }
    });
    let mut back = in_time("a head", answer).await.expect("a head").into_body();
    let mut size = 0;
    while let Some(piece) = in_time("a piece", back.data()).await {
        let piece = piece.expect("a piece");
        size += piece.len();
        back.flow_control().release_capacity(piece.len()).expect("a window");
    }
    let trailers = in_time("fields", back.trailers()).await.expect("fields").expect("fields");
    assert_eq!((size, trailers["grpc-status"].as_bytes()), (LARGE, &b"0"[..]));
    sending.await.expect("sent");
}

#[tokio::test]
async fn a_body_whose_chunks_are_none_is_never_whole_at_an_app_of_http_2() {
    let app = Http2App::start().await;
    let stack = Setup::new().tables(&app.table("session = \"none\"")).start().await;
    stack.until_ready().await;
    for (n, wrong) in WRONG.iter().enumerate() {
        // With the head, and after the app has it.
        let mut wire = stack.wire().await;
        wire.write(post("Transfer-Encoding: chunked\r\n") + "3\r\nabc\r\n" + wrong).await;
        wire.answer().await.assert_problem(400, "bad-request").assert_field("connection", "close");
        let mut wire = stack.wire().await;
        wire.write(post("Transfer-Encoding: chunked\r\n") + "3\r\nabc\r\n").await;
        until("the head at the app", || app.count(|counts| &counts.asked) == n + 1).await;
        wire.write(wrong).await;
        wire.answer().await.assert_problem(400, "bad-request").assert_field("connection", "close");
    }
    until("the app learns of it", || app.count(|counts| &counts.reset) == WRONG.len()).await;
    assert_eq!((app.count(|counts| &counts.asked), app.count(|counts| &counts.whole)), (WRONG.len(), 0));
    let mut wire = stack.wire().await;
    wire.write(post("Transfer-Encoding: chunked\r\n") + "3\r\nabc\r\n0\r\n\r\n").await;
    wire.answer().await.assert_status(200);
}

/// An app that ends each connection behind its first answer, and takes no second request on it; how many requests it answered.
async fn restless(refuses: bool) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let answered = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&answered);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let count = Arc::clone(&count);
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
                let mut first = true;
                while let Some(Ok((request, mut answer))) = connection.accept().await {
                    if !std::mem::replace(&mut first, false) {
                        if refuses {
                            answer.send_reset(h2::Reason::REFUSED_STREAM);
                            continue;
                        }
                        // Without a word.
                        return;
                    }
                    count.fetch_add(1, Ordering::Relaxed);
                    let mut body = answer.send_response(Response::new(()), false).expect("sent");
                    tokio::spawn(async move {
                        let mut from = request.into_body();
                        while let Some(Ok(piece)) = from.data().await {
                            let _ = from.flow_control().release_capacity(piece.len());
                        }
                        body.send_data(Bytes::from_static(b"hello"), true).expect("sent");
                    });
                }
            });
        }
    });
    (address, answered)
}

#[tokio::test]
async fn a_request_that_the_app_has_not_begun_with_is_asked_once_more_and_no_other() {
    for refuses in [false, true] {
        let (address, answered) = restless(refuses).await;
        let app = format!("[[app]]\nname = \"portal\"\nsession = \"none\"\nupstreams = [\"h2c://{address}\"]");
        let (stack, mut send, _authority) = http2_of(Setup::new().tables(&app)).await;
        for n in 0..10 {
            for (method, body) in [("GET", ""), ("PUT", "a body")] {
                let got = ask(&mut send, method, "/", &[], body).await;
                assert_eq!((got.status, &*got.body), (200, &b"hello"[..]), "{method} {n}");
            }
        }
        // An app that ends the connection without a word may have begun with it.
        let expected = if refuses { 200 } else { 502 };
        assert_eq!(ask(&mut send, "POST", "/", &[], "a body").await.status, expected);
        assert_eq!(ask(&mut send, "GET", "/", &[], "").await.status, 200);
        // With a body whose one frame holds nothing.
        let request = Request::post(format!("https://{HOST}/")).body(()).expect("a request");
        let (answer, mut to) = send.send_request(request, false).expect("sent");
        to.send_data(Bytes::new(), true).expect("sent");
        assert_eq!(in_time("an answer", answer).await.expect("a head").status(), expected);
        assert_eq!(answered.load(Ordering::Relaxed), if refuses { 23 } else { 21 });
        assert_eq!(stack.answered("app_error"), if refuses { 0 } else { 2 });
    }
}

#[tokio::test]
async fn beside_an_upstream_of_http_2_one_of_http_1_has_its_turn_too() {
    let (two, one) = (Http2App::start().await, App::start().await);
    let upstreams = format!("upstreams = [\"h2c://{}\", \"http://{}\"]", two.address, one.address);
    let app = format!("[[app]]\nname = \"portal\"\nsession = \"none\"\n{upstreams}");
    let (_stack, mut send, _authority) = http2_of(Setup::new().tables(&app)).await;
    for n in 0..10 {
        assert_eq!(ask(&mut send, "POST", "/", &[], "a body").await.status, 200, "{n}");
    }
    assert_eq!((two.count(|counts| &counts.whole), one.seen().len()), (5, 5));
}

#[tokio::test]
async fn a_client_may_take_its_time_with_its_body_once_the_app_answers() {
    let app = Http2App::start().await;
    let setup = Setup::new().server("body_stall = \"1s\"").tables(&app.table("session = \"none\""));
    let (stack, mut send, _authority) = http2_of(setup).await;
    let request = Request::post(format!("https://{HOST}/echo")).body(()).expect("a request");
    let (answer, mut to) = send.send_request(request, false).expect("sent");
    let mut back = in_time("a head", answer).await.expect("a head").into_body();
    // Longer than `body_stall`, and than a body may take at less than 256 bytes a second.
    for pause in [2, 10, 0] {
        to.send_data(Bytes::from_static(b"x"), pause == 0).expect("sent");
        assert_eq!(in_time("a piece", back.data()).await.expect("a piece").expect("a piece"), "x");
        // Pause: what is shown is that nothing ends in it.
        tokio::time::sleep(Duration::from_secs(pause)).await;
    }
    assert!(in_time("fields", back.trailers()).await.expect("fields").is_some());
    until("it is told of", || stack.answered("forwarded") == 1).await;
}

#[tokio::test]
async fn a_stream_on_which_both_are_silent_ends_and_nobody_is_blamed() {
    let app = Http2App::start().await;
    let lines = "session = \"none\"\nread_timeout = \"1s\"";
    let (stack, mut send, _authority) = http2_of(Setup::new().tables(&app.table(lines))).await;
    let request = Request::post(format!("https://{HOST}/echo")).body(()).expect("a request");
    let (answer, mut to) = send.send_request(request, false).expect("sent");
    let mut back = in_time("a head", answer).await.expect("a head").into_body();
    to.send_data(Bytes::from_static(b"x"), false).expect("sent");
    assert_eq!(in_time("a piece", back.data()).await.expect("a piece").expect("a piece"), "x");
    assert!(matches!(in_time("its end", back.data()).await, Some(Err(_))));
    until("it is told of", || stack.answered("forwarded") == 1).await;
    assert_eq!(stack.count("valet_upstream_failures_total", &[]), 0);
}

#[tokio::test]
async fn bodies_to_an_app_of_http_2_have_their_bounds() {
    let app = Http2App::start().await;
    let lines = "session = \"none\"\nmax_body = \"1KiB\"";
    let setup = Setup::new().server("body_stall = \"1s\"").tables(&app.table(lines));
    let (stack, mut send, _authority) = http2_of(setup).await;
    assert_eq!(ask(&mut send, "POST", "/hello", &[], &"x".repeat(1024)).await.status, 200);
    assert_eq!(ask(&mut send, "POST", "/hello", &[], &"x".repeat(1025)).await.status, 413);
    let request = Request::post(format!("https://{HOST}/hello")).body(()).expect("a request");
    let (answer, mut to) = send.send_request(request, false).expect("sent");
    to.send_data(Bytes::from_static(b"x"), false).expect("sent");
    assert_eq!(in_time("an answer", answer).await.expect("a head").status(), 408);
    until("the app learns of both", || app.count(|counts| &counts.reset) == 2).await;
    let ended = ["too_large", "too_slow", "forwarded"].map(|outcome| stack.answered(outcome));
    assert_eq!(ended, [1, 1, 1]);
}

//! Bodies over HTTP/2: of answers, no faster than the client takes them, and of requests, no faster than the app does.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;

use crate::http2::{ask, http2_of, http2_with};
use crate::kit::app::{large, says};
use crate::kit::tls::{Authority, Client};
use crate::kit::{App, HOST, Setup, Stack, in_time, until};

#[tokio::test]
async fn requests_with_a_body_and_without_are_answered_alike_over_http_2() {
    let app = App::start().await;
    let (_stack, mut send) = http2_with(Some(&app), "session = \"none\"").await;
    for (path, answer) in [
        (
            "/say",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Thing: One\r\nx-thing: two\r\nSet-Cookie: a=b\r\n\r\nhello",
        ),
        ("/say", "HTTP/1.1 204 No Content\r\nx: y\r\n\r\n"),
        ("/say", "HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n"),
        ("/say", "HTTP/1.1 304 Not Modified\r\netag: \"a\"\r\ntransfer-encoding: chunked\r\n\r\n"),
        (
            "/say",
            "HTTP/1.1 200 OK\r\nconnection: x-private\r\nx-private: 1\r\nkeep-alive: timeout=5\r\ncontent-length: 1\r\n\r\nx",
        ),
        (
            "/say",
            "HTTP/1.1 200 OK\r\nupgrade: h2c\r\ntrailer: x\r\nte: gzip\r\nx-request-id: its-own\r\ncontent-length: 1\r\n\r\nx",
        ),
        (
            "/say",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nx-trailer: z\r\n\r\n",
        ),
        ("/say", "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\nno"),
        ("/say-and-close", "HTTP/1.1 200 OK\r\n\r\nuntil the end"),
        ("/say-and-close", "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxy"),
        ("/say-and-close", "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n"),
        ("/say-and-close", "SSH-2.0-x\r\n\r\n"),
    ] {
        let target = says(path, answer);
        let bare = ask(&mut send, "GET", &target, &[], "").await;
        assert!(app.last().field("content-length").is_none());
        for (method, fields) in [("GET", &[][..]), ("POST", &[("content-length", "1")])] {
            let bodied = ask(&mut send, method, &target, fields, "x").await;
            assert_eq!(app.last().body, b"x", "it has a body");
            assert_eq!(bare.said(), bodied.said(), "{answer}");
        }
    }
}

#[tokio::test]
async fn the_end_of_an_answer_waits_for_no_window() {
    let app = App::start().await;
    let (stack, _, authority) = http2_of(Setup::new().app(&app, "session = \"none\"")).await;
    let tls = authority.client(&["h2"]).connect(&stack.address, HOST).await.expect("a handshake");
    // It takes as much as the answer has, and gives nothing of it back.
    let mut narrow = h2::client::Builder::new();
    let (mut send, connection) = narrow.initial_window_size(5).handshake::<_, Bytes>(tls).await.expect("HTTP/2");
    tokio::spawn(connection);
    let target = says("/say", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello");
    let get = Request::get(format!("https://{HOST}{target}")).body(()).expect("a request");
    let (answer, _) = send.send_request(get, true).expect("a head");
    let mut body = in_time("an answer", answer).await.expect("an answer").into_body();
    assert_eq!(in_time("its body", body.data()).await.expect("a piece").expect("a piece"), "hello");
    assert!(in_time("its end", body.data()).await.is_none());
}

#[tokio::test]
async fn an_app_is_told_the_same_over_http_2_with_a_body_and_without() {
    let app = App::start().await;
    let (stack, mut send) = http2_with(Some(&app), "").await;
    let bearer = format!("Bearer {}", stack.token("ada"));
    let fields =
        [("authorization", &*bearer), ("cookie", "a=b"), ("cookie", "c=d"), ("x-auth-subject", "eve"), ("x-y", "z")];
    let mut told = Vec::new();
    for body in ["", "x"] {
        assert_eq!(ask(&mut send, "GET", "/orders?a=b", &fields, body).await.status, 200);
        let seen = app.last();
        let framing = ["content-length", "transfer-encoding", "traceparent", "x-request-id"];
        let lines = seen.head.lines().map(str::to_ascii_lowercase);
        let mut lines: Vec<String> = lines.filter(|line| !framing.iter().any(|name| line.starts_with(name))).collect();
        lines.sort_unstable();
        told.push(lines);
    }
    assert_eq!(told[0], told[1]);
    assert_eq!((app.last().field("host"), app.last().field("x-auth-subject")), (Some(HOST), Some("ada")));
}

#[tokio::test]
async fn large_bodies_arrive_over_http_2_byte_for_byte() {
    let app = App::start().await;
    let (stack, mut send) = http2_with(Some(&app), "session = \"none\"").await;
    for target in ["/large-sized", "/large-chunks"] {
        let got = ask(&mut send, "GET", target, &[], "").await;
        assert!(got.body == large(), "{target}: {} bytes", got.body.len());
    }
    let connections = app.connections();
    assert_eq!(ask(&mut send, "GET", "/", &[], "").await.body, b"hello");
    assert_eq!(app.connections(), connections, "a connection is used again");
    until("they are told of", || stack.answered("forwarded") == 3).await;
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_no_whole_one_over_http_2() {
    let app = App::start().await;
    let (stack, mut send) = http2_with(Some(&app), "session = \"none\"").await;
    let (answer, _) = send.send_request(get("/half"), true).expect("sent");
    // A reset may overtake the head.
    if let Ok(answer) = in_time("a head", answer).await {
        let mut body = answer.into_body();
        let end = loop {
            match in_time("an end", body.data()).await {
                Some(Ok(piece)) => assert!(b"hal".starts_with(&piece)),
                end => break end,
            }
        };
        assert!(matches!(end, Some(Err(_))), "{end:?}");
    }
    until("a fault", || stack.answered("app_error") == 1).await;
    assert_eq!(ask(&mut send, "GET", "/gone", &[], "").await.status, 502);
}

#[tokio::test]
async fn an_app_learns_that_a_client_of_http_2_took_its_request_back() {
    let app = App::start().await;
    let (stack, mut send) = http2_with(Some(&app), "session = \"none\"").await;
    let (answer, mut stream) = send.send_request(get("/hang"), true).expect("sent");
    until("the app has it", || !app.seen().is_empty()).await;
    stream.send_reset(h2::Reason::CANCEL);
    drop(answer);
    until("it is told of", || stack.answered("cancelled") == 1).await;
}

fn get(path: &str) -> Request<()> {
    Request::get(format!("https://{HOST}{path}")).body(()).expect("a request")
}

/// The body that [`eager`] sends.
const BODY: usize = 2 << 20;

/// An app on threads of its own that sends as fast as it may. Gives its address, and counts what left it.
fn eager() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let left = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&left);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, count) = (stream.expect("a connection"), Arc::clone(&count));
            // The kernel's part is small, and always the same.
            let _ = socket2::SockRef::from(&stream).set_send_buffer_size(16 * 1024);
            std::thread::spawn(move || {
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {BODY}\r\n\r\n").as_bytes());
                for _ in 0..BODY / 1024 {
                    if stream.write_all(&[b'x'; 1024]).is_err() {
                        return;
                    }
                    count.fetch_add(1024, Ordering::Relaxed);
                }
            });
        }
    });
    (address, left)
}

/// A gateway before it, and a client that speaks HTTP/2.
async fn gateway_before(address: &str, server: &str) -> (Stack, Client) {
    let authority = Authority::new();
    let site = authority.site(&[HOST]);
    let setup = Setup::new().listener("tls = [{ chain = \"site.pem\", key = \"site.key\" }]").server(server);
    let setup = setup.file("site.pem", &site.chain).file("site.key", &site.key);
    let app = format!("[[app]]\nname = \"portal\"\nsession = \"none\"\nupstreams = [\"{address}\"]");
    let stack = setup.tables(&app).start().await;
    stack.until_ready().await;
    (stack, authority.client(&["h2"]))
}

/// The same, with a client whose streams have this window.
async fn before_eager(address: &str, server: &str, window: u32) -> (Stack, SendRequest<Bytes>) {
    let (stack, client) = gateway_before(address, server).await;
    let tls = client.connect(&stack.address, HOST).await.expect("a handshake");
    let mut builder = h2::client::Builder::new();
    let (send, connection) = builder.initial_window_size(window).handshake(tls).await.expect("HTTP/2");
    tokio::spawn(connection);
    (stack, send)
}

/// Resident bytes of this process.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("a status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") * 1024
}

/// For `make prove`: nothing else is in its process.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "memory is that of the whole process"]
async fn memory_of_400_streams_whose_clients_take_nothing() {
    let (address, left) = eager();
    let (stack, client) = gateway_before(&address, "").await;
    let before = resident();
    let mut kept = Vec::new();
    for _ in 0..4 {
        let tls = client.connect(&stack.address, HOST).await.expect("a handshake");
        let mut builder = h2::client::Builder::new();
        let (mut send, connection) = builder.initial_window_size(0).handshake::<_, Bytes>(tls).await.expect("HTTP/2");
        tokio::spawn(connection);
        for n in 0..100 {
            // Each second one with a body.
            let (answer, mut body) = send.send_request(get("/"), n % 2 == 0).expect("sent");
            if n % 2 == 1 {
                body.send_data(Bytes::from_static(b"a body"), true).expect("sent");
            }
            kept.push((send.clone(), in_time("a head", answer).await.expect("a head").into_body()));
        }
    }
    let mut seen = usize::MAX;
    while seen != left.load(Ordering::Relaxed) {
        seen = left.load(Ordering::Relaxed);
        // Pause: the sign is that nothing moves any more.
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let each = (resident() - before) / kept.len();
    #[allow(clippy::print_stdout)] // For `make prove`.
    {
        println!(
            "test result: {} KiB resident for each of 400 streams, the app's threads and the client included",
            each / 1024
        );
    }
    assert!(each <= 96 * 1024, "{each}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_http_2_that_takes_nothing_is_left_in_its_time() {
    let (address, _) = eager();
    let (stack, mut send) = before_eager(&address, "write_stall = \"1s\"", 100).await;
    let (answer, _) = send.send_request(get("/"), true).expect("sent");
    let mut body = in_time("a head", answer).await.expect("a head").into_body();
    let mut got = 0;
    while let Some(piece) = in_time("an end", body.data()).await {
        match piece {
            Ok(piece) => got += piece.len(),
            Err(_) => break,
        }
    }
    assert_eq!(got, 100);
    until("it is told of", || stack.answered("cancelled") == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_2_connection_that_nobody_reads_ends_in_its_time() {
    let (address, _) = eager();
    let (stack, client) = gateway_before(&address, "write_stall = \"1s\"").await;
    let tls = client.connect(&stack.address, HOST).await.expect("a handshake");
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(1 << 30).initial_connection_window_size(1 << 30);
    let (mut send, mut connection) = builder.handshake::<_, Bytes>(tls).await.expect("HTTP/2");
    let mut answers = Vec::new();
    for _ in 0..90 {
        answers.push(send.send_request(get("/"), true).expect("sent"));
    }
    // The requests go out, and little of the answers comes in. Then nobody reads.
    tokio::select! {
        _ = &mut connection => panic!("the connection ended"),
        answer = answers.remove(0).0 => drop(answer.expect("an answer")),
    }
    until("it is cut", || stack.count("valet_connections_cut_total", &[("cause", "stalled")]) == 1).await;
    until("its requests are over", || stack.answered("cancelled") + stack.answered("forwarded") == 90).await;
}

//! WebSockets: the handshake, and the tunnel behind it.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::kit::app::{large, says};
use crate::kit::tls::{Authority, Client};
use crate::kit::{App, HOST, NOBODY, Setup, Stack, Wire, until};

const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

const SWITCH: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

fn handshake(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n{UPGRADE}\r\n")
}

/// An app on threads of its own that says `101` as soon as it has a head, and then what it hears. Gives its address.
fn fast_app() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || echo(stream.expect("a connection")));
        }
    });
    address
}

fn echo(mut stream: TcpStream) {
    let (mut head, mut piece) = (Vec::new(), [0; 4096]);
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut piece) {
            Ok(n @ 1..) => head.extend_from_slice(&piece[..n]),
            _ => return,
        }
    }
    let _ = stream.set_nodelay(true);
    if stream.write_all(SWITCH).is_err() {
        return;
    }
    while let Ok(n @ 1..) = stream.read(&mut piece) {
        if stream.write_all(&piece[..n]).is_err() {
            return;
        }
    }
}

/// How many of so many WebSockets, four at a time, do not give back what is sent through them.
async fn torn(address: &str, tls: Option<&Client>, count: usize) -> usize {
    let torn = Arc::new(AtomicUsize::new(0));
    let left = Arc::new(AtomicUsize::new(count));
    let clients = (0..4).map(|_| {
        let (address, tls, torn, left) = (address.to_owned(), tls.cloned(), Arc::clone(&torn), Arc::clone(&left));
        tokio::spawn(async move {
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                let mut wire = match &tls {
                    Some(client) => client.open(&address, HOST).await,
                    None => Wire::open(&address).await,
                };
                wire.write(handshake("/socket")).await;
                wire.read_to("\r\n\r\n").await;
                wire.write("through the tunnel").await;
                if !wire.hears("through the tunnel").await {
                    torn.fetch_add(1, Ordering::Relaxed);
                }
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.expect("a client");
    }
    torn.load(Ordering::Relaxed)
}

/// Of this many WebSockets to a fast app none is torn: in the clear, over TLS, and over TLS by clients that choose HTTP/1.1 beside HTTP/2.
async fn none_is_torn(count: usize) {
    let app = format!("[[app]]\nname = \"portal\"\nsession = \"none\"\nupstreams = [\"{}\"]", fast_app());
    let plain = Setup::new().tables(&app).start().await;
    let authority = Authority::new();
    let site = authority.site(&[HOST]);
    let setup = Setup::new().tables(&app).listener("tls = [{ chain = \"site.pem\", key = \"site.key\" }]");
    let tls = setup.file("site.pem", &site.chain).file("site.key", &site.key).start().await;
    let (bare, chosen) = (authority.client(&[]), authority.client(&["http/1.1"]));
    for (way, stack, client) in
        [("plain", &plain, None), ("TLS", &tls, Some(&bare)), ("TLS, HTTP/1.1 chosen", &tls, Some(&chosen))]
    {
        stack.until_ready().await;
        let torn = torn(&stack.address, client, count).await;
        assert_eq!(torn, 0, "of {count} ({way})");
    }
    #[allow(clippy::print_stdout)] // For `make prove`.
    {
        println!(
            "test result: none of {count} WebSockets torn in the clear, and none of as many by each kind of TLS client"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_websocket_is_torn_behind_a_101_that_comes_at_once() {
    none_is_torn(1000).await;
}

/// For `make prove`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes"]
async fn of_20_000_websockets_none_is_torn() {
    none_is_torn(20_000).await;
}

async fn before(app: &App, lines: &str) -> Stack {
    Stack::before(app, &format!("session = \"none\"\n{lines}")).await
}

/// A WebSocket to this path that the app has agreed to.
async fn tunnel(stack: &Stack, path: &str) -> Wire {
    let mut wire = stack.wire().await;
    wire.write(handshake(path)).await;
    let head = wire.read_to("\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    wire
}

#[tokio::test]
async fn the_head_of_a_101_has_what_the_client_asked_for_and_nothing_that_is_between_the_app_and_the_gateway() {
    let app = App::start().await;
    let stack = before(&app, "").await;
    let said = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: upgrade, X-Private\r\nX-Private: 1\r\n\
                Keep-Alive: timeout=5\r\nContent-Length: 0\r\nX-Request-ID: its-own\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
                Sec-WebSocket-Protocol: chat.v1\r\n\r\nfirst bytes";
    let mut wire = stack.wire().await;
    wire.write(handshake(&says("/say", said))).await;
    let answer = wire.answer().await;
    answer.assert_status(101).assert_field("upgrade", "WebSocket").assert_field("connection", "upgrade");
    answer.assert_field("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    answer.assert_field("sec-websocket-protocol", "chat.v1");
    answer.assert_no_field("x-private").assert_no_field("keep-alive").assert_no_field("content-length");
    assert_eq!(answer.field("x-request-id").map(str::len), Some(36));
    // What the app said in the same breath is the tunnel's.
    assert!(wire.hears("first bytes").await);
}

#[tokio::test]
async fn an_app_that_declines_a_websocket_answers_like_any_other() {
    let app = App::start().await;
    let stack = before(&app, "").await;
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Thing: One\r\nx-thing: two\r\n\r\nhello",
        "HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\ncontent-length: 2\r\n\r\nno",
        "HTTP/1.1 403 Forbidden\r\nconnection: x-private\r\nx-private: 1\r\ncontent-length: 2\r\n\r\nno",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\nno",
    ] {
        let target = says("/say", answer);
        let (mut declined, mut other) = (stack.wire().await, stack.wire().await);
        for round in 0..2 {
            declined.write(handshake(&target)).await;
            other.write(stack.get(&target).bytes()).await;
            for _ in 0..answer.matches("HTTP/1.1 ").count() {
                let (declined, other) = (declined.answer().await, other.answer().await);
                let fields = |answer: &crate::kit::Answer| {
                    let ours = |name: &str| name == "date" || name == "x-request-id";
                    answer.fields.iter().filter(|(name, _)| !ours(name)).cloned().collect::<Vec<_>>()
                };
                assert_eq!((declined.status, fields(&declined)), (other.status, fields(&other)), "{round}: {answer}");
                assert_eq!(declined.body, other.body, "{answer}");
            }
        }
    }
    until("they are told of", || stack.answered("forwarded") == 20).await;
}

#[tokio::test]
async fn chunks_of_a_declining_answer_are_passed_on_and_what_was_meant_for_a_tunnel_is_no_request() {
    let app = App::start().await;
    let stack = before(&app, "").await;
    let chunks = says("/say", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n");
    let mut wire = stack.wire().await;
    wire.write(handshake(&chunks)).await;
    let text = wire.read_to("0\r\n\r\n").await;
    assert!(text.ends_with("2\r\nno\r\n0\r\n\r\n"), "{text}");
    let seen = app.seen().len();
    let mut wire = stack.wire().await;
    wire.write(handshake("/later") + "GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n").await;
    until("the app has it", || app.seen().len() > seen).await;
    app.go_on();
    wire.answer().await.assert_status(200).assert_field("connection", "close");
    wire.assert_closed().await;
    assert_eq!(app.seen().len(), seen + 1);
}

#[tokio::test]
async fn interim_answers_come_before_a_101_and_another_protocol_is_no_answer() {
    let app = App::start().await;
    let stack = before(&app, "").await;
    let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let early = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\ncontent-length: 3\r\n\r\n";
    for count in [1, 32, 33] {
        let mut wire = stack.wire().await;
        wire.write(handshake(&says("/say", &(early.repeat(count) + switch + "hello")))).await;
        for _ in 0..count.min(32) {
            wire.answer().await.assert_status(103).assert_field("link", "</a.css>").assert_no_field("content-length");
        }
        wire.answer().await.assert_status(if count == 33 { 502 } else { 101 });
        assert!(count == 33 || wire.hears("hello").await);
    }
    for wrong in [
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\n",
        "HTTP/1.0 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx",
        "SSH-2.0-x\r\n\r\n",
        "",
    ] {
        let mut wire = stack.wire().await;
        wire.write(handshake(&says("/say-and-close", wrong))).await;
        wire.answer().await.assert_problem(502, "app-unavailable");
    }
    assert_eq!(stack.answered("app_error"), 8);
}

#[tokio::test]
async fn much_goes_through_a_tunnel_both_ways_at_once_and_arrives_byte_for_byte() {
    let app = App::start().await;
    let stack = before(&app, "").await;
    let (mut read, mut write) =
        tokio::io::split(tokio::net::TcpStream::connect(&stack.address).await.expect("a connection"));
    let sent = tokio::spawn(async move {
        use tokio::io::AsyncWriteExt as _;
        write.write_all(handshake("/socket").as_bytes()).await.expect("sent");
        for _ in 0..10 {
            write.write_all(&large()).await.expect("sent");
        }
        // The end of one side goes through, and what is still to come from the other too.
        write.shutdown().await.expect("an end");
    });
    let mut got = Vec::new();
    crate::kit::in_time("all of it", tokio::io::AsyncReadExt::read_to_end(&mut read, &mut got))
        .await
        .expect("all of it");
    sent.await.expect("sent");
    let at = got.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
    assert!(got[at..] == large().repeat(10), "{} bytes", got.len() - at);
}

#[tokio::test]
async fn one_line_tells_of_a_websocket_when_it_ends() {
    let app = App::start().await;
    let stack = before(&app, "").await;
    let mut wire = tunnel(&stack, "/socket").await;
    wire.write("a message").await;
    assert!(wire.hears("a message").await);
    assert_eq!(stack.answered("forwarded"), 0);
    drop(wire);
    let lines = stack.lines.all(1).await;
    assert_eq!((&lines[0]["status"], &lines[0]["outcome"]), (&101.into(), &"forwarded".into()));
    assert_eq!((&lines[0]["path"], &lines[0]["upstream"]), (&"/socket".into(), &app.address.as_str().into()));
}

#[tokio::test]
async fn a_client_that_leaves_before_the_101_ends_the_request_to_the_app() {
    let app = App::start().await;
    let stack = before(&app, "").await;
    let mut wire = stack.wire().await;
    wire.write(handshake("/hang")).await;
    until("the app has it", || !app.seen().is_empty()).await;
    drop(wire);
    until("it is told of", || stack.answered("cancelled") == 1).await;
    assert_eq!(stack.lines.all(1).await[0]["status"], 0);
}

#[tokio::test]
async fn a_websocket_on_which_nobody_sends_is_closed_after_its_time_out() {
    let app = App::start().await;
    let stack = before(&app, "websocket_timeout = \"300ms\"").await;
    let told = || (stack.answered("forwarded"), stack.answered("cancelled"));
    // Each one whose try went wrong is told of before the next one begins: by its end, or by ours.
    let (mut wire, (forwarded, cancelled)) = loop {
        let before = told();
        let mut wire = tunnel(&stack, "/socket").await;
        if is_used_for_900ms(&mut wire).await {
            break (wire, before);
        }
        drop(wire);
        until("it is told of", || told() != before).await;
    };
    wire.assert_closed().await;
    until("it is told of", || told() == (forwarded + 1, cancelled)).await;
}

/// Sends and hears something more often than each 300 ms, three times as long; `false`: the machine stood still for so long.
async fn is_used_for_900ms(wire: &mut Wire) -> bool {
    let began = std::time::Instant::now();
    let mut last = began;
    while began.elapsed().as_millis() < 900 {
        wire.write("x").await;
        let heard = wire.hears("x").await;
        if last.elapsed().as_millis() >= 300 {
            return false;
        }
        assert!(heard, "closed while it was used");
        last = std::time::Instant::now();
        // Pause: used more often than `websocket_timeout` asks, for three times its span.
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    true
}

#[tokio::test]
async fn a_websocket_is_cut_at_the_end_of_the_drain_and_told_of() {
    let app = App::start().await;
    let setup = Setup::new().real_time().server("drain = \"100ms\"").app(&app, "session = \"none\"");
    let mut stack = setup.start().await;
    stack.until_ready().await;
    let mut wire = tunnel(&stack, "/socket").await;
    stack.take_gateway().stop().await;
    wire.assert_closed().await;
    let lines = stack.lines.all(1).await;
    assert_eq!((&lines[0]["status"], &lines[0]["outcome"]), (&101.into(), &"cut".into()));
}

#[tokio::test]
async fn a_websocket_goes_to_the_next_upstream_where_one_is_not_there() {
    let app = App::start().await;
    let upstreams = format!("upstreams = [\"{NOBODY}\", \"{}\"]", app.address);
    let setup = Setup::new().tables(&format!("[[app]]\nname = \"portal\"\nsession = \"none\"\n{upstreams}"));
    let stack = setup.start().await;
    stack.until_ready().await;
    for _ in 0..4 {
        let mut wire = tunnel(&stack, "/socket").await;
        wire.write("x").await;
        assert!(wire.hears("x").await);
    }
    let stack =
        Setup::new().tables(&format!("[[app]]\nname = \"portal\"\nsession = \"none\"\nupstreams = [\"{NOBODY}\"]"));
    let stack = stack.start().await;
    stack.until_ready().await;
    let mut wire = stack.wire().await;
    wire.write(handshake("/socket")).await;
    wire.answer().await.assert_problem(502, "app-unavailable");
}

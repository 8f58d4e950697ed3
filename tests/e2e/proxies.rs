//! Proxies before the gateway: whose word counts, and what it changes.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::kit::tls::Authority;
use crate::kit::{App, FACE_SCAN, HOST, Setup, Stack, Wire, in_time};

const LINE: &str = "PROXY TCP4 203.0.113.7 192.0.2.1 4711 443\r\n";

fn trusting(entry: &str) -> Setup {
    Setup::new().server(&format!("trusted_proxies = [\"{entry}\"]"))
}

fn announced() -> Setup {
    trusting("127.0.0.1").listener("proxy_protocol = true")
}

/// Version 2, for 203.0.113.7.
fn block(command: u8) -> Vec<u8> {
    let signature = b"\r\n\r\n\0\r\nQUIT\n";
    [&signature[..], &[command, 0x11, 0, 12], &[203, 0, 113, 7, 192, 0, 2, 1, 0x12, 0x67, 1, 0xbb]].concat()
}

/// The peers of the access lines, when there are so many.
async fn peers(stack: &Stack, count: usize) -> Vec<String> {
    let lines = stack.lines.all(count).await;
    lines.iter().map(|line| line["peer"].as_str().expect("a peer").to_owned()).collect()
}

#[tokio::test]
async fn the_client_is_whom_a_trusted_proxy_names() {
    let stack = trusting("127.0.0.0/8").start().await;
    for (name, value, peer) in [
        ("X-Forwarded-For", "1.1.1.1, 203.0.113.7, 127.0.0.9", "203.0.113.7"),
        ("X-Forwarded-For", "[2001:db8::1]:4711", "2001:db8::1"),
        ("Forwarded", "for=\"[2001:db8::2]\";proto=https", "2001:db8::2"),
        ("X-Forwarded-For", "unknown", "127.0.0.1"),
        ("X-Real-IP", "203.0.113.7", "127.0.0.1"),
    ] {
        let so_far = stack.lines.text(0).await.lines().count();
        stack.get("/nothing").field(name, value).send().await.assert_status(404);
        assert_eq!(peers(&stack, so_far + 1).await.last().map(String::as_str), Some(peer), "{name}: {value}");
    }
}

#[tokio::test]
async fn a_strangers_word_has_no_effect() {
    let stack = trusting("10.0.0.0/8").start().await;
    let id = "0f8fad5b-d9cb-469f-a165-70867728950e";
    for (name, value) in [("X-Forwarded-For", "203.0.113.7"), ("Forwarded", "for=203.0.113.7"), ("X-Request-Id", id)] {
        let answer = stack.get("/nothing").field(name, value).send().await;
        assert_ne!(answer.field("x-request-id"), Some(id));
    }
    assert_eq!(peers(&stack, 3).await, ["127.0.0.1"; 3]);
}

#[tokio::test]
async fn a_proxys_request_id_is_kept_if_it_is_one() {
    let stack = trusting("127.0.0.1").start().await;
    for id in ["0f8fad5b-d9cb-469f-a165-70867728950e", "0F8FAD5B-D9CB-469F-A165-70867728950E"] {
        let answer = stack.get(FACE_SCAN).field("X-Request-Id", id).send().await;
        answer.assert_problem(401, "session-required").assert_field("x-request-id", id);
        assert_eq!(stack.lines.all(1).await.last().expect("a line")["request_id"].as_str().map(str::len), Some(36));
    }
    for wrong in [
        "",
        "1",
        "0f8fad5bd9cb469fa16570867728950e",
        "{0f8fad5b-d9cb-469f-a165-7086772895}",
        "urn:uuid:0f8fad5b-d9cb-469f-a165-70867728950e",
        "0f8fad5b-d9cb-469f-a165-70867728950g",
        "0f8fad5b-d9cb-469f-a165-70867728950e, 0f8fad5b-d9cb-469f-a165-70867728950e",
    ] {
        let answer = stack.get(FACE_SCAN).field("X-Request-Id", wrong).send().await;
        let id = answer.field("x-request-id").expect("an id").to_owned();
        assert!(id != wrong && id.len() == 36, "{wrong}: {id}");
    }
    let ids = ["0f8fad5b-d9cb-469f-a165-70867728950e", "0f8fad5b-d9cb-469f-a165-70867728950f"];
    let twice = stack.get(FACE_SCAN).field("X-Request-Id", ids[0]).field("X-Request-Id", ids[1]).send().await;
    assert!(!ids.contains(&twice.field("x-request-id").expect("an id")));
}

#[tokio::test]
async fn the_client_is_the_announced_one_for_the_whole_connection() {
    let stack = announced().start().await;
    let request = stack.get(FACE_SCAN).as_user("ada").bytes();
    let v2 = block(0x21);
    for announcement in [LINE.as_bytes(), &v2] {
        let mut wire = stack.wire().await;
        wire.write([announcement, &request].concat()).await;
        wire.answer().await.assert_status(302);
        wire.write(&request).await;
        wire.answer().await.assert_status(302);
    }
    // Byte by byte.
    for announcement in [LINE.as_bytes(), &v2] {
        let mut wire = stack.wire().await;
        for byte in [announcement, &request].concat() {
            wire.write([byte]).await;
        }
        wire.answer().await.assert_status(302);
    }
    assert_eq!(peers(&stack, 6).await, ["203.0.113.7"; 6]);
}

#[tokio::test]
async fn a_proxys_own_connection_is_its_own() {
    let stack = announced().start().await;
    let request = stack.get("/nothing").field("X-Forwarded-For", "203.0.113.8").bytes();
    for announcement in [b"PROXY UNKNOWN\r\n".to_vec(), block(0x20)] {
        let mut wire = stack.wire().await;
        wire.write([announcement, request.clone()].concat()).await;
        wire.answer().await.assert_status(404);
    }
    // What the announced client writes itself does not count.
    let mut wire = stack.wire().await;
    wire.write([LINE.as_bytes(), &request].concat()).await;
    wire.answer().await.assert_status(404);
    assert_eq!(peers(&stack, 3).await, ["203.0.113.8", "203.0.113.8", "203.0.113.7"]);
}

#[tokio::test]
async fn a_connection_without_its_announcement_is_closed_and_counted() {
    let stack = announced().start().await;
    let request = stack.get(FACE_SCAN).as_user("ada").bytes();
    let long = [b"PROXY UNKNOWN ", &[b'x'; 200][..], b"\r\n"].concat();
    let huge = [&block(0x21)[..14], &[0xff, 0xff], &[0; 70_000]].concat();
    let nonsense = [vec![0; 50], b"PROXY TCP4 a b c d\r\n".to_vec(), LINE.replace("PROXY", "PROXX").into_bytes()];
    let cases: Vec<Vec<u8>> = [request.clone(), long, huge].into_iter().chain(nonsense).collect();
    for (n, start) in cases.iter().enumerate() {
        let mut wire = stack.wire().await;
        wire.write([start, &request[..]].concat()).await;
        wire.assert_closed().await;
        assert_eq!(stack.answered("malformed"), n as u64 + 1);
    }
    // A balancer that only looks whether somebody listens is no fault.
    let mut look = TcpStream::connect(&stack.address).await.unwrap();
    look.shutdown().await.unwrap();
    Wire::over(look).assert_closed().await;
    assert_eq!(stack.answered("malformed"), cases.len() as u64);
    assert_eq!(peers(&stack, cases.len()).await, vec!["127.0.0.1"; cases.len()]);
    assert!(stack.vendor().users().is_empty());
}

#[tokio::test]
async fn nobody_but_a_trusted_proxy_may_announce() {
    let stack = trusting("192.0.2.1").listener("proxy_protocol = true").start().await;
    let mut wire = stack.wire().await;
    wire.write([LINE.as_bytes(), &stack.get(FACE_SCAN).as_user("ada").bytes()].concat()).await;
    wire.assert_closed().await;
    assert_eq!(stack.answered("malformed"), 1);
    assert_eq!(peers(&stack, 1).await, ["127.0.0.1"]);
}

#[tokio::test]
async fn where_nothing_is_announced_the_protocol_is_no_request() {
    let stack = trusting("127.0.0.1").start().await;
    let mut wire = stack.wire().await;
    wire.write([LINE.as_bytes(), &stack.get(FACE_SCAN).as_user("ada").bytes()].concat()).await;
    wire.answer().await.assert_problem(400, "bad-request");
    assert_eq!(peers(&stack, 1).await, ["127.0.0.1"]);
}

#[tokio::test]
async fn an_announcement_is_due_in_time() {
    let stack = announced().limits(|limits| limits.head = Duration::from_millis(300)).start().await;
    for start in ["", "PROXY TCP4 203."] {
        let mut wire = stack.wire().await;
        wire.write(start).await;
        wire.assert_closed().await;
    }
    assert_eq!(stack.count("valet_requests_total", &[]), 0);
}

/// `X-Forwarded-For`, `-Proto`, `-Host`, `-Port` and `Forwarded` of what the app saw last.
fn told(app: &App) -> [Option<String>; 5] {
    let seen = app.last();
    ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "forwarded"]
        .map(|name| seen.field(name).map(str::to_owned))
}

#[tokio::test]
async fn an_app_is_told_what_a_trusted_proxy_says_and_what_we_know_of_anybody_else() {
    let fields = [
        ("X-Forwarded-For", "203.0.113.7"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "outer.example"),
        ("X-Forwarded-Port", "8443"),
        ("Forwarded", "for=203.0.113.7;proto=https"),
        ("X-Forwarded-User", "root"),
    ];
    let own = "for=127.0.0.1;host=app.example.com;proto=http";
    for (proxy, expected) in [
        (
            "127.0.0.1",
            [
                "203.0.113.7, 127.0.0.1",
                "https",
                "outer.example",
                "8443",
                &format!("for=203.0.113.7;proto=https, {own}"),
            ],
        ),
        ("192.0.2.1", ["127.0.0.1", "http", HOST, "80", own]),
    ] {
        let app = App::start().await;
        let stack = trusting(proxy).app(&app, "session = \"none\"").start().await;
        let ask = stack.get("/");
        fields.iter().fold(ask, |ask, (name, value)| ask.field(name, value)).send().await.assert_status(200);
        assert_eq!(told(&app), expected.map(|value| Some(value.to_owned())), "{proxy}");
        assert_eq!(app.last().field("x-forwarded-user"), None);
    }
}

#[tokio::test]
async fn over_http_2_the_client_is_the_announced_one_too() {
    let (authority, app) = (Authority::new(), App::start().await);
    let site = authority.site(&[HOST]);
    let setup = announced().listener("tls = [{ chain = \"site.pem\", key = \"site.key\" }]");
    let setup = setup.file("site.pem", &site.chain).file("site.key", &site.key);
    let stack = setup.app(&app, "session = \"none\"").start().await;
    let mut tcp = TcpStream::connect(&stack.address).await.unwrap();
    tcp.write_all(&block(0x21)).await.unwrap();
    let tls = authority.client(&["h2"]).over(tcp, HOST).await.unwrap();
    let (mut send, connection) = h2::client::handshake(tls).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get(format!("https://{HOST}/")).header("x-forwarded-for", "1.1.1.1").body(()).unwrap();
    let answer = in_time("an answer", send.send_request(request, true).unwrap().0).await.unwrap();
    assert_eq!(answer.status(), 200);
    let own = "for=203.0.113.7;host=app.example.com;proto=https";
    assert_eq!(told(&app), ["203.0.113.7", "https", HOST, "443", own].map(|value| Some(value.to_owned())));
    drop(send);
    assert_eq!(peers(&stack, 1).await, ["203.0.113.7"]);
}

/// A connection with a request under way.
async fn open(stack: &Stack, announcement: &str) -> Wire {
    let mut wire = stack.wire().await;
    wire.write([announcement.as_bytes(), &stack.get("/nothing").bytes()].concat()).await;
    wire
}

#[tokio::test]
async fn one_address_has_so_many_connections_and_no_more() {
    let stack = Setup::new().server("connections_per_address = 2").start().await;
    let (mut first, mut second) = (open(&stack, "").await, open(&stack, "").await);
    first.answer().await.assert_status(404);
    second.answer().await.assert_status(404);
    open(&stack, "").await.assert_closed().await;
    assert_eq!((stack.answered("turned_away"), stack.answered("not_found")), (1, 2));
    // Those who are in are not disturbed, and who leaves makes room.
    first.write(stack.get("/nothing").bytes()).await;
    first.answer().await.assert_status(404);
    drop(second);
    crate::kit::until("room", || stack.count("valet_connections", &[]) == 1).await;
    open(&stack, "").await.answer().await.assert_status(404);
}

#[tokio::test]
async fn the_announced_address_is_counted_and_not_the_proxys() {
    let stack = announced().server("connections_per_address = 1").start().await;
    let mut first = open(&stack, LINE).await;
    first.answer().await.assert_status(404);
    open(&stack, LINE).await.assert_closed().await;
    open(&stack, &LINE.replace("113.7", "113.8")).await.answer().await.assert_status(404);
    assert_eq!(stack.answered("turned_away"), 1);
}

#[tokio::test]
async fn the_announcement_comes_before_tls() {
    let authority = Authority::new();
    let site = authority.site(&[HOST]);
    let setup = announced().listener("tls = [{ chain = \"site.pem\", key = \"site.key\" }]");
    let stack = setup.file("site.pem", &site.chain).file("site.key", &site.key).start().await;
    for announcement in [LINE.as_bytes(), &block(0x21)] {
        let mut tcp = TcpStream::connect(&stack.address).await.unwrap();
        tcp.write_all(announcement).await.unwrap();
        let mut wire = Wire::over(authority.client(&[]).over(tcp, HOST).await.unwrap());
        wire.write(stack.get(FACE_SCAN).as_user("ada").bytes()).await;
        wire.answer().await.assert_status(302);
    }
    // Without it there is no handshake.
    assert!(authority.client(&[]).connect(&stack.address, HOST).await.is_err());
    assert_eq!(peers(&stack, 3).await, ["203.0.113.7", "203.0.113.7", "127.0.0.1"]);
    assert_eq!(stack.answered("malformed"), 1);
}

//! Apps by TLS: which protocol one chooses shows when it is connected to, and no client can tell.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::net::TcpListener;

use crate::http2::{ask, connect};
use crate::kit::tls::Authority;
use crate::kit::{HOST, Setup, Stack, Wire, in_time, until};

/// An app by TLS that chooses among these protocols, and how often it was connected to. It answers with the request's body.
async fn app(authority: &Authority, protocols: &[&str]) -> (String, Arc<AtomicUsize>) {
    let acceptor = authority.site(&["127.0.0.1"]).acceptor(protocols);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let handshakes = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&handshakes);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, count) = (acceptor.clone(), Arc::clone(&count));
            tokio::spawn(async move {
                let Ok(tls) = acceptor.accept(stream).await else { return };
                count.fetch_add(1, Ordering::Relaxed);
                if tls.get_ref().1.alpn_protocol() == Some(b"h2") {
                    http_2(tls).await;
                } else {
                    http_1(Wire::over(tls)).await;
                }
            });
        }
    });
    (address, handshakes)
}

async fn http_1(mut wire: Wire) {
    while let Some(head) = wire.next_head().await {
        let length = head
            .to_ascii_lowercase()
            .split_once("content-length: ")
            .map_or(0, |(_, rest)| rest.split("\r\n").next().and_then(|length| length.parse().ok()).expect("a length"));
        let body = if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
            wire.read_to("0\r\n\r\n").await.split("\r\n").nth(1).unwrap_or_default().as_bytes().to_vec()
        } else {
            wire.exactly(length).await
        };
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
        wire.write([answer.as_bytes(), &body].concat()).await;
    }
}

async fn http_2(stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin) {
    let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
    while let Some(Ok((request, mut answer))) = connection.accept().await {
        let host = request.uri().authority().map(ToString::to_string);
        assert_eq!(host.as_deref(), Some(HOST));
        tokio::spawn(async move {
            let (mut whole, mut body) = (Vec::new(), request.into_body());
            while let Some(piece) = body.data().await {
                whole.extend_from_slice(&piece.expect("a body"));
            }
            let mut out = answer.send_response(http::Response::new(()), false).expect("sent");
            out.send_data(Bytes::from(whole), true).expect("sent");
        });
    }
}

/// A gateway with TLS before it, and what its clients believe.
async fn before(address: &str, authority: &Authority) -> Stack {
    before_with(address, authority, "").await
}

/// The same with these lines below the app's.
async fn before_with(address: &str, authority: &Authority, lines: &str) -> Stack {
    let site = authority.site(&[HOST]);
    let setup = Setup::new().listener("tls = [{ chain = \"site.pem\", key = \"site.key\" }]");
    let setup = setup.file("site.pem", &site.chain).file("site.key", &site.key).file("ca.pem", &authority.pem());
    let app = format!(
        "[[app]]\nname = \"portal\"\nsession = \"none\"\nupstreams = [\"https://{address}\"]\nca = \"ca.pem\"\n{lines}"
    );
    let stack = setup.tables(&app).start().await;
    stack.until_ready().await;
    stack
}

fn post(framing: &str) -> String {
    format!("POST /x HTTP/1.1\r\nHost: {HOST}\r\n{framing}")
}

#[tokio::test]
async fn an_app_by_tls_that_speaks_http_1_takes_the_fast_path() {
    for protocols in [&["http/1.1"][..], &[]] {
        let authority = Authority::new();
        let (address, handshakes) = app(&authority, protocols).await;
        let stack = before(&address, &authority).await;
        let mut wire = authority.client(&["http/1.1"]).open(&stack.address, HOST).await;
        // Requests at once, which Pingora's proxy does not take.
        let (one, two) = ("Content-Length: 3\r\n\r\none", "Transfer-Encoding: chunked\r\n\r\n3\r\ntwo\r\n0\r\n\r\n");
        wire.write([post(one), post(two), format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n")].concat()).await;
        for body in ["one", "two", ""] {
            assert_eq!(wire.answer().await.assert_status(200).text(), body);
        }
        let (mut send, _end) = connect(&authority, &stack).await;
        assert_eq!(ask(&mut send, "GET", "/", &[], "").await.status, 200);
        assert_eq!(ask(&mut send, "POST", "/", &[("content-length", "5")], "three").await.body, b"three");
        assert_eq!(ask(&mut send, "POST", "/", &[], "four").await.body, b"four");
        assert_eq!(handshakes.load(Ordering::Relaxed), 1);
    }
}

#[tokio::test]
async fn a_client_of_http_1_0_gets_no_chunks_of_an_app_that_chooses_http_2() {
    let authority = Authority::new();
    let (address, _) = app(&authority, &["h2", "http/1.1"]).await;
    let stack = before(&address, &authority).await;
    // The first one learns what the app chooses.
    for _ in 0..2 {
        let mut wire = authority.client(&["http/1.1"]).open(&stack.address, HOST).await;
        wire.write(format!("POST /x HTTP/1.0\r\nHost: {HOST}\r\nContent-Length: 3\r\n\r\nabc")).await;
        let text = wire.to_end().await;
        assert!(text.starts_with("HTTP/1.1 200 ") && text.ends_with("\r\n\r\nabc"), "{text}");
        assert!(!text.to_ascii_lowercase().contains("transfer-encoding"), "{text}");
    }
}

#[tokio::test]
async fn an_app_by_tls_that_chooses_http_2_gets_each_request_whole_from_the_first_on() {
    let chunks = "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    for first in [Some("Content-Length: 3\r\n\r\nabc"), Some(chunks), None] {
        let authority = Authority::new();
        let (address, handshakes) = app(&authority, &["h2", "http/1.1"]).await;
        let stack = before(&address, &authority).await;
        for _ in 0..3 {
            if let Some(framing) = first {
                let mut wire = authority.client(&["http/1.1"]).open(&stack.address, HOST).await;
                wire.write(post(framing)).await;
                let answer = wire.answer_to("HEAD").await;
                assert_eq!(answer.status, 200);
                wire.read_to("abc").await;
            } else {
                let (mut send, _end) = connect(&authority, &stack).await;
                let got = in_time("an answer", ask(&mut send, "POST", "/", &[("x-y", "z")], "abc")).await;
                assert_eq!((got.status, &got.body[..]), (200, &b"abc"[..]));
            }
        }
        // One to learn it, and one for all requests.
        assert_eq!(handshakes.load(Ordering::Relaxed), 2);
    }
}

#[tokio::test]
async fn an_app_by_tls_that_knows_http_2_alone_is_asked_for_its_health_by_it() {
    let authority = Authority::new();
    let (address, handshakes) = app(&authority, &["h2"]).await;
    let health = format!("[app.health]\ninterval = \"50ms\"\nunhealthy = 1\nhost = \"{HOST}\"");
    let stack = before_with(&address, &authority, &health).await;
    until("it is asked", || handshakes.load(Ordering::Relaxed) >= 3).await;
    assert_eq!(stack.count("valet_upstream_up", &[]), 1);
}

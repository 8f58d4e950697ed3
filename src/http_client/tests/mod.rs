//! The client against servers that answer as they like.

mod kept;
mod routes;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// Long enough for any machine; no test waits for it.
const AMPLE: Duration = Duration::from_secs(20);

/// A server that answers its first connection's first request with these bytes, and gives back what it read.
async fn answers(answer: &'static [u8]) -> (Url, tokio::task::JoinHandle<String>) {
    let (listener, url) = listening().await;
    let seen = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let head = read_head(&mut stream).await;
        stream.write_all(answer).await.unwrap();
        head
    });
    (url, seen)
}

async fn listening() -> (TcpListener, Url) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/keys?a=%2f", listener.local_addr().unwrap()).parse().unwrap();
    (listener, url)
}

async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

fn trusting_nobody() -> Client {
    Client::through(Route { roots: Some(RootCertStore::empty()), ..Route::default() }).unwrap()
}

async fn get(url: &Url, max_bytes: usize) -> Result<Response, ClientFault> {
    trusting_nobody().get(url, "application/json", max_bytes, AMPLE).await
}

#[tokio::test]
async fn a_call_names_valet_and_says_that_it_wants_no_compression() {
    let (url, seen) = answers(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-a: b\r\n\r\n{}").await;
    let answer = get(&url, 2).await.unwrap();
    assert_eq!((answer.status, &answer.body[..]), (200, &b"{}"[..]));
    assert_eq!(answer.headers["x-a"], "b");
    let head = seen.await.unwrap();
    assert!(head.starts_with("GET /keys?a=%2f HTTP/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("user-agent: valet/{}\r\n", env!("CARGO_PKG_VERSION"))), "{head}");
    assert!(head.contains("accept: application/json\r\n"), "{head}");
    assert_eq!(head.matches("accept-encoding").count(), 1, "{head}");
    assert!(head.contains("accept-encoding: identity\r\n"), "{head}");
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let (url, _) = answers(b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(get(&url, 10).await.unwrap().status, 302);
}

#[tokio::test]
async fn an_answer_longer_than_allowed_is_refused_announced_or_not() {
    let (url, _) = answers(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc").await;
    assert_eq!(get(&url, 2).await.err(), Some(ClientFault::TooLarge));
    let (url, _) =
        answers(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n").await;
    assert_eq!(get(&url, 2).await.err(), Some(ClientFault::TooLarge));
}

#[tokio::test]
async fn a_broken_answer_or_none_at_all_is_unreachable() {
    for (answer, cause) in [
        (&b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc"[..], Cause::Broken),
        (b"", Cause::Broken),
        (b"SSH-2.0-nonsense\r\n\r\n", Cause::NotHttp),
    ] {
        let (url, _) = answers(answer).await;
        assert_eq!(get(&url, 100).await.err(), Some(ClientFault::Unreachable(cause)));
    }
    // Nobody listens there, and the system gives it out to no other test.
    let nobody = "http://127.0.0.1:9/".parse().unwrap();
    assert_eq!(get(&nobody, 100).await.err(), Some(ClientFault::NoConnection(Cause::Refused)));
    // No label is as long (RFC 1035, section 2.3.4): nobody has to be asked.
    let nowhere = format!("http://{}/", "a".repeat(64)).parse().unwrap();
    assert_eq!(get(&nowhere, 100).await.err(), Some(ClientFault::NoConnection(Cause::Dns)));
}

#[tokio::test]
async fn a_silent_server_times_out() {
    let (listener, url) = listening().await;
    let client = trusting_nobody();
    let answer = client.get(&url, "*/*", 100, Duration::from_millis(100)).await;
    assert_eq!(answer.err(), Some(ClientFault::TimedOut));
    drop(listener);
}

#[tokio::test]
async fn without_trusted_roots_https_fails_and_nothing_panics() {
    let (listener, mut url) = listening().await;
    url.set_scheme("https").unwrap();
    let served = tokio::spawn(async move { drop(listener.accept().await) });
    assert_eq!(get(&url, 100).await.err(), Some(ClientFault::NoConnection(Cause::Broken)));
    served.await.unwrap();
    assert!(Client::new().is_ok());
}

/// The hybrid key exchange of X25519 and ML-KEM-768 (draft-ietf-tls-ecdhe-mlkem): what is recorded today is no use to a quantum computer later.
#[tokio::test]
async fn a_call_by_tls_offers_the_post_quantum_key_exchange_first() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url: Url = format!("https://{}/", listener.local_addr().unwrap()).parse().unwrap();
    let groups = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let hello = tokio_rustls::LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream).await.unwrap();
        hello.client_hello().named_groups().unwrap_or_default().to_vec()
    });
    assert!(get(&url, 2).await.is_err());
    let groups = groups.await.unwrap();
    assert_eq!(groups.first(), Some(&rustls::NamedGroup::X25519MLKEM768), "{groups:?}");
    // A server that does not know it yet is not left out.
    assert!(groups.contains(&rustls::NamedGroup::X25519), "{groups:?}");
}

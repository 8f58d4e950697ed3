//! Calls that meet a connection which the server is just closing.

use std::sync::Arc;

use http::Method;
use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::certificate::CertificateFiles;

const GOOD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";

/// What a server does with the second request of each connection.
#[derive(Clone, Copy)]
enum Second {
    /// Reads it and closes.
    Close,
    /// Answers a part of a head and closes.
    Half,
    /// Reads it and is silent.
    Silence,
}

/// A server that answers the first request of each connection, and the number of requests on each.
async fn closing(second: Second) -> (Url, Arc<Mutex<Vec<usize>>>) {
    let (listener, url) = listening().await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let counts = seen.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let at = counts.lock().len();
            counts.lock().push(0);
            tokio::spawn(serve(stream, second, counts.clone(), at));
        }
    });
    (url, seen)
}

async fn serve(mut stream: TcpStream, second: Second, counts: Arc<Mutex<Vec<usize>>>, at: usize) {
    read_head(&mut stream).await;
    counts.lock()[at] += 1;
    stream.write_all(GOOD).await.unwrap();
    let mut byte = [0];
    // The connection may end without another request.
    if stream.read(&mut byte).await.unwrap_or(0) == 0 {
        return;
    }
    read_head(&mut stream).await;
    counts.lock()[at] += 1;
    match second {
        Second::Close => {}
        Second::Half => stream.write_all(b"HTTP/1.1 200 OK\r\ncont").await.unwrap(),
        Second::Silence => std::future::pending().await,
    }
}

fn request(url: &Url, method: Method) -> Request<Full<Bytes>> {
    Request::builder().method(method).uri(url.as_str()).body(Full::default()).unwrap()
}

#[tokio::test]
async fn an_idempotent_request_on_a_stale_connection_is_retried_once_on_a_fresh_one() {
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        let (url, seen) = closing(Second::Close).await;
        let client = trusting_nobody();
        for _ in 0..2 {
            let answer = client.send(request(&url, method.clone()), 100, AMPLE).await;
            assert_eq!(answer.unwrap().status, 200, "{method}");
        }
        assert_eq!(*seen.lock(), [2, 1], "{method}");
    }
}

#[tokio::test]
async fn a_request_that_may_not_arrive_twice_is_not_retried_once_it_was_written() {
    let (url, seen) = closing(Second::Close).await;
    let client = trusting_nobody();
    assert!(client.send(request(&url, Method::POST), 100, AMPLE).await.is_ok());
    let second = client.send(request(&url, Method::POST), 100, AMPLE).await;
    assert_eq!(second.err(), Some(ClientFault::Unreachable(Cause::Broken)));
    assert_eq!(*seen.lock(), [2]);
}

#[tokio::test]
async fn a_request_whose_caller_says_that_it_does_no_harm_is_retried_whatever_its_method() {
    let (url, seen) = closing(Second::Close).await;
    let client = trusting_nobody();
    for _ in 0..2 {
        assert!(client.send_repeatable(request(&url, Method::POST), 100, AMPLE).await.is_ok());
    }
    assert_eq!(*seen.lock(), [2, 1]);
}

#[tokio::test]
async fn a_request_whose_answer_has_begun_is_not_retried() {
    let (url, seen) = closing(Second::Half).await;
    let client = trusting_nobody();
    assert!(client.get(&url, "*/*", 100, AMPLE).await.is_ok());
    assert_eq!(client.get(&url, "*/*", 100, AMPLE).await.err(), Some(ClientFault::Unreachable(Cause::Broken)));
    assert_eq!(*seen.lock(), [2]);
}

#[tokio::test]
async fn a_retry_has_no_time_of_its_own() {
    let (url, seen) = closing(Second::Silence).await;
    let client = trusting_nobody();
    assert!(client.get(&url, "*/*", 100, AMPLE).await.is_ok());
    let second = client.get(&url, "*/*", 100, Duration::from_millis(100)).await;
    assert_eq!(second.err(), Some(ClientFault::TimedOut));
    assert_eq!(*seen.lock(), [2]);
}

/// How a server over HTTP/2 says that it has not processed a request.
#[derive(Clone, Copy, Debug)]
enum Unprocessed {
    RefusedStream,
    /// A last stream of 0: it has processed none (RFC 9113, section 6.8).
    GoAway,
}

/// A server over HTTP/2 that does not process the first request. Beside it a client that believes it, and how many requests it saw.
async fn unwilling(how: Unprocessed, directory: &std::path::Path) -> (Client, Url, Arc<Mutex<usize>>) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    for (name, text) in [("ca", authority.pem()), ("chain", certificate.pem()), ("key", key.serialize_pem())] {
        std::fs::write(directory.join(name), text).unwrap();
    }
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (listener, _) = listening().await;
    let url = format!("https://{}", listener.local_addr().unwrap()).parse().unwrap();
    let seen = Arc::new(Mutex::new(0));
    let count = seen.clone();
    let is_first = move || {
        let mut count = count.lock();
        *count += 1;
        *count == 1
    };
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut stream = acceptor.accept(stream).await.unwrap();
            if matches!(how, Unprocessed::GoAway) && is_first() {
                go_away(&mut stream).await;
                // Until the client closes it.
                tokio::spawn(async move { stream.read(&mut [0; 64]).await });
                continue;
            }
            let mut connection = h2::server::handshake(stream).await.unwrap();
            let is_first = is_first.clone();
            tokio::spawn(async move {
                while let Some(Ok((_, mut answer))) = connection.accept().await {
                    if matches!(how, Unprocessed::RefusedStream) && is_first() {
                        answer.send_reset(h2::Reason::REFUSED_STREAM);
                    } else {
                        drop(answer.send_response(http::Response::new(()), true));
                    }
                }
            });
        }
    });
    let files = CertificateFiles { chain: "chain".into(), key: "key".into() };
    let identity = Arc::new(Identity::open(files, directory).unwrap());
    let route = Route::to_our_own(std::path::Path::new("ca"), identity, directory).unwrap();
    (Client::through(route).unwrap(), url, seen)
}

/// Reads up to the first HEADERS frame and answers GOAWAY.
async fn go_away(stream: &mut (impl AsyncRead + tokio::io::AsyncWrite + Unpin)) {
    stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
    stream.flush().await.unwrap();
    stream.read_exact(&mut [0; 24]).await.unwrap();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        stream.read_exact(&mut vec![0; length]).await.unwrap();
        if head[3] == 1 {
            break;
        }
    }
    stream.write_all(&[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).await.unwrap();
    stream.flush().await.unwrap();
}

#[tokio::test]
async fn a_request_that_http_2_says_was_not_processed_is_sent_again_although_its_method_is_not_idempotent() {
    for how in [Unprocessed::RefusedStream, Unprocessed::GoAway] {
        let directory = tempfile::tempdir().unwrap();
        let (client, url, seen) = unwilling(how, directory.path()).await;
        let answer = client.send(request(&url, Method::POST), 100, AMPLE).await;
        assert_eq!(answer.map(|answer| answer.status), Ok(200), "{how:?}");
        assert_eq!(*seen.lock(), 2, "{how:?}");
    }
}

//! What an app fails by is told apart: in the metrics, in the access line, and by both ways to it.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::kit::app::says;
use crate::kit::tls::{Authority, Site};
use crate::kit::{App, NOBODY, Setup, Stack};

/// Before one upstream, with these files beside the configuration.
async fn before(upstream: &str, lines: &str, files: &[(&str, &str)]) -> Stack {
    let app = format!("[[app]]\nname = \"portal\"\nsession = \"none\"\nupstreams = [\"{upstream}\"]\n{lines}\n");
    let setup = files.iter().fold(Setup::new(), |setup, (name, text)| setup.file(name, text));
    let stack = setup.tables(&app).start().await;
    stack.until_ready().await;
    stack
}

fn failures(stack: &Stack, cause: &str) -> u64 {
    stack.count("valet_upstream_failures_total", &[("app", "portal"), ("cause", cause)])
}

/// Asks without a body and with one; both are refused alike, and name the cause.
async fn assert_cause(stack: &Stack, target: &str, status: u16, cause: &str) {
    assert_eq!(stack.count("valet_upstream_failures_total", &[]), 0);
    stack.get(target).send().await.assert_status(status);
    let by_one = failures(stack, cause);
    assert!(by_one > 0, "{cause}: without a body");
    stack.get(target).body("x").send().await.assert_status(status);
    assert_eq!(failures(stack, cause), 2 * by_one, "{cause}: with a body");
    assert_eq!(stack.count("valet_upstream_failures_total", &[]), 2 * by_one, "{cause} and no other");
    for line in stack.lines.all(2).await {
        assert_eq!((&line["cause"], &line["status"]), (&cause.into(), &status.into()), "{line}");
    }
}

#[tokio::test]
async fn causes_in_the_clear_are_told_apart_by_both_ways() {
    let app = App::start().await;
    let lines = "read_timeout = \"200ms\"";
    for (upstream, target, status, cause) in [
        (NOBODY, "/", 502, "refused_connection"),
        ("no-such-name.invalid:80", "/", 502, "dns"),
        (&*app.address, "/gone", 502, "broken"),
        (&*app.address, "/nonsense", 502, "not_http"),
        (
            &*app.address,
            &*says("/say", "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx"),
            502,
            "not_http",
        ),
        (&*app.address, "/hang", 504, "timeout"),
    ] {
        let stack = before(upstream, lines, &[]).await;
        assert_cause(&stack, target, status, cause).await;
    }
}

#[tokio::test]
async fn an_answer_has_no_cause() {
    let app = App::start().await;
    let stack = before(&app.address, "", &[]).await;
    stack.get("/").send().await.assert_status(200);
    assert!(stack.lines.all(1).await[0].get("cause").is_none());
    assert_eq!(stack.count("valet_upstream_failures_total", &[]), 0);
}

/// A server with this certificate, that answers nothing. `clients`: who must have signed the client's certificate.
async fn with_tls(site: &Site, clients: Option<&Authority>) -> String {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let builder = builder.expect("versions");
    let builder = match clients {
        Some(clients) => builder.with_client_cert_verifier(clients.verifier()),
        None => builder.with_no_client_auth(),
    };
    let chain = vec![CertificateDer::from_pem_slice(site.chain.as_bytes()).expect("a certificate")];
    let key = PrivateKeyDer::from_pem_slice(site.key.as_bytes()).expect("a key");
    let acceptor = TlsAcceptor::from(Arc::new(builder.with_single_cert(chain, key).expect("a pair")));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    let _ = stream.read(&mut [0; 1024]).await;
                }
            });
        }
    });
    format!("https://{address}")
}

/// A server that does this with each connection.
async fn plain(says: Option<&'static [u8]>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            if let Some(says) = says {
                let _ = stream.read(&mut [0; 1024]).await;
                let _ = stream.write_all(says).await;
            }
            kept.push(stream);
        }
    });
    address.to_string()
}

#[tokio::test]
async fn causes_of_tls_are_told_apart() {
    let (own, other) = (Authority::new(), Authority::new());
    let ca = ("ca.pem", &*own.pem());
    let lines = "ca = \"ca.pem\"\nconnect_timeout = \"2s\"";
    let bad = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
    for (upstream, status, cause) in [
        (with_tls(&other.site(&["127.0.0.1"]), None).await, 502, "tls_unknown_authority"),
        (with_tls(&own.site(&["app.example"]), None).await, 502, "tls_wrong_name"),
        (with_tls(&own.ended(&["127.0.0.1"]), None).await, 502, "tls_ended"),
        // As `openssl req -x509` makes one; that it is the named `ca` itself changes nothing.
        (with_tls(&own.itself(), None).await, 502, "tls_unfit"),
        (with_tls(&own.site(&["127.0.0.1"]), Some(&other)).await, 502, "tls_refused"),
        (format!("https://{}", plain(Some(bad)).await), 502, "plain_port"),
        (with_tls(&own.site(&["127.0.0.1"]), None).await, 502, "broken"),
    ] {
        let stack = before(&upstream, lines, &[ca]).await;
        assert_cause(&stack, "/", status, cause).await;
    }
    let lines = "ca = \"ca.pem\"\nconnect_timeout = \"200ms\"";
    let stack = before(&format!("https://{}", plain(None).await), lines, &[ca]).await;
    assert_cause(&stack, "/", 504, "connect_timeout").await;
}

#[tokio::test]
async fn an_app_that_speaks_http_1_where_http_2_is_configured_speaks_no_http() {
    let bad = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
    let stack = before(&format!("h2c://{}", plain(Some(bad)).await), "", &[]).await;
    assert_cause(&stack, "/", 502, "not_http").await;
}

//! Bare Pingora as a server of a bench.

use std::io::Write;

use pingora::http::ResponseHeader;
use pingora::listeners::tls::TlsSettings;
use pingora::proxy::{ProxyHttp, Session, http_proxy_service};
use pingora::server::Server;

/// Serves with one worker on a free port, and says where, until it is killed.
pub fn serve<P>(proxy: P)
where
    P: ProxyHttp + Send + Sync + 'static,
    P::CTX: Send + Sync,
{
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    serve_at(proxy, &format!("127.0.0.1:{port}"), None);
}

/// Answers with the fixed redirect of a server that looks at nothing. It is answered: `true`.
#[allow(dead_code)] // Not every bench asks for one.
pub async fn redirect(session: &mut Session, location: &str) -> pingora::Result<bool> {
    let mut answer = ResponseHeader::build_no_case(302, Some(6))?;
    answer.insert_header("location", location)?;
    answer.insert_header("cache-control", "no-store")?;
    answer.insert_header("referrer-policy", "no-referrer")?;
    answer.insert_header("content-length", "0")?;
    session.write_response_header(Box::new(answer), true).await?;
    Ok(true)
}

/// Serves as `serve` does at this address and, with TLS and HTTP/2 too, at another, with a certificate and its key.
pub fn serve_at<P>(proxy: P, address: &str, tls: Option<(&str, &str, &str)>)
where
    P: ProxyHttp + Send + Sync + 'static,
    P::CTX: Send + Sync,
{
    let mut server = Server::new(None).unwrap();
    server.bootstrap();
    let mut service = http_proxy_service(&server.configuration, proxy);
    service.threads = Some(1);
    service.add_tcp(address);
    if let Some((address, certificate, key)) = tls {
        let mut settings = TlsSettings::intermediate(certificate, key).unwrap();
        settings.enable_h2();
        service.add_tls_with_settings(address, None, settings);
    }
    server.add_service(service);
    println!("address {address}\nready");
    std::io::stdout().flush().unwrap();
    server.run_forever();
}

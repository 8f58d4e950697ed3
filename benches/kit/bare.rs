//! Bare Pingora as a server of a bench.

use std::io::Write;

use pingora::proxy::{ProxyHttp, http_proxy_service};
use pingora::server::Server;

/// Serves with one worker on a free port, and says where, until it is killed.
pub fn serve<P>(proxy: P)
where
    P: ProxyHttp + Send + Sync + 'static,
    P::CTX: Send + Sync,
{
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut server = Server::new(None).unwrap();
    server.bootstrap();
    let mut service = http_proxy_service(&server.configuration, proxy);
    service.threads = Some(1);
    service.add_tcp(&format!("127.0.0.1:{port}"));
    server.add_service(service);
    println!("address 127.0.0.1:{port}\nready");
    std::io::stdout().flush().unwrap();
    server.run_forever();
}

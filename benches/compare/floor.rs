//! Bare Pingora: a fixed redirect, and the app behind. It looks at nothing.

use async_trait::async_trait;
use pingora::proxy::{ProxyHttp, Session};
use pingora::upstreams::peer::HttpPeer;

use crate::bare;
use crate::site::url;

struct Bare {
    app: HttpPeer,
    location: String,
}

/// Serves where the environment says.
pub fn serve() {
    let word = |name: &str| std::env::var(name).unwrap();
    let files = word("FILES");
    let proxy = Bare { app: HttpPeer::new(word("ORIGIN"), false, String::new()), location: url(0) };
    let (certificate, key) = (format!("{files}/site.pem"), format!("{files}/site-key.pem"));
    let tls = format!("127.0.0.1:{}", word("TLS"));
    bare::serve_at(proxy, &format!("127.0.0.1:{}", word("PLAIN")), Some((&tls, &certificate, &key)));
}

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = ();
    fn new_ctx(&self) {}
    fn init_downstream_modules(&self, _: &mut pingora::modules::http::HttpModules) {}
    async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> pingora::Result<Box<HttpPeer>> {
        Ok(Box::new(self.app.clone()))
    }
    async fn request_filter(&self, session: &mut Session, (): &mut ()) -> pingora::Result<bool> {
        if session.req_header().uri.path() != "/plugins/face-scan" {
            return Ok(false);
        }
        bare::redirect(session, &self.location).await
    }
}

//! The allowed hosts in the languages of browsers.

use url::Host;

use super::{RedirectHost, RedirectHosts};
use crate::web::is_local;

impl RedirectHosts {
    /// Sources of a Content-Security-Policy (CSP Level 3, section 2.3.1) that cover each allowed URL, and no more.
    pub fn csp_sources(&self) -> Vec<String> {
        self.0.iter().flat_map(RedirectHost::sources).collect()
    }

    /// The allowed origins, each exactly; `None`: they can't be counted.
    pub fn origins(&self) -> Option<Vec<String>> {
        if self.0.iter().any(|pattern| pattern.wildcard) { None } else { self.origin_patterns() }
    }

    /// The hosts as origins, where `https://*.example.com` is one (Permissions Policy, section 5.1).
    pub fn origin_patterns(&self) -> Option<Vec<String>> {
        let counted = self.0.iter().all(|pattern| pattern.port.is_some() || !pattern.is_local());
        counted.then(|| self.csp_sources())
    }
}

impl RedirectHost {
    fn is_local(&self) -> bool {
        Host::parse(&self.host).is_ok_and(|host| is_local(&host))
    }

    fn sources(&self) -> Vec<String> {
        let star = if self.wildcard { "*." } else { "" };
        let local = self.is_local();
        let port = match self.port {
            Some(port) => format!(":{port}"),
            None if local => ":*".into(),
            None => String::new(),
        };
        // Elsewhere a minted URL is https.
        let schemes = if local { &["http", "https"][..] } else { &["https"] };
        schemes.iter().map(|scheme| format!("{scheme}://{star}{}{port}", self.host)).collect()
    }
}

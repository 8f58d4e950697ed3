//! `base_url`: where a provider's API is, and to which origin alone its key goes.

use std::fmt;

use url::Url;

use crate::setting::{FieldFault, TextSetting, text_setting};
use crate::web::secure_url;

/// A URL below which calls are made, and to which a secret may go: `https://`, or `http://` on loopback and `*.localhost`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl(Url);

text_setting!(BaseUrl);

impl TextSetting for BaseUrl {
    const EXAMPLE: &'static str = "https://api.example.com";

    fn read(text: &str) -> Result<Self, FieldFault> {
        let url = secure_url(text).map_err(FieldFault::of_value)?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err(FieldFault::of_value("expected a URL without query and fragment"));
        }
        Ok(Self(url))
    }
}

impl fmt::Display for BaseUrl {
    /// Without a `/` at its end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

impl BaseUrl {
    /// `https` or `http`.
    pub(super) fn scheme(&self) -> &str {
        self.0.scheme()
    }

    /// `host` or `host:port`.
    pub(super) fn authority(&self) -> String {
        let host = self.0.host_str().unwrap_or("");
        self.0.port().map_or(host.to_owned(), |port| format!("{host}:{port}"))
    }

    /// Without a `/` at its end; empty for the root.
    pub(super) fn path(&self) -> &str {
        self.0.path().trim_end_matches('/')
    }

    /// Whether calls go in the clear.
    pub fn is_plain(&self) -> bool {
        self.scheme() == "http"
    }
}

impl From<BaseUrl> for String {
    fn from(url: BaseUrl) -> Self {
        url.0.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_goes_nowhere_in_the_clear() {
        for wrong in [
            "",
            "api.acme.example",
            "ftp://a",
            "http://api.acme.example",
            "https://u@a",
            "https://u:p@a",
            "https://a?b",
            "https://a#b",
            "https://a?",
        ] {
            assert!(BaseUrl::read(wrong).is_err(), "{wrong}");
        }
        for good in [
            "http://127.0.0.1:1",
            "http://localhost:1/a",
            "http://vendor.localhost",
            "http://[::1]:1",
            "https://a:8443/b/c/",
        ] {
            assert!(BaseUrl::read(good).is_ok(), "{good}");
        }
    }
}

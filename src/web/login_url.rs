//! `login_url`: where a browser is sent to sign in.

use std::fmt;

use url::Url;

use super::web_url;
use crate::setting::{FieldFault, TextSetting, text_setting};

/// A path of the host that was asked, or an http(s) URL. What is written is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginUrl {
    text: Box<str>,
    /// The URL, where it is not only a path.
    url: Option<Url>,
}

impl LoginUrl {
    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The URL; `None`: a path.
    pub(crate) fn url(&self) -> Option<&Url> {
        self.url.as_ref()
    }
}

impl fmt::Display for LoginUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

text_setting!(LoginUrl);

impl TextSetting for LoginUrl {
    const EXAMPLE: &'static str = "/login";

    fn read(text: &str) -> Result<Self, FieldFault> {
        let fault = |message| Err(FieldFault::of_value(message));
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) || text.contains('\\') {
            return fault("expected a path or URL of visible ASCII without `\\`; percent-encode the rest");
        }
        // A browser takes `//` and what follows for another host (RFC 3986, section 4.2).
        if text.starts_with("//") {
            return fault("a path that starts with `//` is another host");
        }
        if text.starts_with('/') {
            return Ok(Self { text: text.into(), url: None });
        }
        match web_url(text) {
            Ok(url) => Ok(Self { text: text.into(), url: Some(url) }),
            Err(_) => fault("expected a path that starts with `/`, or an http(s) URL"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_url_stays_on_our_host_or_names_another_in_full() {
        for good in ["/login", "/", "/login?x=1", "https://login.example.com/start", "http://login.example.com"] {
            assert_eq!(LoginUrl::read(good).unwrap().as_str(), good);
        }
        for bad in [
            "",
            "login",
            "//evil.example",
            "/\\evil.example",
            "/lo gin",
            "/a\r\nb",
            "javascript:alert(1)",
            "https:evil",
        ] {
            assert!(LoginUrl::read(bad).is_err(), "{bad:?} was taken");
        }
    }
}

//! The redirect to the login page, and back without an open redirect.

use crate::gateway::judge::path;
use crate::session::StepUp;
use crate::web::{HostName, LoginUrl, Origin};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// RFC 3986 unreserved characters stay; everything else of `return_to` is escaped.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A `login_url`.
#[derive(Clone, Debug)]
pub(in crate::gateway) struct Login {
    url: Box<str>,
    /// What comes before the path in `return_to`: our public origin if the login is on another one.
    prefix: Box<str>,
}

impl Login {
    /// `own`: our origin, from `public_url`, never from `Host`.
    pub fn new(login: &LoginUrl, own: Option<&Origin>) -> Self {
        let elsewhere = own.filter(|own| login.url().is_some_and(|url| !own.is_of(url)));
        Self { url: login.as_str().into(), prefix: elsewhere.map_or("", Origin::as_str).into() }
    }

    /// The configured address, for a link; with what the sign-in must show, where it is not enough to have one.
    pub fn url(&self, step_up: Option<&StepUp>) -> String {
        match step_up {
            None => self.url.to_string(),
            Some(step_up) => self.with(&wanted(step_up)),
        }
    }

    /// The address with `return_to`, the path and query that were asked for, and with what the sign-in must show (OpenID Connect Core, section
    /// 3.1.2.1).
    pub fn location(&self, path: &str, query: Option<&str>, step_up: Option<&StepUp>) -> String {
        let mut back = String::from(&*self.prefix);
        if leads_away(path) {
            back.push('/');
        } else {
            back.push_str(path);
            if let Some(query) = query {
                back.push('?');
                back.push_str(query);
            }
        }
        let mut parameters = format!("return_to={}", utf8_percent_encode(&back, ESCAPED));
        if let Some(step_up) = step_up {
            parameters.push('&');
            parameters.push_str(&wanted(step_up));
        }
        self.with(&parameters)
    }

    fn with(&self, parameters: &str) -> String {
        let (base, fragment) =
            self.url.split_once('#').map_or((&*self.url, None), |(base, fragment)| (base, Some(fragment)));
        let mut out = format!("{base}{}{parameters}", if base.contains('?') { '&' } else { '?' });
        if let Some(fragment) = fragment {
            out.push('#');
            out.push_str(fragment);
        }
        out
    }
}

/// `acr_values` and `max_age`.
fn wanted(step_up: &StepUp) -> String {
    let mut wanted = format!("acr_values={}", utf8_percent_encode(&step_up.acr_values, ESCAPED));
    if let Some(max_age) = step_up.max_age {
        wanted.push_str(&format!("&max_age={max_age}"));
    }
    wanted
}

/// Where a `login_url` leads. Who is there already is not sent there: if that place needs a session itself, the browser would go round for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LoginPlace {
    /// `None`: the host of the request.
    pub host: Option<HostName>,
    /// As judged, and as [`path::standing`] spells it.
    pub path: Box<str>,
}

impl LoginPlace {
    /// `None`: it leads to no place of a gateway.
    pub fn of(login: &LoginUrl) -> Option<Self> {
        let (host, target) = match login.url() {
            None => (None, login.as_str()),
            Some(url) => (Some(HostName::of(url)?), url.path()),
        };
        let target = target.split_once('#').map_or(target, |(target, _)| target);
        let path = path::standing(&path::judge(target, "").ok()?.path).into();
        Some(Self { host, path })
    }

    /// Whether a request for this judged path at this `Host` is for it.
    pub fn is_at(&self, path: &str, host: &str) -> bool {
        *self.path == *path::standing(path) && self.host.as_ref().is_none_or(|own| own.is(host))
    }
}

/// A path that a browser would read as another host, or not as a path.
fn leads_away(path: &str) -> bool {
    !path.starts_with('/') || path.starts_with("//") || path.starts_with("/\\") || path.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setting::TextSetting as _;

    fn place(url: &str) -> Option<LoginPlace> {
        LoginPlace::of(&LoginUrl::read(url).unwrap())
    }

    fn login(url: &str, own: &str) -> Login {
        Login::new(&LoginUrl::read(url).unwrap(), Some(&Origin::read(own).unwrap()))
    }

    #[test]
    fn the_way_back_is_escaped_and_stays_at_home() {
        let login = login("/login", "https://app.example");
        assert_eq!(
            login.location("/plugins/face-scan", Some("a=b&c"), None),
            "/login?return_to=%2Fplugins%2Fface-scan%3Fa%3Db%26c"
        );
        for away in ["//evil", "/\\evil", "/\t/evil", "evil", "https:evil"] {
            assert_eq!(login.location(away, Some("x"), None), "/login?return_to=%2F", "{away}");
        }
    }

    #[test]
    fn a_login_place_is_found_in_each_spelling_of_its_address() {
        let at = |url: &str, path: &str, host: &str| place(url).unwrap().is_at(path, host);
        for url in [
            "/login",
            "/login?x=1#top",
            "/a/../login",
            "https://app.example/login?x",
            "https://APP.example:8443/./login",
            "https://app.example./login",
        ] {
            assert!(at(url, "/login", "app.example"), "{url}");
            assert!(at(url, "/login", "App.Example:8443"), "{url}");
            assert!(!at(url, "/login/", "app.example") && !at(url, "/log", "app.example"), "{url}");
        }
        for path in ["/sign%20in/%C3%A9", "/sign%20in/%c3%a9"] {
            assert!(at("/sign%20in/%C3%A9", path, "app.example"), "{path}");
            assert!(at("https://app.example/sign%20in/%c3%a9", path, "app.example"), "{path}");
        }
        assert!(at("/login", "/login", "other.example"));
        assert!(!at("https://app.example/login", "/login", "other.example"));
        assert!(at("https://app.example", "/", "app.example"));
        assert_eq!(place("/%zz"), None);
    }

    #[test]
    fn a_login_elsewhere_is_told_our_public_address() {
        let login = login("https://id.example/start?app=1#top", "https://app.example");
        assert_eq!(
            login.location("/p", None, None),
            "https://id.example/start?app=1&return_to=https%3A%2F%2Fapp.example%2Fp#top"
        );
        let same = super::tests::login("https://app.example/login", "https://app.example");
        assert_eq!(same.location("/p", None, None), "https://app.example/login?return_to=%2Fp");
    }
}

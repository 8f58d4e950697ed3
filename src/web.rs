//! Words of HTTP that settings and requests share: tokens, hosts, URLs. Each has one reading, here.

mod field_name;
mod host;
mod login_url;
mod origin;

use url::{Host, ParseError, Url};

pub use field_name::FieldName;
pub use host::{HostName, HostRule};
pub use login_url::LoginUrl;
pub use origin::Origin;

pub(crate) use host::without_port;

/// A character of a token (`tchar` of RFC 9110, section 5.6.2); a cookie's name has the same alphabet.
pub(crate) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// A token: what names a method, a header field or a cookie.
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().copied().all(is_token_byte)
}

/// What the longest target of a redirect has that is shown.
const MAX_SHOWN: usize = 200;

/// Where a redirect leads, for people: scheme, host and path, for the rest may hold secrets.
pub(crate) fn shown_place(target: &str) -> String {
    let shown = match Url::parse(target) {
        Ok(url) => {
            let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
            format!("{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
        }
        // What stands before an `@` may be a password.
        Err(_) => {
            let shown = target.split(['?', '#']).next().unwrap_or_default();
            shown.rsplit('@').next().unwrap_or_default().to_owned()
        }
    };
    shown.chars().filter(|c| !c.is_control()).take(MAX_SHOWN).collect()
}

/// Where a redirect leads, for people, where even its path may be a secret: scheme, host and port.
pub(crate) fn shown_origin(target: &str) -> String {
    let full = if target.starts_with("//") { format!("https:{target}") } else { target.to_owned() };
    let shown = match Url::parse(&full) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => url.origin().ascii_serialization(),
        Err(ParseError::RelativeUrlWithoutBase) => "a path of the same host".to_owned(),
        // What looks like a host of such a text, or a scheme, may be anything.
        Ok(_) | Err(_) => "an address that is no http(s) URL".to_owned(),
    };
    shown.chars().take(MAX_SHOWN).collect()
}

/// Loopback or `localhost` or below it: where `http://` is allowed.
pub(crate) fn is_local(host: &Host<impl AsRef<str>>) -> bool {
    match host {
        Host::Ipv4(ip) => ip.is_loopback(),
        Host::Ipv6(ip) => ip.is_loopback() || ip.to_ipv4_mapped().is_some_and(|ip| ip.is_loopback()),
        Host::Domain(name) => {
            let name = name.as_ref().trim_end_matches('.');
            name == "localhost" || name.ends_with(".localhost")
        }
    }
}

/// An http(s) URL without user name and password, of visible ASCII and without `\`; `http` only on loopback and `*.localhost`.
pub(crate) fn secure_url(text: &str) -> Result<Url, String> {
    let url = web_url(text)?;
    match url.host() {
        Some(host) if url.scheme() == "http" && !is_local(&host) => {
            Err("`http://` is allowed on loopback and `*.localhost` only; use `https://`".into())
        }
        _ => Ok(url),
    }
}

/// An http(s) URL that parses to what is written: the parser repairs spaces and `\`, we refuse them.
pub(crate) fn web_url(text: &str) -> Result<Url, String> {
    let lower = text.to_ascii_lowercase();
    if !(lower.starts_with("https://") || lower.starts_with("http://")) {
        return Err("expected a URL that starts with `https://`".into());
    }
    if text.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\') {
        return Err("a URL has no spaces, control characters or `\\`".into());
    }
    let url = Url::parse(text).map_err(|e| format!("expected a URL: {e}"))?;
    if !url.username().is_empty() || url.password().is_some() || has_userinfo(text) {
        return Err("a URL must not hold a user name or password".into());
    }
    Ok(url)
}

/// Also an empty one (`https://@host`), which the parser drops.
fn has_userinfo(text: &str) -> bool {
    let after = text.split_once("://").map_or("", |(_, rest)| rest);
    after.split(['/', '?', '#']).next().is_some_and(|authority| authority.contains('@'))
}

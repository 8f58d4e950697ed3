//! One mint with its steps told, for the author of a recipe: statuses, pointers that were found, no value of an answer.

use http::Method;
use url::Url;

use super::answer::{ExpiryRule, UrlRule};
use super::diagnosis::Step;
use super::{MintFailure, Minted};
use crate::http_client::Response;

/// What came of it.
pub struct Trial {
    /// What happened, one line each. No secret, no URL, no value of an answer.
    pub steps: Vec<String>,
    /// How it ended.
    pub verdict: Result<Minted, MintFailure>,
    /// What was wrong, if anything is known of it.
    pub why: Option<String>,
}

pub(super) fn answered(step: Step, method: &Method, answer: &Response) -> String {
    let kind = answer.headers.get(http::header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    // A media type's parameters are no business of a recipe.
    let kind = kind.and_then(|kind| kind.split(';').next()).filter(|kind| is_media_type(kind));
    let kind = kind.map_or(String::new(), |kind| format!(", {kind}"));
    format!("{}: {method} was answered {}{kind}, {} bytes", step.name(), answer.status, answer.body.len())
}

fn is_media_type(text: &str) -> bool {
    text.len() <= 80 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/+-.".contains(&b))
}

pub(super) fn token() -> String {
    "access token: there".into()
}

pub(super) fn found(step: &str, pointer: &str) -> String {
    format!("{step}: `{pointer}` was found")
}

/// The host of a URL is what an operator compares with `redirect_hosts`.
pub(super) fn minted(rule: &UrlRule, is_token: bool, text: &str) -> String {
    let what = if is_token { "token" } else { "url" };
    let place = match rule {
        UrlRule::Text => "the whole answer".to_owned(),
        UrlRule::Json(pointer) => format!("`{pointer}`"),
        UrlRule::Template(_) => "put together".to_owned(),
        UrlRule::Signed => "signed here".to_owned(),
    };
    let host = if is_token { None } else { Url::parse(text).ok().and_then(|url| url.host_str().map(str::to_owned)) };
    let host = host.map_or(String::new(), |host| format!(", at {host}"));
    format!("{what}: {place}, {} bytes{host}", text.len())
}

pub(super) fn ends(rule: &ExpiryRule, is_read: bool, uses: Option<u32>) -> String {
    let place = match rule {
        ExpiryRule::Jwt(parameter) => format!("`exp` of the JWT in `{parameter}`"),
        ExpiryRule::JwtPath => "`exp` of the JWT in the path".to_owned(),
        ExpiryRule::JwtFragment => "`exp` of the JWT in the fragment".to_owned(),
        ExpiryRule::Json(pointer) => format!("`{pointer}`"),
        ExpiryRule::Token => "`exp` of the token".to_owned(),
        ExpiryRule::Signed => "`exp` as signed".to_owned(),
        ExpiryRule::Fixed => return format!("expires: not looked for{}", often(uses)),
    };
    let verdict = if is_read { "was read" } else { "was not found, or can't be read" };
    format!("expires: {place} {verdict}{}", often(uses))
}

fn often(uses: Option<u32>) -> String {
    uses.map_or(String::new(), |uses| format!("; uses: {uses}"))
}

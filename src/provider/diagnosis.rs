//! What was wrong with a mint, in the operator's words: names, numbers and hosts, no value of an answer, and of a URL its origin alone:
//! a path may be a plug-in's token as a query may.

use http::header::LOCATION;
use parking_lot::Mutex;
use serde_json::Value as Json;

use super::answer::UrlRule;
use super::{MintFailure, SessionRefusal};
use crate::http_client::{Cause, Response};
use crate::web::shown_origin;

/// More members of an answer than these are not named.
const MAX_NAMES: usize = 12;

/// Nor is one that is longer, or holds other characters than names do.
const MAX_NAME: usize = 40;

/// Which call of a mint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Register,
    Mint,
    Token,
    Revoke,
    Forget,
}

/// What was wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Diagnosis {
    /// Label of `valet_mint_failures_total`.
    pub cause: &'static str,
    pub text: String,
}

/// The place of one mint's diagnosis: the last word counts.
pub(super) type Notes = Mutex<Option<Diagnosis>>;

/// The labels beside those of [`Cause`].
pub(super) const CAUSES: [&str; 14] = [
    "status_4xx",
    "status_5xx",
    "status_other",
    "redirect",
    "html",
    "no_json",
    "no_pointer",
    "no_url",
    "url_ended",
    "forbidden_host",
    "unfit",
    "busy",
    "session",
    "minter",
];

impl Step {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::Mint => "mint",
            Self::Token => "access token",
            Self::Revoke => "revoke",
            Self::Forget => "forget",
        }
    }
}

impl Diagnosis {
    pub fn new(cause: &'static str, text: impl Into<String>) -> Self {
        Self { cause, text: text.into() }
    }

    /// There was no answer.
    pub fn call(step: Step, cause: Cause) -> Self {
        Self::new(cause.label(), format!("the {} call had no answer: {cause}", step.name()))
    }

    /// It was not the wanted one.
    pub fn status(step: Step, answer: &Response) -> Self {
        let (step, status) = (step.name(), answer.status);
        let target = answer.headers.get(LOCATION).and_then(|target| target.to_str().ok());
        match (status, target) {
            (300..=399, Some(target)) => {
                let text = format!(
                    "the {step} call was answered {status}, to {}; none is followed: look at base_url and the call's path",
                    shown_origin(target)
                );
                Self::new("redirect", text)
            }
            (400..=499, _) => Self::new("status_4xx", format!("the {step} call was answered {status}")),
            (500..=599, _) => Self::new("status_5xx", format!("the {step} call was answered {status}")),
            _ => Self::new("status_other", format!("the {step} call was answered {status}")),
        }
    }

    /// An answer to the mint without a URL where the recipe looks.
    pub fn without_url(rule: &UrlRule, body: &[u8]) -> Self {
        if body.trim_ascii_start().starts_with(b"<") {
            return Self::new("html", "the mint call was answered with HTML: look at base_url and the call's path");
        }
        let UrlRule::Json(pointer) = rule else {
            return Self::new("no_url", "the mint call's answer is no text with a URL");
        };
        match serde_json::from_slice::<Json>(body) {
            Err(_) => Self::new("no_json", "the mint call's answer is no JSON"),
            Ok(json) => Self::new(
                "no_pointer",
                format!("no text stands at `{pointer}` of the mint call's answer: {}", members(&json, pointer)),
            ),
        }
    }

    /// An answer without a value that the recipe takes from it.
    pub fn without_value(step: Step, pointer: &str, json: Option<&Json>) -> Self {
        let step = step.name();
        match json {
            None => {
                Self::new("no_json", format!("the {step} call's answer is no JSON, and `{pointer}` is wanted of it"))
            }
            Some(json) => Self::new(
                "no_pointer",
                format!("nothing of use stands at `{pointer}` of the {step} call's answer: {}", members(json, pointer)),
            ),
        }
    }

    /// What stands where the URL should is none that can be sent on.
    pub fn no_url(body: &[u8]) -> Self {
        if body.trim_ascii_start().starts_with(b"<") {
            return Self::new("html", "the mint call was answered with HTML: look at base_url and the call's path");
        }
        Self::new("no_url", "what the mint call's answer has where `url` looks is no https:// URL")
    }

    /// Where nobody knows more than this.
    pub fn of(failure: MintFailure) -> Self {
        let cause = match failure {
            MintFailure::Refused => "unfit",
            MintFailure::Unreachable => Cause::NoRoute.label(),
            MintFailure::TimedOut => Cause::TimedOut.label(),
            MintFailure::Nonsense => "no_url",
            MintFailure::ForbiddenHost => "forbidden_host",
            MintFailure::Busy(_) | MintFailure::Limited(_) | MintFailure::StoreLost => "busy",
            MintFailure::Session(SessionRefusal::KeysUnavailable(_)) => "minter",
            MintFailure::Session(_) => "session",
        };
        Self::new(cause, String::new())
    }
}

/// The names of what stands where the pointer goes astray.
fn members(json: &Json, pointer: &str) -> String {
    let mut at = pointer;
    while let Some((parent, _)) = at.rsplit_once('/') {
        at = parent;
        if let Some(found) = json.pointer(at) {
            let place = if at.is_empty() { "there".to_owned() } else { format!("at `{at}`") };
            return match found {
                Json::Object(members) => {
                    let is_name = |name: &&String| {
                        name.len() <= MAX_NAME && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
                    };
                    let mut names: Vec<&str> = members.keys().filter(is_name).map(String::as_str).collect();
                    names.sort_unstable();
                    names.truncate(MAX_NAMES);
                    let more = if names.len() < members.len() { ", …" } else { "" };
                    format!(
                        "{place} are {}{more}",
                        if names.is_empty() { "no members".into() } else { names.join(", ") }
                    )
                }
                Json::Array(list) => format!("{place} is a list of {}", list.len()),
                _ => format!("{place} is neither a table nor a list"),
            };
        }
    }
    "it has another form".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_that_finds_nothing_names_the_members_that_are_there_and_no_values() {
        let text = |body: &str| {
            let rule = UrlRule::parse("json:/data/url").unwrap();
            let diagnosis = Diagnosis::without_url(&rule, body.as_bytes());
            assert!(!diagnosis.text.contains("canary"), "{}", diagnosis.text);
            (diagnosis.cause, diagnosis.text)
        };
        for (body, cause, told) in [
            (r#"{"data":{"link":"canary","id":"canary"}}"#, "no_pointer", "at `/data` are id, link"),
            (r#"{"link":"canary","canary name":1}"#, "no_pointer", "there are link, …"),
            (r#"{"data":{"url":7}}"#, "no_pointer", "at `/data` are url"),
            (r#"["canary"]"#, "no_pointer", "there is a list of 1"),
            (r#""canary""#, "no_pointer", "neither a table nor a list"),
            ("canary", "no_json", "is no JSON"),
            ("\n<!doctype html><p>canary", "html", "with HTML"),
        ] {
            let (found, text) = text(body);
            assert_eq!(found, cause, "{body}");
            assert!(text.contains(told), "{text}");
        }
    }

    #[test]
    fn a_redirect_is_told_by_its_origin_alone() {
        let answer = |location: &str| Response {
            status: 302,
            headers: http::HeaderMap::from_iter([(LOCATION, location.parse().unwrap())]),
            body: bytes::Bytes::new(),
        };
        for (location, told) in [
            ("https://sso.acme.example/canary/login?token=canary#canary", "302, to https://sso.acme.example;"),
            ("/canary?token=canary", "302, to a path of the same host;"),
            ("canary", "302, to a path of the same host;"),
            ("https://canary:canary@sso.acme.example/", "302, to https://sso.acme.example;"),
            ("//canary:canary@sso.acme.example/canary", "302, to https://sso.acme.example;"),
            ("https://canary:canary@sso.acme.example:99999/", "302, to an address that is no http(s) URL;"),
            ("canary:canary", "302, to an address that is no http(s) URL;"),
            ("https://sso.acme.example:8443/canary", "302, to https://sso.acme.example:8443;"),
            ("http://127.0.0.1:21030/scan/canary/go?x=1", "302, to http://127.0.0.1:21030;"),
        ] {
            let diagnosis = Diagnosis::status(Step::Mint, &answer(location));
            assert_eq!(diagnosis.cause, "redirect");
            assert!(diagnosis.text.contains(told) && !diagnosis.text.contains("canary"), "{}", diagnosis.text);
        }
    }
}

//! What of a request reaches the gateway: told to `valet doctor`, which asks through the proxies before us.
//!
//! Whoever asks learns what it has sent itself, and from where it seems to come; nothing else.

use serde_json::{Map, Value, json};

use crate::gateway::accept::forwarded::{ForwardedChain, scheme};
use crate::gateway::http1::head::Head;
use crate::gateway::judge::request_log::{Came, RequestLog};

/// Where the question is asked; what follows is read by nobody.
pub(crate) const PATH: &str = "/.valet/doctor";

/// A credential that opens nothing, in `Authorization` and as a cookie.
pub(crate) const AUTHORIZATION: &str = "Bearer valet-doctor";
pub(crate) const COOKIE: &str = "valet-doctor=asks";

/// Fields of browsers that decide something.
pub(crate) const FIELDS: [&str; 5] = ["sec-fetch-site", "sec-fetch-mode", "sec-fetch-dest", "origin", "accept"];

/// Whether a judged path is one of the doctor's.
pub(super) fn is_asked(path: &str) -> bool {
    path.strip_prefix(PATH).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// What was seen of a request.
pub(super) fn report(head: &Head<'_>, log: &RequestLog<'_, '_>) -> String {
    let Came { trusted, tls } = log.came;
    let fields = || head.headers.iter().map(|field| (field.name, field.value));
    let chain = if trusted { ForwardedChain::read(fields()) } else { ForwardedChain::default() };
    let cookies = head.all("cookie").flat_map(|value| value.split(|b| *b == b';')).map(<[u8]>::trim_ascii);
    let seen = FIELDS.iter().filter_map(|name| Some(((*name).to_owned(), Value::from(head.text(name)?))));
    let report = json!({
        "host": head.host,
        "scheme": scheme(&chain).unwrap_or(if tls { "https" } else { "http" }),
        "target": head.target,
        "address": log.address.map(|address| address.to_string()),
        "trusted_proxy": trusted,
        "forwarded": !chain.forwarded_for.is_empty() || !chain.forwarded.is_empty(),
        "authorization": head.all("authorization").eq([AUTHORIZATION.as_bytes()]),
        "cookie": cookies.filter(|cookie| *cookie == COOKIE.as_bytes()).count() == 1,
        "fields": seen.collect::<Map<String, Value>>(),
    });
    report.to_string()
}

//! `valet explain --request ID`: what a running gateway remembers of one request, asked at its administration address.

use std::time::Duration;

use http::header::{AUTHORIZATION, HeaderValue};
use http::{Method, Request};
use http_body_util::Full;
use serde_json::Value;

use super::fortify::fortify;
use super::{ConfigFile, End, exit, load, runtime, say};
use crate::config::Config;
use crate::http_client::Client;
use crate::units::ListenAddress;

/// On this machine, or near.
const DEADLINE: Duration = Duration::from_secs(5);

/// One request and its mints.
const MAX_ANSWER: usize = 64 * 1024;

pub(super) fn explain(file: &ConfigFile, id: &str) -> Result<(), End> {
    fortify()?;
    let config = load(file)?;
    if uuid::Uuid::try_parse(id).is_err() {
        let why = "--request: expected the id of a request, as x-request-id and access lines have it";
        return Err(End::new(exit::REFUSED, format!("valet: {why}")));
    }
    let answer = ask(&config, id)?;
    tell(&answer);
    Ok(())
}

fn ask(config: &Config, id: &str) -> Result<Value, End> {
    let unavailable = |why: String| End::new(exit::REFUSED, format!("valet: {why}"));
    let Some(admin) = &config.admin else {
        return Err(unavailable("without [admin] no process can be asked for its last requests".into()));
    };
    let Some(token) = &admin.token else {
        return Err(unavailable("admin.token: without it nobody is told of requests".into()));
    };
    if let ListenAddress::Unix(socket) = &admin.address {
        let hint = format!("curl --unix-socket {} http://admin/api/requests/{id}", socket.path().display());
        return Err(unavailable(format!(
            "admin.address is a socket: ask by {hint}, with the token in `Authorization`"
        )));
    }
    let token = token.read(&config.directory).map_err(|fault| unavailable(format!("admin.token: {}", fault.0)))?;
    // Into the field that the administration address reads, and nowhere else.
    let bearer = HeaderValue::from_bytes(&[b"Bearer ", token.expose()].concat());
    let mut bearer = bearer.map_err(|_| unavailable("admin.token: it can't stand in a header field".into()))?;
    bearer.set_sensitive(true);
    let request = Request::builder()
        .method(Method::GET)
        .uri(format!("http://{}/api/requests/{id}", admin.address))
        .header(AUTHORIZATION, bearer)
        .body(Full::default())
        .map_err(|_| unavailable("admin.address: it can't be asked".into()))?;
    let client = Client::new().map_err(|_| unavailable("no HTTP client can be made".into()))?;
    let answer = runtime(1)?.block_on(client.send(request, MAX_ANSWER, DEADLINE));
    let answer = answer.map_err(|fault| unavailable(format!("{}: {}", admin.address, fault.cause())))?;
    match answer.status {
        200 => serde_json::from_slice(&answer.body).map_err(|_| unavailable("its answer can't be read".into())),
        401 => Err(unavailable("admin.token: the process at admin.address has another".into())),
        404 => Err(unavailable(format!(
            "{id} is not among the last 1,000 refusals and 1,000 mints of this process: look into the access log"
        ))),
        status => Err(unavailable(format!("{} answered {status}", admin.address))),
    }
}

fn tell(answer: &Value) {
    let request = &answer["request"];
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let line = |step: &str, what: String| say(&format!("{step:<9}{what}"));
    line(
        "request",
        format!("{} at {}, trace {}", text(&request["request_id"]), text(&request["time"]), text(&request["trace_id"])),
    );
    match (&request["method"], &request["path"]) {
        (Value::String(method), Value::String(path)) => {
            let route = request["route"]
                .as_str()
                .map_or("nothing has this address".to_owned(), |route| format!("the route {route}"));
            line("asked", format!("{method} {path}: {route}"));
        }
        _ => line("asked", "a head that can't be read safely".into()),
    }
    if let Some(check) = request["session_check"].as_str() {
        let whose = request["subject"].as_str().map_or(String::new(), |subject| format!(", subject {subject}"));
        line("session", format!("{check}{whose}"));
    }
    if let Some(policy) = request["policy"].as_str() {
        line("policy", format!("{policy:?} decided"));
    }
    for mint in answer["mints"].as_array().into_iter().flatten() {
        let life = mint["remaining_s"].as_u64().map_or(String::new(), |life| format!(", life {life} s"));
        let what = (text(&mint["plugin"]), text(&mint["reason"]), text(&mint["outcome"]), text(&mint["duration_ms"]));
        line("mint", format!("{} ({}): {} after {} ms{life}", what.0, what.1, what.2, what.3));
    }
    if let Some(source) = request["source"].as_str() {
        line("url", format!("{source}, life {} s", text(&request["remaining_s"])));
    }
    if let (Some(cause), upstream) = (request["cause"].as_str(), &request["upstream"]) {
        line("app", format!("{}: {cause}", text(upstream)));
    }
    line("answer", format!("{} {} after {} µs", request["status"], text(&request["outcome"]), request["duration_us"]));
}

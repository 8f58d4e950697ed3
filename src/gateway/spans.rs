//! What is recorded of a request and of a call to an app, by the names of OpenTelemetry's semantic conventions for HTTP.
//!
//! Neither paths nor queries, which may name a person: the route's own pattern stands for them.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::gateway::answer::access_log::AccessRecord;
use crate::gateway::forward::proxied_request::ProxiedRequest;
use crate::gateway::judge::authenticate::Check;
use crate::http_client::Cause;
use crate::lease::Source;
use crate::telemetry::{Kind, Span, Value};

/// A request.
pub(super) fn server(facts: &AccessRecord<'_>) -> Span {
    let method = facts.method.unwrap_or("_OTHER");
    let name = facts.pattern.map_or_else(|| method.into(), |pattern| format!("{method} {pattern}").into());
    let mut attributes = vec![
        ("http.request.method", Value::Name(method.into())),
        ("http.response.status_code", Value::Number(facts.status.into())),
        ("valet.request_id", Value::Name(facts.request_id.into())),
        ("valet.outcome", Value::Word(facts.outcome.label())),
    ];
    let words = [
        ("valet.source", facts.source.map(Source::label)),
        ("valet.session_check", facts.check.map(Check::label)),
        ("valet.cause", facts.cause.map(Cause::label)),
    ];
    attributes.extend(words.into_iter().filter_map(|(key, word)| Some((key, Value::Word(word?)))));
    let names = [("http.route", facts.pattern), ("valet.route", facts.route), ("valet.upstream", facts.upstream)];
    attributes.extend(names.into_iter().filter_map(|(key, name)| Some((key, Value::Name(name?.into())))));
    attributes.extend(facts.policy.map(|policy| ("valet.policy", Value::Name(Arc::clone(policy)))));
    let error = (facts.status >= 500).then(|| facts.outcome.label());
    attributes.extend(error.map(|error| ("error.type", Value::Word(error))));
    Span {
        place: facts.place,
        link: facts.joined,
        kind: Kind::Server,
        name,
        start: facts.time,
        took: Duration::from_micros(facts.duration_us),
        attributes,
        error,
    }
}

/// A call to an app that was answered.
pub(super) fn app(proxied: &ProxiedRequest, upstream: &str, status: u16, start: Timestamp, took: Duration) -> Span {
    let error = (status >= 500).then_some("status_5xx");
    let mut attributes = vec![
        ("http.request.method", Value::Word(proxied.method)),
        ("http.response.status_code", Value::Number(status.into())),
        ("server.address", Value::Name(upstream.into())),
        ("valet.route", Value::Name(proxied.forward.app().name.clone())),
    ];
    attributes.extend(error.map(|error| ("error.type", Value::Word(error))));
    Span {
        place: proxied.start.to_app,
        link: None,
        kind: Kind::Client,
        name: proxied.method.into(),
        start,
        took,
        attributes,
        error,
    }
}

//! What is recorded of an ask.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::provider::wire::MINT;
use crate::telemetry::{Kind, Place, Span, Value};

/// One ask of an edge: what became of it, when it came, and how long it took.
pub(super) fn ask(
    place: Place,
    edge: &str,
    plugin: Option<&str>,
    (outcome, start, took): (&'static str, Timestamp, Duration),
) -> Span {
    let mut attributes = vec![
        ("http.request.method", Value::Word("POST")),
        ("http.route", Value::Word(MINT)),
        ("valet.edge", Value::Name(edge.into())),
        ("valet.outcome", Value::Word(outcome)),
    ];
    attributes.extend(plugin.map(|plugin| ("valet.plugin", Value::Name(plugin.into()))));
    let name = format!("POST {MINT}").into();
    Span { place, link: None, kind: Kind::Server, name, start, took, attributes, error: None }
}

//! Spans as OTLP writes them.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Link, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span as Written, Status};

use super::{attribute, nanos, scope, text};
use crate::telemetry::{Kind, Span, Value};

/// One message with all of them.
pub(super) fn message(resource: &Resource, spans: &[Span]) -> ExportTraceServiceRequest {
    let spans = spans.iter().map(span).collect();
    let scope_spans = vec![ScopeSpans { scope: Some(scope()), spans, schema_url: String::new() }];
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource.clone()),
            scope_spans,
            schema_url: String::new(),
        }],
    }
}

fn span(span: &Span) -> Written {
    let start = nanos(span.start);
    let kind = match span.kind {
        Kind::Server => SpanKind::Server,
        Kind::Client => SpanKind::Client,
        Kind::Internal => SpanKind::Internal,
    };
    let link = span.link.map(|link| Link {
        trace_id: link.trace_id.to_vec(),
        span_id: link.span_id.to_vec(),
        flags: u32::from(link.sampled),
        ..Link::default()
    });
    let status = span.error.map(|error| Status { message: error.to_owned(), code: StatusCode::Error.into() });
    let attributes = span.attributes.iter().map(|(key, value)| match value {
        Value::Word(word) => attribute(key, text(word)),
        Value::Name(name) => attribute(key, text(name)),
        Value::Number(number) => attribute(key, super::number(*number)),
    });
    Written {
        trace_id: span.place.own.trace_id.to_vec(),
        span_id: span.place.own.span_id.to_vec(),
        parent_span_id: span.place.parent.map(Vec::from).unwrap_or_default(),
        // Those of W3C: what is sent here is recorded.
        flags: 1,
        name: span.name.to_string(),
        kind: kind.into(),
        start_time_unix_nano: start,
        end_time_unix_nano: start.saturating_add(u64::try_from(span.took.as_nanos()).unwrap_or(u64::MAX)),
        attributes: attributes.collect(),
        links: link.into_iter().collect(),
        status,
        ..Written::default()
    }
}

//! What is recorded of a call to a vendor, a minter: method, host and status; never a path, which may name a person.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue};

use crate::clock::{Clock, Stopwatch, Timestamp};
use crate::http_client::{ClientFault, Response};
use crate::telemetry::{Kind, Place, Span, TRACEPARENT, Tracer, Value};

/// A call of a mint, from its head on.
pub(super) struct CallSpan {
    tracer: Tracer,
    /// `None`: the mint stands in no trace.
    place: Option<Place>,
    start: Timestamp,
    began: Stopwatch,
    method: Arc<str>,
    host: Arc<str>,
}

impl CallSpan {
    /// Begins one below a mint, and tells the other side in `headers`, unless that says so already.
    pub fn begin(
        (tracer, clock): (&Tracer, &Clock),
        mint: Option<Place>,
        (method, host): (&str, &str),
        headers: &mut HeaderMap,
    ) -> Self {
        let place = mint.map(|mint| Place::below(&mint.own, mint.own.sampled));
        if let Some(traceparent) = place.and_then(|place| HeaderValue::from_bytes(&place.own.header()).ok()) {
            headers.entry(TRACEPARENT).or_insert(traceparent);
        }
        let (start, began) = (clock.now(), Stopwatch::start());
        Self { tracer: tracer.clone(), place, start, began, method: method.into(), host: host.into() }
    }

    /// It was answered, or failed.
    pub fn end(self, answer: &Result<Response, ClientFault>) {
        let Some(place) = self.place.filter(|place| place.own.sampled) else { return };
        let took = self.began.elapsed();
        self.tracer.record(|| {
            let status = answer.as_ref().ok().map(|answer| answer.status);
            let error = match answer {
                Ok(answer) if answer.status >= 500 => Some("status_5xx"),
                Ok(answer) if answer.status >= 400 => Some("status_4xx"),
                Ok(_) => None,
                Err(fault) => Some(fault.cause().label()),
            };
            let mut attributes = vec![
                ("http.request.method", Value::Name(self.method.clone())),
                ("server.address", Value::Name(self.host)),
            ];
            attributes.extend(status.map(|status| ("http.response.status_code", Value::Number(status.into()))));
            attributes.extend(error.map(|error| ("error.type", Value::Word(error))));
            Span {
                place,
                link: None,
                kind: Kind::Client,
                name: self.method,
                start: self.start,
                took,
                attributes,
                error,
            }
        });
    }
}

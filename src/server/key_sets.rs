//! How key sets are fetched.

use std::time::Duration;

use async_trait::async_trait;
use http::header::LOCATION;

use crate::clock::{Clock, Stopwatch};
use crate::http_client::{Client, ClientFault};
use crate::session::{ClientFault as KeyClientFault, KeyAnswer, KeyClient};
use crate::telemetry::{Kind, Place, Span, Tracer, Value, trace_id};
use crate::web::shown_place;

/// The one outgoing client, as `session` wants it.
pub(super) struct KeySets {
    pub client: Client,
    pub tracer: Tracer,
    pub clock: Clock,
}

#[async_trait]
impl KeyClient for KeySets {
    async fn get(&self, url: &url::Url, max_bytes: usize, deadline: Duration) -> Result<KeyAnswer, KeyClientFault> {
        let (start, began) = (self.clock.now(), Stopwatch::start());
        let answer = self.client.get(url, "application/jwk-set+json, application/json", max_bytes, deadline).await;
        // Seldom, and a trace of its own: each one is recorded.
        self.tracer.record(|| {
            let host = url.host_str().unwrap_or_default();
            let mut attributes =
                vec![("http.request.method", Value::Word("GET")), ("server.address", Value::Name(host.into()))];
            let status = answer.as_ref().ok().map(|answer| answer.status);
            attributes.extend(status.map(|status| ("http.response.status_code", Value::Number(status.into()))));
            let error = answer.as_ref().err().map(|fault| fault.cause().label());
            attributes.extend(error.map(|error| ("error.type", Value::Word(error))));
            let place = Place::begin(trace_id(), true);
            let (kind, name) = (Kind::Client, "GET key set".into());
            Span { place, link: None, kind, name, start, took: began.elapsed(), attributes, error }
        });
        let answer = answer.map(|answer| {
            let target = answer.headers.get(LOCATION).and_then(|target| target.to_str().ok()).map(shown_place);
            KeyAnswer { status: answer.status, target, body: answer.body.to_vec() }
        });
        answer.map_err(|fault| match fault {
            ClientFault::NoConnection(cause) | ClientFault::Unreachable(cause) => KeyClientFault::Unreachable(cause),
            ClientFault::TimedOut => KeyClientFault::TimedOut,
            ClientFault::TooLarge => KeyClientFault::TooLarge,
        })
    }
}

//! A small HTTP client for the simulators' tests.

use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// One answer, read to its end.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

pub(super) async fn send(method: Method, url: &str, fields: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
    let client: Client<HttpConnector, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let mut request = Request::builder().method(method).uri(url);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let response = client.request(request.body(Full::new(body.into())).unwrap()).await.unwrap();
    let (head, body) = response.into_parts();
    Answer { status: head.status, headers: head.headers, body: body.collect().await.unwrap().to_bytes() }
}

pub(super) async fn get(url: &str, fields: &[(&str, &str)]) -> Answer {
    send(Method::GET, url, fields, Bytes::new()).await
}

pub(super) async fn send_json(method: Method, url: &str, fields: &[(&str, &str)], body: serde_json::Value) -> Answer {
    let fields: Vec<(&str, &str)> =
        fields.iter().copied().chain([(header::CONTENT_TYPE.as_str(), "application/json")]).collect();
    send(method, url, &fields, body.to_string()).await
}

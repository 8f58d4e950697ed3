//! Remote control of the vendor in another process, and of that process's clock.

use std::time::Duration;

use http::{Method, Request, header};
use http_body_util::Full;
use serde::Serialize;

use crate::demo::vendor_control::{CLOCK, LOOK, Look, TROUBLE, Trouble};
use crate::http_client::{Client, Response};

/// It is on this machine; but before a vendor is gone, what it has under way may end, which takes two seconds at most.
const DEADLINE: Duration = Duration::from_secs(5);

/// More than forty calls.
const MAX_ANSWER: usize = 8 * 1024 * 1024;

/// The switches of the other process.
pub struct RemoteControl {
    client: Client,
    origin: String,
}

impl RemoteControl {
    /// `origin`: `http://ADDRESS` of the switches.
    pub fn new(client: Client, origin: String) -> Self {
        Self { client, origin }
    }

    /// What the vendor was asked; `None`: the other process gives no answer.
    pub(super) async fn look(&self) -> Option<Look> {
        let answer = self.ask(Method::GET, LOOK, Vec::new()).await?;
        serde_json::from_slice(&answer.body).ok()
    }

    pub(super) async fn set(&self, trouble: Trouble) -> Result<(), String> {
        self.put(TROUBLE, &trouble).await
    }

    pub(super) async fn clock(&self, ahead: Duration) -> Result<(), String> {
        self.put(CLOCK, &ahead.as_secs()).await
    }

    async fn put(&self, path: &str, value: &impl Serialize) -> Result<(), String> {
        let body = serde_json::to_vec(value).unwrap_or_default();
        match self.ask(Method::PUT, path, body).await {
            Some(answer) if answer.status == 204 => Ok(()),
            Some(answer) => Err(String::from_utf8_lossy(&answer.body).into_owned()),
            None => Err("the minter's process gives no answer".into()),
        }
    }

    async fn ask(&self, method: Method, path: &str, body: Vec<u8>) -> Option<Response> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.origin))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body.into()))
            .ok()?;
        self.client.send(request, MAX_ANSWER, DEADLINE).await.ok()
    }
}

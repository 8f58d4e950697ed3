//! The access token of a provider: asked for once for all mints, renewed before its end, dropped when the API refuses it.

use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request};
use http_body_util::Full;
use parking_lot::Mutex;
use tokio::sync::watch;
use tracing::warn;
use zeroize::Zeroizing;

use super::api_keys::ApiKeys;
use super::diagnosis::{Diagnosis, Step};
use super::grant::{Asked, Grant, LONGEST};
use super::outcome::Fault;
use crate::clock::{Clock, Tick};
use crate::http_client::{Cause, Client, ClientFault, Response};

/// More of an answer is not read.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// A token of which nobody says how long it lives; it is dropped sooner where the API refuses it.
const UNSAID: Duration = Duration::from_secs(300);

/// It is renewed this long before its end, or a quarter of its life.
const MARGIN: Duration = Duration::from_secs(60);

/// A failure answers for all for this long: no storm on an endpoint in trouble.
const FAILURE_MEMORY: Duration = Duration::from_secs(1);

/// One access token. No `Debug`.
pub(super) struct AccessToken {
    text: Zeroizing<String>,
    number: u64,
    renew_at: Tick,
    ends: Tick,
}

impl AccessToken {
    /// Into a header field of a call to `base_url`, and nowhere else.
    pub(super) fn expose(&self) -> &str {
        &self.text
    }
}

/// What came of asking for one.
type Outcome = Result<Arc<AccessToken>, (Fault, Diagnosis)>;

/// The token of one provider, and how it is had.
pub(super) struct AccessTokens {
    grant: Grant,
    keys: Arc<ApiKeys>,
    client: Client,
    clock: Clock,
    timeout: Duration,
    provider: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    token: Option<Arc<AccessToken>>,
    /// Somebody asks.
    flight: Option<watch::Receiver<Option<Outcome>>>,
    failed: Option<(Tick, (Fault, Diagnosis))>,
    number: u64,
}

impl AccessTokens {
    pub(super) fn new(
        grant: Grant,
        keys: Arc<ApiKeys>,
        client: Client,
        (clock, timeout, provider): (Clock, Duration, String),
    ) -> Arc<Self> {
        Arc::new(Self { grant, keys, client, clock, timeout, provider, state: Mutex::default() })
    }

    /// The token; of all who ask while there is none, one asks the vendor.
    ///
    /// Dropped: the asking goes on for the others.
    pub(super) async fn get(self: &Arc<Self>) -> Outcome {
        let mut flight = {
            let mut state = self.state.lock();
            let now = self.clock.tick();
            if let Some(token) = state.token.as_ref().filter(|token| now < token.renew_at) {
                return Ok(token.clone());
            }
            if let Some((at, failure)) = &state.failed
                && now < at.plus(FAILURE_MEMORY)
            {
                let old = state.token.as_ref().filter(|token| now < token.ends);
                return old.cloned().ok_or_else(|| failure.clone());
            }
            // One whose task is gone without a word is none.
            match state.flight.as_ref().filter(|flight| flight.has_changed().is_ok()) {
                Some(flight) => flight.clone(),
                None => {
                    let (landing, flight) = watch::channel(None);
                    state.flight = Some(flight.clone());
                    tokio::spawn(self.clone().fly(landing));
                    flight
                }
            }
        };
        match flight.wait_for(Option::is_some).await {
            Ok(landed) => landed.clone().unwrap_or_else(lost),
            Err(_) => lost(),
        }
    }

    /// The API does not take it: the next who asks gets another. Once: a newer one stays.
    pub(super) fn drop_token(&self, refused: &AccessToken) {
        let mut state = self.state.lock();
        if state.token.as_ref().is_some_and(|token| token.number == refused.number) {
            state.token = None;
        }
    }

    async fn fly(self: Arc<Self>, landing: watch::Sender<Option<Outcome>>) {
        let began = self.clock.tick();
        let asked = tokio::time::timeout(self.timeout, self.ask()).await;
        let asked = asked.unwrap_or_else(|_| Err((Fault::TimedOut, Diagnosis::call(Step::Token, Cause::TimedOut))));
        let outcome = {
            let mut state = self.state.lock();
            state.flight = None;
            match asked {
                Ok((text, life)) => {
                    state.number += 1;
                    state.failed = None;
                    let life = life.unwrap_or(UNSAID).min(LONGEST);
                    let token = Arc::new(AccessToken {
                        text,
                        number: state.number,
                        renew_at: began.plus(life.saturating_sub(MARGIN.min(life / 4))),
                        ends: began.plus(life),
                    });
                    state.token = Some(token.clone());
                    Ok(token)
                }
                Err(failure) => {
                    state.failed = Some((self.clock.tick(), failure.clone()));
                    // One that still lives is better than none.
                    let now = self.clock.tick();
                    state.token.as_ref().filter(|token| now < token.ends).cloned().ok_or(failure)
                }
            }
        };
        landing.send_replace(Some(outcome));
    }

    /// Asks the endpoint, with the key that works; of two, with the other one where the first is refused.
    async fn ask(&self) -> Result<(Zeroizing<String>, Option<Duration>), (Fault, Diagnosis)> {
        let mut refusal = (Fault::Refused, Diagnosis::new("unfit", "no key can ask for an access token"));
        for (at, key) in self.keys.in_order() {
            let Ok(asked) = self.grant.ask(&key, self.clock.now()) else { continue };
            let answer = self.send(asked).await.map_err(|fault| {
                let diagnosis = Diagnosis::call(Step::Token, fault.cause());
                (Fault::of_client(fault), diagnosis)
            })?;
            match answer.status {
                200..=299 => {
                    self.keys.works(at);
                    return self.grant.read(&answer.body).map_err(|diagnosis| (Fault::Nonsense, diagnosis));
                }
                // `invalid_client` is 400 or 401 (RFC 6749, section 5.2).
                400 | 401 | 403 => {
                    refusal = (Fault::Refused, Diagnosis::status(Step::Token, &answer));
                    if self.keys.is_refused(at) {
                        let provider = &self.provider;
                        warn!(target: "valet::provider", provider, key = at + 1, "provider refused the API key");
                    }
                }
                _ => {
                    let fault = Fault::of_answer(&answer, self.clock.now());
                    return Err((fault, Diagnosis::status(Step::Token, &answer)));
                }
            }
        }
        Err(refusal)
    }

    /// The secret goes to the endpoint of the recipe, and no redirect is followed.
    async fn send(&self, asked: Asked) -> Result<Response, ClientFault> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(asked.uri)
            .body(Full::new(asked.body))
            .map_err(|_| ClientFault::Unreachable(Cause::NoRoute))?;
        let headers: &mut HeaderMap = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(asked.kind));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(authorization) = asked.authorization {
            headers.insert(AUTHORIZATION, authorization);
        }
        // Asked for twice it is two tokens, of which one is used: no harm.
        self.client.send_repeatable(request, MAX_ANSWER_BYTES, self.timeout).await
    }
}

fn lost() -> Outcome {
    Err((Fault::Unreachable, Diagnosis::new("busy", "the asking for an access token ended without a word")))
}

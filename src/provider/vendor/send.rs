//! One call to the vendor, with what it wants to see.

use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION};
use http::{HeaderMap, HeaderValue, Request};
use http_body_util::Full;
use tracing::warn;

use super::{Asking, Inner, note};
use crate::http_client::{Cause, Response};
use crate::provider::auth::Auth;
use crate::provider::call::Call;
use crate::provider::diagnosis::{Diagnosis, Step};
use crate::provider::key_field::sensitive;
use crate::provider::outcome::Fault;
use crate::provider::recipe::check_header_secret;
use crate::provider::retry_after::retry_after;
use crate::provider::signature::Outgoing;
use crate::provider::spans::CallSpan;
use crate::provider::template::Unfit;
use crate::provider::token::{AccessToken, AccessTokens};
use crate::provider::trial;

/// An answer to a mint is a URL of at most 8 KiB, and one to a registration a user's record: more is not read.
pub(super) const MAX_ANSWER_BYTES: usize = 128 * 1024;

/// The pause before the second call; before each further one it is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

impl Inner {
    /// The mint's call, made again as its `retry` says. Never after a time-out, and not where the vendor itself names a pause.
    pub(super) async fn send_patiently(&self, asking: &Asking<'_>, call: &Call) -> Result<Response, Fault> {
        let mut pause = FIRST_PAUSE;
        let mut made = 0;
        loop {
            let outcome = self.send(asking, call, Step::Mint).await;
            made += 1;
            let told = |answer: &Response| retry_after(&answer.headers, self.admission.clock.now()).is_some();
            let again = match &outcome {
                Ok(answer) => {
                    asking.mint.retry.on_status(answer.status)
                        && !asking.mint.accepts(answer.status, &answer.body)
                        && !told(answer)
                }
                Err(fault) => *fault == Fault::Unreachable && asking.mint.retry.unreachable,
            };
            // Between half of it and all of it, so that many who failed together don't come back together.
            let wait = pause.mul_f64(fastrand::f64().mul_add(0.5, 0.5));
            let in_time = tokio::time::Instant::now() + wait * 2 < asking.deadline;
            if !again || made >= asking.mint.retry.attempts || !in_time {
                return outcome;
            }
            tokio::time::sleep(wait).await;
            pause *= 2;
        }
    }

    /// One call.
    pub(super) async fn send(&self, asking: &Asking<'_>, call: &Call, step: Step) -> Result<Response, Fault> {
        match &self.tokens {
            Some(tokens) => self.send_with_token(asking, call, step, tokens).await,
            None => self.send_with_keys(asking, call, step).await,
        }
    }

    /// With the key that works; on 401 and 403 with the other one.
    async fn send_with_keys(&self, asking: &Asking<'_>, call: &Call, step: Step) -> Result<Response, Fault> {
        let mut refusal = None;
        for (at, key) in self.keys.in_order() {
            let mut outgoing = self.outgoing(call);
            let applied = self.add_secret_headers(&mut outgoing.headers);
            // Last: a signature is over what is sent.
            let applied = applied.and_then(|()| self.recipe.parts.auth.apply(&key, &mut outgoing));
            if applied.is_err() {
                continue;
            }
            let answer = self.transmit(asking, outgoing, step).await?;
            if !matches!(answer.status, 401 | 403) {
                if answer.status < 500 {
                    self.keys.works(at);
                }
                return Ok(answer);
            }
            refusal = Some(answer);
            if self.keys.is_refused(at) {
                warn!(target: "valet::provider", provider = self.admission.name, key = at + 1, "provider refused the API key");
            }
        }
        refusal.ok_or_else(|| no_key(asking))
    }

    /// With the access token; on 401 once more with a new one.
    async fn send_with_token(
        &self,
        asking: &Asking<'_>,
        call: &Call,
        step: Step,
        tokens: &Arc<AccessTokens>,
    ) -> Result<Response, Fault> {
        let token = self.token(asking, tokens).await?;
        let answer = self.transmit(asking, self.with_token(asking, call, &token)?, step).await?;
        if answer.status != 401 {
            return Ok(answer);
        }
        tokens.drop_token(&token);
        let token = self.token(asking, tokens).await?;
        self.transmit(asking, self.with_token(asking, call, &token)?, step).await
    }

    async fn token(&self, asking: &Asking<'_>, tokens: &Arc<AccessTokens>) -> Result<Arc<AccessToken>, Fault> {
        note(asking, Diagnosis::call(Step::Token, Cause::TimedOut));
        let token = tokens.get().await.map_err(|(fault, diagnosis)| {
            note(asking, diagnosis);
            fault
        })?;
        super::step(asking, trial::token);
        Ok(token)
    }

    fn with_token<'c>(
        &'c self,
        asking: &Asking<'_>,
        call: &'c Call,
        token: &AccessToken,
    ) -> Result<Outgoing<'c>, Fault> {
        let mut outgoing = self.outgoing(call);
        let prefix = match &self.recipe.parts.auth {
            Auth::Token(grant) => grant.prefix(),
            _ => "Bearer ",
        };
        let value = sensitive(&[prefix.as_bytes(), token.expose().as_bytes()]).map_err(|Unfit| no_key(asking))?;
        outgoing.headers.insert(AUTHORIZATION, value);
        self.add_secret_headers(&mut outgoing.headers).map_err(|Unfit| no_key(asking))?;
        Ok(outgoing)
    }

    fn outgoing<'c>(&'c self, call: &'c Call) -> Outgoing<'c> {
        Outgoing {
            method: &call.method,
            host: self.recipe.parts.base.authority(),
            target: call.target.clone(),
            headers: call.headers.clone(),
            body: &call.body,
            now: self.admission.clock.now(),
        }
    }

    fn add_secret_headers(&self, headers: &mut HeaderMap) -> Result<(), Unfit> {
        for (name, secret) in &self.secret_headers {
            let secret = secret.current();
            check_header_secret(&secret).map_err(|_| Unfit)?;
            // Into a header field of a call to the vendor, and nowhere else.
            headers.insert(name.clone(), sensitive(&[secret.expose()])?);
        }
        Ok(())
    }

    /// The key's only way out of the process: to the origin of `base_url`, and no redirect is followed.
    async fn transmit(&self, asking: &Asking<'_>, outgoing: Outgoing<'_>, step: Step) -> Result<Response, Fault> {
        self.turn(asking).await?;
        // Until it is answered: the provider's time-out may come first.
        note(asking, Diagnosis::call(step, Cause::TimedOut));
        let mut request = Request::builder()
            .method(outgoing.method.clone())
            .uri(self.recipe.parts.base.origin() + &outgoing.target)
            .body(Full::new(outgoing.body.clone()))
            .map_err(|_| Fault::Refused)?;
        *request.headers_mut() = outgoing.headers;
        request.headers_mut().entry(ACCEPT).or_insert(HeaderValue::from_static("*/*"));
        let who = (outgoing.method.as_str(), self.recipe.parts.base.authority());
        let by = (&self.admission.tracer, &self.admission.clock);
        let span = CallSpan::begin(by, asking.input.context.place, who, request.headers_mut());
        asking.input.context.called.note();
        let answer = match step {
            // Done again it leads to the same: after each start users are registered who are known.
            Step::Register => self.client.send_repeatable(request, MAX_ANSWER_BYTES, self.admission.timeout).await,
            _ => self.client.send(request, MAX_ANSWER_BYTES, self.admission.timeout).await,
        };
        if let Ok(answer) = &answer {
            self.quota.note(&answer.headers);
            super::step(asking, || trial::answered(step, outgoing.method, answer));
        }
        span.end(&answer);
        answer.map_err(|fault| {
            note(asking, Diagnosis::call(step, fault.cause()));
            Fault::of_client(fault)
        })
    }
}

fn no_key(asking: &Asking<'_>) -> Fault {
    note(asking, Diagnosis::new("unfit", "no key can stand where `auth` puts it"));
    Fault::Refused
}

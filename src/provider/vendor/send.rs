//! One call to the vendor, with what it wants to see.

use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue, Request};
use http_body_util::Full;
use tracing::warn;

use super::{Asking, Inner, client_fault, note};
use crate::http_client::{Cause, Response};
use crate::provider::auth::sensitive;
use crate::provider::call::Call;
use crate::provider::diagnosis::{Diagnosis, Step};
use crate::provider::outcome::Fault;
use crate::provider::recipe::check_header_secret;
use crate::provider::template::Unfit;

/// An answer to a mint is a URL of at most 8 KiB, and one to a registration a user's record: more is not read.
pub(super) const MAX_ANSWER_BYTES: usize = 128 * 1024;

impl Inner {
    fn add_secret_headers(&self, headers: &mut HeaderMap) -> Result<(), Unfit> {
        for (name, secret) in &self.secret_headers {
            let secret = secret.current();
            check_header_secret(&secret).map_err(|_| Unfit)?;
            // Into a header field of a call to the vendor, and nowhere else.
            headers.insert(name.clone(), sensitive(&[secret.expose()])?);
        }
        Ok(())
    }

    /// One call, with the key that works; on 401 and 403 with the other one.
    pub(super) async fn send(&self, asking: &Asking<'_>, call: &Call, step: Step) -> Result<Response, Fault> {
        let note = |cause| note(asking, Diagnosis::call(step, cause));
        // Until it is answered: the provider's time-out may come first.
        note(Cause::TimedOut);
        let mut refusal = None;
        for (at, key) in self.keys.in_order() {
            let (mut target, mut headers) = (call.target.clone(), call.headers.clone());
            let applied = self.recipe.parts.auth.apply(&key, &mut target, &mut headers);
            let applied = applied.and_then(|()| self.add_secret_headers(&mut headers));
            if applied.is_ok() {
                headers.entry(ACCEPT).or_insert(HeaderValue::from_static("*/*"));
                // The key's only way out of the process: to the origin of `base_url`, and no redirect is followed.
                let mut request = Request::builder()
                    .method(call.method.clone())
                    .uri(self.recipe.parts.base.origin() + &target)
                    .body(Full::new(call.body.clone()))
                    .map_err(|_| Fault::Refused)?;
                *request.headers_mut() = headers;
                let answer = match step {
                    // Done again it leads to the same: after each start users are registered who are known.
                    Step::Register => self.client.send_repeatable(request, MAX_ANSWER_BYTES, self.gate.timeout).await,
                    Step::Mint => self.client.send(request, MAX_ANSWER_BYTES, self.gate.timeout).await,
                };
                let answer = answer.map_err(|fault| {
                    note(fault.cause());
                    client_fault(fault)
                })?;
                if !matches!(answer.status, 401 | 403) {
                    if answer.status < 500 {
                        self.keys.works(at);
                    }
                    return Ok(answer);
                }
                refusal = Some(answer);
            }
            if applied.is_ok() && self.keys.is_refused(at) {
                warn!(target: "valet::provider", provider = self.gate.name, key = at + 1, "provider refused the API key");
            }
        }
        refusal.ok_or_else(|| {
            *asking.notes.lock() = Some(Diagnosis::new("unfit", "no key can stand where `auth` puts it"));
            Fault::Refused
        })
    }
}

//! Calls about a person, at sign-out and erasure: with no session behind them, and no URL that comes of them.

use std::time::Duration;

use prometheus::IntCounter;

use super::{Vendor, person_key};
use crate::provider::diagnosis::{Notes, Step};
use crate::provider::mint_context::MintContext;
use crate::provider::outcome::Fault;
use crate::provider::{MintInput, admission};
use crate::telemetry::{Metrics, Outcome};

/// Which call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PersonCall {
    /// `[provider.revoke]`.
    Revoke,
    /// `[provider.forget]`.
    Forget,
}

/// Whom it is about.
#[derive(Clone)]
pub struct Person {
    /// `{subject}`.
    pub external_id: Box<str>,
    /// The namespace of the subject.
    pub issuer: Box<str>,
    /// The subject there.
    pub subject: Box<str>,
}

/// Why a call was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PersonFault {
    /// Another try may succeed, after this long at the earliest.
    Again(Duration),
    /// No try will: a value can't stand where the recipe puts it.
    Never,
}

/// `valet_provider_calls_total` of one provider.
pub(super) struct PersonCalls {
    revoke: [IntCounter; 2],
    forget: [IntCounter; 2],
}

impl PersonCalls {
    pub(super) fn new(provider: &str, metrics: &Metrics) -> Self {
        let of = |call| {
            [Outcome::Done, Outcome::Failed]
                .map(|end| metrics.provider_calls.with_label_values(&[provider, call, end.label()]))
        };
        Self { revoke: of("revoke"), forget: of("forget") }
    }
}

impl Vendor {
    /// See [`Provider::call_about`](crate::provider::Provider::call_about).
    pub async fn call_about(&self, call: PersonCall, person: &Person) -> Option<Result<(), PersonFault>> {
        let inner = &self.0;
        let (template, step) = match call {
            PersonCall::Revoke => (inner.recipe.parts.revoke.as_ref()?, Step::Revoke),
            PersonCall::Forget => (inner.recipe.parts.forget.as_ref()?, Step::Forget),
        };
        let input = MintInput {
            external_id: person.external_id.clone(),
            issuer: person.issuer.clone(),
            subject: person.subject.clone(),
            language: None,
            claims: vec![None; inner.recipe.claims.len()].into(),
            parameters: Box::default(),
            context: MintContext::default(),
        };
        let notes = Notes::default();
        // What sends it looks at no mint; without one nobody could be known to the vendor.
        let asking = inner.asking(inner.recipe.parts.mints.first()?, &input, &notes);
        let filled = template.fill(&inner.recipe.parts.base.path, &inner.values(&asking, None));
        let Ok(filled) = filled else { return Some(Err(PersonFault::Never)) };
        let sent = tokio::time::timeout(inner.admission.timeout, inner.send(&asking, &filled, step)).await;
        let again = |after| Some(Err(PersonFault::Again(after)));
        match sent {
            // What is not there needs not be ended.
            Ok(Ok(answer)) if (200..300).contains(&answer.status) || matches!(answer.status, 404 | 410) => Some(Ok(())),
            Ok(Ok(answer)) => match Fault::of_answer(&answer, inner.admission.clock.now()) {
                Fault::Waiting { retry_after: Some(after), .. } => again(after.min(admission::TRY_AGAIN * 60)),
                _ => again(Duration::ZERO),
            },
            Ok(Err(_)) | Err(_) => again(Duration::ZERO),
        }
    }

    /// Whether the recipe has this call.
    pub fn has_call(&self, call: PersonCall) -> bool {
        let parts = &self.0.recipe.parts;
        match call {
            PersonCall::Revoke => parts.revoke.is_some(),
            PersonCall::Forget => parts.forget.is_some(),
        }
    }

    /// Counts how a call ended, all tries together.
    pub fn count_call(&self, call: PersonCall, done: bool) {
        let counters = match call {
            PersonCall::Revoke => &self.0.person_calls.revoke,
            PersonCall::Forget => &self.0.person_calls.forget,
        };
        counters[usize::from(!done)].inc();
    }

    /// Forgets that this person is registered.
    pub fn forget_registration(&self, issuer: &str, subject: &str) {
        let person = person_key(issuer, subject);
        self.0.registered.retain(|(held, _), _| *held != person);
    }
}

//! What we tell vendors about persons whose sessions have ended, or who are erased: outside the request, with retries, and never a reason to let anybody in.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::Semaphore;
use tracing::warn;

use super::TARGET;
use crate::provider::{Person, PersonCall, PersonFault, Provider};

/// Tries of one call in the background, and the pause behind the first; each further one is twice as long: half a minute in all.
const TRIES: u32 = 6;
const PAUSE: Duration = Duration::from_secs(1);

/// Tries of a call that a caller waits for.
const TRIES_WAITED_FOR: u32 = 2;

/// Persons about whom vendors are being told at once; of more no vendor is told, and each counts as failed.
const AT_ONCE: usize = 10_000;

/// What became of a person at a provider: `outcome` of `POST /api/subjects/forget`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgotten {
    /// It was told, and has not refused.
    Done,
    /// It could not be told, or refused.
    Failed,
    /// It has no `[provider.forget]`.
    None,
}

impl Forgotten {
    /// As the answer says it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::None => "none",
        }
    }
}

pub(super) struct Providers {
    all: Arc<[Provider]>,
    places: Arc<Semaphore>,
}

impl Providers {
    pub(super) fn new(all: Arc<[Provider]>) -> Self {
        Self { all, places: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Tells each provider that has `[provider.revoke]`, in the background.
    pub(super) fn revoke(&self, persons: Vec<Person>) {
        for at in 0..self.all.len() {
            let has = self.all.get(at).is_some_and(|provider| provider.has_call(PersonCall::Revoke));
            if !has || persons.is_empty() {
                continue;
            }
            let (all, persons) = (self.all.clone(), persons.clone());
            let place = self.places.clone().try_acquire_owned();
            tokio::spawn(async move {
                let Some(provider) = all.get(at) else { return };
                let done = match &place {
                    Ok(_) => tell_all(provider, PersonCall::Revoke, &persons, TRIES).await,
                    Err(_) => false,
                };
                count(provider, PersonCall::Revoke, done);
            });
        }
    }

    /// Forgets registrations, and asks each provider to forget the person.
    pub(super) async fn forget(&self, (issuer, subject): (&str, &str), persons: &[Person]) -> Vec<(String, Forgotten)> {
        let asked = self.all.iter().map(async |provider| {
            provider.forget_registration(issuer, subject);
            if !provider.has_call(PersonCall::Forget) {
                return (provider.name().to_owned(), Forgotten::None);
            }
            // Of nobody nothing can be said.
            let told = tell_all(provider, PersonCall::Forget, persons, TRIES_WAITED_FOR).await;
            let done = !persons.is_empty() && told;
            count(provider, PersonCall::Forget, done);
            (provider.name().to_owned(), if done { Forgotten::Done } else { Forgotten::Failed })
        });
        join_all(asked).await
    }
}

async fn tell_all(provider: &Provider, call: PersonCall, persons: &[Person], tries: u32) -> bool {
    let mut done = true;
    for person in persons {
        done &= tell(provider, call, person, tries).await;
    }
    done
}

async fn tell(provider: &Provider, call: PersonCall, person: &Person, tries: u32) -> bool {
    for made in 1..=tries {
        match provider.call_about(call, person).await {
            None | Some(Ok(())) => return true,
            Some(Err(PersonFault::Never)) => return false,
            Some(Err(PersonFault::Again(after))) if made < tries => {
                let pause = PAUSE * (1 << (made - 1));
                // Between half of it and all of it, so that many that failed together don't come back together.
                let pause = pause.mul_f64(fastrand::f64().mul_add(0.5, 0.5));
                tokio::time::sleep(pause.max(after)).await;
            }
            Some(Err(PersonFault::Again(_))) => {}
        }
    }
    false
}

fn count(provider: &Provider, call: PersonCall, done: bool) {
    provider.count_call(call, done);
    if !done {
        warn!(target: TARGET, provider = provider.name(), ?call, "a provider was not told of a person");
    }
}

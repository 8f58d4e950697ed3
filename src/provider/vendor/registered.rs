//! What a mint begins with, and whom the memory of registrations knows.

use aws_lc_rs::digest;
use parking_lot::Mutex;

use super::{Asking, Inner, UserKey, person_key};
use crate::provider::MintInput;
use crate::provider::diagnosis::Notes;
use crate::provider::recipe::MintCall;

impl Inner {
    pub(super) fn asking<'a>(&'a self, mint: &'a MintCall, input: &'a MintInput, notes: &'a Notes) -> Asking<'a> {
        Asking {
            mint,
            input,
            start: self.admission.clock.now(),
            subject_hash: if self.needs_subject_hash { self.subject_hash(input) } else { None },
            user: self.user(input),
            base_url: self.recipe.parts.base.url(),
            deadline: tokio::time::Instant::now() + self.admission.timeout,
            notes,
            steps: None,
            prepaid: Mutex::default(),
        }
    }

    /// Whom a registration is about: the person, and the name that the vendor was told; where mints use its answer, what else it was told.
    pub(super) fn user(&self, input: &MintInput) -> UserKey {
        let mut context = digest::Context::new(&digest::SHA256);
        let mut put = |text: &str| {
            context.update(&(text.len() as u64).to_be_bytes());
            context.update(text.as_bytes());
        };
        put(&input.external_id);
        if self.recipe.parts.register.as_ref().is_some_and(|register| !register.wanted.is_empty()) {
            input.language.iter().for_each(|language| put(language));
            for claim in &input.claims {
                put(if claim.is_some() { "1" } else { "0" });
                put(claim.as_deref().unwrap_or_default());
            }
            for (name, value) in &input.parameters {
                put(name);
                put(value);
            }
        }
        let mut rest = [0; 32];
        rest.copy_from_slice(context.finish().as_ref());
        (person_key(&input.issuer, &input.subject), rest)
    }
}

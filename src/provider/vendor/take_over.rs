//! A vendor of a new configuration takes over from the one before.

use std::sync::Arc;

use super::Vendor;

/// What is the same of a provider in a new configuration.
#[derive(Clone, Copy, Debug)]
pub struct SameProvider {
    /// Whether the provider's settings are the same.
    pub settings: bool,
    /// The content of the files that they name.
    pub files: bool,
    /// The claims that all recipes ask for.
    pub claims: bool,
}

impl Vendor {
    /// Takes over from the vendor of this name of the configuration before. Where the recipe is the same, its memory of registrations; with the
    /// same settings, its breaker, its bounds on calls and what is known of its keys; with the same files too, its access token.
    pub fn take_over(self, before: &Self, same: SameProvider) -> Self {
        let mut inner = match Arc::try_unwrap(self.0) {
            Ok(inner) => inner,
            Err(shared) => return Self(shared),
        };
        let old = &before.0;
        // Of what a registration's answer was asked with, claims are known by their places.
        let by_place = inner.recipe.parts.register.as_ref().is_some_and(|register| !register.wanted.is_empty());
        if inner.recipe.fingerprint() == old.recipe.fingerprint() && (same.claims || !by_place) {
            inner.registered = old.registered.clone();
        }
        if same.settings {
            inner.admission = old.admission.clone();
            inner.keys = old.keys.clone();
            inner.pace = old.pace.clone();
        }
        if same.settings && same.files {
            inner.tokens = old.tokens.clone();
        }
        Self(Arc::new(inner))
    }
}

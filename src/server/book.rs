//! The lease book of a new configuration: the one that is in force.

use std::sync::Arc;

use super::build::Accept;
use super::builder::Builder;
use crate::lease::Book;
use crate::lease::store::{SealingKeys, check_key};

impl Builder<'_> {
    /// The book that is in force stays; its bounds, and the keys of its store, may change.
    pub fn keep_book(&mut self, book: &Arc<Book>) {
        let settings = &self.config.leases;
        let (book, capacity) = (book.clone(), settings.capacity);
        let store = book.store().cloned();
        self.last_steps.push(Box::new(move || book.leases().set_capacity(capacity)));
        let Some(store) = store else { return };
        if let Some(password) = settings.redis.as_ref().and_then(|redis| redis.password.as_ref()) {
            self.secret("leases.redis.password", password, Box::new(|_| Ok(())));
        }
        if let Some(seals) = self.seals() {
            let on_loss = settings.on_store_loss;
            self.last_steps.push(Box::new(move || store.change(seals, on_loss)));
        }
    }

    pub(super) fn seals(&mut self) -> Option<SealingKeys> {
        let settings = &self.config.leases;
        let check: fn() -> Accept = || Box::new(check_key);
        let keys: Vec<_> =
            settings.seal_keys.iter().filter_map(|source| self.secret("leases.seal_keys", source, check())).collect();
        let names = settings.name_key.as_ref().map(|source| self.secret("leases.name_key", source, check()));
        if keys.is_empty() || keys.len() != settings.seal_keys.len() || names.as_ref().is_some_and(Option::is_none) {
            return None;
        }
        Some(SealingKeys::new(keys, names.flatten()))
    }
}

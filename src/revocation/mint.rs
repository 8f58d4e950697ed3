//! A mint whose URL nobody gets once the session that it is for has ended.

use std::sync::Arc;

use async_trait::async_trait;

use crate::provider::{Mint, MintFailure, MintInput, Minted, SessionRefusal};
use crate::session::Sessions;

/// Asks the list of revocations behind each mint: a URL that comes after its session's end is thrown away, and others who wait for it ask again.
pub struct Revocable {
    sessions: Arc<Sessions>,
    mint: Arc<dyn Mint>,
}

impl Revocable {
    /// This mint, for sessions of which `sessions` has the list.
    pub fn bound(sessions: Arc<Sessions>, mint: Arc<dyn Mint>) -> Arc<dyn Mint> {
        Arc::new(Self { sessions, mint })
    }
}

#[async_trait]
impl Mint for Revocable {
    async fn mint(&self, input: &MintInput) -> Result<Minted, MintFailure> {
        const ENDED: MintFailure = MintFailure::Session(SessionRefusal::Revoked);
        if self.is_void(input) {
            return Err(ENDED);
        }
        let minted = self.mint.mint(input).await;
        if self.is_void(input) { Err(ENDED) } else { minted }
    }

    fn inner(&self) -> Option<&dyn Mint> {
        Some(&*self.mint)
    }

    fn is_void(&self, input: &MintInput) -> bool {
        let has_ended = input.context.revocable.as_ref().is_some_and(|session| self.sessions.has_ended(session));
        has_ended || self.mint.is_void(input)
    }
}

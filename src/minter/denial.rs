//! What an edge is told where the lease book has nothing for it.

use crate::lease::NoLease;
use crate::provider::MintFailure;
use crate::provider::wire::{Denial, MintError};

/// The denial of the wire for each reason of the book.
pub(super) fn denied(none: NoLease) -> MintError {
    match none {
        NoLease::Limited(wait) | NoLease::Mint(MintFailure::Limited(wait)) => {
            MintError::for_now(Denial::TooManyRequests, wait)
        }
        NoLease::Lost => MintError::now(Denial::Internal),
        // Another minter may have a way to it.
        NoLease::Mint(MintFailure::StoreLost) => MintError::now(Denial::StoreUnavailable),
        // Of a provider that is itself a minter's there is none: the configuration refuses it.
        NoLease::Mint(MintFailure::Session(_)) => MintError::now(Denial::SessionInvalid),
        NoLease::Mint(MintFailure::Refused) => MintError::now(Denial::ProviderRefused),
        NoLease::Mint(MintFailure::Unreachable) => MintError::now(Denial::ProviderUnreachable),
        NoLease::Mint(MintFailure::TimedOut) => MintError::now(Denial::ProviderTimeout),
        NoLease::Mint(MintFailure::Nonsense) => MintError::now(Denial::ProviderNonsense),
        NoLease::Mint(MintFailure::ForbiddenHost) => MintError::now(Denial::ForbiddenHost),
        NoLease::Mint(MintFailure::Busy(wait)) => MintError::for_now(Denial::ProviderBusy, wait),
    }
}

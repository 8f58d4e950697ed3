//! What the client is told when Pingora's proxy fails.

use pingora::{Error, ErrorSource, ErrorType};

use crate::app::cause_of;
use crate::gateway::forward::attempt::behind;
use crate::problem::Refusal;

pub(super) const TOO_LARGE: ErrorType = ErrorType::Custom("BodyTooLarge");
pub(super) const REVOKED: ErrorType = ErrorType::Custom("SessionRevoked");
pub(super) const TOO_SLOW: ErrorType = ErrorType::Custom("BodyTooSlow");

/// What the client is told; `None`: it is gone.
pub(super) fn refusal(error: &Error) -> Option<Refusal> {
    match (error.esource(), error.etype()) {
        (_, etype) if *etype == TOO_LARGE => Some(Refusal::BodyTooLarge),
        (_, etype) if *etype == TOO_SLOW => Some(Refusal::TooSlow),
        (_, etype) if *etype == REVOKED => Some(Refusal::SessionRevoked),
        (ErrorSource::Upstream, _) => Some(behind(cause_of(error))),
        (ErrorSource::Downstream, ErrorType::ReadTimedout) => Some(Refusal::TooSlow),
        (
            ErrorSource::Downstream,
            ErrorType::WriteError
            | ErrorType::ReadError
            | ErrorType::ConnectionClosed
            | ErrorType::WriteTimedout
            | ErrorType::H2Error,
        ) => None,
        (ErrorSource::Downstream, _) => Some(Refusal::BadRequest),
        (ErrorSource::Internal | ErrorSource::Unset, _) => Some(Refusal::Internal),
    }
}

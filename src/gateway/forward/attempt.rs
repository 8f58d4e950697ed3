//! What both ways to an app have in common: how many upstreams one request tries, how many interim answers pass, what a failed attempt is to the client.

use crate::http_client::Cause;
use crate::problem::Refusal;

/// Upstreams that one request tries at most.
pub(in crate::gateway) const TRIES: usize = 3;

/// Answers before the answer, as `103 Early Hints`. Apps send one or two.
pub(in crate::gateway) const MAX_INTERIM: usize = 32;

/// What the client is told.
pub(in crate::gateway) fn behind(why: Cause) -> Refusal {
    match why {
        Cause::ConnectTimedOut | Cause::TimedOut => Refusal::AppTimeout,
        _ => Refusal::AppUnavailable,
    }
}

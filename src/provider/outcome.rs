//! How a mint fails inside, what of it the gateway learns, and what is counted.

use std::time::Duration;

use prometheus::IntCounter;

use super::retry_after::retry_after;
use super::{MintFailure, SessionRefusal};
use crate::clock::Timestamp;
use crate::http_client::{ClientFault, Response};
use crate::telemetry::{Metrics, Outcome};

/// Why a mint that called the vendor gave no URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Refused,
    Unreachable,
    TimedOut,
    Nonsense,
    ForbiddenHost,
    /// 429, or 503 (`unavailable`).
    Waiting {
        unavailable: bool,
        retry_after: Option<Duration>,
    },
    /// The minter's bound on mints of one subject.
    Limited(Duration),
    /// The minter is busy; it knows by itself when to call its vendor again.
    Busy(Duration),
    /// The minter does not take the session.
    Session(SessionRefusal),
}

impl Fault {
    /// What an answer says that is not the wanted one. `now`: from when on a `Retry-After` counts.
    pub(super) fn of_answer(answer: &Response, now: Timestamp) -> Self {
        match answer.status {
            429 | 503 => {
                Self::Waiting { unavailable: answer.status == 503, retry_after: retry_after(&answer.headers, now) }
            }
            400..=499 => Self::Refused,
            500..=599 => Self::Unreachable,
            _ => Self::Nonsense,
        }
    }

    /// What a call came to that got no answer.
    pub(super) fn of_client(fault: ClientFault) -> Self {
        match fault {
            ClientFault::NoConnection(_) | ClientFault::Unreachable(_) => Self::Unreachable,
            ClientFault::TimedOut => Self::TimedOut,
            ClientFault::TooLarge => Self::Nonsense,
        }
    }

    /// Whether the breaker counts it: the vendor is down, not of another opinion.
    pub(super) fn counts(&self) -> bool {
        match self {
            Self::Unreachable | Self::TimedOut | Self::Waiting { unavailable: true, .. } => true,
            Self::Refused
            | Self::Nonsense
            | Self::ForbiddenHost
            | Self::Waiting { unavailable: false, .. }
            | Self::Limited(_)
            | Self::Busy(_)
            | Self::Session(_) => false,
        }
    }

    /// What the gateway learns. `at_least`: the shortest wait that a caller is told.
    pub(super) fn failure(self, at_least: Duration) -> MintFailure {
        match self {
            Self::Refused => MintFailure::Refused,
            Self::Unreachable => MintFailure::Unreachable,
            Self::TimedOut => MintFailure::TimedOut,
            Self::Nonsense => MintFailure::Nonsense,
            Self::ForbiddenHost => MintFailure::ForbiddenHost,
            Self::Limited(wait) => MintFailure::Limited(wait),
            Self::Busy(wait) => MintFailure::Busy(wait.clamp(at_least, super::breaker::MAX_PAUSE)),
            Self::Session(refusal) => MintFailure::Session(refusal),
            Self::Waiting { retry_after, .. } => {
                MintFailure::Busy(retry_after.unwrap_or(at_least).clamp(at_least, super::breaker::MAX_PAUSE))
            }
        }
    }
}

/// `valet_mints_total{provider,outcome}` of one provider; `ok` and `short` are counted where leases are made.
pub(super) struct Counters {
    refused: IntCounter,
    unreachable: IntCounter,
    timeout: IntCounter,
    nonsense: IntCounter,
    forbidden_host: IntCounter,
    busy: IntCounter,
}

impl Counters {
    pub(super) fn new(metrics: &Metrics, provider: &str) -> Self {
        let counter = |outcome: Outcome| metrics.mints.with_label_values(&[provider, outcome.label()]);
        Self {
            refused: counter(Outcome::Refused),
            unreachable: counter(Outcome::Unreachable),
            timeout: counter(Outcome::Timeout),
            nonsense: counter(Outcome::Nonsense),
            forbidden_host: counter(Outcome::ForbiddenHost),
            busy: counter(Outcome::Busy),
        }
    }

    pub(super) fn count(&self, failure: MintFailure) {
        let counter = match failure {
            MintFailure::Refused | MintFailure::Session(_) => &self.refused,
            MintFailure::Unreachable => &self.unreachable,
            MintFailure::TimedOut => &self.timeout,
            MintFailure::Nonsense => &self.nonsense,
            MintFailure::ForbiddenHost => &self.forbidden_host,
            MintFailure::Busy(_) | MintFailure::Limited(_) | MintFailure::StoreLost => &self.busy,
        };
        counter.inc();
    }
}

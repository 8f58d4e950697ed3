//! Every refusal, its status and its words: one table ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)).
//!
//! The texts are fixed. Nothing of the token, the URL, the key or an inner error is ever in them.

use std::time::Duration;

use crate::session::StepUp;
use crate::telemetry::Outcome;

/// Where the `type` of a problem points: the page that explains it.
pub const TYPE_BASE: &str = "https://valet.example/problems/";

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// No such route.
    NotFound,
    /// The route is there, the method is not. Carries the `Allow` field.
    MethodNotAllowed(&'static str),
    /// Two persons' credentials, or a request that can't be framed safely.
    BadRequest,
    /// No credential.
    SessionRequired,
    /// A credential that was good once.
    SessionExpired,
    /// Any other fault of the credential: one face for all.
    SessionInvalid,
    /// Credentials of another scheme than ours. The face is the same.
    OtherScheme,
    /// The session was ended before its token does. The face is the same.
    SessionRevoked,
    /// The session is good, but policies want a stronger or more recent sign-in.
    StepUpRequired(&'static StepUp),
    /// The issuer's keys can't be had.
    KeysUnavailable(Duration),
    /// A navigation to a plug-in that is a token for a script.
    NotAcceptable,
    /// The policy says no, or the session lacks what the vendor must be told.
    NotPermitted,
    /// A page of another site is behind this request.
    CrossSite,
    /// A prefetch, for which nothing is minted.
    PrefetchRefused,
    /// Too many requests or mints.
    TooManyRequests(Duration),
    /// The vendor refused, was unreachable, or answered nonsense or a forbidden host.
    ProviderUnavailable,
    /// The vendor is overloaded, pausing, or its breaker is open.
    ProviderBusy(Duration),
    /// The vendor did not answer in time.
    ProviderTimeout,
    /// The app could not be reached, or broke off.
    AppUnavailable,
    /// The app did not answer in time.
    AppTimeout,
    /// The client was too slow.
    TooSlow,
    /// The request's body is too large.
    BodyTooLarge,
    /// The request's target is too long.
    UriTooLong,
    /// The request's head is too large.
    HeaderTooLarge,
    /// As many requests as may be are under way to apps and mints.
    Overloaded,
    /// The store of leases is needed and can't be asked.
    StoreUnavailable,
    /// Our own fault.
    Internal,
    /// We are about to stop.
    Draining,
}

/// The outcome of each refusal, once: what counters begin with.
pub const OUTCOMES: [Outcome; 19] = [
    Outcome::NotFound,
    Outcome::MethodNotAllowed,
    Outcome::BadRequest,
    Outcome::StepUp,
    Outcome::Unauthenticated,
    Outcome::Unavailable,
    Outcome::Forbidden,
    Outcome::NotAcceptable,
    Outcome::Prefetch,
    Outcome::Limited,
    Outcome::ProviderError,
    Outcome::ProviderBusy,
    Outcome::ProviderTimeout,
    Outcome::AppError,
    Outcome::AppTimeout,
    Outcome::TooSlow,
    Outcome::TooLarge,
    Outcome::Overloaded,
    Outcome::Error,
];

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// HTTP status code.
    pub status: u16,
    /// Reason phrase for the status line.
    pub reason: &'static str,
    /// The end of `type`.
    pub slug: &'static str,
    /// One short sentence, for programs and logs.
    pub title: &'static str,
    /// What a person can do next, for the small page.
    pub advice: &'static str,
    /// Label of `valet_requests_total`.
    pub outcome: Outcome,
}

const fn row(
    status: u16,
    reason: &'static str,
    slug: &'static str,
    outcome: Outcome,
    title: &'static str,
    advice: &'static str,
) -> Row {
    Row { status, reason, slug, title, advice, outcome }
}

impl Refusal {
    /// The row of this refusal.
    #[rustfmt::skip]
    pub const fn row(&self) -> Row {
        match self {
            Self::NotFound => row(404, "Not Found", "not-found", Outcome::NotFound, "There is nothing here.", "Check the address, or go back to the page you came from."),
            Self::MethodNotAllowed(_) => row(405, "Method Not Allowed", "method-not-allowed", Outcome::MethodNotAllowed, "This method is not allowed here.", "Go back to the page you came from and try again."),
            Self::BadRequest => row(400, "Bad Request", "bad-request", Outcome::BadRequest, "The request could not be read safely.", "Sign out, sign in again, and try once more. If it happens again, clear this site's cookies."),
            Self::SessionRequired => row(401, "Unauthorized", "session-required", Outcome::Unauthenticated, "A session is required.", "Please sign in, then open this page again."),
            Self::SessionExpired => row(401, "Unauthorized", "session-expired", Outcome::Unauthenticated, "The session has expired.", "Please sign in again, then open this page again."),
            Self::SessionInvalid | Self::OtherScheme | Self::SessionRevoked => row(401, "Unauthorized", "session-invalid", Outcome::Unauthenticated, "The session is not valid.", "Please sign out and sign in again."),
            Self::StepUpRequired(_) => row(401, "Unauthorized", "step-up-required", Outcome::StepUp, "Please confirm that it is you.", "Sign in again, in the way that you are asked for, then open this page again."),
            Self::KeysUnavailable(_) => row(503, "Service Unavailable", "keys-unavailable", Outcome::Unavailable, "The session can't be checked right now.", "Please wait a moment and try again."),
            Self::NotPermitted => row(403, "Forbidden", "not-permitted", Outcome::Forbidden, "This is not permitted for your account.", "If you think that it should be, ask the people who run this service."),
            Self::CrossSite => row(403, "Forbidden", "cross-site", Outcome::Forbidden, "Another site may not open this.", "Open this page from the site it belongs to."),
            Self::PrefetchRefused => row(503, "Service Unavailable", "prefetch-refused", Outcome::Prefetch, "This is not opened ahead of time.", "Open the page again."),
            Self::NotAcceptable => row(406, "Not Acceptable", "not-acceptable", Outcome::NotAcceptable, "This is no page.", "Go back to the page you came from: this address is for its script."),
            Self::TooManyRequests(_) => row(429, "Too Many Requests", "too-many-requests", Outcome::Limited, "Too many requests.", "Please wait a while and try again."),
            Self::ProviderUnavailable => row(502, "Bad Gateway", "provider-unavailable", Outcome::ProviderError, "The provider can't be used right now.", "Please try again in a few minutes."),
            Self::ProviderBusy(_) => row(503, "Service Unavailable", "provider-busy", Outcome::ProviderBusy, "The provider is busy.", "Please wait a moment and try again."),
            Self::ProviderTimeout => row(504, "Gateway Timeout", "provider-timeout", Outcome::ProviderTimeout, "The provider did not answer in time.", "Please try again in a few minutes."),
            Self::AppUnavailable => row(502, "Bad Gateway", "app-unavailable", Outcome::AppError, "The app can't be reached right now.", "Please try again in a few minutes."),
            Self::AppTimeout => row(504, "Gateway Timeout", "app-timeout", Outcome::AppTimeout, "The app did not answer in time.", "Please try again in a few minutes."),
            Self::TooSlow => row(408, "Request Timeout", "too-slow", Outcome::TooSlow, "The request took too long to arrive.", "Check your connection and try again."),
            Self::BodyTooLarge => row(413, "Content Too Large", "body-too-large", Outcome::TooLarge, "The request's body is too large.", "Go back to the page you came from and try again."),
            Self::UriTooLong => row(414, "URI Too Long", "header-too-large", Outcome::TooLarge, "The request's address is too long.", "Go back to the page you came from and try again."),
            Self::HeaderTooLarge => row(431, "Request Header Fields Too Large", "header-too-large", Outcome::TooLarge, "The request's head is too large.", "Clear this site's cookies and try again."),
            Self::Internal => row(500, "Internal Server Error", "internal", Outcome::Error, "Something went wrong on our side.", "Please try again in a few minutes."),
            Self::StoreUnavailable => row(503, "Service Unavailable", "store-unavailable", Outcome::Unavailable, "A part of this service is not available right now.", "Please wait a moment and try again."),
            Self::Overloaded => row(503, "Service Unavailable", "overloaded", Outcome::Overloaded, "Too many requests are under way.", "Please wait a moment and try again."),
            Self::Draining => row(503, "Service Unavailable", "draining", Outcome::Unavailable, "This server is about to stop.", "Please try again."),
        }
    }

    /// After how long the client may try again, where the answer says so.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::KeysUnavailable(wait) | Self::TooManyRequests(wait) | Self::ProviderBusy(wait) => Some(*wait),
            Self::PrefetchRefused | Self::StoreUnavailable | Self::Overloaded | Self::Draining => {
                Some(Duration::from_secs(1))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_and_types_are_those_of_the_contract() {
        let wait = Duration::from_secs(1);
        for (refusal, status, slug) in [
            (Refusal::NotFound, 404, "not-found"),
            (Refusal::AppUnavailable, 502, "app-unavailable"),
            (Refusal::AppTimeout, 504, "app-timeout"),
            (Refusal::MethodNotAllowed("GET"), 405, "method-not-allowed"),
            (Refusal::BadRequest, 400, "bad-request"),
            (Refusal::SessionRequired, 401, "session-required"),
            (Refusal::SessionExpired, 401, "session-expired"),
            (Refusal::SessionInvalid, 401, "session-invalid"),
            (Refusal::OtherScheme, 401, "session-invalid"),
            (Refusal::SessionRevoked, 401, "session-invalid"),
            (Refusal::StepUpRequired(StepUp::new("mfa", None).unwrap().interned().unwrap()), 401, "step-up-required"),
            (Refusal::KeysUnavailable(wait), 503, "keys-unavailable"),
            (Refusal::NotPermitted, 403, "not-permitted"),
            (Refusal::CrossSite, 403, "cross-site"),
            (Refusal::PrefetchRefused, 503, "prefetch-refused"),
            (Refusal::NotAcceptable, 406, "not-acceptable"),
            (Refusal::TooManyRequests(wait), 429, "too-many-requests"),
            (Refusal::ProviderUnavailable, 502, "provider-unavailable"),
            (Refusal::ProviderBusy(wait), 503, "provider-busy"),
            (Refusal::ProviderTimeout, 504, "provider-timeout"),
            (Refusal::TooSlow, 408, "too-slow"),
            (Refusal::BodyTooLarge, 413, "body-too-large"),
            (Refusal::UriTooLong, 414, "header-too-large"),
            (Refusal::HeaderTooLarge, 431, "header-too-large"),
            (Refusal::Internal, 500, "internal"),
            (Refusal::StoreUnavailable, 503, "store-unavailable"),
            (Refusal::Overloaded, 503, "overloaded"),
            (Refusal::Draining, 503, "draining"),
        ] {
            let row = refusal.row();
            assert_eq!((row.status, row.slug), (status, slug));
            assert!(OUTCOMES.contains(&row.outcome), "{:?} begins at no zero", row.outcome);
        }
    }
}

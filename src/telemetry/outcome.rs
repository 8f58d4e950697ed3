//! How something ended: the words of the label `outcome`, in metrics, access lines and spans. Each word is written here, once.

macro_rules! outcomes {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)*) => {
        /// How something ended. Which of the words a metric has is said in docs/metrics.md.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Outcome {
            $($(#[$doc])* $name,)*
        }

        impl Outcome {
            /// The word: lower case, with `_`.
            pub const fn label(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                }
            }

            #[cfg(test)]
            const ALL: &[Self] = &[$(Self::$name,)*];
        }
    };
}

outcomes! {
    /// No credential was there.
    Absent = "absent",
    /// The app could not be reached, or broke off.
    AppError = "app_error",
    /// The app did not answer in time.
    AppTimeout = "app_timeout",
    /// It is in force.
    Applied = "applied",
    /// Another proxy may carry the request.
    Authorized = "authorized",
    /// The request could not be read safely.
    BadRequest = "bad_request",
    /// The vendor, or our own bound, has no room now.
    Busy = "busy",
    /// It was known already.
    Cached = "cached",
    /// The client left before the answer.
    Cancelled = "cancelled",
    /// The edge does not say a claim that the recipe uses.
    ClaimMissing = "claim_missing",
    /// The answer broke off.
    Cut = "cut",
    /// What `valet doctor` asks for.
    Doctor = "doctor",
    /// It was done.
    Done = "done",
    /// The process is about to stop.
    Draining = "draining",
    /// There was no room for it.
    Dropped = "dropped",
    /// It failed by a fault of ours or of the other side.
    Error = "error",
    /// Its life is over.
    Expired = "expired",
    /// It failed after all tries.
    Failed = "failed",
    /// The policies, or what is known of the page behind it, forbid it.
    Forbidden = "forbidden",
    /// The vendor's URL leads to a host that is not allowed.
    ForbiddenHost = "forbidden_host",
    /// It went to the app.
    Forwarded = "forwarded",
    /// An edge has its URL.
    Granted = "granted",
    /// No certificate, one of an unknown authority, or no TLS.
    Handshake = "handshake",
    /// It asked for nothing.
    Ignored = "ignored",
    /// A fault of ours.
    Internal = "internal",
    /// It is not good.
    Invalid = "invalid",
    /// The URL as JSON.
    Json = "json",
    /// The keys of assertions.
    KeySet = "key_set",
    /// The keys of sessions can't be had.
    KeysUnavailable = "keys_unavailable",
    /// It was one too many.
    Limited = "limited",
    /// To the page where one signs in.
    Login = "login",
    /// Nobody took it.
    Lost = "lost",
    /// What came was no HTTP.
    Malformed = "malformed",
    /// The route is there, the method is not.
    MethodNotAllowed = "method_not_allowed",
    /// To the same path by `https`.
    Moved = "moved",
    /// The certificate names no edge.
    NoEdge = "no_edge",
    /// What came was nothing that can be used.
    Nonsense = "nonsense",
    /// A navigation to what is a token for a script.
    NotAcceptable = "not_acceptable",
    /// There is no such route.
    NotFound = "not_found",
    /// The edge, or the session, may not have it.
    NotPermitted = "not_permitted",
    /// It went well.
    Ok = "ok",
    /// As many as may be are under way.
    Overloaded = "overloaded",
    /// It was asked ahead of time.
    Prefetch = "prefetch",
    /// What a browser asks before a script's request.
    Preflight = "preflight",
    /// The vendor is overloaded, pausing, or its circuit breaker is open.
    ProviderBusy = "provider_busy",
    /// The vendor refused, was unreachable, or answered nonsense.
    ProviderError = "provider_error",
    /// The vendor answered nothing that can be used.
    ProviderNonsense = "provider_nonsense",
    /// The vendor refused.
    ProviderRefused = "provider_refused",
    /// The vendor did not answer in time.
    ProviderTimeout = "provider_timeout",
    /// The vendor can't be reached.
    ProviderUnreachable = "provider_unreachable",
    /// A logout token or a security event was taken.
    Received = "received",
    /// To the vendor's URL.
    Redirect = "redirect",
    /// It was refused.
    Refused = "refused",
    /// The collector did not want it.
    Rejected = "rejected",
    /// The session was ended before its token does.
    Revoked = "revoked",
    /// The collector has it.
    Sent = "sent",
    /// The session ended under way.
    SessionEnded = "session_ended",
    /// The session's life is over.
    SessionExpired = "session_expired",
    /// The session is not good.
    SessionInvalid = "session_invalid",
    /// The URL has too little life to be held.
    Short = "short",
    /// The session is good, and a stronger one is wanted.
    StepUp = "step_up",
    /// A stronger session is wanted.
    StepUpRequired = "step_up_required",
    /// The store of leases can't be asked.
    StoreUnavailable = "store_unavailable",
    /// It did not answer in time.
    Timeout = "timeout",
    /// The head or the body is too large.
    TooLarge = "too_large",
    /// The person has had as many as one may.
    TooManyRequests = "too_many_requests",
    /// The client was too slow.
    TooSlow = "too_slow",
    /// The connection was closed before anything was read.
    TurnedAway = "turned_away",
    /// No credential, or none that opens a session.
    Unauthenticated = "unauthenticated",
    /// What is needed to judge it can't be had now.
    Unavailable = "unavailable",
    /// Nothing has changed.
    Unchanged = "unchanged",
    /// It can't be reached.
    Unreachable = "unreachable",
    /// It is in force here; the store could not be asked.
    Unwritten = "unwritten",
    /// It is good.
    Valid = "valid",
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Outcome;

    #[test]
    fn each_word_is_in_lower_case_and_stands_for_one_outcome() {
        let words: BTreeSet<&str> = Outcome::ALL.iter().map(|outcome| outcome.label()).collect();
        assert_eq!(words.len(), Outcome::ALL.len());
        let is_word = |word: &&str| word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        assert!(words.iter().all(is_word), "{words:?}");
    }
}

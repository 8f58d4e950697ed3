//! Authentication: from a request's credentials to its session, within the limit on refused ones.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use crate::app::settings::SessionNeed;
use crate::clock::Moment;
use crate::gateway::Gateway;
use crate::gateway::http1::head::Head;
use crate::problem::Refusal;
use crate::session::{Ambiguous, Found, Reason, Session, SessionFault, SourceKind, Unknown};

/// A credential that opened a session.
pub(in crate::gateway) struct Believed<'h> {
    pub session: Arc<Session>,
    pub check: Check,
    /// Where it stood.
    pub kind: SourceKind,
    pub token: Cow<'h, [u8]>,
}

/// What came of a credential, in the words of `valet_session_checks_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gateway) enum Check {
    Valid,
    Cached,
    Expired,
    Invalid,
    Absent,
    Unavailable,
    Revoked,
}

impl Check {
    pub fn label(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Cached => "cached",
            Self::Expired => "expired",
            Self::Invalid => "invalid",
            Self::Absent => "absent",
            Self::Unavailable => "unavailable",
            Self::Revoked => "revoked",
        }
    }

    /// That of a request that was refused for its credential; `None`: beyond `limits.invalid_per_address` the credential was not judged.
    pub fn behind(refusal: &Refusal) -> Option<Self> {
        match refusal {
            Refusal::SessionRequired => Some(Self::Absent),
            Refusal::SessionExpired => Some(Self::Expired),
            Refusal::KeysUnavailable(_) | Refusal::StoreUnavailable => Some(Self::Unavailable),
            Refusal::SessionRevoked => Some(Self::Revoked),
            Refusal::TooManyRequests(_) => None,
            _ => Some(Self::Invalid),
        }
    }
}

impl Gateway {
    /// The session behind a request that came `now`, how it was judged, and where its credential stood. `None`: where none is needed, the request has
    /// credentials of another scheme, which are the app's.
    pub(in crate::gateway) async fn session<'h>(
        &self,
        head: &Head<'h>,
        need: SessionNeed,
        (now, address): (Moment, Option<IpAddr>),
    ) -> Result<Option<Believed<'h>>, Refusal> {
        let fields = head.headers.iter().map(|field| (field.name.as_bytes(), field.value));
        let found: Found<'_> = self.sources.read(fields).map_err(|Ambiguous| Refusal::BadRequest)?;
        if found.malformed {
            self.limits.check_invalid(address).map_err(Refusal::TooManyRequests)?;
            self.limits.note_invalid(address);
            self.sessions.count_malformed();
            return Err(Refusal::SessionInvalid);
        }
        if found.other_scheme && need == SessionNeed::Required {
            self.sessions.count_malformed();
            return Err(Refusal::OtherScheme);
        }
        let mut credentials = found.credentials;
        let Some((first, others)) = credentials.split_first() else {
            self.sessions.count_absent();
            return if found.other_scheme { Ok(None) } else { Err(Refusal::SessionRequired) };
        };
        let session = self.check(&first.token, now, address).await;
        for other in others {
            // Two credentials must speak for one person, or nobody is let in.
            // The first may have been waited for.
            match (&session, self.check(&other.token, self.clock.moment(), address).await) {
                (Ok((one, _)), Ok((other, _)))
                    if (one.namespace(), one.subject()) == (other.namespace(), other.subject()) => {}
                // Not read: whose it is nobody knows.
                (Err(limited @ Refusal::TooManyRequests(_)), _) => return Err(*limited),
                (_, Err(limited @ Refusal::TooManyRequests(_))) => return Err(limited),
                _ => return Err(Refusal::BadRequest),
            }
        }
        let (session, check) = session?;
        let first = credentials.swap_remove(0);
        Ok(Some(Believed { session, check, kind: first.from, token: first.token }))
    }

    async fn check(
        &self,
        token: &[u8],
        mut now: Moment,
        address: Option<IpAddr>,
    ) -> Result<(Arc<Session>, Check), Refusal> {
        // What is waited for is boxed: a request whose token is known does not hold the room for it.
        if !self.sessions.knows_revocations() {
            let known = Box::pin(self.sessions.until_revocations_are_known());
            known.await.map_err(|Unknown| Refusal::StoreUnavailable)?;
            now = self.clock.moment();
        }
        if let Some(session) = self.sessions.cached(token, now) {
            return Ok((session, Check::Cached));
        }
        // Before any signature is checked. One that was good before passes above: whoever shares an address with an attacker stays signed in.
        self.limits.check_invalid(address).map_err(Refusal::TooManyRequests)?;
        let verified = Box::pin(self.sessions.verify(token, now.wall)).await.map_err(|fault| match fault {
            SessionFault::Expired => Refusal::SessionExpired,
            // A token that was good until its session was ended is no attack.
            SessionFault::Invalid(Reason::Revoked) => Refusal::SessionRevoked,
            // One face for all; which it was the verifier has noted.
            SessionFault::Invalid(_) => {
                self.limits.note_invalid(address);
                Refusal::SessionInvalid
            }
            SessionFault::KeysUnavailable(wait) => Refusal::KeysUnavailable(wait),
        })?;
        Ok((verified, Check::Valid))
    }
}

//! Credential → session: where credentials are read, how they are verified, and what is remembered of them.
//!
//! A *credential* is the token text as it arrived, not yet believed; a *session* is a verified credential.

pub mod settings;

mod algorithm;
mod assertable;
mod asserted;
mod claim_path;
mod claims;
mod diagnosis;
mod explain;
mod external_id;
mod field_claim;
mod hash;
mod issuer;
mod json;
mod jwks_cache;
mod jwks_caches;
mod key_set;
mod key_settings;
mod keys;
mod knowledge;
mod local;
mod logout_token;
mod memo;
mod observer;
mod pem;
mod pieces;
mod readiness;
mod redact;
mod remote;
mod revocation;
mod security_event;
mod signature;
mod signed;
mod sources;
mod step_up;
mod take_over;
mod token;
mod traits;
mod upkeep;
mod verifier;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;

pub use asserted::Asserted;
pub use claim_path::ClaimPath;
pub use explain::{Explanation, Refused};
pub use external_id::{ExternalIdTemplate, NameFault, alike};
pub use field_claim::{FieldClaim, NoField, is_carried_whole};
pub use knowledge::{Knowledge, Unknown};
pub use logout_token::LogoutToken;
pub use memo::Memo;
pub use pieces::Ambiguous;
pub use readiness::{IssuerReadiness, Readiness};
pub use redact::Redaction;
pub use remote::{ClientFault, ClientOf, KeyAnswer, KeyClient};
pub use revocation::{Full, MAX_REVOCATIONS, Revocable, Revocation};
pub use security_event::{EndedSession, EventFault, SecurityEvent};
pub use signed::Signed;
pub use sources::{Credential, Found, Source, SourceKind, Sources};
pub use step_up::StepUp;
pub use take_over::TakenOver;
pub use token::bare as bare_type;
pub use traits::{Trait, TraitClaims, TraitKind, Traits};
pub use verifier::{ClaimNames, Sessions};

/// A line for each key of a key set file that is left out.
///
/// # Errors
/// The file can't serve these algorithms at all: why, in the operator's words.
pub fn try_jwks_file(
    path: &std::path::Path,
    algorithms: &[settings::SignatureAlgorithm],
) -> Result<Vec<String>, String> {
    local::Local::Set(path.to_owned()).try_out(algorithms)
}

/// Why a shared secret can't serve these algorithms, in the operator's words.
///
/// # Errors
/// It is shorter than the hash of one of them ([RFC 7518, section 3.2](https://www.rfc-editor.org/rfc/rfc7518#section-3.2)), or holds a PEM.
pub fn try_secret(secret: &crate::secret::Secret, algorithms: &[settings::SignatureAlgorithm]) -> Result<(), String> {
    local::try_secret(secret, algorithms)
}

/// Why a PEM file can't serve these algorithms, in the operator's words.
///
/// # Errors
/// It can't be read, holds no public key, or one of another kind than an algorithm needs.
pub fn try_pem_file(path: &std::path::Path, algorithms: &[settings::SignatureAlgorithm]) -> Result<(), String> {
    local::Local::Pem(path.to_owned()).try_out(algorithms).map(drop)
}

/// The `tracing` target of this module.
const TARGET: &str = "valet::session";

/// Longer names from outside are cut in a log line.
const MAX_SHOWN_CHARS: usize = 128;

/// A verified credential. Nothing outside this module can make one.
pub struct Session {
    pub(crate) issuer: Arc<str>,
    pub(crate) namespace: Arc<str>,
    pub(crate) subject: Box<str>,
    pub(crate) external_id: Box<str>,
    pub(crate) name_fault: Option<NameFault>,
    pub(crate) log_id: Box<str>,
    pub(crate) person: [u8; 16],
    /// `None`: it is somebody else's to revoke.
    pub(crate) revocable: Option<Revocable>,
    pub(crate) session_name: SessionName,
    pub(crate) ends: Timestamp,
    pub(crate) claims: Box<[Option<Box<str>>]>,
    pub(crate) fields: Box<[FieldClaim]>,
    pub(crate) assertable: Box<[Option<Box<str>>]>,
    pub(crate) traits: Option<Box<Traits>>,
    pub(crate) memo: Memo,
    pub(crate) signed: Signed,
}

/// What tells a session from others of the same person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionName {
    /// The issuer's name of it (`session_claim`).
    Claim(Box<str>),
    /// The token has none, so the token itself is the session: SHA-256 of its text.
    Token([u8; 32]),
}

impl SessionName {
    fn of(claim: Option<&str>, token: impl FnOnce() -> [u8; 32]) -> Self {
        claim.map_or_else(|| Self::Token(token()), |name| Self::Claim(name.into()))
    }
}

impl Session {
    /// `iss` of the token.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The issuer whose subjects the session's issuer speaks of: itself, or the one that `subjects_of` names. Together with
    /// [`Session::subject`] it tells persons apart: same `sub`, other namespace, other person.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// For whom the session speaks: the value of the issuer's `subject_claim`.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The name under which vendors know the subject (`external_id` of the issuer).
    pub fn external_id(&self) -> &str {
        &self.external_id
    }

    /// Why vendors are not told that name: it could be another person's. Nothing is minted for such a session.
    pub fn name_fault(&self) -> Option<NameFault> {
        self.name_fault
    }

    /// A keyed hash of issuer and subject, for logs: base64url HMAC-SHA-256 under `log.subject_key`.
    pub fn log_id(&self) -> &str {
        &self.log_id
    }

    /// A keyed hash of namespace and subject, for look-ups: the beginning of what [`Session::log_id`] shows.
    pub fn person(&self) -> &[u8; 16] {
        &self.person
    }

    /// What the list of revocations knows it by; `None`: whoever vouches for it looks there.
    pub fn revocable(&self) -> Option<Revocable> {
        self.revocable
    }

    /// The issuer's name of this session (`session_claim`), if the token has one.
    pub fn session_id(&self) -> Option<&str> {
        match &self.session_name {
            SessionName::Claim(name) => Some(name),
            SessionName::Token(_) => None,
        }
    }

    /// When it ends: `exp`, or `iat` and `max_age`, with `clock_skew`.
    pub fn ends(&self) -> Timestamp {
        self.ends
    }

    /// What tells it from other sessions of its person.
    pub fn session_name(&self) -> &SessionName {
        &self.session_name
    }

    /// The claims that recipes ask for, in the order of the names that the configuration gathered; `None` where absent, empty or not a string.
    pub fn claims(&self) -> &[Option<Box<str>>] {
        &self.claims
    }

    /// The claims that apps are told, as header fields carry them, in the order of the names that the configuration gathered.
    pub fn fields(&self) -> &[FieldClaim] {
        &self.fields
    }

    /// The claims that assertions to apps carry, as JSON, in the order of the names that the configuration gathered; `None` where absent or too long.
    pub fn assertable(&self) -> &[Option<Box<str>>] {
        &self.assertable
    }

    /// What policies may read; `None` where there are no policies, or nobody verified the token.
    pub fn traits(&self) -> Option<&Traits> {
        self.traits.as_deref()
    }

    /// What policies have said about this session.
    pub fn memo(&self) -> &Memo {
        &self.memo
    }

    /// What was signed of it for apps.
    pub fn signed(&self) -> &Signed {
        &self.signed
    }
}

/// Why a credential opens no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionFault {
    /// It was good once.
    Expired,
    /// Any other fault. The reason is for counters and `debug` logs, never for the caller.
    Invalid(Reason),
    /// The issuer's keys can't be had; try again after this long.
    KeysUnavailable(Duration),
}

/// What is wrong with an invalid credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // The names are the documentation.
pub enum Reason {
    TooLong,
    Malformed,
    Header,
    CriticalExtension,
    Type,
    UnknownIssuer,
    Algorithm,
    UnknownKey,
    Signature,
    Claims,
    Audience,
    NotYetValid,
    Subject,
    Tenant,
    ExternalId,
    LogoutToken,
    Revoked,
    BoundToKey,
}

/// A name from outside as it may stand in a log line: bounded, printable ASCII, no quotes.
fn shown(name: &str) -> impl fmt::Display {
    let fit = |c: char| if (c.is_ascii_graphic() && c != '"' && c != '\\') || c == ' ' { c } else { '?' };
    name.chars().take(MAX_SHOWN_CHARS).map(fit).collect::<String>()
}

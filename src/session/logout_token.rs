//! Logout tokens (OpenID Connect Back-Channel Logout 1.0, sections 2.4 and 2.6): whose sessions an issuer has ended.

use std::time::Duration;

use super::claims::{LOGOUT_EVENT, TENANT_CLAIM, audience_list, date, name};
use super::issuer::Issuer;
use super::json::{self, Object, Value};
use super::token::{Header, Parts, bare};
use super::{Reason, SessionFault, Sessions, TARGET, shown, signature};
use crate::clock::Timestamp;

/// The types that such a token may have (`typ` of its header); it may also have none.
const TYPES: [&str; 2] = ["JWT", "logout+jwt"];

/// The life of a token without `exp`, which drafts of the standard did not know; the standard recommends this one at most.
const LIFE: Duration = Duration::from_secs(120);

/// What a logout token says, once it is believed. It names a subject, a session, or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogoutToken {
    /// The issuer, as configured.
    pub issuer: String,
    /// The subject, as its sessions name it.
    pub subject: Option<String>,
    /// The session claim.
    pub session: Option<String>,
    /// Sessions that began later are not meant.
    pub issued_at: Timestamp,
    /// Its own name.
    pub id: String,
}

impl Sessions {
    /// Verifies a logout token. It opens no session, whatever comes of it. Waits as [`Sessions::verify`] does.
    ///
    /// # Errors
    /// It is no logout token of a configured issuer, or the keys to judge it can't be had.
    pub async fn verify_logout(&self, token: &[u8], now: Timestamp) -> Result<LogoutToken, SessionFault> {
        let verified = self.judge_logout(token, now).await;
        if let Err(fault) = &verified {
            tracing::debug!(target: TARGET, ?fault, "no logout token");
        }
        verified
    }

    async fn judge_logout(&self, token: &[u8], now: Timestamp) -> Result<LogoutToken, SessionFault> {
        let invalid = SessionFault::Invalid;
        if token.len() > self.max_token_bytes() {
            return Err(invalid(Reason::TooLong));
        }
        let parts = Parts::read(token).map_err(invalid)?;
        let header = Header::read(&parts.header).map_err(invalid)?;
        if header.named_type().is_some_and(|typ| !TYPES.iter().any(|known| known.eq_ignore_ascii_case(bare(typ)))) {
            return Err(invalid(Reason::Type));
        }
        let payload = json::object(&parts.payload).ok_or(invalid(Reason::Claims))?;
        let issuer = self.issuer_of(&payload).map_err(invalid)?;
        let judged = judge(issuer, &payload, now, self.skew())?;
        signature::verify(&issuer.jwks_caches, &parts, &header).await?;
        tracing::debug!(target: TARGET, issuer = %shown(&issuer.name), "a logout token");
        Ok(judged)
    }
}

fn judge(issuer: &Issuer, payload: &Object<'_>, now: Timestamp, skew: Duration) -> Result<LogoutToken, SessionFault> {
    let claims = || SessionFault::Invalid(Reason::Claims);
    let is_logout = match payload.get("events") {
        Some(Value::Object(events)) => matches!(events.get(LOGOUT_EVENT), Some(Value::Object(_))),
        _ => false,
    };
    // `nonce`: so that an ID token is never taken for one.
    if !is_logout || payload.get("nonce").is_some() {
        return Err(SessionFault::Invalid(Reason::LogoutToken));
    }
    let aud = payload.get("aud").ok_or(SessionFault::Invalid(Reason::Audience))?;
    let audiences = audience_list(aud).map_err(SessionFault::Invalid)?;
    if !audiences.iter().any(|one| one.text().is_some_and(|one| issuer.logout_audiences.iter().any(|our| our == one))) {
        return Err(SessionFault::Invalid(Reason::Audience));
    }
    let told = |tid: &Value<'_>| tid.text() == issuer.rules.tenant.as_deref();
    if issuer.rules.tenant.is_some() && !payload.get(TENANT_CLAIM).is_none_or(told) {
        return Err(SessionFault::Invalid(Reason::Tenant));
    }
    let id = payload.get("jti").and_then(name).ok_or_else(claims)?;
    let issued_at = date(payload, "iat").map_err(SessionFault::Invalid)?.ok_or_else(claims)?;
    let expires = date(payload, "exp").map_err(SessionFault::Invalid)?.unwrap_or_else(|| issued_at.plus(LIFE));
    if now < issued_at.minus(skew) {
        return Err(SessionFault::Invalid(Reason::NotYetValid));
    }
    if now >= expires.plus(skew) {
        return Err(SessionFault::Expired);
    }
    let session = match payload.get("sid") {
        Some(sid) => Some(name(sid).ok_or_else(claims)?.to_owned()),
        None => None,
    };
    // Where sessions name their subject by another claim than `sub`, that one names it here too, if it is there.
    if payload.get("sub").is_some_and(|sub| name(sub).is_none()) {
        return Err(SessionFault::Invalid(Reason::Subject));
    }
    let subject = issuer.rules.subject(payload).map(|subject| subject.into_owned());
    if subject.is_none() && session.is_none() {
        return Err(SessionFault::Invalid(Reason::Subject));
    }
    Ok(LogoutToken { issuer: issuer.name.to_string(), subject, session, issued_at, id: id.to_owned() })
}

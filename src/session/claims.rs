//! What a token says of itself, judged by the rules of its issuer and by our own clock (RFC 7519, section 4.1; RFC 8725).

use std::borrow::Cow;
use std::time::Duration;

use super::Reason;
use super::json::{Number, Object, Selector, Value};
use crate::clock::Timestamp;

/// OpenID Connect Core, section 2: a subject has at most 255 characters. The same bound serves for session names.
const MAX_NAME_BYTES: usize = 255;

/// The claim in which Entra ID and others repeat the tenant that `iss` names.
pub(super) const TENANT_CLAIM: &str = "tid";

/// The largest whole number that JSON carries without loss (RFC 8259, section 6).
const MAX_EXACT: u64 = 1 << 53;

/// The member that makes a token a back-channel logout token (OpenID Connect Back-Channel Logout 1.0, section 2.4).
pub(super) const LOGOUT_EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// Where one issuer's tokens carry what we need.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) audiences: Vec<String>,
    pub(super) audience: Selector,
    /// The name or pointer of it, as configured.
    pub(super) audience_claim: Box<str>,
    pub(super) subject: Selector,
    /// Whether `subject` is `sub` itself.
    pub(super) subject_is_sub: bool,
    /// The tenant that `iss` names.
    pub(super) tenant: Option<Box<str>>,
    pub(super) session: Selector,
    /// A bound on the age of a token.
    pub(super) max_age: Option<Duration>,
    /// Whether `cnf` is no reason to refuse.
    pub(super) accept_bound: bool,
}

/// How a claim is told to recipes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClaimForm {
    /// Its text.
    Text,
    /// JSON, so that its type is kept: the name has a `#` behind it.
    Json,
}

impl ClaimForm {
    /// The claim that a recipe's name means, and its form.
    pub(super) fn of(name: &str) -> (&str, Self) {
        name.strip_suffix('#').map_or((name, Self::Text), |claim| (claim, Self::Json))
    }

    /// `None`: empty, or of a type that this form does not tell.
    pub(super) fn tell(self, claim: &Value<'_>) -> Option<Box<str>> {
        match (self, claim) {
            (_, Value::Text(text)) if text.is_empty() => None,
            (Self::Text, Value::Text(text)) => Some(text.as_ref().into()),
            (Self::Json, Value::Text(text)) => Some(serde_json::Value::from(text.as_ref()).to_string().into()),
            (Self::Json, Value::Number(Number::Whole(number))) if *number <= MAX_EXACT => {
                Some(number.to_string().into())
            }
            (Self::Json, Value::Bool(known)) => Some(known.to_string().into()),
            _ => None,
        }
    }
}

/// The life of a verdict: `from <= now < until`, skew included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
}

/// Claims that are in order, except perhaps for the end of the token's life.
#[derive(Debug)]
pub(super) struct Claims<'a> {
    pub(super) subject: Cow<'a, str>,
    pub(super) session_id: Option<&'a str>,
    pub(super) life: Validity,
    pub(super) issued_at: Option<Timestamp>,
}

impl Rules {
    /// Judges everything but the expiry, which is told apart only once the signature is known to be good.
    /// `iss` is judged by who chose these rules.
    pub(super) fn judge<'a>(
        &self,
        payload: &'a Object<'_>,
        now: Timestamp,
        skew: Duration,
    ) -> Result<Claims<'a>, Reason> {
        refuse_logout_tokens(payload)?;
        // RFC 7800: the token is worth something only with a proof of possession, which we do not check.
        if !self.accept_bound && payload.get("cnf").is_some() {
            return Err(Reason::BoundToKey);
        }
        let life = life(payload, self.max_age, skew)?;
        if now < life.from {
            return Err(Reason::NotYetValid);
        }
        if let Some(aud) = payload.get("aud") {
            audience_list(aud)?;
        }
        let audience = self.audience.find(payload).ok_or(Reason::Audience)?;
        if !audience_list(audience)?.iter().any(|one| one.text().is_some_and(|one| self.is_ours(one))) {
            return Err(Reason::Audience);
        }
        if payload.get("jti").is_some_and(|jti| jti.text().is_none()) {
            return Err(Reason::Claims);
        }
        let told = |tid: &Value<'_>| tid.text() == self.tenant.as_deref();
        if self.tenant.is_some() && !payload.get(TENANT_CLAIM).is_none_or(told) {
            return Err(Reason::Tenant);
        }
        let subject = self.subject(payload).ok_or(Reason::Subject)?;
        let session_id = match self.session.find(payload) {
            Some(session) => Some(name(session).ok_or(Reason::Claims)?),
            None => None,
        };
        Ok(Claims { subject, session_id, life, issued_at: date(payload, "iat")? })
    }

    /// Whom the token is about.
    pub(super) fn subject<'a>(&self, payload: &'a Object<'_>) -> Option<Cow<'a, str>> {
        let found = self.subject.find(payload);
        if self.subject_is_sub {
            return found.and_then(name).map(Cow::Borrowed);
        }
        // Tokens of programs may have an empty one (Cloudflare Access, service tokens).
        if let Some(sub) = payload.get("sub").filter(|sub| sub.text() != Some("")) {
            name(sub)?;
        }
        match found? {
            Value::Number(Number::Whole(number)) if *number <= MAX_EXACT => Some(Cow::Owned(number.to_string())),
            other => name(other).map(Cow::Borrowed),
        }
    }

    fn is_ours(&self, audience: &str) -> bool {
        self.audiences.iter().any(|ours| ours == audience)
    }
}

/// Refuses logout tokens: the same issuer signs them for another end.
fn refuse_logout_tokens(payload: &Object<'_>) -> Result<(), Reason> {
    match payload.get("events") {
        Some(Value::Object(events)) if events.get(LOGOUT_EVENT).is_some() => Err(Reason::LogoutToken),
        Some(_) | None => Ok(()),
    }
}

fn life(payload: &Object<'_>, max_age: Option<Duration>, skew: Duration) -> Result<Validity, Reason> {
    let mut expires = date(payload, "exp")?.ok_or(Reason::Claims)?;
    let issued = date(payload, "iat")?;
    if let Some(max_age) = max_age {
        expires = expires.min(issued.ok_or(Reason::Claims)?.plus(max_age));
    }
    // A token issued later than now is as little valid as one that is not valid yet.
    let begins = date(payload, "nbf")?.max(issued);
    let from = begins.map_or(Timestamp::from_millis(i64::MIN), |begins| begins.minus(skew));
    Ok(Validity { from, until: expires.plus(skew) })
}

/// NumericDate (RFC 7519, section 2), its fraction cut. `null` is not absence.
pub(super) fn date(payload: &Object<'_>, claim: &str) -> Result<Option<Timestamp>, Reason> {
    let seconds = match payload.get(claim) {
        None => return Ok(None),
        Some(Value::Number(Number::Whole(seconds))) => *seconds,
        // The range makes the cast exact except for the fraction.
        Some(Value::Number(Number::Float(seconds))) if (0.0..=MAX_EXACT as f64).contains(seconds) => *seconds as u64,
        Some(_) => return Err(Reason::Claims),
    };
    if seconds > MAX_EXACT {
        return Err(Reason::Claims);
    }
    i64::try_from(seconds).map(|seconds| Some(Timestamp::from_secs(seconds))).map_err(|_| Reason::Claims)
}

/// One string or an array of strings, as a list.
pub(super) fn audience_list<'v, 'a>(value: &'v Value<'a>) -> Result<&'v [Value<'a>], Reason> {
    match value {
        Value::Text(_) => Ok(std::slice::from_ref(value)),
        Value::List(list) if list.iter().all(|one| one.text().is_some()) => Ok(list),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::List(_) | Value::Object(_) => Err(Reason::Audience),
    }
}

/// A name that may go into keys, logs and calls: not empty, bounded, no control character.
pub(super) fn name<'v>(value: &'v Value<'_>) -> Option<&'v str> {
    let text = value.text()?;
    let fits = !text.is_empty() && text.len() <= MAX_NAME_BYTES && !text.chars().any(char::is_control);
    fits.then_some(text)
}

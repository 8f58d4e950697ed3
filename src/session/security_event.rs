//! Security event tokens (RFC 8417) of the Shared Signals Framework: what a transmitter says of people's sessions (CAEP 1.0, RISC 1.0).

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::claims::{audience_list, date, name};
use super::json::{self, Object, Value};
use super::jwks_caches::JwksCaches;
use super::remote::ClientOf;
use super::settings::TransmitterSettings;
use super::token::{Header, Parts};
use super::{Reason, SessionFault, Sessions, TARGET, signature};
use crate::clock::{Clock, Timestamp};
use crate::telemetry::Metrics;

/// The type of such a token (RFC 8417, section 2.3).
const TYPE: &str = "secevent+jwt";

/// The events that end sessions.
const CAEP: &str = "https://schemas.openid.net/secevent/caep/event-type/";
const RISC: &str = "https://schemas.openid.net/secevent/risc/event-type/";
const ENDING: [(&str, &str); 5] = [
    (CAEP, SESSION_REVOKED),
    (CAEP, "credential-change"),
    (RISC, "account-disabled"),
    (RISC, "account-purged"),
    (RISC, "sessions-revoked"),
];
const SESSION_REVOKED: &str = "session-revoked";

/// In the year 5138: a later second is a millisecond of our time.
const LAST_SECOND: i64 = 100_000_000_000;

/// Who sends such tokens.
pub(super) struct Transmitter {
    pub(super) name: Arc<str>,
    audiences: Vec<String>,
    /// The issuer of whose people it speaks.
    subjects_of: Arc<str>,
    pub(super) jwks_caches: JwksCaches,
}

/// What a token says, once it is believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecurityEvent {
    /// `iss`.
    pub transmitter: String,
    /// `jti`.
    pub id: String,
    /// The issuer of whose people it speaks, as configured.
    pub issuer: String,
    /// Which sessions end. Empty: it asks for nothing that is done here.
    pub ended: Vec<EndedSession>,
}

/// Sessions that a transmitter has ended: of a subject, of a name, or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedSession {
    /// The subject.
    pub subject: Option<String>,
    /// The session claim.
    pub session: Option<String>,
    /// Sessions that began later are not meant.
    pub until: Timestamp,
}

/// Why a token is not believed: the error codes of [RFC 8935, section 2.4](https://www.rfc-editor.org/rfc/rfc8935#section-2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventFault {
    /// It is no security event token, or speaks of nobody that can be.
    Request,
    /// Its signature is not the transmitter's.
    Key,
    /// It is of no configured transmitter.
    Issuer,
    /// It is for somebody else.
    Audience,
    /// The transmitter's keys can't be had; try again after this long.
    KeysUnavailable(Duration),
}

impl Transmitter {
    /// Reads one `[[session.events.transmitter]]`. Every fault, in the operator's words.
    pub(super) fn open(
        settings: &TransmitterSettings,
        directory: &Path,
        client_of: &ClientOf<'_>,
        clock: &Clock,
        metrics: &Metrics,
    ) -> Result<Self, Vec<String>> {
        let keys = settings.as_issuer();
        let client = client_of(&keys)?;
        let place = |faults: Vec<String>| {
            let place = |fault| format!("session.events.transmitter {:?}: {fault}", settings.issuer);
            faults.into_iter().map(place).collect::<Vec<_>>()
        };
        let jwks_caches = JwksCaches::open(&keys, directory, &client, clock, metrics).map_err(place)?;
        Ok(Self {
            name: settings.issuer.as_str().into(),
            audiences: settings.audiences.clone(),
            subjects_of: settings.subjects_of.as_str().into(),
            jwks_caches,
        })
    }
}

impl Sessions {
    /// Verifies a security event token. It opens no session, whatever comes of it. Waits as [`Sessions::verify`] does.
    ///
    /// # Errors
    /// See [`EventFault`].
    pub async fn verify_event(&self, token: &[u8], now: Timestamp) -> Result<SecurityEvent, EventFault> {
        let verified = self.judge_event(token, now).await;
        if let Err(fault) = &verified {
            tracing::debug!(target: TARGET, ?fault, "no security event token");
        }
        verified
    }

    async fn judge_event(&self, token: &[u8], now: Timestamp) -> Result<SecurityEvent, EventFault> {
        let wrong = |_: Reason| EventFault::Request;
        if token.len() > self.max_token_bytes() {
            return Err(EventFault::Request);
        }
        let parts = Parts::read(token).map_err(wrong)?;
        let header = Header::read(&parts.header).map_err(wrong)?;
        // Explicit (RFC 8725, section 3.11): a token of another end is never taken for one.
        if header.named_type().is_none() || !header.is_of(&[TYPE.into()]) {
            return Err(EventFault::Request);
        }
        let payload = json::object(&parts.payload).ok_or(EventFault::Request)?;
        let issuer = payload.get("iss").and_then(Value::text).ok_or(EventFault::Request)?;
        let transmitter = self.transmitters.iter().find(|known| *known.name == *issuer).ok_or(EventFault::Issuer)?;
        let aud = payload.get("aud").ok_or(EventFault::Audience)?;
        let audiences = audience_list(aud).map_err(|_| EventFault::Audience)?;
        let is_ours =
            |one: &Value<'_>| one.text().is_some_and(|one| transmitter.audiences.iter().any(|our| our == one));
        if !audiences.iter().any(is_ours) {
            return Err(EventFault::Audience);
        }
        let id = payload.get("jti").and_then(name).ok_or(EventFault::Request)?;
        let issued_at = date(&payload, "iat").map_err(wrong)?.ok_or(EventFault::Request)?;
        let expires = date(&payload, "exp").map_err(wrong)?;
        if now < issued_at.minus(self.skew()) || expires.is_some_and(|expires| now >= expires.plus(self.skew())) {
            return Err(EventFault::Request);
        }
        let event = SecurityEvent {
            transmitter: issuer.to_owned(),
            id: id.to_owned(),
            issuer: transmitter.subjects_of.to_string(),
            ended: ended(&payload, transmitter, issued_at, now)?,
        };
        match signature::verify(&transmitter.jwks_caches, &parts, &header).await {
            Ok(()) => Ok(event),
            Err(SessionFault::KeysUnavailable(wait)) => Err(EventFault::KeysUnavailable(wait)),
            Err(_) => Err(EventFault::Key),
        }
    }
}

/// Whose sessions the events end.
fn ended(
    payload: &Object<'_>,
    transmitter: &Transmitter,
    issued_at: Timestamp,
    now: Timestamp,
) -> Result<Vec<EndedSession>, EventFault> {
    let Some(Value::Object(events)) = payload.get("events") else { return Err(EventFault::Request) };
    if events.iter().next().is_none() {
        return Err(EventFault::Request);
    }
    let mut all = Vec::new();
    for (kind, event) in events.iter() {
        let Value::Object(event) = event else { return Err(EventFault::Request) };
        if !ENDING.iter().any(|(space, end)| kind.strip_prefix(space) == Some(end)) {
            continue;
        }
        let until = match event.get("event_timestamp") {
            None => issued_at,
            Some(Value::Number(_)) => {
                date(event, "event_timestamp").ok().flatten().map(in_seconds).ok_or(EventFault::Request)?
            }
            Some(_) => return Err(EventFault::Request),
        };
        // What has not happened ends nothing that is yet to begin.
        let until = until.min(now);
        let Some(Value::Object(of)) = payload.get("sub_id").or_else(|| event.get("subject")) else {
            return Err(EventFault::Request);
        };
        let named = Named::read(of, &transmitter.subjects_of).ok_or(EventFault::Request)?;
        // CAEP 1.0 shows an opaque subject of `session-revoked` that is the session's name, and nothing tells it from a person's.
        if let (true, true, Some(subject)) = (named.is_opaque, kind.ends_with(SESSION_REVOKED), &named.subject) {
            all.push(EndedSession { subject: None, session: Some(subject.clone()), until });
        }
        all.push(EndedSession { subject: named.subject, session: named.session, until });
    }
    Ok(all)
}

/// CAEP 1.0 has seconds; drafts of it had milliseconds, and transmitters write them still.
fn in_seconds(date: Timestamp) -> Timestamp {
    let seconds = date.as_secs();
    if seconds > LAST_SECOND { Timestamp::from_secs(seconds / 1000) } else { date }
}

/// Whom a subject identifier (RFC 9493) names.
struct Named {
    subject: Option<String>,
    session: Option<String>,
    is_opaque: bool,
}

impl Named {
    /// `None`: nobody of this issuer, or in a form that is not known.
    fn read(of: &Object<'_>, issuer: &str) -> Option<Self> {
        let format =
            of.get("format").or_else(|| of.get("subject_type")).map(|format| format.text().unwrap_or_default());
        match format {
            Some("complex") | None => {
                let member = |name: &str| match of.get(name) {
                    None => Some(None),
                    Some(Value::Object(one)) => simple(one, issuer).map(Some),
                    Some(_) => None,
                };
                let (subject, session) = (member("user")?, member("session")?);
                (subject.is_some() || session.is_some()).then_some(Self { subject, session, is_opaque: false })
            }
            Some(format) => {
                Some(Self { subject: Some(simple(of, issuer)?), session: None, is_opaque: format == "opaque" })
            }
        }
    }
}

/// The name in a simple subject identifier.
fn simple(of: &Object<'_>, issuer: &str) -> Option<String> {
    let text = |member: &str| of.get(member).and_then(name);
    match of.get("format").or_else(|| of.get("subject_type"))?.text()? {
        "opaque" => text("id").map(str::to_owned),
        // As drafts wrote it, too.
        "iss_sub" | "iss-sub" if text("iss")? == issuer => text("sub").map(str::to_owned),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_an_event_may_stand_in_milliseconds() {
        for (written, seconds) in [
            (1_615_304_991, 1_615_304_991),
            (1_615_304_991_643, 1_615_304_991),
            (LAST_SECOND, LAST_SECOND),
            (LAST_SECOND + 1, LAST_SECOND / 1000),
            (0, 0),
        ] {
            assert_eq!(in_seconds(Timestamp::from_secs(written)).as_secs(), seconds, "{written}");
        }
    }

    fn named(text: &str) -> Option<(Option<String>, Option<String>)> {
        let object = json::object(text.as_bytes()).unwrap();
        Named::read(&object, "https://idp.example").map(|named| (named.subject, named.session))
    }

    #[test]
    fn a_subject_identifier_names_a_person_a_session_or_both() {
        let some = |text: &str| Some(text.to_owned());
        let user = r#""user":{"format":"iss_sub","iss":"https://idp.example","sub":"ada"}"#;
        let session = r#""session":{"format":"opaque","id":"s1"}"#;
        for (text, expected) in [
            (r#"{"format":"iss_sub","iss":"https://idp.example","sub":"ada"}"#.to_owned(), Some((some("ada"), None))),
            (r#"{"subject_type":"iss-sub","iss":"https://idp.example","sub":"ada"}"#.into(), Some((some("ada"), None))),
            (r#"{"format":"opaque","id":"ada"}"#.into(), Some((some("ada"), None))),
            (format!(r#"{{"format":"complex",{user},{session}}}"#), Some((some("ada"), some("s1")))),
            (format!("{{{user},{session}}}"), Some((some("ada"), some("s1")))),
            (format!(r#"{{"format":"complex",{user}}}"#), Some((some("ada"), None))),
            (format!(r#"{{"format":"complex",{session}}}"#), Some((None, some("s1")))),
            (r#"{"format":"iss_sub","iss":"https://other.example","sub":"ada"}"#.into(), None),
            (r#"{"format":"iss_sub","sub":"ada"}"#.into(), None),
            (r#"{"format":"email","email":"ada@example.com"}"#.into(), None),
            (r#"{"format":"opaque","id":""}"#.into(), None),
            (r#"{"format":"opaque","id":1}"#.into(), None),
            (r#"{"format":"complex"}"#.into(), None),
            (format!(r#"{{"format":"complex","user":"ada",{session}}}"#), None),
            (format!(r#"{{"format":"complex","user":{{"format":"email","email":"a@b"}},{session}}}"#), None),
            ("{}".into(), None),
        ] {
            assert_eq!(named(&text), expected, "{text}");
        }
    }
}

//! What must come of a token that is signed by the right key: the rules of docs/sessions.md, written a second time over serde_json's tree.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::issuers::{CLAIM_NAMES, Issuer, MAX_TOKEN_BYTES, SKEW, Signer};

/// Objects and lists in one another.
const MAX_DEPTH: usize = 32;

/// The largest whole number that JSON carries without loss.
const MAX_DATE: u64 = 1 << 53;

const LOGOUT_EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

#[derive(Debug)]
pub enum Expected {
    Opens(Box<Person>),
    Expired,
    Refused,
}

/// Whose session it is, and when: `from <= now < until`, in milliseconds.
#[derive(Debug)]
pub struct Person {
    pub issuer: &'static str,
    pub subject: String,
    pub external_id: String,
    /// That name could be another person's.
    pub name_is_unclear: bool,
    pub session_id: Option<String>,
    pub claims: Vec<Option<String>>,
    pub from: Option<i64>,
    pub until: i64,
}

/// What must come of a token of this signer's.
pub fn judge(signer: Signer, header: &[u8], payload: &[u8], token_bytes: usize, now: i64) -> Expected {
    let person = match (object(header), object(payload)) {
        (Some(header), Some(payload)) if token_bytes <= MAX_TOKEN_BYTES && header_fits(signer, &header) => {
            person(signer.issuer(), &payload)
        }
        _ => None,
    };
    match person {
        Some(person) if person.from.is_some_and(|from| now < from) => Expected::Refused,
        Some(person) if now >= person.until => Expected::Expired,
        Some(person) => Expected::Opens(Box::new(person)),
        None => Expected::Refused,
    }
}

/// Whether a token with this header names a key that the issuer with the key set does not have.
pub fn names_unknown_key(header: &[u8]) -> bool {
    let header = object(header);
    let kid = header.as_ref().and_then(|header| header.get("kid")).and_then(Value::as_str);
    kid.is_some_and(|kid| Signer::ALL.iter().all(|signer| signer.kid() != Some(kid)))
}

fn header_fits(signer: Signer, header: &Value) -> bool {
    let text = |name: &str| header.get(name).map(Value::as_str);
    let kind = match text("typ") {
        None => "jwt".to_owned(),
        Some(None) => return false,
        Some(Some(typ)) => typ.to_ascii_lowercase(),
    };
    let kind = kind.strip_prefix("application/").unwrap_or(&kind);
    let kid = match text("kid") {
        None => true,
        Some(None) => false,
        Some(named) => signer.kid().is_none_or(|kid| named == Some(kid)),
    };
    let alg = text("alg").flatten().is_some_and(|alg| signer.algorithms().contains(&alg));
    let extended = header.get("crit").is_some() || header.get("b64").is_some();
    alg && kid && !extended && signer.issuer().types.contains(&kind)
}

/// `None`: these claims open nothing, at no time.
fn person(issuer: &'static Issuer, payload: &Value) -> Option<Person> {
    let is_logout = payload.get("events").and_then(Value::as_object).is_some_and(|e| e.contains_key(LOGOUT_EVENT));
    let is_bound = payload.get("cnf").is_some() && !issuer.accept_bound;
    if payload.get("iss")?.as_str()? != issuer.name || is_logout || is_bound {
        return None;
    }

    if issuer.tenant.is_some_and(|tenant| payload.get("tid").is_some_and(|tid| tid != tenant)) {
        return None;
    }
    let audiences = audiences(payload.pointer(issuer.audience)?)?;
    if !audiences.iter().any(|one| issuer.audiences.contains(one)) {
        return None;
    }
    // Where they are not what counts they must still be in order.
    let in_order = payload.get("aud").is_none_or(|aud| self::audiences(aud).is_some())
        && payload.get("sub").is_none_or(|sub| name(sub).is_some() || (issuer.subject != "/sub" && sub == ""))
        && payload.get("jti").is_none_or(Value::is_string);
    let subject = match payload.pointer(issuer.subject)? {
        Value::Number(number) if issuer.subject != "/sub" => {
            number.as_u64().filter(|number| *number <= MAX_DATE)?.to_string()
        }
        other => name(other)?,
    };
    let session_id = match payload.pointer(issuer.session) {
        None => None,
        Some(session) => Some(name(session)?),
    };
    if !in_order {
        return None;
    }

    let (exp, iat, nbf) = (date(payload, "exp")?, date(payload, "iat")?, date(payload, "nbf")?);
    let until = match issuer.max_age {
        None => exp?,
        Some(max_age) => exp?.min(iat? + max_age),
    };
    let claim = |name: &str| payload.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    // Those with a beginning keep what begins so, then the one with two values what has their separator.
    let is_kept = |name: &str| name.starts_with("secret|") || name.starts_with("red/");
    let (external_id, name_is_unclear) = match issuer.external_id {
        "{sub}" => (subject.clone(), is_kept(&subject) || subject.contains(':')),
        "secret|{sub}" => (format!("secret|{subject}"), false),
        "{claim:org}:{sub}" => {
            let org = claim("org").filter(|org| !org.chars().any(char::is_control))?;
            let whole = format!("{org}:{subject}");
            let unclear = org.contains(':') || is_kept(&whole);
            (whole, unclear)
        }
        "{claim:tid}/{sub}" => {
            let tenant = payload.get("tid")?.as_str()?;
            (format!("{tenant}/{subject}"), false)
        }
        other => unreachable!("{other}"),
    };
    Some(Person {
        issuer: issuer.name,
        external_id,
        name_is_unclear,
        subject,
        session_id,
        claims: CLAIM_NAMES.iter().map(|name| claim(name).map(str::to_owned)).collect(),
        from: iat.max(nbf).map(|from| from - SKEW),
        until: until + SKEW,
    })
}

/// A string or a list of strings.
fn audiences(value: &Value) -> Option<Vec<&str>> {
    match value {
        Value::String(one) => Some(vec![one]),
        Value::Array(list) => list.iter().map(Value::as_str).collect(),
        _ => None,
    }
}

fn name(value: &Value) -> Option<String> {
    let text = value.as_str()?;
    let fits = (1..=255).contains(&text.len()) && !text.chars().any(char::is_control);
    fits.then(|| text.to_owned())
}

/// In milliseconds, whole seconds only. The outer `None`: there is something that is no date.
fn date(payload: &Value, name: &str) -> Option<Option<i64>> {
    let Some(value) = payload.get(name) else { return Some(None) };
    let number = value.as_number()?;
    let seconds = match number.as_u64() {
        Some(whole) => Some(whole),
        None => number.as_f64().filter(|_| number.is_f64()).filter(|f| *f >= 0.0).map(|f| f.floor() as u64),
    };
    let seconds = seconds.filter(|seconds| *seconds <= MAX_DATE)?;
    Some(Some(i64::try_from(seconds).ok()? * 1000))
}

/// A whole JSON object in which no name stands twice.
fn object(bytes: &[u8]) -> Option<Value> {
    let Unique(value) = serde_json::from_slice(bytes).ok()?;
    (value.is_object() && depth(&value) <= MAX_DEPTH).then_some(value)
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(list) => 1 + list.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// A value in which no name stands twice in an object: serde_json alone would take the last.
struct Unique(Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader).map(Self)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without a name that stands twice")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("no number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Unique(value)) = seq.next_element()? {
            list.push(value);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some((name, Unique(value))) = map.next_entry::<String, Unique>()? {
            if members.insert(name, value).is_some() {
                return Err(A::Error::custom("a name stands twice"));
            }
        }
        Ok(Value::Object(members))
    }
}

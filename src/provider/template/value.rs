//! The values that a recipe can put into a call.

use std::borrow::Cow;
use std::time::Duration;

use serde_json::Value as Json;

use crate::clock::Timestamp;
use crate::provider::MintInput;

/// Longer spans are mistakes: nobody's URL lives for ten years.
const MAX_SPAN: Duration = Duration::from_secs(10 * 366 * 86_400);

/// A value of an answer that is put into another call, or into a URL, is a name or a token.
const MAX_ANSWERED: usize = 8 * 1024;

/// What stands between the braces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::provider) enum Value {
    Subject,
    SubjectHash,
    Language,
    /// `name` ends in `#` where the claim keeps its type: it is told as JSON then.
    Claim {
        name: Box<str>,
        optional: bool,
    },
    /// A parameter of the plug-in.
    Param(Box<str>),
    /// The time of the call and this many seconds.
    Now(i64, TimeForm),
    /// A span, in seconds.
    Seconds(u64),
    /// A pointer into the answer to the registration.
    Register(Box<str>),
    /// A pointer into the answer to the mint.
    Answer(Box<str>),
    /// The JWT that the mint signs.
    Jwt,
    /// The provider's `base_url`.
    BaseUrl,
}

/// How a time is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::provider) enum TimeForm {
    /// [RFC 3339](https://www.rfc-editor.org/rfc/rfc3339) in UTC, whole seconds.
    Rfc3339,
    /// Seconds since the epoch.
    Epoch,
    /// Milliseconds since the epoch.
    EpochMillis,
}

/// Where a template stands, and so which values it may have beside those of the user and of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::provider) struct Place {
    /// In JSON, where `#` keeps a type.
    pub json: bool,
    /// Behind the registration.
    pub register: bool,
    /// Behind the mint's answer.
    pub answer: bool,
    /// Behind a signature of ours.
    pub jwt: bool,
}

impl Place {
    /// The place in a JSON value.
    pub(in crate::provider) fn in_json(self) -> Self {
        Self { json: true, ..self }
    }

    pub(in crate::provider) fn takes(self, value: &Value) -> Result<(), &'static str> {
        match value {
            Value::Register(_) if !self.register => {
                Err("`{register:/…}` has a meaning in mints alone, and needs a [provider.register]")
            }
            Value::Answer(_) if !self.answer => {
                Err("`{answer:/…}` has a meaning in a `url` alone: a call is made before its answer is there")
            }
            Value::Jwt if !self.jwt => Err("`{jwt}` has a meaning in the `url` of a mint with `jwt` alone"),
            Value::BaseUrl if !self.answer && !self.jwt => Err("`{base_url}` has a meaning in a `url` alone"),
            _ => Ok(()),
        }
    }
}

impl Value {
    /// What a name means, and whether its JSON type is kept.
    pub(super) fn parse(name: &str) -> Result<(Self, bool), &'static str> {
        const UNKNOWN: &str = "an unknown value in braces; known are {subject}, {subject_hash}, {language}, {claim:NAME}, {claim:NAME?}, {param:NAME}, {now+6h}, {now+6h:epoch}, {seconds:6h}, {register:/pointer}, {answer:/pointer}, {jwt}, {base_url}";
        let (name, typed) = name.strip_suffix('#').map_or((name, false), |name| (name, true));
        let value = match name.split_once(':') {
            None => match name {
                "subject" => Self::Subject,
                "subject_hash" => Self::SubjectHash,
                "language" => Self::Language,
                "jwt" => Self::Jwt,
                "base_url" => Self::BaseUrl,
                _ => now(name, TimeForm::Rfc3339)?.ok_or(UNKNOWN)?,
            },
            Some(("claim", claim)) => {
                let (claim, optional) = claim.strip_suffix('?').map_or((claim, false), |claim| (claim, true));
                if claim.is_empty() {
                    return Err(UNKNOWN);
                }
                let name = if typed { format!("{claim}#").into() } else { claim.into() };
                Self::Claim { name, optional }
            }
            Some(("param", name)) if !name.is_empty() => Self::Param(name.into()),
            Some(("seconds", text)) => Self::Seconds(span(text)?.as_secs()),
            Some(("register", pointer)) => Self::Register(pointed(pointer)?),
            Some(("answer", pointer)) => Self::Answer(pointed(pointer)?),
            Some((name, "epoch")) => now(name, TimeForm::Epoch)?.ok_or(UNKNOWN)?,
            Some((name, "epoch_ms")) => now(name, TimeForm::EpochMillis)?.ok_or(UNKNOWN)?,
            Some(_) => return Err(UNKNOWN),
        };
        if typed && !value.has_type() {
            return Err(match value {
                Self::Now(..) => "a date is text; `{now+6h:epoch#}` is a number",
                _ => "this value is text; `#` has no meaning with it",
            });
        }
        Ok((value, typed))
    }

    fn has_type(&self) -> bool {
        match self {
            Self::Now(_, form) => *form != TimeForm::Rfc3339,
            Self::Claim { .. } | Self::Param(_) | Self::Seconds(_) | Self::Register(_) | Self::Answer(_) => true,
            Self::Subject | Self::SubjectHash | Self::Language | Self::Jwt | Self::BaseUrl => false,
        }
    }

    /// Whether its absence drops the parameter instead of refusing the call.
    pub(in crate::provider) fn is_optional(&self) -> bool {
        match self {
            Self::Language => true,
            Self::Claim { optional, .. } => *optional,
            _ => false,
        }
    }
}

fn span(text: &str) -> Result<Duration, &'static str> {
    let span: Option<jiff::SignedDuration> = text.parse().ok();
    let span = span.and_then(|span| Duration::try_from(span).ok()).filter(|span| *span <= MAX_SPAN);
    span.filter(|span| span.subsec_nanos() == 0).ok_or("expected a span in whole seconds, such as `6h`, in braces")
}

/// `now`, `now+6h`, `now-5m`. `None`: it is another word.
fn now(text: &str, form: TimeForm) -> Result<Option<Value>, &'static str> {
    let Some(shift) = text.strip_prefix("now") else { return Ok(None) };
    let seconds = |text| span(text).map(|span| i64::try_from(span.as_secs()).unwrap_or(i64::MAX));
    let shift = match (shift, shift.strip_prefix('+'), shift.strip_prefix('-')) {
        ("", ..) => 0,
        (_, Some(text), _) => seconds(text)?,
        (_, _, Some(text)) => -seconds(text)?,
        _ => return Ok(None),
    };
    Ok(Some(Value::Now(shift, form)))
}

fn pointed(text: &str) -> Result<Box<str>, &'static str> {
    let known = super::is_pointer(text);
    if known { Ok(text.into()) } else { Err("expected a JSON pointer such as `/id` behind the colon (RFC 6901)") }
}

/// What pointers have found in an answer. It may hold a token: no `Debug`.
#[derive(Clone, Default)]
pub(in crate::provider) struct Answered(Vec<(Box<str>, Json)>);

impl Answered {
    /// Reads what these pointers point to; the first pointer that finds nothing, if one does.
    pub(in crate::provider) fn read(json: Option<&Json>, pointers: &[Box<str>]) -> Result<Self, Box<str>> {
        let mut found = Vec::with_capacity(pointers.len());
        for pointer in pointers {
            let value = json.and_then(|json| json.pointer(pointer)).filter(|value| match value {
                Json::String(text) => !text.is_empty() && text.len() <= MAX_ANSWERED,
                Json::Number(_) | Json::Bool(_) => true,
                Json::Null | Json::Array(_) | Json::Object(_) => false,
            });
            found.push((pointer.clone(), value.ok_or_else(|| pointer.clone())?.clone()));
        }
        Ok(Self(found))
    }

    fn get(&self, pointer: &str) -> Option<&Json> {
        self.0.iter().find(|(known, _)| **known == *pointer).map(|(_, value)| value)
    }
}

/// What stands for the values in one mint.
#[derive(Clone, Copy)]
pub(in crate::provider) struct Values<'a> {
    pub input: &'a MintInput,
    /// The names of `input.claims`.
    pub claims: &'a [String],
    pub subject_hash: Option<&'a str>,
    pub now: Timestamp,
    /// From the registration's answer.
    pub register: Option<&'a Answered>,
    /// From the mint's.
    pub answer: Option<&'a Answered>,
    pub jwt: Option<&'a str>,
    /// Without a `/` at its end.
    pub base_url: &'a str,
}

impl<'a> Values<'a> {
    /// Of this user, and nothing else yet.
    pub(in crate::provider) fn of(input: &'a MintInput) -> Self {
        Self {
            input,
            claims: &[],
            subject_hash: None,
            now: Timestamp::from_secs(0),
            register: None,
            answer: None,
            jwt: None,
            base_url: "",
        }
    }

    /// An empty value counts as absent.
    pub(super) fn text(&self, value: &Value) -> Option<Cow<'a, str>> {
        let found = match value {
            Value::Subject => Some(&*self.input.external_id),
            Value::SubjectHash => self.subject_hash,
            Value::Language => self.input.language.as_deref(),
            Value::Claim { name, .. } => self.claim(name),
            Value::Param(name) => self.parameter(name),
            Value::Jwt => self.jwt,
            Value::BaseUrl => Some(self.base_url),
            Value::Now(shift, form) => return Some(time(self.now, *shift, *form).into()),
            Value::Seconds(seconds) => return Some(seconds.to_string().into()),
            Value::Register(pointer) => return plain(self.register?.get(pointer)?),
            Value::Answer(pointer) => return plain(self.answer?.get(pointer)?),
        };
        found.filter(|text| !text.is_empty()).map(Cow::Borrowed)
    }

    /// The value with its type, where it was written with a `#`.
    pub(super) fn json(&self, value: &Value) -> Option<Json> {
        match value {
            Value::Claim { name, .. } => serde_json::from_str(self.claim(name)?).ok(),
            Value::Param(name) => whole(self.parameter(name)?).map(Json::from),
            Value::Now(..) | Value::Seconds(_) => whole(&self.text(value)?).map(Json::from),
            Value::Register(pointer) => self.register?.get(pointer).cloned(),
            Value::Answer(pointer) => self.answer?.get(pointer).cloned(),
            Value::Subject | Value::SubjectHash | Value::Language | Value::Jwt | Value::BaseUrl => None,
        }
    }

    fn claim(&self, name: &str) -> Option<&'a str> {
        let at = self.claims.iter().position(|known| *known == *name)?;
        self.input.claims.get(at)?.as_deref()
    }

    fn parameter(&self, name: &str) -> Option<&'a str> {
        self.input.parameters.iter().find(|(known, _)| **known == *name).map(|(_, value)| &**value)
    }
}

/// A whole number, written as JSON writes it.
pub(in crate::provider) fn whole(text: &str) -> Option<i64> {
    text.parse::<i64>().ok().filter(|number| number.to_string() == text)
}

fn plain<'a>(value: &'a Json) -> Option<Cow<'a, str>> {
    match value {
        Json::String(text) => Some(Cow::Borrowed(text)),
        Json::Number(number) => Some(Cow::Owned(number.to_string())),
        Json::Bool(known) => Some(Cow::Borrowed(if *known { "true" } else { "false" })),
        Json::Null | Json::Array(_) | Json::Object(_) => None,
    }
}

fn time(now: Timestamp, shift: i64, form: TimeForm) -> String {
    let span = Duration::from_secs(shift.unsigned_abs());
    let at = if shift < 0 { now.minus(span) } else { now.plus(span) };
    match form {
        TimeForm::Epoch => at.as_secs().to_string(),
        TimeForm::EpochMillis => at.as_millis().to_string(),
        TimeForm::Rfc3339 => Timestamp::from_secs(at.as_secs()).rfc3339().replace(".000Z", "Z"),
    }
}

//! Why a token opens no session, for an operator: which claim, what stands there, what was expected. Names of issuers, audiences, keys and
//! algorithms are repeated; what tells who somebody is never is.

use std::time::Duration;

use super::claims::{Rules, TENANT_CLAIM};
use super::issuer::Issuer;
use super::json::{self, Number, Object, Value};
use super::token::{Header, Parts};
use super::{Reason, shown};
use crate::clock::Timestamp;
use crate::meant::did_you_mean;
use crate::units::Span;

/// More names or audiences than that are not listed.
const MAX_LISTED: usize = 8;

/// What a token is judged by, as far as a fault has to be told.
pub(super) struct Case<'c> {
    pub(super) token: &'c [u8],
    /// The one that it names, if it is configured.
    pub(super) issuer: Option<&'c Issuer>,
    /// All that are.
    pub(super) issuers: Vec<&'c str>,
    pub(super) now: Timestamp,
    pub(super) skew: Duration,
}

impl Case<'_> {
    /// The fault in an operator's words.
    pub(super) fn why(&self, reason: Reason) -> String {
        let parts = Parts::read(self.token).ok();
        let header = parts.as_ref().and_then(|parts| Header::read(&parts.header).ok());
        let payload = parts.as_ref().and_then(|parts| json::object(&parts.payload));
        let of_header = |tell: fn(&Self, &Header<'_>) -> String| header.as_ref().map(|header| tell(self, header));
        let of_claims = |tell: fn(&Self, &Object<'_>) -> String| payload.as_ref().map(|payload| tell(self, payload));
        let told = match reason {
            Reason::TooLong => Some(format!("it is {} bytes long, more than max_token_bytes", self.token.len())),
            Reason::Malformed => Some(format!("it is no compact JWS: {}", shape(self.token))),
            Reason::Header => Some(parts.as_ref().map_or_else(String::new, |parts| header_fault(&parts.header))),
            Reason::CriticalExtension => {
                Some("the header asks for an extension (`crit`, `b64`), and none is understood".to_owned())
            }
            Reason::Type => of_header(Self::typ).or_else(|| Some("its `typ` is no text".to_owned())),
            Reason::UnknownIssuer => of_claims(Self::unknown_issuer),
            Reason::Algorithm => of_header(Self::algorithm),
            Reason::UnknownKey => of_header(Self::unknown_key),
            Reason::Signature => of_header(Self::signature),
            Reason::Claims => of_claims(Self::claims).or_else(|| {
                Some("its payload is no JSON object, or holds a name twice: it is no JWT".to_owned())
            }),
            Reason::Audience => of_claims(Self::audience),
            Reason::NotYetValid => of_claims(Self::not_yet),
            Reason::Subject => of_claims(Self::subject),
            Reason::Tenant => of_claims(Self::tenant),
            Reason::ExternalId => of_claims(Self::external_id),
            Reason::Revoked => Some("its session was ended (revocation or sign-out)".to_owned()),
            Reason::LogoutToken => Some("it is a back-channel logout token (`events`), not one of a session".to_owned()),
            Reason::BoundToKey => Some(
                "it is bound to a key (`cnf`), and no proof of possession is checked; accept_bound = true takes it all the same"
                    .to_owned(),
            ),
        };
        // Each reason comes from what was read here once more.
        told.unwrap_or_else(|| "it can't be read".to_owned())
    }

    /// A life that is over: by which claim, and since when.
    pub(super) fn ended(&self) -> String {
        let payload = Parts::read(self.token).ok().map(|parts| parts.payload);
        let payload = payload.as_deref().and_then(json::object);
        let told = payload.as_ref().and_then(|payload| {
            let max_age = self.issuer.and_then(|issuer| issuer.rules.max_age);
            let (exp, iat) = (seconds(payload, "exp")?, seconds(payload, "iat"));
            let old = max_age.zip(iat).filter(|(max_age, iat)| iat.plus(*max_age) <= exp);
            Some(match old {
                Some((max_age, iat)) => {
                    format!("`iat` was {} ago, and max_age is {}", span(self.now.since(iat)), Span(max_age))
                }
                None => format!("`exp` was {} ago", span(self.now.since(exp))),
            })
        });
        let told = told.unwrap_or_else(|| "its end is past".to_owned());
        format!("the token's life is over: {told} (clock_skew of {} included)", Span(self.skew))
    }

    fn typ(&self, header: &Header<'_>) -> String {
        let types = self.issuer.map(|issuer| issuer.types.join(", ")).unwrap_or_default();
        match header.named_type() {
            Some(typ) => format!("its `typ` is {:?}, none of `types`: {}", shown(typ).to_string(), shown(&types)),
            None => format!("it has no `typ`, which counts as JWT, none of `types`: {}", shown(&types)),
        }
    }

    fn unknown_issuer(&self, payload: &Object<'_>) -> String {
        let name = payload.get("iss").and_then(Value::text).unwrap_or_default();
        let meant = did_you_mean(name, &self.issuers);
        let known = self.issuers.iter().take(MAX_LISTED).map(|name| shown(name).to_string()).collect::<Vec<_>>();
        let known = if meant.is_empty() { format!("; configured: {}", known.join(", ")) } else { meant };
        format!("no [[session.issuer]] has exactly its `iss`: {}{known}", shown(name))
    }

    fn algorithm(&self, header: &Header<'_>) -> String {
        let named = shown(header.named_algorithm()).to_string();
        let Some(issuer) = self.issuer else { return format!("its `alg` is {named}") };
        if header.algorithm.is_some_and(|algorithm| issuer.jwks_caches.names(algorithm)) {
            let kid = header.kid().map(|kid| format!(" {}", shown(kid))).unwrap_or_default();
            return format!("its `alg` is {named}, and the key of its `kid`{kid} is for another one");
        }
        let mut ours: Vec<String> = Vec::new();
        for algorithm in issuer.jwks_caches.iter().flat_map(|jwks| jwks.algorithms()) {
            let name = format!("{algorithm:?}");
            if !ours.contains(&name) {
                ours.push(name);
            }
        }
        format!("its `alg` is {named}, none of `algorithms`: {}", ours.join(", "))
    }

    fn unknown_key(&self, header: &Header<'_>) -> String {
        let known: Vec<String> =
            self.issuer.iter().flat_map(|issuer| issuer.jwks_caches.iter()).flat_map(|jwks| jwks.kids()).collect();
        let listed: Vec<String> = known.iter().take(MAX_LISTED).map(|kid| shown(kid).to_string()).collect();
        let listed = if listed.is_empty() { "none with a name".to_owned() } else { listed.join(", ") };
        let more = if known.len() > MAX_LISTED { ", …" } else { "" };
        match header.kid() {
            Some(kid) => format!("the issuer has no key of its `kid` {}; it has {listed}{more}", shown(kid)),
            None => format!("it has no `kid`, and the issuer no key without one for its `alg`; it has {listed}{more}"),
        }
    }

    fn signature(&self, header: &Header<'_>) -> String {
        let kid = header.kid().map(|kid| format!(" {}", shown(kid))).unwrap_or_default();
        format!(
            "the signature is none of the key's{kid}: another key has signed it, or a character was lost on the way"
        )
    }

    /// The first of the claims that are not as they should be, in the order in which they are judged.
    fn claims(&self, payload: &Object<'_>) -> String {
        if let Some(fault) = text_fault("iss", payload.get("iss")) {
            return fault;
        }
        let max_age = self.issuer.and_then(|issuer| issuer.rules.max_age);
        for (claim, needed) in
            [("exp", Some("exp is required")), ("iat", max_age.map(|_| "iat is required with max_age")), ("nbf", None)]
        {
            match payload.get(claim) {
                None if needed.is_some() => return format!("`{claim}` is missing: {}", needed.unwrap_or_default()),
                Some(value) if seconds_of(value).is_none() => {
                    return format!("`{claim}` is {}, and must be a number of seconds", kind(value));
                }
                None | Some(_) => {}
            }
        }
        if let Some(value) = payload.get("jti").filter(|jti| jti.text().is_none()) {
            return format!("`jti` is {}, and must be a text", kind(value));
        }
        let session = self.issuer.and_then(|issuer| issuer.rules.session.find(payload));
        match session {
            Some(value) => name_fault("`session_claim`", value),
            None => "a claim is missing or of a wrong type".to_owned(),
        }
    }

    fn audience(&self, payload: &Object<'_>) -> String {
        let Some(rules) = self.issuer.map(|issuer| &issuer.rules) else { return String::new() };
        let named = rules.audience.find(payload).map_or_else(|| "absent".into(), list);
        let (claim, ours) = (shown(&rules.audience_claim), rules.audiences.join(", "));
        format!("it is for somebody else: the token's {claim} is {named}; audiences are {}", shown(&ours))
    }

    fn not_yet(&self, payload: &Object<'_>) -> String {
        let latest = ["nbf", "iat"].into_iter().filter_map(|claim| Some((seconds(payload, claim)?, claim))).max();
        let told = latest.map(|(at, claim)| format!("`{claim}` lies {} in the future", span(at.since(self.now))));
        format!("{}: compare the clocks", told.unwrap_or_else(|| "`nbf` or `iat` lies in the future".to_owned()))
    }

    fn subject(&self, payload: &Object<'_>) -> String {
        let Some(Rules { subject, subject_is_sub, .. }) = self.issuer.map(|issuer| &issuer.rules) else {
            return String::new();
        };
        let what = if *subject_is_sub { "the subject, `sub`," } else { "the subject, `subject_claim`," };
        match subject.find(payload) {
            None => format!("{what} is missing"),
            Some(Value::Number(_)) if !subject_is_sub => {
                format!("{what} is a number, and only a whole one up to 2^53 names a person")
            }
            Some(value) if name_problem(value).is_some() => name_fault(what, value),
            // With another claim for the subject, `sub` is judged beside it.
            Some(_) => payload.get("sub").map_or_else(String::new, |sub| name_fault("`sub`, beside the subject,", sub)),
        }
    }

    fn tenant(&self, payload: &Object<'_>) -> String {
        let ours = self.issuer.and_then(|issuer| issuer.rules.tenant.as_deref()).unwrap_or_default();
        let theirs = payload.get(TENANT_CLAIM).map_or_else(|| "absent".into(), list);
        format!("its `tid` names another tenant than its `iss`: {theirs}, and not {}", shown(ours))
    }

    fn external_id(&self, payload: &Object<'_>) -> String {
        let lacking = self.issuer.map(|issuer| issuer.lacking(payload)).unwrap_or_default();
        let lacking: Vec<String> = lacking.iter().map(|name| format!("`{}`", shown(name))).collect();
        format!("`external_id` needs a claim that it lacks, or that is no text or empty: {}", lacking.join(", "))
    }
}

/// What the text is instead of three parts of base64url.
fn shape(token: &[u8]) -> String {
    const PARTS: [&str; 3] = ["header", "payload", "signature"];
    if token.iter().any(|byte| byte.is_ascii_whitespace()) {
        return "white space stands in it, as where a line was broken".into();
    }
    if token.starts_with(b"{") {
        return "it is JSON; give the token's text alone".into();
    }
    let parts: Vec<&[u8]> = token.split(|byte| *byte == b'.').collect();
    match parts.len() {
        1 => "it has no dots: an opaque token or a session's id, which nobody but its issuer can read".into(),
        5 => "it has five parts: it is encrypted (a JWE), and only signed tokens can be read".into(),
        3 => {
            let at = parts.iter().position(|part| {
                use base64::Engine;
                let read = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part);
                !read.is_ok_and(|bytes| !bytes.is_empty())
            });
            let at = at.unwrap_or(0);
            let part = parts.get(at).copied().unwrap_or_default();
            let what = match part {
                [] => "is empty",
                _ if part.ends_with(b"=") => "has padding (`=`)",
                _ if part.iter().any(|byte| b"+/".contains(byte)) => "is base64, and not base64url",
                _ => "is no base64url: a character was lost, or is too many",
            };
            format!("its {} {what}", PARTS.get(at).copied().unwrap_or_default())
        }
        count => format!("it has {count} parts, and a JWT has three"),
    }
}

fn header_fault(header: &[u8]) -> String {
    let Some(members) = json::object(header) else {
        return "the header is no JSON object with an `alg`, or holds a name twice".into();
    };
    match (members.get("alg"), members.get("kid")) {
        (None, _) => "the header is no JSON object with an `alg`: it has none".into(),
        (Some(alg), _) if alg.text().is_none() => format!("the header's `alg` is {}, and must be a text", kind(alg)),
        (_, Some(kid)) => format!("the header's `kid` is {}, and must be a text", kind(kid)),
        (_, None) => "the header can't be read".into(),
    }
}

fn text_fault(claim: &str, value: Option<&Value<'_>>) -> Option<String> {
    match value {
        None => Some(format!("`{claim}` is missing")),
        Some(value) if value.text().is_none() => Some(format!("`{claim}` is {}, and must be a text", kind(value))),
        Some(_) => None,
    }
}

/// Why it is no name, without repeating it.
fn name_problem(value: &Value<'_>) -> Option<String> {
    let Some(text) = value.text() else { return Some(format!("is {}, and must be a text", kind(value))) };
    if text.is_empty() {
        Some("is empty".into())
    } else if text.chars().any(char::is_control) {
        Some("holds a control character".into())
    } else if text.len() > 255 {
        Some(format!("is {} bytes long, at most 255", text.len()))
    } else {
        None
    }
}

fn name_fault(what: &str, value: &Value<'_>) -> String {
    format!("{what} {}", name_problem(value).unwrap_or_else(|| "can't be used".into()))
}

/// The kind of a value, for a sentence.
fn kind(value: &Value<'_>) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(Number::Negative(_)) => "a negative number",
        Value::Number(_) => "a number",
        Value::Text(_) => "a text",
        Value::List(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn seconds(payload: &Object<'_>, claim: &str) -> Option<Timestamp> {
    payload.get(claim).and_then(seconds_of)
}

fn seconds_of(value: &Value<'_>) -> Option<Timestamp> {
    match value {
        Value::Number(Number::Whole(seconds)) => {
            i64::try_from(*seconds).ok().filter(|n| *n <= 1 << 53).map(Timestamp::from_secs)
        }
        Value::Number(Number::Float(seconds)) if (0.0..=9e15).contains(seconds) => {
            Some(Timestamp::from_secs(*seconds as i64))
        }
        _ => None,
    }
}

/// In whole seconds.
fn span(span: Duration) -> Span {
    Span(Duration::from_secs(span.as_secs()))
}

/// The texts of a claim, as an audience has them.
pub(super) fn list(value: &Value<'_>) -> String {
    let texts: Vec<String> = match value {
        Value::Text(text) => vec![shown(text).to_string()],
        Value::List(list) => {
            list.iter().filter_map(Value::text).take(MAX_LISTED).map(|t| shown(t).to_string()).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => return "of another type".into(),
    };
    texts.join(", ")
}

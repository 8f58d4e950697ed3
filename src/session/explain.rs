//! One token's way through the verification, told to an operator. Never the token, a secret, or the subject in plain.

use std::fmt::Write;
use std::sync::Arc;

use super::claims::Claims;
use super::issuer::Issuer;
use super::json::{Object, Value};
use super::settings::SignatureAlgorithm;
use super::token::Header;
use super::verifier::{Miss, Sessions};
use super::{Reason, Session, SessionFault, shown};
use crate::clock::Timestamp;

/// More audiences than that are not listed.
const MAX_LISTED: usize = 8;

/// What has been found in order. The verification says it as it goes, so that what is told is what is done.
pub(super) enum Step<'s> {
    Parts,
    Header(&'s Header<'s>),
    Issuer(&'s Issuer),
    Type,
    Algorithm(SignatureAlgorithm),
    Claims(&'s Claims<'s>, &'s Object<'s>, &'s Issuer),
    ExternalId,
    Keys(usize),
    Signature,
}

/// Who is told.
pub(super) trait Witness {
    fn sees(&mut self, step: Step<'_>);
}

/// Nobody: a request.
impl Witness for () {
    fn sees(&mut self, _: Step<'_>) {}
}

/// The steps that were passed, a line each, and how it ended.
pub struct Explanation {
    /// `name`, `what was found`.
    pub passed: Vec<(&'static str, String)>,
    /// The session, or what stood against it.
    pub end: Result<Arc<Session>, Refused>,
}

/// Which step refused, and why.
pub struct Refused {
    /// The step's name.
    pub step: &'static str,
    /// In an operator's words.
    pub why: String,
    /// What the caller is told.
    pub fault: SessionFault,
}

struct Teller {
    passed: Vec<(&'static str, String)>,
    now: Timestamp,
    length: usize,
}

impl Witness for Teller {
    fn sees(&mut self, step: Step<'_>) {
        self.passed.push(match step {
            Step::Parts => ("token", format!("{} bytes, three parts of base64url", self.length)),
            Step::Header(header) => ("header", header_line(header)),
            Step::Issuer(issuer) => ("issuer", format!("{} is configured", shown(&issuer.name))),
            Step::Type => ("type", "is one of `types`".into()),
            Step::Algorithm(algorithm) => ("algorithm", format!("{algorithm:?} is one of `algorithms`")),
            Step::Claims(claims, payload, issuer) => {
                ("claims", claims_line(claims, issuer.rules.audience.find(payload), self.now))
            }
            Step::ExternalId => ("vendor's id", "can be made from the claims".into()),
            Step::Keys(count) => ("key", format!("{count} of the issuer's keys can be meant")),
            Step::Signature => ("signature", "is good".into()),
        });
    }
}

impl Sessions {
    /// Verifies a token as a request would, past the cache, and tells each step. May fetch keys, as a request may; who wants them fetched
    /// calls [`Sessions::fetch_all`] before. Counts and remembers what it finds. Dropped, nothing is told.
    pub async fn explain(&self, token: &[u8], now: Timestamp) -> Explanation {
        let mut teller = Teller { passed: Vec::new(), now, length: token.len() };
        let looked = self.look(token, now, &mut teller);
        let end = looked.map_err(|miss| {
            let (fault, issuer) = match miss {
                Miss::Fault(fault, issuer) => (fault, issuer),
                Miss::UnknownKey(issuer, algorithm) => (issuer.rings.without_key(algorithm), Some(issuer)),
            };
            let (step, why) = match fault {
                SessionFault::Expired => ("end", "the token's life is over (exp, or iat and max_age)".to_owned()),
                SessionFault::KeysUnavailable(_) => {
                    (next_step(&teller.passed), "the issuer's keys can't be had".to_owned())
                }
                SessionFault::Invalid(reason) => (
                    next_step(&teller.passed),
                    format!("{}{}", words(reason), detail(reason, token, issuer.as_deref())),
                ),
            };
            Refused { step, why, fault }
        });
        Explanation { passed: teller.passed, end }
    }
}

/// The step after those that were passed.
fn next_step(passed: &[(&'static str, String)]) -> &'static str {
    const ORDER: [&str; 9] =
        ["token", "header", "issuer", "type", "algorithm", "claims", "vendor's id", "key", "signature"];
    ORDER.get(passed.len()).copied().unwrap_or("end")
}

fn header_line(header: &Header<'_>) -> String {
    let mut line = format!("alg {}", shown(header.named_algorithm()));
    match header.kid() {
        Some(kid) => drop(write!(line, ", kid {}", shown(kid))),
        None => line.push_str(", no kid"),
    }
    match header.named_type() {
        Some(typ) => drop(write!(line, ", typ {}", shown(typ))),
        None => line.push_str(", no typ: counts as JWT"),
    }
    line
}

fn claims_line(claims: &Claims<'_>, audience: Option<&Value<'_>>, now: Timestamp) -> String {
    let left = claims.life.until.since(now).as_secs();
    let mut line = if left > 0 { format!("good for {left} s, clock_skew included") } else { "its life is over".into() };
    if let Some(audience) = audience {
        let _ = write!(line, "; for {}", list(audience));
    }
    line.push_str(if claims.session_id.is_some() { "; it names its session" } else { "; it names no session" });
    line
}

fn list(value: &Value<'_>) -> String {
    let texts: Vec<String> = match value {
        Value::Text(text) => vec![shown(text).to_string()],
        Value::List(list) => {
            list.iter().filter_map(Value::text).take(MAX_LISTED).map(|t| shown(t).to_string()).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => return "of another type".into(),
    };
    texts.join(", ")
}

/// What the token says beside what was asked for, where that tells the fault.
fn detail(reason: Reason, token: &[u8], issuer: Option<&Issuer>) -> String {
    let Ok(parts) = super::token::Parts::read(token) else { return String::new() };
    let payload = super::json::object(&parts.payload);
    match (reason, &payload) {
        (Reason::UnknownIssuer, Some(payload)) => {
            let name = payload.get("iss").and_then(Value::text).unwrap_or_default();
            format!(": {}", shown(name))
        }
        (Reason::Audience, Some(payload)) => {
            let Some(rules) = issuer.map(|issuer| &issuer.rules) else { return String::new() };
            let named = rules.audience.find(payload).map_or_else(|| "absent".into(), list);
            let (claim, ours) = (shown(&rules.audience_claim), rules.audiences.join(", "));
            format!(": the token's {claim} is {named}; audiences are {}", shown(&ours))
        }
        _ => String::new(),
    }
}

/// The fault in an operator's words.
fn words(reason: Reason) -> &'static str {
    match reason {
        Reason::TooLong => "it is longer than max_token_bytes",
        Reason::Malformed => {
            "it is no compact JWS: three parts of base64url without padding, and nothing else (an opaque token or a JWE is none)"
        }
        Reason::Header => "the header is no JSON object with an `alg`, or holds a name twice",
        Reason::CriticalExtension => "the header asks for an extension (`crit`, `b64`), and none is understood",
        Reason::Type => "its `typ` is none of `types`",
        Reason::UnknownIssuer => "no [[session.issuer]] has exactly its `iss`",
        Reason::Algorithm => "its `alg` is none of `algorithms`, or not that of the key it names",
        Reason::UnknownKey => "the issuer has no key of its `kid`",
        Reason::Signature => "the signature is none of the key's",
        Reason::Claims => {
            "a claim is missing, of a wrong type, or there twice: exp is required; iat too with max_age; iss is a text"
        }
        Reason::Audience => "it is for somebody else",
        Reason::NotYetValid => "its `nbf` or `iat` lies in the future: compare the clocks",
        Reason::Subject => {
            "the subject's claim is missing, empty, longer than 255 bytes, or no text (another claim than `sub` may be a whole number up to 2^53)"
        }
        Reason::Tenant => "its `tid` names another tenant than its `iss`",
        Reason::ExternalId => "`external_id` needs a claim that it lacks",
        Reason::LogoutToken => "it is a back-channel logout token",
        Reason::BoundToKey => {
            "it is bound to a key (`cnf`), and no proof of possession is checked; accept_bound = true takes it all the same"
        }
    }
}

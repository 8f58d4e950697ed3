//! One token's way through the verification, told to an operator. Never the token, a secret, or the subject in plain.

use std::fmt::Write;
use std::sync::Arc;

use super::claims::Claims;
use super::diagnosis::{Case, list};
use super::json::Value;
use super::observer::{Observer, Step};
use super::token::Header;
use super::verifier::{Miss, Sessions};
use super::{Session, SessionFault, shown};
use crate::clock::Timestamp;
use crate::units::Span;

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

struct Recorder {
    passed: Vec<(&'static str, String)>,
    now: Timestamp,
    length: usize,
}

impl Observer for Recorder {
    fn observes(&mut self, step: Step<'_>) {
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
        let mut recorder = Recorder { passed: Vec::new(), now, length: token.len() };
        let looked = self.look(token, now, &mut recorder);
        let end = looked.map_err(|miss| {
            let (fault, issuer) = match miss {
                Miss::Fault(fault, issuer) => (fault, issuer),
                Miss::UnknownKey(issuer, algorithm) => (issuer.jwks_caches.without_key(algorithm), Some(issuer)),
            };
            let case =
                Case { token, issuer: issuer.as_deref(), issuers: self.issuers().collect(), now, skew: self.skew() };
            let (step, why) = match fault {
                SessionFault::Expired => ("end", case.ended()),
                SessionFault::KeysUnavailable(_) => {
                    (next_step(&recorder.passed), "the issuer's keys can't be had".to_owned())
                }
                SessionFault::Invalid(reason) => (next_step(&recorder.passed), case.why(reason)),
            };
            Refused { step, why, fault }
        });
        Explanation { passed: recorder.passed, end }
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
    let mut line = match left {
        0 => "its life is over".into(),
        _ => format!("good for {}, clock_skew included", Span::secs(left)),
    };
    if let Some(audience) = audience {
        let _ = write!(line, "; for {}", list(audience));
    }
    line.push_str(if claims.session_id.is_some() { "; it names its session" } else { "; it names no session" });
    line
}

//! The wire between an edge and a minter, version 1 (docs/minter.md): JSON over HTTP/2 with mutual TLS.
//!
//! `POST /v1/mint` with an [`MintRequest`] is answered with [`MintGrant`] (200) or [`MintError`]; `GET /v1/health` with [`Health`]. Unknown fields are refused on
//! both sides: another wire has another path.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Reason, Share};
use crate::session::StepUp;
use crate::telemetry::Outcome;

/// Where a URL is asked for.
pub const MINT: &str = "/v1/mint";

/// Where an edge learns whether the minter is there, and what it may mint.
pub const HEALTH: &str = "/v1/health";

/// An ask is a credential of at most 24 KiB and a few names; more is not read.
pub const MAX_ASK_BYTES: usize = 64 * 1024;

/// An answer is a URL of at most 8 KiB, or a word.
pub const MAX_ANSWER_BYTES: usize = 32 * 1024;

/// What an edge asks. Holds a credential: no `Debug`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MintRequest {
    /// The plug-in, by the minter's name for it.
    pub plugin: Box<str>,
    /// For whom: `iss`, and the subject as the edge verified it.
    pub issuer: Box<str>,
    /// See `issuer`.
    pub subject: Box<str>,
    /// The name under which vendors know the subject, as the edge has it.
    pub external_id: Box<str>,
    /// The issuer's name of the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Box<str>>,
    /// The requests that may get the same URL.
    pub share: Share,
    /// The claims by which the edge tells leases apart, each with its value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub claims: BTreeMap<Box<str>, Option<Box<str>>>,
    /// The plug-in's parameters, each with the value that was asked for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<Box<str>, Box<str>>,
    /// A language of the plug-in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<Box<str>>,
    /// Why.
    pub reason: Reason,
    /// The least life that is of use, in seconds.
    pub life_s: u64,
    /// How long ago the URL's mint may have begun, in seconds.
    pub max_age_s: u64,
    /// How long the edge still waits, in milliseconds.
    pub deadline_ms: u64,
    /// The request that is the occasion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<Box<str>>,
    /// The session's credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<Box<str>>,
}

/// A URL, or a token.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MintGrant {
    /// The plug-in URL, byte for byte as the vendor gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// In its place, the token of a plug-in that is no page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Its own end, or where the minter's recipe knows of none, that of the minter's lease: Unix time in milliseconds. Absent: it should have one that
    /// could not be read, and nobody promises any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at_ms: Option<i64>,
    /// It may be held this long at most, in milliseconds.
    pub hold_ms: u64,
    /// It may be handed out so often and no more. Absent: nobody counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses: Option<u32>,
}

/// No URL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MintError {
    /// Why.
    pub refusal: Denial,
    /// When it is worth asking again, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// Which sign-in would do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_up: Option<WantedSignIn>,
}

/// What a sign-in must show ([RFC 9470](https://www.rfc-editor.org/rfc/rfc9470)).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WantedSignIn {
    /// `acr` values, parted by spaces.
    pub acr_values: Box<str>,
    /// Not older than this, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<u64>,
}

impl MintError {
    /// With no word on when to ask again.
    pub const fn now(refusal: Denial) -> Self {
        Self { refusal, retry_after_ms: None, step_up: None }
    }

    /// Not before this long.
    pub fn for_now(refusal: Denial, wait: Duration) -> Self {
        Self { retry_after_ms: Some(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)), ..Self::now(refusal) }
    }

    /// Until one has signed in in this way.
    pub fn until(step_up: &StepUp) -> Self {
        let StepUp { acr_values, max_age } = step_up;
        let wanted = WantedSignIn { acr_values: acr_values.clone(), max_age: *max_age };
        Self { step_up: Some(wanted), ..Self::now(Denial::StepUpRequired) }
    }

    /// When to ask again.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after_ms.map(Duration::from_millis)
    }
}

/// Why a minter gives no URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Denial {
    /// The ask can't be read, or lacks what the recipe needs.
    BadRequest,
    /// No such path.
    NotFound,
    /// The certificate's names are no edge's.
    NoEdge,
    /// This edge may not mint this.
    NotPermitted,
    /// The session lacks a claim that the vendor must be told.
    ClaimMissing,
    /// The minter's policies forbid it.
    Forbidden,
    /// The minter's policies want a stronger or more recent sign-in.
    StepUpRequired,
    /// The credential opens no session here, or another person's.
    SessionInvalid,
    /// The credential was good once.
    SessionExpired,
    /// The issuer's keys can't be had.
    KeysUnavailable,
    /// The bound on mints of one subject.
    TooManyRequests,
    /// The vendor refused.
    ProviderRefused,
    /// The vendor can't be reached.
    ProviderUnreachable,
    /// The vendor did not answer in time, or not within `deadline_ms`.
    ProviderTimeout,
    /// The vendor's answer was no URL.
    ProviderNonsense,
    /// The vendor's URL leads to a forbidden host.
    ForbiddenHost,
    /// The vendor is busy, or a bound on this edge or provider is reached.
    ProviderBusy,
    /// The minter's store of leases can't be asked.
    StoreUnavailable,
    /// The minter is about to stop.
    Draining,
    /// The minter's own fault.
    Internal,
}

impl Denial {
    /// The HTTP status that goes with it.
    pub const fn status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::SessionInvalid | Self::SessionExpired | Self::StepUpRequired => 401,
            Self::NoEdge | Self::NotPermitted | Self::ClaimMissing | Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::TooManyRequests => 429,
            Self::Internal => 500,
            Self::ProviderRefused | Self::ProviderUnreachable | Self::ProviderNonsense | Self::ForbiddenHost => 502,
            Self::KeysUnavailable | Self::ProviderBusy | Self::StoreUnavailable | Self::Draining => 503,
            Self::ProviderTimeout => 504,
        }
    }

    /// As metrics and logs call it: the word on the wire.
    pub const fn label(self) -> &'static str {
        match self {
            Self::BadRequest => "bad-request",
            Self::NotFound => "not-found",
            Self::NoEdge => "no-edge",
            Self::NotPermitted => "not-permitted",
            Self::ClaimMissing => "claim-missing",
            Self::Forbidden => "forbidden",
            Self::StepUpRequired => "step-up-required",
            Self::SessionInvalid => "session-invalid",
            Self::SessionExpired => "session-expired",
            Self::KeysUnavailable => "keys-unavailable",
            Self::TooManyRequests => "too-many-requests",
            Self::ProviderRefused => "provider-refused",
            Self::ProviderUnreachable => "provider-unreachable",
            Self::ProviderTimeout => "provider-timeout",
            Self::ProviderNonsense => "provider-nonsense",
            Self::ForbiddenHost => "forbidden-host",
            Self::ProviderBusy => "provider-busy",
            Self::StoreUnavailable => "store-unavailable",
            Self::Draining => "draining",
            Self::Internal => "internal",
        }
    }

    /// As metrics count it.
    pub const fn outcome(self) -> Outcome {
        match self {
            Self::BadRequest => Outcome::BadRequest,
            Self::NotFound => Outcome::NotFound,
            Self::NoEdge => Outcome::NoEdge,
            Self::NotPermitted => Outcome::NotPermitted,
            Self::ClaimMissing => Outcome::ClaimMissing,
            Self::Forbidden => Outcome::Forbidden,
            Self::StepUpRequired => Outcome::StepUpRequired,
            Self::SessionInvalid => Outcome::SessionInvalid,
            Self::SessionExpired => Outcome::SessionExpired,
            Self::KeysUnavailable => Outcome::KeysUnavailable,
            Self::TooManyRequests => Outcome::TooManyRequests,
            Self::ProviderRefused => Outcome::ProviderRefused,
            Self::ProviderUnreachable => Outcome::ProviderUnreachable,
            Self::ProviderTimeout => Outcome::ProviderTimeout,
            Self::ProviderNonsense => Outcome::ProviderNonsense,
            Self::ForbiddenHost => Outcome::ForbiddenHost,
            Self::ProviderBusy => Outcome::ProviderBusy,
            Self::StoreUnavailable => Outcome::StoreUnavailable,
            Self::Draining => Outcome::Draining,
            Self::Internal => Outcome::Internal,
        }
    }
}

/// The minter is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// What this edge may mint, sorted.
    pub plugins: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Denial; 20] = [
        Denial::BadRequest,
        Denial::NotFound,
        Denial::NoEdge,
        Denial::NotPermitted,
        Denial::ClaimMissing,
        Denial::Forbidden,
        Denial::StepUpRequired,
        Denial::SessionInvalid,
        Denial::SessionExpired,
        Denial::KeysUnavailable,
        Denial::TooManyRequests,
        Denial::ProviderRefused,
        Denial::ProviderUnreachable,
        Denial::ProviderTimeout,
        Denial::ProviderNonsense,
        Denial::ForbiddenHost,
        Denial::ProviderBusy,
        Denial::StoreUnavailable,
        Denial::Draining,
        Denial::Internal,
    ];

    #[test]
    fn a_refusal_is_one_word_on_the_wire_and_in_metrics() {
        for refusal in ALL {
            let denied = MintError::for_now(refusal, Duration::from_millis(1500));
            let text = serde_json::to_string(&denied).unwrap();
            assert_eq!(text, format!("{{\"refusal\":\"{}\",\"retry_after_ms\":1500}}", refusal.label()));
            assert_eq!(serde_json::from_str::<MintError>(&text).unwrap(), denied);
            assert!((400..=504).contains(&refusal.status()));
        }
    }

    #[test]
    fn an_ask_with_a_field_of_another_wire_is_refused() {
        let ask = |more: &str| {
            let text = format!(
                r#"{{"plugin":"p","issuer":"i","subject":"s","external_id":"s","share":"user","reason":"miss","life_s":0,"max_age_s":21600,"deadline_ms":1{more}}}"#
            );
            serde_json::from_str::<MintRequest>(&text).is_ok()
        };
        assert!(ask(""));
        assert!(ask(r#","credential":"c","claims":{"a":null,"b":"x"}"#));
        assert!(!ask(r#","sudo":true"#));
    }
}

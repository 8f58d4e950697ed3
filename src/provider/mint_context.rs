//! The context of a mint: why it is asked for, with how much life, on whose credential. A vendor needs none of it, a minter all.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::clock::Tick;
use crate::session::Revocable;
use crate::telemetry::Place;

/// Why a URL is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// None is held.
    #[default]
    Miss,
    /// The one that is held has little life left.
    Ahead,
    /// The user scans again: what is held no longer counts.
    Again,
}

impl Reason {
    /// As the audit log writes it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Miss => "miss",
            Self::Ahead => "ahead",
            Self::Again => "again",
        }
    }
}

/// The requests that may get the same URL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Share {
    /// Every session of the user.
    User,
    /// This session.
    Session,
    /// Nobody.
    #[default]
    Nobody,
}

/// Whether a call was made for a mint, for somebody who wants to know.
#[derive(Clone, Default)]
pub struct Called(Option<Arc<AtomicBool>>);

impl Called {
    /// One that is asked afterwards.
    pub fn watched() -> Self {
        Self(Some(Arc::default()))
    }

    /// A call is about to be made.
    pub(in crate::provider) fn note(&self) {
        if let Some(called) = &self.0 {
            called.store(true, Ordering::Relaxed);
        }
    }

    /// Whether one was made.
    pub fn was_made(&self) -> bool {
        self.0.as_ref().is_some_and(|called| called.load(Ordering::Relaxed))
    }
}

/// Who looks on makes no other input.
impl PartialEq for Called {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Called {}

/// The rest of what a minter is told.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct MintContext {
    /// Why. The lease book says it.
    pub reason: Reason,
    /// The least life that is of use. The lease book says it.
    pub life: Duration,
    /// How long ago its mint may have begun. The lease book says it.
    pub max_age: Duration,
    /// The requests that may get the same URL. The lease book says it.
    pub share: Share,
    /// When leave for its first call was given. The lease book says it.
    pub prepaid: Option<Tick>,
    /// The issuer's name of the session.
    pub session: Option<Box<str>>,
    /// What the list of revocations knows the session by; `None`: whoever vouches for it looks there. Nobody else is told.
    pub revocable: Option<Revocable>,
    /// Whether a call was made. Whoever makes it says it.
    pub called: Called,
    /// The session's credential, as it arrived. It goes to the minter, which verifies it again.
    pub credential: Option<Zeroizing<Box<[u8]>>>,
    /// `x-request-id` of the request that is the occasion.
    pub request_id: Option<Box<str>>,
    /// Where the mint stands in a trace. The lease book puts it below that request.
    pub place: Option<Place>,
}

//! Who may open what: policies in [Cedar](https://cedarpolicy.com), judged on the session and on what is known of the request.
//!
//! [`Policies`] is a checked set, made of texts; it knows nothing of files. An [`Authorizer`] asks it about one plug-in or app, and gives a
//! [`Permit`], which only this module can make, or says why not. Cedar's rules hold: denied unless a `permit` matches, and `forbid` wins. A policy
//! that fails in evaluation denies, whatever its effect: a `forbid` that can't be read must not open.

mod alike;
mod annotation;
mod authorizer;
pub mod case;
mod compile;
mod entity;
mod evaluate;
mod fault;
mod nesting;
mod reads;
mod resource;
mod schema;
pub mod settings;
mod slice;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

pub use authorizer::{Authorizer, Authorizers, Denied, Judged, Permit};
pub use compile::{Compiled, Inventory, Source, compile};
pub use entity::{Circumstances, Person};
pub use evaluate::Decision;
pub use fault::Fault;
pub use resource::Target;
pub use schema::text as schema;

use crate::session::{StepUp, TraitClaims};

/// What is asked for. `use` is the group of the first, the second and the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// `GET` or `HEAD` of a plug-in.
    Open,
    /// `POST` of a plug-in: scan again.
    Renew,
    /// A request to an app.
    Reach,
    /// What an edge asks of a minter.
    Mint,
}

impl Action {
    /// Its name in policies and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Renew => "renew",
            Self::Reach => "reach",
            Self::Mint => "mint",
        }
    }
}

/// A checked set of policies. The policies stand in the order of file names and lines.
#[derive(Debug)]
pub struct Policies {
    /// Tells sets apart: a verdict of another set counts for nothing.
    number: u64,
    policies: Vec<Policy>,
    /// The next number under which a session remembers an answer.
    questions: AtomicU32,
    claims: TraitClaims,
    types: entity::Types,
}

/// What is known of one policy beside what Cedar knows.
#[derive(Debug)]
struct Policy {
    /// `@id("…")`, or `FILE:LINE`.
    name: Arc<str>,
    /// `@step_up("…")`: what a denial by this policy alone asks for.
    step_up: Option<StepUp>,
    reads: reads::Reads,
    named: alike::Named,
    cedar: cedar_policy::Policy,
}

impl Policies {
    /// How many policies there are.
    pub fn len(&self) -> usize {
        self.policies.len()
    }

    /// Whether there is no policy: everyone is denied.
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty()
    }

    /// What of a token these policies read.
    pub fn claims(&self) -> &TraitClaims {
        &self.claims
    }

    /// Whether a policy has this name.
    pub fn has(&self, name: &str) -> bool {
        self.policies.iter().any(|policy| *policy.name == *name)
    }

    fn name(&self, index: usize) -> Option<&Arc<str>> {
        self.policies.get(index).map(|policy| &policy.name)
    }
}

//! `[policies]`, and the file `claims.toml` of its directory.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::session::{ClaimPath, TraitClaims, TraitKind};

/// `[policies]`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PoliciesSettings {
    /// The folder of `*.cedar`, `*.cases.toml` and `claims.toml`. An empty one denies everyone.
    pub directory: PathBuf,
}

/// `claims.toml`: what policies may read of a token beside the built-in attributes.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClaimsFile {
    /// The claim, or the JSON pointer, whose strings are the groups of the principal.
    pub groups: Option<ClaimPath>,
    /// The names by which policies read claims.
    #[serde(default)]
    pub claims: BTreeMap<String, ClaimSettings>,
}

/// One declared claim: its type, or a table with its place too.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(
    untagged,
    expecting = "expected \"string\", \"integer\", \"boolean\" or \"set\", or { claim = \"…\", type = \"…\" }"
)]
pub enum ClaimSettings {
    /// The claim of the same name.
    Type(ClaimType),
    /// A claim that stands elsewhere.
    Of(ClaimPlace),
}

/// A declared claim with its place in the token.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClaimPlace {
    /// The claim, or a JSON pointer.
    pub claim: ClaimPath,
    /// What it must be.
    #[serde(rename = "type")]
    pub kind: ClaimType,
}

/// What a claim must be; one of another type is absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClaimType {
    /// A text.
    String,
    /// A whole number in 64 bits.
    Integer,
    /// `true` or `false`.
    Boolean,
    /// A list of texts.
    Set,
}

impl ClaimType {
    /// As it is written.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::String => "\"string\"",
            Self::Integer => "\"integer\"",
            Self::Boolean => "\"boolean\"",
            Self::Set => "\"set\"",
        }
    }

    fn kind(self) -> TraitKind {
        match self {
            Self::String => TraitKind::Text,
            Self::Integer => TraitKind::Integer,
            Self::Boolean => TraitKind::Boolean,
            Self::Set => TraitKind::Set,
        }
    }
}

impl ClaimSettings {
    /// What it must be.
    pub fn kind(&self) -> ClaimType {
        match self {
            Self::Type(kind) | Self::Of(ClaimPlace { kind, .. }) => *kind,
        }
    }

    /// Where a token carries it. `None`: it is to be found by a name that is none, of which [`ClaimsFile::faults`] tells.
    fn place(&self, name: &str) -> Option<ClaimPath> {
        match self {
            Self::Type(_) => name.parse().ok(),
            Self::Of(ClaimPlace { claim, .. }) => Some(claim.clone()),
        }
    }
}

impl ClaimsFile {
    /// What its types can't say: the keys that lead to it, and what is wrong.
    pub fn faults(&self) -> Vec<(Vec<String>, String)> {
        let nameless = |(name, settings): &(&String, &ClaimSettings)| name.is_empty() || settings.place(name).is_none();
        let wrong = self.claims.iter().filter(nameless);
        let message =
            "expected a name; of a claim that is named otherwise in the token, write { claim = \"…\", type = \"…\" }";
        wrong.map(|(name, _)| (vec!["claims".to_owned(), name.clone()], message.to_owned())).collect()
    }

    /// The claims that policies read, for the reader of tokens.
    pub(super) fn claims(&self) -> TraitClaims {
        let mut claims = TraitClaims::default();
        if let Some(groups) = &self.groups {
            claims.groups(groups);
        }
        for (name, settings) in &self.claims {
            if let Some(claim) = settings.place(name) {
                claims.declare(name, &claim, settings.kind().kind());
            }
        }
        claims
    }
}

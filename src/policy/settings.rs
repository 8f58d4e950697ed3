//! `[policies]`, and the file `claims.toml` of its directory.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::session::{TraitClaims, TraitKind, names_claim};

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
    pub groups: Option<ClaimName>,
    /// The names by which policies read claims.
    #[serde(default)]
    pub claims: BTreeMap<String, ClaimSettings>,
}

/// A claim's name, or a JSON pointer that begins with `/`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
pub struct ClaimName(#[schemars(with = "String")] String);

impl TryFrom<String> for ClaimName {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if names_claim(&text) {
            Ok(Self(text))
        } else {
            Err("expected the name of a claim, or a JSON pointer such as \"/org/id\"")
        }
    }
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
    pub claim: ClaimName,
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
}

impl ClaimsFile {
    /// What its types can't say: the keys that lead to it, and what is wrong.
    pub fn faults(&self) -> Vec<(Vec<String>, String)> {
        let nameless = |(name, settings): &(&String, &ClaimSettings)| {
            name.is_empty() || (matches!(settings, ClaimSettings::Type(_)) && !names_claim(name))
        };
        let wrong = self.claims.iter().filter(nameless);
        let message =
            "expected a name; of a claim that is named otherwise in the token, write { claim = \"…\", type = \"…\" }";
        wrong.map(|(name, _)| (vec!["claims".to_owned(), name.clone()], message.to_owned())).collect()
    }

    /// The claims that policies read, for the reader of tokens.
    pub(super) fn claims(&self) -> TraitClaims {
        let mut claims = TraitClaims::default();
        if let Some(ClaimName(groups)) = &self.groups {
            claims.groups(groups);
        }
        for (name, settings) in &self.claims {
            let claim = match settings {
                ClaimSettings::Type(_) => name,
                ClaimSettings::Of(ClaimPlace { claim: ClaimName(claim), .. }) => claim,
            };
            claims.declare(name, claim, settings.kind().kind());
        }
        claims
    }
}

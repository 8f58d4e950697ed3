//! `[assertion]`, and `assertion` of an app.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::secret::SecretSource;
use crate::session::ClaimPath;
use crate::units::Span;

/// `[assertion]`: a signed word for apps that must not trust the network.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AssertionSettings {
    /// ES256 private keys, PKCS #8 in PEM. The first signs, all are published at `/.valet/jwks.json`.
    pub keys: Vec<SecretSource>,
    /// How long an assertion is good. At half of it the next request gets a new one.
    #[serde(default = "default_life")]
    pub life: Span,
}

/// `assertion` of an app.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AppAssertionSettings {
    /// `aud`: the name by which the app knows itself.
    pub audience: String,
    /// Claims of the session's token that the app is told, by name or JSON pointer.
    #[serde(default)]
    pub claims: Vec<ClaimPath>,
}

fn default_life() -> Span {
    Span::secs(60)
}

//! `ca` and `proxy` of an issuer and of a provider: the way to one outside system.

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::{Deserialize, Deserializer, de};

use crate::secret::SecretSource;

/// `proxy`: an address, or a table with credentials.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(untagged)]
pub enum ProxySettings {
    /// `"http://proxy.internal:3128"`.
    Address(String),
    /// The proxy's address, and who we are to it.
    Table(ProxyTable),
}

/// `proxy = { url = "…", credentials = … }`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProxyTable {
    /// The proxy's address, `http://host:port`.
    pub url: String,
    /// `user:password`, sent to the proxy alone (RFC 7617).
    pub credentials: Option<SecretSource>,
}

impl ProxySettings {
    /// The proxy's address.
    pub fn url(&self) -> &str {
        match self {
            Self::Address(url) => url,
            Self::Table(table) => &table.url,
        }
    }

    /// Where the credentials stand, if there are any.
    pub fn credentials(&self) -> Option<&SecretSource> {
        match self {
            Self::Address(_) => None,
            Self::Table(table) => table.credentials.as_ref(),
        }
    }
}

/// By hand, so that a fault names the key and not the Rust enum.
impl<'de> Deserialize<'de> for ProxySettings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = ProxySettings;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(r#""http://host:port" or { url = "http://host:port", credentials = { file = "…" } }"#)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<ProxySettings, E> {
                Ok(ProxySettings::Address(text.to_owned()))
            }
            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<ProxySettings, A::Error> {
                ProxyTable::deserialize(MapAccessDeserializer::new(map)).map(ProxySettings::Table)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

//! `[leases]`, and the lease rules of a `[[plugin]]`.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize, de};

use super::store::settings::{OnStoreLoss, RedisSettings};
use crate::secret::SecretSource;
use crate::units::Span;

/// `[leases]`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LeasesSettings {
    /// Where leases are kept.
    pub store: StoreKind,
    /// At this many the leases that end soonest go.
    pub capacity: usize,
    /// The keys that seal what leaves the process, 32 bytes in base64 each: the first seals, all open. Required with a store.
    pub seal_keys: Vec<SecretSource>,
    /// The key of the names in a store, 32 bytes in base64; without it the last of `seal_keys`.
    pub name_key: Option<SecretSource>,
    /// What is done while the store can't be asked.
    pub on_store_loss: OnStoreLoss,
    /// The shared store.
    pub redis: Option<RedisSettings>,
    /// The file of the durable store.
    pub path: Option<PathBuf>,
}

impl Default for LeasesSettings {
    fn default() -> Self {
        Self {
            store: StoreKind::Memory,
            capacity: 1_000_000,
            seal_keys: Vec::new(),
            name_key: None,
            on_store_loss: OnStoreLoss::Local,
            redis: None,
            path: None,
        }
    }
}

/// `leases.store`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StoreKind {
    /// In this process; a restart mints again.
    Memory,
    /// In a file of this process, too; a restart finds them again.
    File,
    /// In Redis or Valkey, too, where other nodes find them.
    Redis,
}

/// For whom a plug-in URL is used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reuse {
    /// One URL for each user.
    User,
    /// One URL for each session of a user.
    Session,
    /// A URL for each request.
    Never,
}

/// `mints_per_subject`: at most `count` mints of one subject for one plug-in `within` this time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MintsPerSubject {
    /// How many.
    pub count: u32,
    /// In how long.
    pub within: Span,
}

impl Default for MintsPerSubject {
    fn default() -> Self {
        Self { count: 30, within: Span::secs(3600) }
    }
}

/// The values of one of a plug-in's `parameters`: a list, or a table with the one that counts where none is asked for.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(untagged)]
pub enum ParameterSettings {
    /// One of them must be asked for.
    Listed(Vec<ParameterValue>),
    /// `default` counts where none is.
    WithDefault {
        /// The values.
        values: Vec<ParameterValue>,
        /// One of them.
        default: Option<ParameterValue>,
    },
}

/// A text, or a whole number.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(untagged)]
pub enum ParameterValue {
    /// A text.
    Text(String),
    /// A whole number.
    Number(i64),
}

impl ParameterValue {
    /// As it stands in a query.
    pub fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Number(number) => number.to_string(),
        }
    }
}

impl ParameterSettings {
    /// The values that may be asked for.
    pub fn values(&self) -> &[ParameterValue] {
        match self {
            Self::Listed(values) | Self::WithDefault { values, .. } => values,
        }
    }

    /// The one that counts where none is asked for.
    pub fn default(&self) -> Option<&ParameterValue> {
        match self {
            Self::Listed(_) => None,
            Self::WithDefault { default, .. } => default.as_ref(),
        }
    }
}

/// By hand, so that a fault names what is expected and not the Rust enum.
impl<'de> Deserialize<'de> for ParameterValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = ParameterValue;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a text or a whole number")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<ParameterValue, E> {
                Ok(ParameterValue::Text(text.to_owned()))
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<ParameterValue, E> {
                Ok(ParameterValue::Number(number))
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<ParameterValue, E> {
                i64::try_from(number).map(ParameterValue::Number).map_err(|_| E::custom("this number is too large"))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// By hand, for the same reason.
impl<'de> Deserialize<'de> for ParameterSettings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            values: Vec<ParameterValue>,
            default: Option<ParameterValue>,
        }
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = ParameterSettings;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list of values, or { values = […], default = … }")
            }
            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<ParameterSettings, A::Error> {
                let Table { values, default } = Table::deserialize(MapAccessDeserializer::new(map))?;
                Ok(ParameterSettings::WithDefault { values, default })
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, list: A) -> Result<ParameterSettings, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(ParameterSettings::Listed)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

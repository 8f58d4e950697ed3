//! How many tokens: the rate and the burst of a token bucket.

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroU32;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};

use crate::setting::FieldFault;

/// A whole number from 1 to 1,000,000: a node does not serve more requests in a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Tokens(NonZeroU32);

/// The most.
const MAX: u32 = 1_000_000;

impl Tokens {
    /// So many. One that is out of bounds does not compile.
    pub const fn of<const COUNT: u32>() -> Self {
        const { assert!(COUNT >= 1 && COUNT <= MAX) };
        Self(NonZeroU32::MIN.saturating_add(COUNT - 1))
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

impl TryFrom<u32> for Tokens {
    type Error = FieldFault;

    fn try_from(count: u32) -> Result<Self, FieldFault> {
        let count = NonZeroU32::new(count).filter(|count| count.get() <= MAX);
        count.map(Self).ok_or_else(|| FieldFault::of_value("expected a whole number from 1 to 1000000"))
    }
}

impl fmt::Display for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Tokens {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let count = i64::deserialize(deserializer)?;
        // Not in 32 bits: out of bounds, too.
        Self::try_from(u32::try_from(count).unwrap_or(0)).map_err(|fault| de::Error::custom(fault.message))
    }
}

impl JsonSchema for Tokens {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Tokens".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 1, "maximum": MAX })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_and_a_million_are_counts_and_what_is_beside_them_is_none() {
        for count in [1, MAX] {
            assert_eq!(Tokens::try_from(count).unwrap().get(), count);
        }
        for count in [0, MAX + 1, u32::MAX] {
            assert!(Tokens::try_from(count).is_err(), "{count} was taken");
        }
        assert_eq!((Tokens::of::<1>().get(), Tokens::of::<MAX>().get()), (1, MAX));
        for (text, good) in [("1", true), ("0", false), ("-1", false), ("4294967297", false), ("1000001", false)] {
            assert_eq!(serde_json::from_str::<Tokens>(text).is_ok(), good, "{text}");
        }
    }
}

//! Which attributes a policy reads: found in Cedar's syntax tree, so that a verdict is kept no longer than it holds.

use std::fmt;
use std::ops::BitOr;

use serde_json::{Map, Value};

/// Attributes as bits, in the order of [`NAMES`].
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Reads(u32);

/// The attributes of the principal, then those of the context.
const NAMES: [&str; 16] = [
    "issuer",
    "subject",
    "session",
    "acr",
    "amr",
    "scopes",
    "auth_time",
    "issued_at",
    "claims",
    "method",
    "path",
    "host",
    "language",
    "address",
    "edge",
    "reason",
];

/// Stands apart: a verdict that reads nothing else of the context holds for a second.
const NOW: &str = "now";

/// How many of [`NAMES`] the principal has.
const OF_PRINCIPAL: usize = 9;

impl Reads {
    const NOW: Self = Self(1 << NAMES.len());
    const CONTEXT: Self = Self(((1 << NAMES.len()) - 1) & !((1 << OF_PRINCIPAL) - 1));
    const PRINCIPAL: Self = Self((1 << OF_PRINCIPAL) - 1);

    /// Everything: for a policy whose tree can't be had.
    pub const ALL: Self = Self(Self::NOW.0 | Self::CONTEXT.0 | Self::PRINCIPAL.0);

    /// What a policy in Cedar's JSON form reads.
    pub fn of(policy: &Value) -> Self {
        let mut reads = Self::default();
        // A list of its own, not the stack: a condition may nest as deeply as its text is long.
        let mut left: Vec<&Value> = policy.get("conditions").into_iter().collect();
        while let Some(value) = left.pop() {
            match value {
                Value::Array(list) => left.extend(list),
                Value::Object(object) => reads = reads | Self::of_object(object, &mut left),
                _ => {}
            }
        }
        reads
    }

    fn of_object<'v>(object: &'v Map<String, Value>, left: &mut Vec<&'v Value>) -> Self {
        let access = object.get(".").or_else(|| object.get("has")).filter(|_| object.len() == 1);
        if let Some(access) = access {
            let attribute = access.get("attr").and_then(Value::as_str);
            match (access.get("left"), attribute) {
                (Some(of), Some(attribute)) if is_context(of) => return Self::context(attribute),
                // An entity has attributes only by its name for them; whose they are is not looked at.
                (Some(of), Some(attribute)) => {
                    left.push(of);
                    return Self::principal(attribute);
                }
                // Not as Cedar writes it; what is inside is looked at.
                _ => left.push(access),
            }
        }
        left.extend(object.values());
        // The context as a whole: compared, or put into a set.
        if object.get("Var").and_then(Value::as_str) == Some("context") {
            Self::CONTEXT | Self::NOW
        } else {
            Self::default()
        }
    }

    fn context(attribute: &str) -> Self {
        if attribute == NOW {
            return Self::NOW;
        }
        // One that is unknown is in no context: the checked set has none.
        NAMES.iter().position(|name| *name == attribute).map_or(Self::ALL, |at| Self(1 << at))
    }

    fn principal(attribute: &str) -> Self {
        NAMES[..OF_PRINCIPAL].iter().position(|name| *name == attribute).map_or_else(Self::default, |at| Self(1 << at))
    }

    /// Whether this attribute is read.
    pub fn has(self, attribute: &str) -> bool {
        let bit = if attribute == NOW {
            Self::NOW
        } else {
            NAMES.iter().position(|name| *name == attribute).map_or(Self(0), |at| Self(1 << at))
        };
        self.0 & bit.0 != 0
    }

    /// Whether a verdict holds for this request alone.
    pub fn differs_each_time(self) -> bool {
        self.0 & Self::CONTEXT.0 != 0
    }

    /// Whether a verdict changes with the time.
    pub fn has_time(self) -> bool {
        self.0 & Self::NOW.0 != 0
    }

    /// The names, those of the principal first.
    pub fn names(self) -> impl Iterator<Item = String> {
        let name = move |(at, name): (usize, &&str)| {
            let whose = if at < OF_PRINCIPAL { "principal" } else { "context" };
            (self.0 & (1 << at) != 0).then(|| format!("{whose}.{name}"))
        };
        let now = self.has_time().then(|| format!("context.{NOW}"));
        NAMES.iter().enumerate().filter_map(name).chain(now)
    }
}

impl BitOr for Reads {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Debug for Reads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

fn is_context(expression: &Value) -> bool {
    expression.get("Var").and_then(Value::as_str) == Some("context")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(conditions: &str) -> Vec<String> {
        let policy: cedar_policy::Policy =
            format!("permit(principal, action, resource) {conditions};").parse().unwrap();
        Reads::of(&policy.to_json().unwrap()).names().collect()
    }

    #[test]
    fn what_a_policy_reads_is_found_wherever_it_stands() {
        for (conditions, read) in [
            ("", vec![]),
            ("when { principal in Valet::Group::\"context.now\" }", vec![]),
            ("when { \"context.now\" == principal.issuer }", vec!["principal.issuer"]),
            ("when { context.now > datetime(\"2026-01-01\") }", vec!["context.now"]),
            ("when { context[\"now\"] > datetime(\"2026-01-01\") }", vec!["context.now"]),
            ("unless { context has language && context.language == \"de\" }", vec!["context.language"]),
            ("when { [1, 2].contains(if context.path like \"/a*\" then 1 else 3) }", vec!["context.path"]),
            ("when { {a: {b: context.host}}.a.b == \"x\" }", vec!["context.host"]),
            (
                "when { principal.claims.email == \"a\" && principal has acr }",
                vec!["principal.acr", "principal.claims"],
            ),
            ("when { (if true then principal else principal).amr.contains(\"otp\") }", vec!["principal.amr"]),
            (
                "when { context.address.isInRange(ip(\"10.0.0.0/8\")) } when { context.method == \"GET\" }",
                vec!["context.method", "context.address"],
            ),
            // A record whose keys look like Cedar's own.
            ("when { {\".\": context.now}[\".\"] > datetime(\"2026-01-01\") }", vec!["context.now"]),
        ] {
            assert_eq!(names(conditions), read, "{conditions}");
        }
    }

    #[test]
    fn the_context_as_a_whole_is_all_of_it() {
        for whole in [
            "context == {}",
            "[context].contains({})",
            "{a: context}.a has now",
            "(if true then context else context).path == \"\"",
        ] {
            let all = names(&format!("when {{ {whole} }}"));
            for attribute in ["context.method", "context.path", "context.address", "context.edge", "context.now"] {
                assert!(all.iter().any(|name| name == attribute), "{whole}: {attribute}");
            }
        }
    }

    #[test]
    fn a_verdict_is_kept_no_longer_than_what_it_has_read() {
        let of = |conditions: &str| {
            let policy: cedar_policy::Policy =
                format!("permit(principal, action, resource) {conditions};").parse().unwrap();
            let reads = Reads::of(&policy.to_json().unwrap());
            (reads.differs_each_time(), reads.has_time())
        };
        assert_eq!(of("when { principal.issuer == \"a\" }"), (false, false));
        assert_eq!(of("when { context.now > principal.auth_time }"), (false, true));
        for each in ["method", "path", "host", "language", "address", "edge", "reason", "unheard-of"] {
            assert!(of(&format!("when {{ context has \"{each}\" }}")).0, "{each}");
        }
        assert!(Reads::ALL.differs_each_time() && Reads::ALL.has_time());
    }
}

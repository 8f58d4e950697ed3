//! What a policy says of itself: `@id`, `@step_up`, `@step_up_max_age`.

use serde::Deserialize;
use serde::de::value::{Error, StrDeserializer};

use crate::session::StepUp;
use crate::units::Span;

const ID: &str = "id";
const STEP_UP: &str = "step_up";
const MAX_AGE: &str = "step_up_max_age";

/// A longer name says no more, and stands in each access line.
const MAX_ID: usize = 128;

/// The annotations that mean something to us.
pub(super) struct Annotations {
    pub id: Option<String>,
    pub step_up: Option<StepUp>,
}

/// Reads them. The faults, in the operator's words, of all at once.
pub(super) fn read(policy: &cedar_policy::Policy) -> Result<Annotations, Vec<String>> {
    let mut faults = Vec::new();
    for (name, _) in policy.annotations().filter(|(name, _)| ![ID, STEP_UP, MAX_AGE].contains(name)) {
        // A slip here would turn a step-up into a plain denial.
        let meant = |known: &&str| {
            name.eq_ignore_ascii_case(known) || (strsim::damerau_levenshtein(name, known) <= 2 && known.len() > 4)
        };
        if let Some(known) = [ID, STEP_UP, MAX_AGE].iter().find(|known| meant(known)) {
            faults.push(format!("unknown annotation @{name}; did you mean @{known}?"));
        }
    }
    let id = policy.annotation(ID).map(|id| {
        if id.is_empty() || id.len() > MAX_ID || id.chars().any(char::is_control) {
            faults.push(format!("@id: expected a name of 1 to {MAX_ID} bytes without control characters"));
        }
        id.to_owned()
    });
    let step_up = step_up(policy, &mut faults);
    if faults.is_empty() { Ok(Annotations { id, step_up }) } else { Err(faults) }
}

fn step_up(policy: &cedar_policy::Policy, faults: &mut Vec<String>) -> Option<StepUp> {
    let max_age = match policy.annotation(MAX_AGE).map(seconds) {
        None => None,
        Some(Some(seconds)) => Some(seconds),
        Some(None) => {
            faults.push(format!("@{MAX_AGE}: expected whole seconds such as \"1h\""));
            None
        }
    };
    let Some(acr) = policy.annotation(STEP_UP) else {
        if policy.annotation(MAX_AGE).is_some() {
            faults.push(format!("@{MAX_AGE} needs @{STEP_UP} beside it"));
        }
        return None;
    };
    if policy.effect() != cedar_policy::Effect::Forbid {
        faults.push(format!("@{STEP_UP} belongs on a forbid: a permit asks for nothing"));
    }
    let step_up = StepUp::new(acr, max_age);
    if step_up.is_none() {
        faults.push(format!("@{STEP_UP}: expected one or more acr values, parted by single spaces, of printable ASCII without quotes and backslashes"));
    }
    step_up
}

/// A duration of whole seconds, for `max_age` (OpenID Connect Core, section 3.1.2.1).
fn seconds(text: &str) -> Option<u64> {
    let Span(span) = Span::deserialize(StrDeserializer::<Error>::new(text)).ok()?;
    (span.subsec_nanos() == 0).then_some(span.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Annotations, Vec<String>> {
        read(&text.parse().unwrap())
    }

    #[test]
    fn a_step_up_says_which_sign_in_would_do() {
        let annotations =
            of("@id(\"mfa\") @step_up(\"mfa\") @step_up_max_age(\"1h\") forbid(principal, action, resource);")
                .ok()
                .unwrap();
        assert_eq!(annotations.id.as_deref(), Some("mfa"));
        assert_eq!(annotations.step_up, StepUp::new("mfa", Some(3600)));
        let annotations = of("@step_up(\"a b\") @why(\"anything\") forbid(principal, action, resource);").ok().unwrap();
        assert_eq!((annotations.id, annotations.step_up), (None, StepUp::new("a b", None)));
    }

    #[test]
    fn annotations_that_can_t_mean_what_they_say_are_faults() {
        for (text, faults) in [
            ("@step_up(\"mfa\") permit", 1),
            ("@step_up forbid", 1),
            ("@step_up_max_age(\"1h\") forbid", 1),
            ("@step_up(\"mfa\") @step_up_max_age(\"soon\") forbid", 1),
            ("@step_up(\"mfa\") @step_up_max_age(\"500ms\") forbid", 1),
            ("@step_up(\"mfa\") @step_up_max_age(\"-1h\") forbid", 1),
            ("@step_up(\"\") @step_up_max_age(\"x\") permit", 3),
            ("@id forbid", 1),
            ("@id(\"a\\nb\") forbid", 1),
            ("@ID(\"a\") forbid", 1),
            ("@stepup(\"mfa\") forbid", 1),
            ("@step_up_maxage(\"1h\") forbid", 1),
        ] {
            let found = of(&format!("{text}(principal, action, resource);")).err().unwrap();
            assert_eq!(found.len(), faults, "{text}: {found:?}");
        }
    }
}

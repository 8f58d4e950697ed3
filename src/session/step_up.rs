//! What a session lacks for what was asked: a stronger or a more recent sign-in (RFC 9470).

/// What the next sign-in must show.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StepUp {
    /// The `acr` values that would do, in order of preference, parted by one space. Printable ASCII without `"` and `\`.
    pub acr_values: Box<str>,
    /// The sign-in may not be older than this many seconds.
    pub max_age: Option<u64>,
}

/// Longer lists of `acr` values make no sense in a header field.
const MAX_ACR_VALUES: usize = 512;

impl StepUp {
    /// `None` where the values can't stand in a quoted string of a header field (RFC 9470, section 3; RFC 9110, section 5.6.4).
    pub fn new(acr_values: &str, max_age: Option<u64>) -> Option<Self> {
        let fits = |b: u8| matches!(b, b' '..=b'~') && b != b'"' && b != b'\\';
        let words = acr_values.split(' ').all(|word| !word.is_empty());
        let good = words && acr_values.len() <= MAX_ACR_VALUES && acr_values.bytes().all(fits);
        good.then(|| Self { acr_values: acr_values.into(), max_age })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acr_values_fit_a_quoted_string_and_are_parted_by_single_spaces() {
        for good in ["mfa", "urn:mace:incommon:iap:silver", "gold silver", "https://refeds.org/profile/mfa"] {
            assert_eq!(StepUp::new(good, None).unwrap().acr_values.as_ref(), good);
        }
        let long = "a".repeat(MAX_ACR_VALUES + 1);
        for wrong in ["", " ", "a  b", " a", "a ", "a\"b", "a\\b", "a\nb", "ä", "a\tb", &long] {
            assert_eq!(StepUp::new(wrong, None), None, "{wrong:?}");
        }
    }
}

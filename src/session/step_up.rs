//! What a session lacks for what was asked: a stronger or a more recent sign-in (RFC 9470).

use parking_lot::Mutex;

/// What the next sign-in must show.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StepUp {
    /// The `acr` values that would do, in order of preference, parted by one space. Printable ASCII without `"` and `\`.
    pub acr_values: Box<str>,
    /// The sign-in may not be older than this many seconds.
    pub max_age: Option<u64>,
}

/// As many different ones are kept as long as the process lives: more than policies that people review can ask for.
const MAX_INTERNED: usize = 1024;

/// Longer lists of `acr` values make no sense in a header field.
const MAX_ACR_VALUES: usize = 512;

impl StepUp {
    /// `None` where the values can't stand in a quoted string of a header field ([RFC 9470, section 3](https://www.rfc-editor.org/rfc/rfc9470#section-3); [RFC 9110, section 5.6.4](https://www.rfc-editor.org/rfc/rfc9110#section-5.6.4)).
    pub fn new(acr_values: &str, max_age: Option<u64>) -> Option<Self> {
        let fits = |b: u8| matches!(b, b' '..=b'~') && b != b'"' && b != b'\\';
        let words = acr_values.split(' ').all(|word| !word.is_empty());
        let good = words && acr_values.len() <= MAX_ACR_VALUES && acr_values.bytes().all(fits);
        good.then(|| Self { acr_values: acr_values.into(), max_age })
    }

    /// What a sign-in must show, kept as long as the process lives, so that a refusal that carries it is copied as easily as any other. Each is kept once; `None`
    /// where there are too many.
    pub fn interned(self) -> Option<&'static Self> {
        static ALL: Mutex<Vec<&'static StepUp>> = Mutex::new(Vec::new());
        let mut all = ALL.lock();
        if let Some(known) = all.iter().find(|known| ***known == self) {
            return Some(known);
        }
        if all.len() >= MAX_INTERNED {
            return None;
        }
        let kept: &'static Self = Box::leak(Box::new(self));
        all.push(kept);
        Some(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_kept_once_and_so_many_at_most() {
        let of = |n: u64| StepUp::new("a-class-of-this-test", Some(n)).unwrap();
        assert!(std::ptr::eq(of(0).interned().unwrap(), of(0).interned().unwrap()));
        let kept = (0..2 * MAX_INTERNED as u64).filter(|n| of(*n).interned().is_some()).count();
        assert!((1..=MAX_INTERNED).contains(&kept), "{kept}");
        assert!(of(0).interned().is_some());
    }

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

//! "Did you mean": the known word that was probably meant by an unknown one.

/// The known word that was probably meant. Case and `_` for `-` are slips in any number; of letters a third may be wrong.
pub(crate) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let plain = |text: &str| text.to_ascii_lowercase().replace('_', "-");
    let word = plain(word.trim());
    // A third of the letters wrong is a slip of the finger; more is another word.
    let tolerance = (word.chars().count() / 3).clamp(1, 3);
    known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(&word, &plain(name)), *name))
        .filter(|(distance, name)| *distance <= tolerance && *distance < name.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// `; did you mean "NAME"?`, or nothing. Repeats only the known word, never the one that was written: it may be a secret in the wrong place.
pub(crate) fn did_you_mean(word: &str, known: &[&str]) -> String {
    nearest(word, known).map_or_else(String::new, |meant| format!("; did you mean \"{meant}\"?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        let known: &[&'static str] = &["min_remaining", "max_age", "path"];
        assert_eq!(nearest("min_remaning", known), Some("min_remaining"));
        assert_eq!(nearest("maxage", known), Some("max_age"));
        assert_eq!(nearest("pth", known), Some("path"));
        assert_eq!(nearest("policies", known), None);
        assert_eq!(nearest("", known), None);
    }

    #[test]
    fn case_and_the_two_dashes_are_slips() {
        assert_eq!(nearest("es256", &["RS256", "ES256"]), Some("ES256"));
        assert_eq!(nearest("Same_Site", &["same-origin", "same-site"]), Some("same-site"));
        assert_eq!(did_you_mean("user ", &["user", "never"]), "; did you mean \"user\"?");
        assert_eq!(did_you_mean("sk_live_0123456789", &["user", "never"]), "");
        // A single letter is not a slip of another one.
        assert_eq!(nearest("a", &["b"]), None);
    }
}

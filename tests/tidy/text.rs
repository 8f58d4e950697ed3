//! What no file may hold.

/// What a note to oneself begins with. Put together here, so that this file may name them.
const NOTES: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];

/// The lines with a note for later: work that is left belongs into an issue.
pub fn notes_for_later(path: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
        if let Some(word) = words.find(|word| NOTES.contains(word)) {
            faults.push(format!("{path}:{}: `{word}`; what is left to do belongs into an issue", number + 1));
        }
    }
    faults
}

/// A call that pauses. Put together here, so that this file may name it.
const CALL: &str = concat!("sle", "ep(");

/// What the reason of a pause begins with.
const PAUSE: &str = "// Pause: ";

/// Test code that pauses, and does not say why in the line above: a test waits for a sign, never for time to pass.
pub fn pauses_without_a_reason(path: &str, text: &str) -> Vec<String> {
    let whole = path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("/tests.rs");
    let (mut in_tests, mut above, mut faults) = (whole, "", Vec::new());
    for (number, line) in text.lines().enumerate() {
        in_tests |= line.starts_with("mod tests {");
        let calls =
            line.match_indices(CALL).any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'));
        if in_tests && calls && !above.trim_start().starts_with(PAUSE) {
            faults.push(format!("{path}:{}: a pause; the line above says why: `{PAUSE}…`", number + 1));
        }
        above = line;
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_of_a_test_has_a_reason_above_it() {
        let call = concat!("    sle", "ep(SPAN).await;");
        assert_eq!(pauses_without_a_reason("tests/cli/a.rs", call).len(), 1);
        assert_eq!(pauses_without_a_reason("src/a/tests.rs", &format!("// why\n{call}")).len(), 1);
        assert_eq!(pauses_without_a_reason("src/a.rs", &format!("mod tests {{\n{call}")).len(), 1);
        assert!(pauses_without_a_reason("src/a.rs", call).is_empty(), "not a test");
        assert!(pauses_without_a_reason("tests/a.rs", &format!("    {PAUSE}between two looks.\n{call}")).is_empty());
        assert!(pauses_without_a_reason("tests/a.rs", concat!("over", "sle", "ep(1)")).is_empty());
    }

    #[test]
    fn a_note_is_found_as_a_word_only() {
        for note in NOTES {
            assert_eq!(notes_for_later("a.rs", &format!("x\n// {note}: later")).len(), 1);
            assert!(notes_for_later("a.rs", &format!("mktemp /tmp/{note}{note}")).is_empty());
        }
        assert!(notes_for_later("a.rs", "todo").is_empty());
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_found_as_a_word_only() {
        for note in NOTES {
            assert_eq!(notes_for_later("a.rs", &format!("x\n// {note}: later")).len(), 1);
            assert!(notes_for_later("a.rs", &format!("mktemp /tmp/{note}{note}")).is_empty());
        }
        assert!(notes_for_later("a.rs", "todo").is_empty());
    }
}

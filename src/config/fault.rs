//! What is wrong with a configuration: one line for each fault, in the operator's words.

use std::fmt;

/// One fault. Its text never holds a value of the file, for a value may be a secret in the wrong place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file, as it was named on the command line.
    pub file: String,
    /// From 1; 0 where the whole file is meant.
    pub line: usize,
    /// In characters, from 1; 0 where the whole file is meant.
    pub column: usize,
    /// The dotted path of the key, without the numbers of list entries. Empty where the file is no TOML.
    pub key: String,
    /// What is wrong, and what was expected.
    pub message: String,
}

impl Fault {
    /// A fault of the file as a whole: it can't be read, say.
    pub fn of_file(file: &str, message: impl Into<String>) -> Self {
        Self { file: file.into(), line: 0, column: 0, key: String::new(), message: message.into() }
    }
}

impl fmt::Display for Fault {
    /// `valet.toml:31:17 plugin.min_remaining: expected a duration such as "5m"`; always one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = self.file.clone();
        if self.line > 0 {
            line.push_str(&format!(":{}:{}", self.line, self.column));
        }
        if !self.key.is_empty() {
            line.push(' ');
            line.push_str(&self.key);
        }
        line.push_str(": ");
        line.push_str(&self.message);
        f.write_str(&one_line(&line))
    }
}

/// Control characters (a file name or a quoted key may hold them) become `\u{…}`.
pub(super) fn one_line(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut line, c| {
        if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
        line
    })
}

/// Line and column, both from 1, of a byte offset. The column counts characters, as editors do.
pub(super) fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    (line, before[start..].chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_written_as_the_contract_says() {
        let fault = Fault {
            file: "valet.toml".into(),
            line: 31,
            column: 17,
            key: "plugin.min_remaining".into(),
            message: "expected a duration such as \"5m\"".into(),
        };
        assert_eq!(fault.to_string(), r#"valet.toml:31:17 plugin.min_remaining: expected a duration such as "5m""#);
    }

    #[test]
    fn a_fault_is_one_line_whatever_the_file_is_called() {
        assert_eq!(Fault::of_file("a\nb", "is a\tfolder").to_string(), "a\\nb: is a\\tfolder");
    }

    #[test]
    fn columns_count_characters_and_offsets_past_the_end_are_the_end() {
        assert_eq!(position("é = 1\nab = 2", 0), (1, 1));
        assert_eq!(position("é = 1\nab = 2", 5), (1, 5));
        assert_eq!(position("é = 1\nab = 2", 12), (2, 6));
        assert_eq!(position("ab", 99), (1, 3));
    }
}

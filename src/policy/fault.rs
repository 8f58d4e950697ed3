//! What is wrong with a file of policies, in an operator's words.

use miette::Diagnostic;

/// One fault, or something worth a look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file, relative to the directory.
    pub file: String,
    /// The byte at which it begins.
    pub offset: usize,
    /// What is wrong, and what Cedar suggests.
    pub message: String,
}

impl Fault {
    /// What Cedar says, at the place that it names, else at `offset`.
    pub(super) fn of(file: &str, offset: usize, said: &dyn Diagnostic) -> Self {
        let label = said.labels().and_then(|mut labels| labels.next());
        let mut message = bare(&said.to_string()).to_owned();
        if let Some(label) = label.as_ref().and_then(|label| label.label()) {
            message = format!("{message}; {}", bare(label));
        }
        if let Some(help) = said.help() {
            message = format!("{message}; {}", bare(&help.to_string()));
        }
        Self { file: file.into(), offset: label.map_or(offset, |label| label.offset()), message }
    }

    /// One of our own rules.
    pub(super) fn new(file: &str, offset: usize, message: impl Into<String>) -> Self {
        Self { file: file.into(), offset, message: message.into() }
    }
}

/// Without ``for policy `policy7`, ``: that number is ours, and the place says which policy it is.
fn bare(message: &str) -> &str {
    let Some(rest) = message.strip_prefix("for policy `") else { return message };
    rest.split_once("`, ").or_else(|| rest.split_once("`: ")).map_or(message, |(_, said)| said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_number_of_a_policy_is_not_repeated() {
        assert_eq!(bare("for policy `policy0`, unrecognized action `A`"), "unrecognized action `A`");
        assert_eq!(bare("for policy `policy0`: no"), "no");
        assert_eq!(bare("unexpected token `x`"), "unexpected token `x`");
    }
}

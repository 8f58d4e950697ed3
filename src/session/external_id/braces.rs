//! `{…}` in the text of `external_id`.

/// A piece of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    Text(&'a str),
    /// What stands between the braces.
    Value(&'a str),
}

/// The pieces, or `None` if a brace has no partner.
pub(super) fn pieces(template: &str) -> Option<Vec<Piece<'_>>> {
    let mut found = Vec::new();
    let mut rest = template;
    while let Some(at) = rest.find(['{', '}']) {
        let (text, braced) = rest.split_at(at);
        if !text.is_empty() {
            found.push(Piece::Text(text));
        }
        let (value, after) = braced.strip_prefix('{')?.split_once('}')?;
        if value.contains('{') {
            return None;
        }
        found.push(Piece::Value(value));
        rest = after;
    }
    if !rest.is_empty() {
        found.push(Piece::Text(rest));
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_at_its_braces() {
        use Piece::{Text, Value};
        assert_eq!(pieces("a-{sub}{claim:b}").unwrap(), [Text("a-"), Value("sub"), Value("claim:b")]);
        assert_eq!(pieces("").unwrap(), []);
        for wrong in ["{", "}", "{sub", "sub}", "{{sub}}", "{a}}"] {
            assert_eq!(pieces(wrong), None, "{wrong:?}");
        }
    }
}

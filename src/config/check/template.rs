//! `{…}` in a text: `{sub}`, `{claim:NAME}`, `{subject_hash}`.

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

/// An issuer's `external_id`.
pub(super) fn external_id(template: &str) -> Result<(), &'static str> {
    const EXPECTED: &str = "expected text with `{sub}` or `{claim:NAME}`";
    let pieces = pieces(template).ok_or("a brace has no partner; expected text with `{sub}` or `{claim:NAME}`")?;
    for piece in &pieces {
        match piece {
            Piece::Text(text) if text.chars().any(char::is_control) => {
                return Err("control characters are not allowed");
            }
            Piece::Text(_) | Piece::Value("sub") => {}
            Piece::Value(value) => match value.strip_prefix("claim:") {
                Some(name) if name.ends_with('?') => {
                    return Err("`?` is not allowed here: who lacks the claim would share one name with others");
                }
                Some(name) if !name.is_empty() => {}
                _ => return Err(EXPECTED),
            },
        }
    }
    if pieces.windows(2).any(|pair| matches!(pair, [Piece::Value(_), Piece::Value(_)])) {
        return Err(
            "two values need fixed text between them, such as `:`; without it `a` and `bc` would be `ab` and `c`",
        );
    }
    if !pieces.iter().any(|piece| matches!(piece, Piece::Value(_))) {
        return Err("without `{sub}` or `{claim:NAME}` every person would have one name at the vendor");
    }
    Ok(())
}

/// Whether the text uses this value.
pub(super) fn uses(template: &str, value: &str) -> bool {
    pieces(template).is_some_and(|pieces| pieces.contains(&Piece::Value(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_external_id_names_the_person() {
        for good in ["{sub}", "idp-{sub}", "{claim:user_id}", "{claim:https://example.com/id}:{sub}"] {
            assert_eq!(external_id(good), Ok(()), "{good}");
        }
        for bad in
            ["", "fixed", "{", "}", "{sub", "sub}", "{{sub}}", "{}", "{subject}", "{claim:}", "{claim:x?}", "a\n{sub}"]
        {
            assert!(external_id(bad).is_err(), "{bad:?} was taken");
        }
        for bad in ["{claim:org}{sub}", "{sub}{claim:org}", "x-{claim:a}{claim:b}-{sub}"] {
            assert!(external_id(bad).is_err_and(|fault| fault.contains("fixed text between")), "{bad:?} was taken");
        }
    }
}

//! A bound on how deeply a policy may nest, asked before Cedar reads it: Cedar's reader and validator follow a condition by recursion, and a
//! deep one would overflow the stack and end the process.

/// Brackets within brackets, or signs before a value.
const MAX_NESTING: usize = 64;

/// Conditions (`if … then … else`) in one policy: each may stand in the one before.
const MAX_CONDITIONS: usize = 64;

/// Operators in one policy: `a && b && c` is a tree as deep as it is long.
const MAX_OPERATORS: usize = 400;

/// Where a text goes beyond a bound, in bytes, and what to say of it; `None`: nowhere.
pub(super) fn too_deep(text: &str) -> Option<(usize, String)> {
    let bytes = text.as_bytes();
    let (mut open, mut signs, mut conditions, mut operators) = (0_usize, 0_usize, 0_usize, 0_usize);
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let next = bytes.get(at + 1).copied();
        let mut width = 1;
        match byte {
            b'"' => width = string(&bytes[at..]),
            b'/' if next == Some(b'/') => width = bytes[at..].iter().take_while(|byte| **byte != b'\n').count(),
            b'(' | b'[' | b'{' => open += 1,
            b')' | b']' | b'}' => open = open.saturating_sub(1),
            b';' => (open, conditions, operators) = (0, 0, 0),
            b'!' if next == Some(b'=') => width = 2,
            b'!' => signs += 1,
            // A sign, or an operator: `a - b - c` is a tree as deep as it is long, too.
            b'-' => (signs, operators) = (signs + 1, operators + 1),
            b'&' | b'|' => (width, operators) = (2, operators + 1),
            b'+' | b'*' | b'.' => operators += 1,
            b if b.is_ascii_alphabetic() || b == b'_' => {
                let word = |byte: &&u8| byte.is_ascii_alphanumeric() || **byte == b'_';
                width = bytes[at..].iter().take_while(word).count();
                conditions += usize::from(&bytes[at..at + width] == b"if");
            }
            _ => {}
        }
        if !matches!(byte, b'!' | b'-') && !byte.is_ascii_whitespace() {
            signs = 0;
        }
        let bounds = [
            (open + signs, MAX_NESTING, "nests more than", "levels"),
            (conditions, MAX_CONDITIONS, "has more than", "conditions (if)"),
            (operators, MAX_OPERATORS, "has more than", "operators"),
        ];
        if let Some((_, most, verb, what)) = bounds.into_iter().find(|(count, most, ..)| count > most) {
            return Some((at, format!("the policy {verb} {most} {what}: write a set, or several policies")));
        }
        at += width;
    }
    None
}

/// The length of the string literal that begins here, its quotes included; to the end where it has none.
fn string(bytes: &[u8]) -> usize {
    let mut escaped = false;
    let end = bytes.iter().skip(1).position(|byte| {
        let ends = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        ends
    });
    end.map_or(bytes.len(), |end| end + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nests_counts() {
        let quoted = format!("permit(principal, action, resource) when {{ \"{}\\\"(\" != \"\" }};", "(".repeat(200));
        let noted = format!("// {}\npermit(principal, action, resource);", "(((!".repeat(100));
        let many = "permit(principal, action, resource) when { if a then !b else c.d };\n".repeat(500);
        for text in [&quoted, &noted, &many] {
            assert_eq!(too_deep(text), None, "{text}");
        }
        assert_eq!(too_deep(&"1 - ".repeat(401)).map(|(at, _)| at), Some(1602));
        for (text, at) in
            [("(".repeat(65), 64), ("! ".repeat(65), 128), ("if ".repeat(65), 192), ("a||".repeat(401), 1201)]
        {
            assert_eq!(too_deep(&text).map(|(at, _)| at), Some(at), "{text}");
        }
    }
}

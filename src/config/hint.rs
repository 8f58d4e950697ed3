//! What to do about a text that is no TOML, where the parser says only what is wrong.

use super::outline::Outline;

/// Something to add to the parser's message, or nothing. `line` is the faulty one, from 1. Repeats keys and headers, never a value.
pub(super) fn of(text: &str, line: usize, message: &str, outline: &dyn Fn() -> Outline) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let Some(faulty) = line.checked_sub(1).and_then(|line| lines.get(line)).map(|line| line.trim()) else {
        return String::new();
    };
    if message.contains("duplicate key") {
        return duplicate(&lines[..line - 1], faulty, outline);
    }
    if faulty.contains(['\u{201c}', '\u{201d}', '\u{2018}', '\u{2019}']) {
        return "; the quotes are typographic: write \" or '".into();
    }
    if text.trim_start().starts_with('{') {
        return "; this looks like JSON".into();
    }
    let key = |(key, _): (&str, &str)| {
        let key = key.trim_end();
        !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
    };
    if !faulty.contains('=') && faulty.split_once(':').is_some_and(key) {
        return "; between a key and its value goes `=`, not `:`".into();
    }
    String::new()
}

/// Where the same header or key stands already.
fn duplicate(before: &[&str], faulty: &str, outline: &dyn Fn() -> Outline) -> String {
    let bare = |line: &str| line.split('#').next().unwrap_or(line).trim().to_owned();
    let key = |line: &str| line.split('=').next().unwrap_or(line).trim().to_owned();
    let header = faulty.starts_with('[');
    let mut earlier = before.iter().enumerate().rev().take_while(|(_, line)| header || !line.trim().starts_with('['));
    let same = |line: &str| if header { bare(line) == bare(faulty) } else { key(line) == key(faulty) };
    let stands = earlier.find(|(_, line)| same(line)).map(|(at, _)| format!(", it stands in line {} already", at + 1));
    let name = bare(faulty).trim_matches(['[', ']']).trim().to_owned();
    let listed = header && !faulty.starts_with("[[") && outline().is_list_of_tables(&name);
    let brackets = if listed { format!("; for several write [[{name}]], in double brackets") } else { String::new() };
    stands.unwrap_or_default() + &brackets
}

//! As much of Rust's grammar as the rules need: what is code, what is a test, which paths are named.

/// The text with comments, strings and characters blanked out, each line in its place.
pub fn code_only(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = match chars[at] {
            '/' if chars.get(at + 1) == Some(&'/') => line_end(&chars, at),
            '/' if chars.get(at + 1) == Some(&'*') => comment_end(&chars, at),
            '"' => string_end(&chars, at),
            '\'' => character_end(&chars, at),
            'r' if !(at > 0 && in_identifier(chars[at - 1]) && chars[at - 1] != 'b') => raw_string_end(&chars, at),
            _ => at,
        };
        if end == at {
            out.push(chars[at]);
            at += 1;
        } else {
            out.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    out
}

fn in_identifier(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn line_end(chars: &[char], at: usize) -> usize {
    chars[at..].iter().position(|c| *c == '\n').map_or(chars.len(), |n| at + n)
}

/// Block comments nest.
fn comment_end(chars: &[char], mut at: usize) -> usize {
    let mut depth = 0;
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => {
                (depth, at) = (depth - 1, at + 2);
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    at
}

fn string_end(chars: &[char], at: usize) -> usize {
    let mut end = at + 1;
    while end < chars.len() && chars[end] != '"' {
        end += if chars[end] == '\\' { 2 } else { 1 };
    }
    (end + 1).min(chars.len())
}

/// The end of `'x'` or `'\…'`; `at` itself where a lifetime begins.
fn character_end(chars: &[char], at: usize) -> usize {
    match (chars.get(at + 1), chars.get(at + 2)) {
        (Some('\\'), _) => chars.iter().skip(at + 3).position(|c| *c == '\'').map_or(chars.len(), |n| at + n + 4),
        (Some(_), Some('\'')) => at + 3,
        _ => at,
    }
}

/// The end of `r"…"` or `r#"…"#`; `at` itself where none begins.
fn raw_string_end(chars: &[char], at: usize) -> usize {
    let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
    if chars.get(at + 1 + hashes) != Some(&'"') {
        return at;
    }
    let mut end = at + 2 + hashes;
    while end < chars.len() {
        if chars[end] == '"' && chars[end + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes {
            return end + 1 + hashes;
        }
        end += 1;
    }
    end
}

/// The text with its test modules blanked out, each line in its place.
pub fn without_tests(text: &str) -> String {
    production(text).iter().flat_map(|line| [line.unwrap_or_default(), "\n"]).collect()
}

/// How many lines are in no test module.
pub fn production_lines(text: &str) -> usize {
    production(text).iter().flatten().count()
}

/// Line by line, `None` in a test module: an unindented `#[cfg(test)]` before a `mod`, and all that is in it.
fn production(text: &str) -> Vec<Option<&str>> {
    let code = code_only(text);
    let code: Vec<&str> = code.lines().collect();
    let mut tests_end = 0;
    let lines = text.lines().enumerate().map(|(at, line)| {
        if at >= tests_end && line.starts_with("#[cfg(test)]") {
            tests_end = test_module_end(&code, at);
        }
        (at >= tests_end).then_some(line)
    });
    lines.collect()
}

/// The line after the test module whose attribute is at `at`, or `at` if it is on something else.
fn test_module_end(code: &[&str], at: usize) -> usize {
    let Some(item) = code.iter().skip(at + 1).position(|line| !line.trim().is_empty() && !line.starts_with("#["))
    else {
        return at;
    };
    let item = at + 1 + item;
    let head = code[item].trim_start_matches("pub ").trim_start_matches("pub(crate) ");
    if !head.starts_with("mod ") {
        return at;
    }
    if head.trim_end().ends_with(';') {
        return item + 1;
    }
    code.iter().skip(item).position(|line| line.starts_with('}')).map_or(code.len(), |n| item + n + 1)
}

/// A path that the code names, group by group: `use std::{fs, io::Read}` gives `std::fs` and `std::io::Read`.
#[derive(Debug, PartialEq, Eq)]
pub struct Named {
    /// From 1.
    pub line: usize,
    pub segments: Vec<String>,
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Path,
    Other(char),
}

/// Every path of at least two segments, and what a `use` names.
pub fn paths(code: &str) -> Vec<Named> {
    let tokens = tokens(code);
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let starts = matches!(&tokens[at].1, Token::Word(word) if word != "use") && !goes_on(&tokens, at);
        if !starts {
            at += 1;
            continue;
        }
        let used = at > 0 && tokens[at - 1].1 == Token::Word("use".into());
        let from = found.len();
        let next = tree(&tokens, at, &[], &mut found);
        if !used {
            // A word that stands alone is no path.
            let kept: Vec<Named> = found.drain(from..).filter(|named: &Named| named.segments.len() > 1).collect();
            found.extend(kept);
        }
        at = next.max(at + 1);
    }
    found
}

/// Whether the word at `at` continues a path (`a::` or `<T>::` before it) or a field access.
fn goes_on(tokens: &[(usize, Token)], at: usize) -> bool {
    match at.checked_sub(1).map(|before| &tokens[before].1) {
        Some(Token::Other('.')) => true,
        Some(Token::Path) => {
            matches!(at.checked_sub(2).map(|n| &tokens[n].1), Some(Token::Word(w)) if w != "use")
                || matches!(at.checked_sub(2).map(|n| &tokens[n].1), Some(Token::Other('>')))
        }
        _ => false,
    }
}

/// Reads one use tree, or a plain path, from `at`; gives the place after it.
fn tree(tokens: &[(usize, Token)], mut at: usize, before: &[String], found: &mut Vec<Named>) -> usize {
    let mut segments = before.to_vec();
    let line = tokens.get(at).map_or(0, |token| token.0);
    loop {
        match tokens.get(at).map(|token| &token.1) {
            Some(Token::Word(word)) => segments.push(word.clone()),
            Some(Token::Other('*')) => segments.push("*".into()),
            Some(Token::Other('{')) => return group(tokens, at + 1, &segments, found),
            _ => break,
        }
        at += 1;
        if tokens.get(at).map(|token| &token.1) != Some(&Token::Path) {
            break;
        }
        at += 1;
    }
    found.push(Named { line, segments });
    at
}

/// Reads the trees of a group up to and with its `}`.
fn group(tokens: &[(usize, Token)], mut at: usize, before: &[String], found: &mut Vec<Named>) -> usize {
    while let Some((_, token)) = tokens.get(at) {
        match token {
            Token::Other('}') => return at + 1,
            Token::Word(word) if word == "as" => at += 2,
            Token::Word(_) => at = tree(tokens, at, before, found),
            Token::Other('*') => at = tree(tokens, at, before, found),
            Token::Path | Token::Other(_) => at += 1,
        }
    }
    at
}

fn tokens(code: &str) -> Vec<(usize, Token)> {
    let mut out = Vec::new();
    for (number, line) in code.lines().enumerate() {
        let chars: Vec<char> = line.chars().collect();
        let mut at = 0;
        while at < chars.len() {
            let token = if in_identifier(chars[at]) {
                let word: String = chars[at..].iter().take_while(|c| in_identifier(**c)).collect();
                at += word.chars().count();
                Token::Word(word)
            } else if chars[at] == ':' && chars.get(at + 1) == Some(&':') {
                at += 2;
                Token::Path
            } else {
                at += 1;
                Token::Other(chars[at - 1])
            };
            if !matches!(token, Token::Other(c) if c.is_whitespace()) {
                out.push((number + 1, token));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(code: &str) -> Vec<String> {
        paths(code).into_iter().map(|named| named.segments.join("::")).collect()
    }

    #[test]
    fn comments_and_literals_are_no_code() {
        let text = "a /* x /* y */ z */ b // c\n\"d \\\" e\" f r#\"g \" h\"# '\\'' '\"' i: &'static str";
        let words: Vec<String> = code_only(text).split_whitespace().map(str::to_owned).collect();
        assert_eq!(words, ["a", "b", "f", "i:", "&'static", "str"]);
        assert_eq!(code_only("x\n/* \n */\ny").lines().count(), 4);
    }

    #[test]
    fn a_test_module_is_cut_out_and_what_follows_stays() {
        let text = "use a;\n#[cfg(test)]\nmod tests {\n    const B: &str = \"\n}\n\";\n}\nfn c() {}\n#[cfg(test)]\nmod d;\nfn e() {}\n";
        let kept = without_tests(text);
        assert_eq!(kept.split_whitespace().collect::<Vec<_>>(), ["use", "a;", "fn", "c()", "{}", "fn", "e()", "{}"]);
        assert_eq!(kept.lines().count(), text.lines().count());
    }

    #[test]
    fn a_test_only_item_is_no_test_module() {
        assert!(without_tests("#[cfg(test)]\nuse a;\nfn b() {}\n").contains("use a;"));
    }

    #[test]
    fn groups_are_followed_to_each_leaf() {
        assert_eq!(named("use std::{fs, io::{self, Read as R}};"), ["std::fs", "std::io::self", "std::io::Read"]);
        assert_eq!(named("use crate::{a, *};"), ["crate::a", "crate::*"]);
        assert_eq!(named("use crate::{a::{b, c}, d};"), ["crate::a::b", "crate::a::c", "crate::d"]);
    }

    #[test]
    fn paths_are_found_in_expressions_types_and_behind_colons() {
        assert_eq!(named("let x: Vec<a::B> = ::c::d(e.f, g);"), ["a::B", "c::d"]);
        assert_eq!(named("<T>::x(); Self::y();"), ["Self::y"]);
        assert_eq!(named("use dashmap;"), ["dashmap"]);
        assert_eq!(named("use crate::*; let x = a * b;"), ["crate::*"]);
        assert_eq!(named("use ::dashmap::DashMap;"), ["dashmap::DashMap"]);
    }

    #[test]
    fn a_path_knows_its_line() {
        assert_eq!(paths("\n\nuse a::b;")[0].line, 3);
    }
}

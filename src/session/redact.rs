//! Redacts credentials from what goes on to an app.

use super::pieces::Number;
use super::sources::{Source, Sources};
use crate::web::is_token_byte;

/// What is left of a field.
#[derive(Debug, PartialEq, Eq)]
pub enum Redaction {
    /// All of it.
    Whole,
    /// Nothing: the field goes.
    Nothing,
    /// This value.
    Value(Vec<u8>),
}

impl Sources {
    /// What is left of a field when the credentials of all sources are taken out: the `Authorization` of the `Bearer` scheme, the named
    /// headers, the named pairs of `Cookie` ([RFC 6265, section 4.2.1](https://www.rfc-editor.org/rfc/rfc6265#section-4.2.1)). The rest of a `Cookie` stays byte for byte.
    ///
    /// Only the exact spelling is ever read as a credential. An app may be more lenient, so every spelling that it might take for one is cut.
    pub fn redact(&self, name: &[u8], value: &[u8]) -> Redaction {
        let mut left = Redaction::Whole;
        for source in &self.list {
            match source {
                Source::Authorization if is_alike(b"authorization", name) && is_bearer(value) => {
                    return Redaction::Nothing;
                }
                Source::Header(wanted) if is_alike(wanted, name) => return Redaction::Nothing,
                Source::Cookie(wanted) if is_alike(b"cookie", name) => {
                    let held = if let Redaction::Value(held) = &left { held.as_slice() } else { value };
                    match without_pair(wanted, held) {
                        Redaction::Whole => {}
                        Redaction::Nothing => return Redaction::Nothing,
                        Redaction::Value(value) => left = Redaction::Value(value),
                    }
                }
                Source::Authorization | Source::Header(_) | Source::Cookie(_) => {}
            }
        }
        left
    }
}

/// Whether two field names differ at most by case and by signs such as `_`, `-` and `.`: app servers read some of these as others, or drop them.
fn is_alike(own: &[u8], name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(own) || letters(own).eq(letters(name))
}

/// The letters and digits of a field name, in lower case.
fn letters(name: &[u8]) -> impl Iterator<Item = u8> + '_ {
    name.iter().filter(|b| b.is_ascii_alphanumeric()).map(u8::to_ascii_lowercase)
}

/// Whether some reader may find the `Bearer` scheme here: `Bearer` before anything that is no part of a scheme's name, also behind a comma, where
/// two fields were made one.
fn is_bearer(value: &[u8]) -> bool {
    const SCHEME: &[u8] = b"bearer";
    let begins = |part: &[u8]| {
        trim_blank_start(part).split_at_checked(SCHEME.len()).is_some_and(|(scheme, rest)| {
            scheme.eq_ignore_ascii_case(SCHEME) && rest.first().is_none_or(|b| !is_token_byte(*b))
        })
    };
    // Mostly at the beginning: a token is not looked through for a comma then.
    begins(value) || memchr::memchr_iter(b',', value).any(|comma| begins(&value[comma + 1..]))
}

/// Without the bytes at both ends that some reader takes for white space: all but visible ASCII.
fn trim_blank(text: &[u8]) -> &[u8] {
    let mut text = trim_blank_start(text);
    while let [rest @ .., last] = text
        && !last.is_ascii_graphic()
    {
        text = rest;
    }
    text
}

/// The same at the beginning alone.
fn trim_blank_start(mut text: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = text
        && !first.is_ascii_graphic()
    {
        text = rest;
    }
    text
}

/// Whether a pair of a `Cookie` field has this name or that of a piece of it, whatever white space is around it.
fn is_named(wanted: &[u8], pair: &[u8]) -> bool {
    let Some(tail) = trim_blank(pair).strip_prefix(wanted) else { return false };
    memchr::memchr(b'=', tail).is_some_and(|equals| {
        let tail = trim_blank(&tail[..equals]);
        tail.is_empty() || Number::is_one(tail)
    })
}

/// A `Cookie` field without the pairs of this name, and without its pieces, whether they come to a value or not.
fn without_pair(wanted: &[u8], field: &[u8]) -> Redaction {
    let is_wanted = |part: &[u8]| is_named(wanted, part);
    if !field.split(|b| *b == b';').any(is_wanted) {
        return Redaction::Whole;
    }
    let kept: Vec<&[u8]> = field.split(|b| *b == b';').filter(|part| !is_wanted(part)).collect();
    let joined = kept.join(&b';');
    // The white space before a first pair belonged to the one that stood before it.
    let left = match field.split(|b| *b == b';').next() {
        Some(first) if is_wanted(first) => joined.trim_ascii_start(),
        Some(_) | None => &joined,
    };
    if left.trim_ascii().is_empty() { Redaction::Nothing } else { Redaction::Value(left.to_vec()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setting::TextSetting;

    fn redact(name: &str, value: &str) -> Option<String> {
        let list = ["header:authorization", "cookie:session", "header:x-token", "cookie:other"];
        let sources = Sources::from(&list.map(|text| Source::read(text).unwrap())[..]);
        match sources.redact(name.as_bytes(), value.as_bytes()) {
            Redaction::Whole => Some(value.to_owned()),
            Redaction::Nothing => None,
            Redaction::Value(value) => Some(String::from_utf8(value).unwrap()),
        }
    }

    #[test]
    fn bearer_tokens_and_named_headers_go_and_other_schemes_stay() {
        for value in ["Bearer abc", "bearer abc", "BEARER", "\t Bearer  x "] {
            assert_eq!(redact("Authorization", value), None, "{value:?}");
        }
        for value in ["Bearer\tabc", "Bearer \t abc", "bearer\u{a0}abc", "Bearer\u{2003}abc", "\u{a0}Bearer abc"] {
            assert_eq!(redact("Authorization", value), None, "{value:?}");
        }
        for value in
            ["Bearer,abc", "Bearer:abc", "Bearer=abc", "Bearer\"abc\"", "Basic YTpi, Bearer abc", ",bearer\tabc"]
        {
            assert_eq!(redact("Authorization", value), None, "{value:?}");
        }
        assert_eq!(redact("authorization", "Basic abc").as_deref(), Some("Basic abc"));
        assert_eq!(redact("Authorization", "Bearerabc").as_deref(), Some("Bearerabc"));
        assert_eq!(redact("X-Token", "anything"), None);
        assert_eq!(redact("X-Other", "Bearer abc").as_deref(), Some("Bearer abc"));
    }

    #[test]
    fn a_field_name_that_an_app_server_may_take_for_a_credentials_is_one() {
        for name in [
            "Authorization_",
            "authorization.",
            "-Authorization",
            "_AUTHORIZATION",
            "author_ization",
            "author.iza-tion",
        ] {
            assert_eq!(redact(name, "Bearer abc"), None, "{name}");
            assert_eq!(redact(name, "Basic abc").as_deref(), Some("Basic abc"), "{name}");
        }
        for name in ["x_token", "X.Token", "XToken", "x-token_", "x--token", "X~Token"] {
            assert_eq!(redact(name, "abc"), None, "{name}");
        }
        for name in ["Cookie_", "_cookie", "COOKIE."] {
            assert_eq!(redact(name, "a=1; session=t").as_deref(), Some("a=1"), "{name}");
        }
        for name in ["x-tokens", "x-toke", "authorizatio", "authorization2", "cookies", "x-cookie", "_", ""] {
            assert_eq!(redact(name, "Bearer session=t").as_deref(), Some("Bearer session=t"), "{name}");
        }
    }

    #[test]
    fn the_rest_of_a_cookie_field_stays_byte_for_byte() {
        for (sent, left) in [
            ("session=t", None),
            (" session=t ", None),
            ("session=t; other=u", None),
            ("a=1; session=t; b=2", Some("a=1; b=2")),
            ("session=t; b=2", Some("b=2")),
            ("a=1; session=t", Some("a=1")),
            ("a=1;session=t;b=2", Some("a=1;b=2")),
            ("a=1; session=t; session=t; b=2;", Some("a=1; b=2;")),
            ("a=1; Session=t; xsession=t", Some("a=1; Session=t; xsession=t")),
            ("a=1; session =t; b=2", Some("a=1; b=2")),
            ("session\t=t", None),
            ("a=1;\tsession \t = t;b=2", Some("a=1;b=2")),
            ("\u{a0}session\u{a0}=t; a = 1", Some("a = 1")),
            ("session.0=t; a=1; session.1=u; session.7=v", Some("a=1")),
            ("session_0=t; session =u;session_12\t=v;b=2", Some("b=2")),
            ("session.00=t; session.123=u; session-0=v; session.x=w", Some("session.123=u; session-0=v; session.x=w")),
            ("session =; session\u{2003}=t; a=session=t", Some("a=session=t")),
            ("a=\"x; session=y\"", Some("a=\"x")),
            ("other=u;  a = 1 ;;", Some("a = 1 ;;")),
            ("session=; a=1", Some("a=1")),
            ("session", Some("session")),
            ("", Some("")),
        ] {
            assert_eq!(redact("Cookie", sent).as_deref(), left, "{sent:?}");
        }
    }
}

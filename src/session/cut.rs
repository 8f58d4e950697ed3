//! Takes credentials out of what goes on to an app.

use super::sources::{Source, Sources, trim};

/// What is left of a field.
#[derive(Debug, PartialEq, Eq)]
pub enum Cut {
    /// All of it.
    Whole,
    /// Nothing: the field goes.
    Nothing,
    /// This value.
    Value(Vec<u8>),
}

impl Sources {
    /// What is left of a field when the credentials of all sources are taken out: the `Authorization` of the `Bearer` scheme, the named
    /// headers, the named pairs of `Cookie` (RFC 6265, section 4.2.1). The rest of a `Cookie` stays byte for byte.
    pub fn cut(&self, name: &[u8], value: &[u8]) -> Cut {
        let mut left = Cut::Whole;
        for source in &self.list {
            match source {
                Source::Authorization if name.eq_ignore_ascii_case(b"authorization") && is_bearer(value) => {
                    return Cut::Nothing;
                }
                Source::Header(wanted) if name.eq_ignore_ascii_case(wanted) => return Cut::Nothing,
                Source::Cookie(wanted) if name.eq_ignore_ascii_case(b"cookie") => {
                    let held = if let Cut::Value(held) = &left { held.as_slice() } else { value };
                    match without_pair(wanted, held) {
                        Cut::Whole => {}
                        Cut::Nothing => return Cut::Nothing,
                        Cut::Value(value) => left = Cut::Value(value),
                    }
                }
                Source::Authorization | Source::Header(_) | Source::Cookie(_) => {}
            }
        }
        left
    }
}

fn is_bearer(value: &[u8]) -> bool {
    let value = trim(value);
    let scheme = &value[..memchr::memchr(b' ', value).unwrap_or(value.len())];
    scheme.eq_ignore_ascii_case(b"bearer")
}

/// A `Cookie` field without the pairs of this name, as the reading of credentials finds them.
fn without_pair(wanted: &[u8], field: &[u8]) -> Cut {
    let is_wanted = |part: &[u8]| trim(part).strip_prefix(wanted).is_some_and(|tail| tail.starts_with(b"="));
    if !field.split(|b| *b == b';').any(is_wanted) {
        return Cut::Whole;
    }
    let kept: Vec<&[u8]> = field.split(|b| *b == b';').filter(|part| !is_wanted(part)).collect();
    let joined = kept.join(&b';');
    // The white space before a first pair belonged to the one that stood before it.
    let left = match field.split(|b| *b == b';').next() {
        Some(first) if is_wanted(first) => joined.trim_ascii_start(),
        Some(_) | None => &joined,
    };
    if left.trim_ascii().is_empty() { Cut::Nothing } else { Cut::Value(left.to_vec()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(name: &str, value: &str) -> Option<String> {
        let list = ["header:authorization", "cookie:session", "header:x-token", "cookie:other"];
        let sources = Sources::parse(&list.map(str::to_owned)).unwrap();
        match sources.cut(name.as_bytes(), value.as_bytes()) {
            Cut::Whole => Some(value.to_owned()),
            Cut::Nothing => None,
            Cut::Value(value) => Some(String::from_utf8(value).unwrap()),
        }
    }

    #[test]
    fn bearer_tokens_and_named_headers_go_and_other_schemes_stay() {
        for value in ["Bearer abc", "bearer abc", "BEARER", "\t Bearer  x "] {
            assert_eq!(cut("Authorization", value), None, "{value:?}");
        }
        assert_eq!(cut("authorization", "Basic abc").as_deref(), Some("Basic abc"));
        assert_eq!(cut("Authorization", "Bearerabc").as_deref(), Some("Bearerabc"));
        assert_eq!(cut("X-Token", "anything"), None);
        assert_eq!(cut("X-Other", "Bearer abc").as_deref(), Some("Bearer abc"));
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
            ("a=1; Session=t; xsession=t; session =t", Some("a=1; Session=t; xsession=t; session =t")),
            ("a=\"x; session=y\"", Some("a=\"x")),
            ("other=u;  a = 1 ;;", Some("a = 1 ;;")),
            ("session=; a=1", Some("a=1")),
            ("session", Some("session")),
            ("", Some("")),
        ] {
            assert_eq!(cut("Cookie", sent).as_deref(), left, "{sent:?}");
        }
    }
}

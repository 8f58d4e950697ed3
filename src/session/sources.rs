//! Where a request's credentials are read: `header:NAME` and `cookie:NAME`, in the order of `[session] sources`.

use std::borrow::Cow;
use std::fmt;

use smallvec::{SmallVec, smallvec};

use super::pieces::{Ambiguous, Joined, Number, Pieces};
use crate::setting::{FieldFault, TextSetting, text_setting};
use crate::web::is_token;

/// The places of `[session] sources`, read once at start-up.
#[derive(Clone, Debug)]
pub struct Sources {
    pub(super) list: Box<[Source]>,
    /// The lengths of the names of fields that hold a credential, a bit for each: most fields of a request have another.
    lengths: u64,
}

/// An entry of `session.sources`: `header:NAME` or `cookie:NAME`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The `Bearer` scheme of `Authorization`.
    Authorization,
    /// Another header, its raw value. The name is in lower case.
    Header(Box<[u8]>),
    /// A cookie, whole or in pieces; its name is compared with case.
    Cookie(Box<[u8]>),
}

/// What kind of place a credential came from. A browser adds cookies by itself, headers not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// A header that a script or a client set.
    Header,
    /// A cookie, which also a foreign page can make the browser send.
    Cookie,
}

/// The text of a token as it arrived, not yet believed.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential<'a> {
    /// The bytes, as sent; those of a cookie in pieces are put together.
    pub token: Cow<'a, [u8]>,
    /// Where the first source that holds it stands.
    pub from: SourceKind,
}

/// The credentials of one request.
#[derive(Default)]
pub struct Found<'a> {
    /// The credentials that differ, in the order of the sources.
    pub credentials: SmallVec<[Credential<'a>; 2]>,
    /// `Authorization` names another scheme than `Bearer`.
    pub other_scheme: bool,
    /// `Authorization` is empty, or `Bearer` without exactly one token; or a piece of a cookie is missing.
    pub malformed: bool,
}

/// The value of each source so far; four is more than anyone lists.
type Values<'a> = SmallVec<[Option<&'a [u8]>; 4]>;

impl From<&[Source]> for Sources {
    fn from(list: &[Source]) -> Self {
        let length = |source: &Source| match source {
            Source::Authorization => length_bit(b"authorization"),
            Source::Header(name) => length_bit(name),
            Source::Cookie(_) => length_bit(b"cookie"),
        };
        Self { list: list.into(), lengths: list.iter().map(length).fold(0, |all, one| all | one) }
    }
}

/// The bit of a name's length; all that are longer than 62 bytes have one.
fn length_bit(name: &[u8]) -> u64 {
    1 << name.len().min(63)
}

impl Sources {
    /// Whether a source is the header of exactly this name, `Authorization` aside.
    pub fn names_header(&self, name: &[u8]) -> bool {
        self.list.iter().any(|source| matches!(source, Source::Header(own) if name.eq_ignore_ascii_case(own)))
    }

    /// The credentials among `headers`, which are names and values as sent ([RFC 9110, section 5](https://www.rfc-editor.org/rfc/rfc9110#section-5); [RFC 6265, section 4.2.1](https://www.rfc-editor.org/rfc/rfc6265#section-4.2.1)).
    ///
    /// # Errors
    /// One source holds two things.
    pub fn read<'a>(&self, headers: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Result<Found<'a>, Ambiguous> {
        let mut values: Values<'a> = smallvec![None; self.list.len()];
        let mut pieces = Pieces::default();
        for (name, value) in headers.filter(|(name, _)| self.lengths & length_bit(name) != 0) {
            for (at, (source, held)) in self.list.iter().zip(values.iter_mut()).enumerate() {
                match source {
                    Source::Authorization if name.eq_ignore_ascii_case(b"authorization") => {
                        if held.replace(trim(value)).is_some() {
                            return Err(Ambiguous);
                        }
                    }
                    Source::Header(wanted) if name.eq_ignore_ascii_case(wanted) => hold(held, trim(value))?,
                    Source::Cookie(wanted) if name.eq_ignore_ascii_case(b"cookie") => {
                        read_cookies(wanted, value, held, |number, value| pieces.add(at, number, value))?;
                    }
                    Source::Authorization | Source::Header(_) | Source::Cookie(_) => {}
                }
            }
        }
        let mut found = Found::default();
        for (at, (source, value)) in self.list.iter().zip(&values).enumerate() {
            if !pieces.is_empty() {
                match pieces.join(at, value.is_some())? {
                    Joined::Absent => {}
                    Joined::Broken => found.malformed = true,
                    Joined::Whole(value) => found.add(value.into(), SourceKind::Cookie),
                }
            }
            let Some(value) = *value else { continue };
            match source {
                Source::Authorization => found.add_authorization(value),
                Source::Header(_) => found.add(value.into(), SourceKind::Header),
                Source::Cookie(_) => found.add(value.into(), SourceKind::Cookie),
            }
        }
        Ok(found)
    }
}

impl<'a> Found<'a> {
    /// One token in two sources is one credential; the first source counts.
    fn add(&mut self, token: Cow<'a, [u8]>, from: SourceKind) {
        if !self.credentials.iter().any(|held| held.token == token) {
            self.credentials.push(Credential { token, from });
        }
    }

    /// RFC 9110, section 11.4 and RFC 6750, section 2.1.
    fn add_authorization(&mut self, value: &'a [u8]) {
        // As nearly everybody writes it.
        let end = if value.starts_with(b"Bearer ") { Some(6) } else { memchr::memchr(b' ', value) };
        let (scheme, rest) = value.split_at(end.unwrap_or(value.len()));
        let token = trim(rest);
        if scheme.is_empty() {
            self.malformed = true;
        } else if scheme != b"Bearer" && !scheme.eq_ignore_ascii_case(b"bearer") {
            self.other_scheme = true;
        } else if token.is_empty() || memchr::memchr2(b' ', b'\t', token).is_some() {
            self.malformed = true;
        } else {
            self.add(token.into(), SourceKind::Header);
        }
    }
}

text_setting!(Source);

impl TextSetting for Source {
    const EXAMPLE: &'static str = "header:authorization";

    fn read(text: &str) -> Result<Self, FieldFault> {
        let (kind, name) = text.split_once(':').unwrap_or((text, ""));
        // Field names have no case (RFC 9110, section 5.1), cookie names do.
        match (kind, name.to_ascii_lowercase().as_str()) {
            ("header", "cookie") => {
                Err(FieldFault::of_value("the whole field is never a token: name the cookie, `cookie:NAME`"))
            }
            ("header", "authorization") => Ok(Self::Authorization),
            ("header", lower) if is_token(lower.as_bytes()) => Ok(Self::Header(lower.as_bytes().into())),
            ("cookie", _) if is_token(name.as_bytes()) => Ok(Self::Cookie(name.as_bytes().into())),
            _ => {
                let bare = kind.trim();
                let meant = match bare.eq_ignore_ascii_case("authorization") || bare.eq_ignore_ascii_case("bearer") {
                    true => "; did you mean \"header:authorization\"?",
                    false => "",
                };
                Err(FieldFault::of_value(format!("expected `header:NAME` or `cookie:NAME`{meant}")))
            }
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Authorization => f.write_str("header:authorization"),
            Self::Header(name) => write!(f, "header:{}", String::from_utf8_lossy(name)),
            Self::Cookie(name) => write!(f, "cookie:{}", String::from_utf8_lossy(name)),
        }
    }
}

/// Equal values are one; an empty one is none.
fn hold<'a>(held: &mut Option<&'a [u8]>, value: &'a [u8]) -> Result<(), Ambiguous> {
    match held {
        _ if value.is_empty() => Ok(()),
        Some(before) if *before != value => Err(Ambiguous),
        Some(_) | None => {
            *held = Some(value);
            Ok(())
        }
    }
}

/// Holds the value of the cookie, and gives its pieces to `piece`.
fn read_cookies<'a>(
    wanted: &[u8],
    field: &'a [u8],
    held: &mut Option<&'a [u8]>,
    mut piece: impl FnMut(Number, &'a [u8]) -> Result<(), Ambiguous>,
) -> Result<(), Ambiguous> {
    let mut rest = field;
    loop {
        let end = memchr::memchr(b';', rest).unwrap_or(rest.len());
        let pair = trim(&rest[..end]);
        match pair.strip_prefix(wanted) {
            Some([b'=', value @ ..]) => hold(held, value)?,
            Some(tail @ [b'.' | b'_', ..]) => {
                let equals = memchr::memchr(b'=', tail).unwrap_or(tail.len());
                if let (Some(number), Some(value)) = (Number::read(&tail[..equals]), tail.get(equals + 1..)) {
                    piece(number, value)?;
                }
            }
            Some(_) | None => {}
        }
        match rest.get(end + 1..) {
            Some(after) => rest = after,
            None => return Ok(()),
        }
    }
}

/// Without optional white space (RFC 9110, section 5.6.3) at both ends.
fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(list: &[&str]) -> Sources {
        Sources::from(&*list.iter().map(|text| Source::read(text).unwrap()).collect::<Vec<_>>())
    }

    /// What the default sources find, in words.
    fn found(headers: &[(&str, &str)]) -> String {
        found_by(&["header:authorization", "cookie:session"], headers)
    }

    fn found_by(list: &[&str], headers: &[(&str, &str)]) -> String {
        let headers = headers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let Ok(found) = sources(list).read(headers) else { return "ambiguous".into() };
        let mut words: Vec<String> =
            found.credentials.iter().map(|c| format!("{:?} {}", c.from, String::from_utf8_lossy(&c.token))).collect();
        if found.other_scheme {
            words.push("other scheme".into());
        }
        if found.malformed {
            words.push("malformed".into());
        }
        words.join(", ")
    }

    #[test]
    fn the_authorization_field_holds_one_bearer_token() {
        for (value, expected) in [
            ("Bearer abc", "Header abc"),
            ("bearer abc", "Header abc"),
            ("BEARER   abc ", "Header abc"),
            ("\t Bearer abc\t", "Header abc"),
            ("Bearer", "malformed"),
            ("Bearer ", "malformed"),
            ("Bearer a b", "malformed"),
            ("Bearer a\tb", "malformed"),
            ("", "malformed"),
            ("Basic abc", "other scheme"),
            ("abc", "other scheme"),
            ("Bearerabc", "other scheme"),
            ("Bearer,abc", "other scheme"),
        ] {
            assert_eq!(found(&[("Authorization", value)]), expected, "{value:?}");
        }
    }

    #[test]
    fn two_authorization_fields_are_ambiguous_even_if_equal() {
        assert_eq!(found(&[("Authorization", "Bearer a"), ("authorization", "Bearer a")]), "ambiguous");
        assert_eq!(found(&[("Authorization", "Basic a"), ("AUTHORIZATION", "Bearer a")]), "ambiguous");
        assert_eq!(found(&[("Authorization", ""), ("Authorization", "Bearer a")]), "ambiguous");
        assert_eq!(found_by(&["cookie:s"], &[("Authorization", "Bearer a"), ("Authorization", "Bearer b")]), "");
    }

    #[test]
    fn cookies_are_read_over_all_fields() {
        for (fields, expected) in [
            (&["session=abc"][..], "Cookie abc"),
            (&["a=b; session=abc; c=d"], "Cookie abc"),
            (&["a=b;session=abc;"], "Cookie abc"),
            (&[" ;; session=abc\t; "], "Cookie abc"),
            (&["a=b", "session=abc"], "Cookie abc"),
            (&["session=abc; session=abc"], "Cookie abc"),
            (&["session=abc", "session=abc"], "Cookie abc"),
            (&["session=abc; session=abd"], "ambiguous"),
            (&["session=abc", "x=y; session=abd"], "ambiguous"),
            (&["session=; session=abc"], "Cookie abc"),
            (&["session="], ""),
            (&["session"], ""),
            (&["Session=abc"], ""),
            (&["xsession=abc; session2=abc; session =abc"], ""),
            (&["session=\"abc\""], "Cookie \"abc\""),
            (&["session=a=b=="], "Cookie a=b=="),
            (&["session=%41"], "Cookie %41"),
            (&[""], ""),
        ] {
            let headers: Vec<_> = fields.iter().map(|value| ("Cookie", *value)).collect();
            assert_eq!(found(&headers), expected, "{fields:?}");
        }
    }

    #[test]
    fn a_cookie_in_pieces_is_put_together_in_their_order() {
        for (fields, expected) in [
            (&["session.0=abc; session.1=def"][..], "Cookie abcdef"),
            (&["session_0=abc; session_1=def"], "Cookie abcdef"),
            (&["session.0=abc"], "Cookie abc"),
            (&["session.1=def; a=b", "c=d; session.0=abc"], "Cookie abcdef"),
            (&["session.0=a; session.0=a; session.1=b"], "Cookie ab"),
            (&["session=; session.0=a; session.1=b; session.2="], "Cookie ab"),
            (&["session.0=a=; session.1==b"], "Cookie a==b"),
            // Twelve: by number, not by text.
            (
                &[
                    "session.10=k; session.11=l; session.0=a; session.1=b; session.2=c; session.3=d; session.4=e; session.5=f; session.6=g; session.7=h; session.8=i; session.9=j",
                ],
                "Cookie abcdefghijkl",
            ),
            // Two values for one place.
            (&["session.0=a; session.0=b"], "ambiguous"),
            (&["session.1=a; session.1=b"], "ambiguous"),
            (&["session.0=a", "session.1=b; session.0=c"], "ambiguous"),
            // Two forms at once.
            (&["session.0=a; session_0=a"], "ambiguous"),
            (&["session.0=a; session_1=b"], "ambiguous"),
            (&["session=a; session.0=a"], "ambiguous"),
            (&["session.0=a; session=b"], "ambiguous"),
            // A gap.
            (&["session.0=a; session.2=c"], "malformed"),
            (&["session.0=a; session.16=q"], "malformed"),
            // None that begins: not the credential's.
            (&["session.1=b; session.2=c"], ""),
            (&["session=a; session.1=b; session_2=c"], "Cookie a"),
            (&["session.0="], ""),
            (&["session.0"], ""),
            (
                &[
                    "session.00=a; session.x=b; session.=c; session-0=d; xsession.0=e; Session.0=f; session .0=g; session.0 =h",
                ],
                "",
            ),
        ] {
            let headers: Vec<_> = fields.iter().map(|value| ("Cookie", *value)).collect();
            assert_eq!(found(&headers), expected, "{fields:?}");
        }
        let both = [("cookie", "session.1=d; session.0=c; other_0=o"), ("authorization", "Bearer cd")];
        assert_eq!(found(&both), "Header cd");
        assert_eq!(found_by(&["cookie:other", "cookie:session"], &both), "Cookie o, Cookie cd");
    }

    #[test]
    fn sixteen_pieces_are_a_cookie_and_seventeen_are_not() {
        let pieces = |count: usize| (0..count).map(|n| format!("session_{n}=x")).collect::<Vec<_>>().join("; ");
        assert_eq!(found(&[("cookie", &pieces(16))]), format!("Cookie {}", "x".repeat(16)));
        assert_eq!(found(&[("cookie", &pieces(17))]), "malformed");
    }

    #[test]
    fn the_order_is_that_of_the_sources_and_equal_tokens_are_one_credential() {
        let both = [("cookie", "session=c"), ("authorization", "Bearer h")];
        assert_eq!(found(&both), "Header h, Cookie c");
        assert_eq!(found_by(&["cookie:session", "header:authorization"], &both), "Cookie c, Header h");
        let equal = [("cookie", "session=t"), ("authorization", "Bearer t")];
        assert_eq!(found(&equal), "Header t");
        assert_eq!(found_by(&["cookie:session", "header:authorization"], &equal), "Cookie t");
        assert_eq!(found(&[("authorization", "Basic x"), ("cookie", "session=c")]), "Cookie c, other scheme");
    }

    #[test]
    fn another_header_is_read_raw() {
        let list = ["header:X-Token"];
        assert_eq!(found_by(&list, &[("x-token", " abc ")]), "Header abc");
        assert_eq!(found_by(&list, &[("X-TOKEN", "Bearer abc")]), "Header Bearer abc");
        assert_eq!(found_by(&list, &[("x-token", "a"), ("x-token", "a")]), "Header a");
        assert_eq!(found_by(&list, &[("x-token", "a"), ("x-token", "b")]), "ambiguous");
        assert_eq!(found_by(&list, &[("x-token", ""), ("x-token", "b")]), "Header b");
        assert_eq!(found_by(&list, &[("x_token", "a"), ("authorization", "Bearer b")]), "");
    }

    #[test]
    fn a_name_of_any_length_is_found() {
        for length in [1, 6, 13, 62, 63, 64, 127, 200] {
            let (name, longer) = ("x".repeat(length), "x".repeat(length + 1));
            let source = format!("header:{name}");
            assert_eq!(found_by(&[&source], &[(&longer, "b"), (&name, "a")]), "Header a", "{length}");
        }
    }

    #[test]
    fn what_is_no_source_is_a_fault() {
        for wrong in ["query:token", "header:", "cookie:a b", "header:cookie", "header:a b", "session", ""] {
            assert!(Source::read(wrong).is_err(), "{wrong:?} was taken");
        }
        for good in ["header:authorization", "header:x-token", "cookie:__Host-session"] {
            assert_eq!(Source::read(good).unwrap().to_string(), good);
        }
    }
}

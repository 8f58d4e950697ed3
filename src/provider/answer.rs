//! What is read from a vendor's answer to a mint: the URL, and when it ends.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value as Json;
use url::Url;
use zeroize::Zeroizing;

use super::template::{Template, is_pointer};
use crate::clock::Timestamp;

/// A number from here on is a time since the epoch, a smaller one a span: 10^9 s is the year 2001, and no URL lives for 31 years.
const EPOCH_SECS: f64 = 1e9;
/// From here on it is in milliseconds: 10^12 s is the year 33658.
const EPOCH_MILLIS: f64 = 1e12;

/// Nobody uses one URL so often in the six hours that it may be held: from here on it is not counted, so that nodes may share it.
const PLENTY: f64 = 1000.0;

/// `url`: where the URL stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum UrlRule {
    /// The whole body, bare or as a JSON string.
    Text,
    /// A JSON pointer ([RFC 6901](https://www.rfc-editor.org/rfc/rfc6901)).
    Json(String),
    /// An address with values in it.
    Template(Template),
    /// The token that is signed here.
    Signed,
}

/// `expires`: where its end stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ExpiryRule {
    /// `exp` of the JWT in this parameter of the URL's query, or of its fragment.
    Jwt(String),
    /// `exp` of the one JWT that is a segment of the URL's path.
    JwtPath,
    /// `exp` of the JWT that is the URL's fragment.
    JwtFragment,
    /// A JSON pointer to a time or a span.
    Json(String),
    /// `exp` of the token itself, if it is a JWT.
    Token,
    /// `exp` of the JWT that is signed here.
    Signed,
    /// Nowhere.
    Fixed,
}

/// `uses`: where it stands how often a URL may be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum UsesRule {
    /// A JSON pointer into the claims of the JWT in this parameter of the URL.
    Jwt(String, String),
    /// A JSON pointer into the claims of the token itself.
    Token(String),
    /// A JSON pointer into the answer.
    Json(String),
}

impl UsesRule {
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        const EXPECTED: &str = "expected \"jwt:PARAMETER:/pointer\" (into the claims of the JWT in a parameter of the URL), \"json:/pointer\", or of a token \"jwt:/pointer\"";
        match text.split_once(':') {
            Some(("json", pointer)) if is_pointer(pointer) => Ok(Self::Json(pointer.to_owned())),
            Some(("jwt", pointer)) if is_pointer(pointer) => Ok(Self::Token(pointer.to_owned())),
            Some(("jwt", rest)) => match rest.split_once(':') {
                Some((parameter, pointer)) if !parameter.is_empty() && is_pointer(pointer) => {
                    Ok(Self::Jwt(parameter.to_owned(), pointer.to_owned()))
                }
                _ => Err(EXPECTED),
            },
            _ => Err(EXPECTED),
        }
    }
}

impl UrlRule {
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        const EXPECTED: &str = "expected \"text\" or \"json:/pointer\", where the URL stands in the answer; or an address that begins with https://";
        match text.strip_prefix("json:") {
            _ if text == "text" => Ok(Self::Text),
            Some(pointer) if is_pointer(pointer) => Ok(Self::Json(pointer.to_owned())),
            _ => Err(EXPECTED),
        }
    }
}

impl UrlRule {
    /// `token`.
    pub(super) fn parse_token(text: &str) -> Result<Self, &'static str> {
        const EXPECTED: &str = "expected \"json:/pointer\" or \"text\", where the token stands in the answer; or \"jwt\", the one that is signed here";
        if text == "jwt" { Ok(Self::Signed) } else { Self::parse(text).map_err(|_| EXPECTED) }
    }
}

impl ExpiryRule {
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        const EXPECTED: &str = "expected \"jwt:PARAMETER\" (a parameter of the URL's query or fragment), \"jwt-path\", \"jwt-fragment\", \"json:/pointer\" or \"fixed\": where the URL's end stands";
        match text.split_once(':') {
            None if text == "fixed" => Ok(Self::Fixed),
            None if text == "jwt-path" => Ok(Self::JwtPath),
            None if text == "jwt-fragment" => Ok(Self::JwtFragment),
            None if text == "jwt" => Ok(Self::Token),
            Some(("jwt", parameter)) if !parameter.is_empty() => Ok(Self::Jwt(parameter.to_owned())),
            Some(("json", pointer)) if is_pointer(pointer) => Ok(Self::Json(pointer.to_owned())),
            _ => Err(EXPECTED),
        }
    }
}

/// An answer's body, read as far as the rules need it.
pub(super) struct Answer<'a> {
    body: &'a [u8],
    json: Option<Json>,
}

impl<'a> Answer<'a> {
    /// `also`: another rule looks into it.
    pub(super) fn new(body: &'a [u8], url: &UrlRule, expires: &ExpiryRule, also: bool) -> Self {
        let needed =
            also || matches!(url, UrlRule::Json(_) | UrlRule::Template(_)) || matches!(expires, ExpiryRule::Json(_));
        let json = if needed { serde_json::from_slice(body).ok() } else { None };
        Self { body, json }
    }

    /// The answer, where a rule looks into it.
    pub(super) fn json(&self) -> Option<&Json> {
        self.json.as_ref()
    }

    /// The URL's text, not yet judged. `None`: there is none.
    pub(super) fn url(&self, rule: &UrlRule) -> Option<Zeroizing<String>> {
        let text = match rule {
            UrlRule::Text => {
                let text = std::str::from_utf8(self.body).ok()?;
                if text.trim_ascii_start().starts_with('"') {
                    serde_json::from_str(text).ok()?
                } else {
                    // As files of text end. Nothing else is taken away: what is no URL then is refused.
                    text.strip_suffix('\n').map_or(text, |line| line.strip_suffix('\r').unwrap_or(line)).to_owned()
                }
            }
            UrlRule::Json(pointer) => self.json.as_ref()?.pointer(pointer)?.as_str()?.to_owned(),
            // Put together, and not found.
            UrlRule::Template(_) | UrlRule::Signed => return None,
        };
        Some(Zeroizing::new(text))
    }

    /// How often `url` may be used. `None`: nobody counts, or it does not say so: a negative number is no bound.
    pub(super) fn uses(&self, rule: &UsesRule, url: &str) -> Option<u32> {
        let claims;
        let value = match rule {
            UsesRule::Json(pointer) => self.json.as_ref()?.pointer(pointer)?,
            UsesRule::Token(pointer) => {
                claims = jwt_claims(url)?;
                claims.pointer(pointer)?
            }
            UsesRule::Jwt(parameter, pointer) => {
                claims = jwt_claims(&parameter_of(&Url::parse(url).ok()?, parameter)?)?;
                claims.pointer(pointer)?
            }
        };
        let number = match value {
            Json::Number(number) => number.as_f64()?,
            Json::String(text) => decimal(text)?,
            Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_) => return None,
        };
        (0.0..PLENTY).contains(&number).then_some(number as u32)
    }

    /// When `url` ends. `None`: it does not say, or not readably. `start`: when the mint began, from which spans count.
    pub(super) fn ends(&self, rule: &ExpiryRule, url: &str, start: Timestamp) -> Option<Timestamp> {
        match rule {
            ExpiryRule::Fixed | ExpiryRule::Signed => None,
            ExpiryRule::Token => jwt_ends(url),
            ExpiryRule::Jwt(parameter) => jwt_ends(&parameter_of(&Url::parse(url).ok()?, parameter)?),
            ExpiryRule::JwtPath => {
                let url = Url::parse(url).ok()?;
                let mut ends = url.path_segments()?.filter_map(jwt_ends);
                // Of two nobody knows which is meant.
                ends.next().filter(|_| ends.next().is_none())
            }
            ExpiryRule::JwtFragment => jwt_ends(Url::parse(url).ok()?.fragment()?),
            ExpiryRule::Json(pointer) => json_ends(self.json.as_ref()?.pointer(pointer)?, start),
        }
    }
}

/// A parameter of the query, else of the fragment, whose parameters may stand behind a path of a page's own (`#/scan?token=…`).
fn parameter_of(url: &Url, name: &str) -> Option<Zeroizing<String>> {
    let mut query = url.query_pairs();
    let of_fragment = || {
        let fragment = url.fragment()?;
        let parameters = fragment.split_once('?').map_or(fragment, |(_, parameters)| parameters);
        form_urlencoded::parse(parameters.as_bytes()).find(|(known, _)| known == name)
    };
    let found = query.find(|(known, _)| known == name).or_else(of_fragment)?;
    Some(Zeroizing::new(found.1.into_owned()))
}

/// `exp` (RFC 7519, section 4.1.4). The signature is the vendor's to check, who wrote it for itself: the claim is a hint here, bounded by `max_age`.
fn jwt_ends(token: &str) -> Option<Timestamp> {
    let claims = jwt_claims(token)?;
    let end = match claims.get("exp")? {
        Json::Number(number) => number.as_f64()?,
        Json::String(text) => decimal(text)?,
        Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_) => return None,
    };
    Some(if end >= EPOCH_MILLIS { Timestamp::from_millis(end as i64) } else { secs(end) })
}

/// Of a token whose signature is not ours to check.
fn jwt_claims(token: &str) -> Option<Json> {
    let mut parts = token.split('.');
    let (_, payload) = (parts.next()?, parts.next()?);
    let payload = Zeroizing::new(URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?);
    serde_json::from_slice(&payload).ok()
}

/// Digits alone: text that is a number to everybody.
fn decimal(text: &str) -> Option<f64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

fn json_ends(value: &Json, start: Timestamp) -> Option<Timestamp> {
    let number = match value {
        Json::Number(number) => number.as_f64()?,
        Json::String(text) => match text.trim().parse::<f64>() {
            Ok(number) if number.is_finite() => number,
            _ => return date(text.trim()),
        },
        Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_) => return None,
    };
    Some(if number >= EPOCH_MILLIS {
        Timestamp::from_millis(number as i64)
    } else if number >= EPOCH_SECS {
        secs(number)
    } else {
        Timestamp::from_millis(start.as_millis().saturating_add(secs(number).as_millis()))
    })
}

/// RFC 3339 and its neighbours that name their zone (`… UTC`), or a date as HTTP and mail have it. One without a zone is nobody's to guess.
fn date(text: &str) -> Option<Timestamp> {
    let zoned = text.strip_suffix(" UTC").or_else(|| text.strip_suffix(" GMT")).map(|date| format!("{date}Z"));
    let iso = zoned.as_deref().unwrap_or(text).parse::<jiff::Timestamp>();
    iso.ok().map(|at| Timestamp::from_millis(at.as_millisecond())).or_else(|| {
        // C's form has no zone, and is UTC in HTTP alone.
        let zoned = text.ends_with("GMT") || text.contains(',');
        if zoned { super::http_date::http_date(text) } else { None }
    })
}

/// Milliseconds are exact up to 2^53, and the cast saturates.
fn secs(number: f64) -> Timestamp {
    Timestamp::from_millis((number * 1000.0).floor() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_secs(1_767_000_000);

    fn ends(rule: &str, body: &str, url: &str) -> Option<i64> {
        let rule = ExpiryRule::parse(rule).unwrap();
        Answer::new(body.as_bytes(), &UrlRule::Text, &rule, false).ends(&rule, url, START).map(Timestamp::as_millis)
    }

    fn url(rule: &str, body: &str) -> Option<String> {
        let rule = UrlRule::parse(rule).unwrap();
        Answer::new(body.as_bytes(), &rule, &ExpiryRule::Fixed, false).url(&rule).map(|text| text.to_string())
    }

    fn with_token(payload: &str) -> String {
        format!("https://p.example/?a=1&t=eyJ9.{}.c2ln&b=2", URL_SAFE_NO_PAD.encode(payload))
    }

    #[test]
    fn a_url_is_the_whole_body_or_a_member_of_it() {
        for body in [
            "https://x/?a=%22",
            "https://x/?a=%22\n",
            "https://x/?a=%22\r\n",
            "\"https://x/?a=%22\"",
            "\n\"https:\\/\\/x\\/?a=%22\" ",
        ] {
            assert_eq!(url("text", body).as_deref(), Some("https://x/?a=%22"), "{body}");
        }
        // White space that is not JSON's stays, and makes it nonsense.
        for body in [" https://x/", "https://x/ ", "https://x/\n\n", "\nhttps://x/"] {
            assert_ne!(url("text", body).as_deref(), Some("https://x/"), "{body:?}");
        }
        assert_eq!(url("json:/a/0/b~1c", r#"{"a":[{"b/c":"https://x"}]}"#).as_deref(), Some("https://x"));
        for (rule, body) in
            [("text", "\"unclosed"), ("json:/url", r#"{"url":5}"#), ("json:/url", "{}"), ("json:/url", "https://x")]
        {
            assert_eq!(url(rule, body), None, "{body}");
        }
    }

    #[test]
    fn the_end_is_read_from_the_action_token() {
        for (payload, millis) in [
            (r#"{"exp":1767225600}"#, Some(1_767_225_600_000)),
            (r#"{"exp":1767225600.25}"#, Some(1_767_225_600_250)),
            (r#"{"exp":99999999999999999999}"#, Some(i64::MAX)),
            (r#"{"exp":0}"#, Some(0)),
            (r#"{"exp":"1767225600"}"#, Some(1_767_225_600_000)),
            (r#"{"exp":1767225600250}"#, Some(1_767_225_600_250)),
            (r#"{"exp":"soon"}"#, None),
            (r#"{"exp":"-1"}"#, None),
            (r#"{"exp":""}"#, None),
            (r#"{"exp":null}"#, None),
            (r#"{}"#, None),
            ("nonsense", None),
        ] {
            assert_eq!(ends("jwt:t", "", &with_token(payload)), millis, "{payload}");
        }
        for url in [
            "https://p.example/",
            "https://p.example/?t=abc",
            "https://p.example/?t=..",
            "https://p.example/?t=a.%ff.c",
        ] {
            assert_eq!(ends("jwt:t", "", url), None, "{url}");
        }
        let token = format!("eyJ9.{}.c2ln", URL_SAFE_NO_PAD.encode(r#"{"exp":1767225600}"#));
        for (rule, url, found) in [
            ("jwt:t", format!("https://p.example/#t={token}&a=1"), true),
            ("jwt:t", format!("https://p.example/#/scan?t={token}"), true),
            ("jwt:t", format!("https://p.example/?token={token}"), false),
            ("jwt:t", format!("https://p.example/s/{token}"), false),
            ("jwt:t", format!("https://p.example/#{token}"), false),
            ("jwt-path", format!("https://p.example/s/{token}/start?a=1"), true),
            ("jwt-path", format!("https://p.example/{token}/{token}"), false),
            ("jwt-path", format!("https://p.example/?t={token}"), false),
            ("jwt-fragment", format!("https://p.example/a#{token}"), true),
            ("jwt-fragment", format!("https://p.example/{token}"), false),
        ] {
            assert_eq!(ends(rule, "", &url), found.then_some(1_767_225_600_000), "{rule} {url}");
        }
        assert_eq!(ends("fixed", "", &with_token(r#"{"exp":1767225600}"#)), None);
    }

    #[test]
    fn the_end_is_read_from_the_answer() {
        let from_start = |secs: i64| Some(START.as_millis() + secs * 1000);
        for (value, millis) in [
            (r#""2026-01-01T00:00:00Z""#, Some(1_767_225_600_000)),
            (r#""2026-01-01T01:00:00.5+01:00""#, Some(1_767_225_600_500)),
            ("1767225600", Some(1_767_225_600_000)),
            ("1767225600250", Some(1_767_225_600_250)),
            (r#""1767225600""#, Some(1_767_225_600_000)),
            ("1000000000", Some(1_000_000_000_000)),
            ("999999999", from_start(999_999_999)),
            ("1000000000000", Some(1_000_000_000_000)),
            ("999999999999", Some(999_999_999_999_000)),
            ("3600", from_start(3600)),
            (r#""3600""#, from_start(3600)),
            ("0.5", Some(START.as_millis() + 500)),
            ("-1", from_start(-1)),
            ("null", None),
            ("true", None),
            (r#""2026-01-01 00:00:00 UTC""#, Some(1_767_225_600_000)),
            (r#""2026-01-01T00:00:00 GMT""#, Some(1_767_225_600_000)),
            (r#""2026-01-01 00:00:00Z""#, Some(1_767_225_600_000)),
            (r#""2026-01-01 01:00:00+01:00""#, Some(1_767_225_600_000)),
            (r#""Thu, 01 Jan 2026 00:00:00 GMT""#, Some(1_767_225_600_000)),
            (r#""Thu, 01 Jan 2026 01:00:00 +0100""#, Some(1_767_225_600_000)),
            (r#""2026-01-01 00:00:00 CET""#, None),
            (r#""Thu Jan  1 00:00:00 2026""#, None),
            (r#""2026-01-01 00:00:00""#, None),
            (r#""tomorrow""#, None),
            (r#""NaN""#, None),
            (r#""inf""#, None),
            (r#""2026-01-01""#, None),
            (r#""2026-01-01T00:00:00""#, None),
        ] {
            assert_eq!(ends("json:/e", &format!(r#"{{"e":{value}}}"#), "https://x"), millis, "{value}");
        }
        assert_eq!(ends("json:/e", "{}", "https://x"), None);
        assert_eq!(ends("json:/e", "nonsense", "https://x"), None);
    }

    #[test]
    fn how_often_a_url_may_be_used_is_read_from_its_token_or_from_the_answer() {
        let uses = |rule: &str, body: &str, url: &str| {
            let rule = UsesRule::parse(rule).unwrap();
            Answer::new(body.as_bytes(), &UrlRule::Text, &ExpiryRule::Fixed, true).uses(&rule, url)
        };
        for (value, found) in [
            ("3", Some(3)),
            ("\"3\"", Some(3)),
            ("0", Some(0)),
            ("-1", None),
            ("null", None),
            ("{}", None),
            ("999", Some(999)),
            ("1000", None),
            ("99999999999", None),
            ("1.9", Some(1)),
        ] {
            let claims = format!(r#"{{"user":{{"max_measurement_count":{value}}}}}"#);
            assert_eq!(uses("jwt:t:/user/max_measurement_count", "", &with_token(&claims)), found, "{value}");
            assert_eq!(uses("jwt:u:/user/max_measurement_count", "", &with_token(&claims)), None);
            let token = format!("eyJ9.{}.c2ln", URL_SAFE_NO_PAD.encode(&claims));
            assert_eq!(uses("jwt:/user/max_measurement_count", "", &token), found, "{value}");
            assert_eq!(uses("json:/n", &format!(r#"{{"n":{value}}}"#), "https://x"), found, "{value}");
        }
        assert_eq!(uses("json:/n", "nonsense", "https://x"), None);
        for wrong in ["", "fixed", "jwt", "jwt:", "jwt:t", "jwt:t:n", "jwt::/n", "json:n", "text"] {
            assert!(UsesRule::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_rule_that_says_nothing_is_a_fault() {
        for wrong in ["", "Text", "json", "json:", "json:url", "json:/~2", "json:/~", "text:/a"] {
            assert!(UrlRule::parse(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "jwt:", "jwt-path:a", "jwt-query", "json:", "json:expires_in", "fixed:", "never"] {
            assert!(ExpiryRule::parse(wrong).is_err(), "{wrong}");
        }
    }
}

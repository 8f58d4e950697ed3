//! What a simulator does wrong on request. The same words on the command line, in JSON and in Rust.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::units::Span;

/// Far more than any reader of an answer should take: Valet's own bound is in kilobytes.
const OVERSIZE_BYTES: usize = 8 * 1024 * 1024;

/// A place of the simulator that nothing should ask for. A client that follows a redirect is seen there.
pub const REDIRECT_TARGET: &str = "/followed-a-redirect";

/// An answer that is no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fail {
    /// This status, with a JSON body.
    Status(StatusCode),
    /// No answer while this fault is set. Calls that wait are answered by the faults that replace it.
    Hang,
    /// 200 with bytes that are neither JSON nor UTF-8.
    Garbage,
    /// 200 with an empty body.
    Empty,
    /// 200 with a body of 8 MiB that never becomes a URL or a key set.
    Oversize,
    /// 302 to [`REDIRECT_TARGET`] of the simulator itself.
    Redirect,
    /// The answer to a wrong key, whichever key was sent.
    RejectKeys,
    /// The answer for a user who was never registered, whoever it is.
    UnknownUser,
}

impl Fail {
    /// The words of the command line and of JSON.
    pub const WORDS: &str = "a status such as \"503\", \"hang\", \"garbage\", \"empty\", \"oversize\", \"redirect\", \"reject-keys\" or \"unknown-user\"";

    /// The answer; `retry_after` (seconds) goes with a status. `None` for [`Fail::Hang`], which has none.
    pub fn response(self, retry_after: Option<u32>) -> Option<Response> {
        match self {
            Self::Hang => None,
            Self::Status(status) => {
                let mut response = reason(status, "the simulator was told to fail");
                if let Some(seconds) = retry_after {
                    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
                }
                Some(response)
            }
            Self::Garbage => Some(Body::from(&b"\xff\xfe\x00{]<not an answer>"[..]).into_response()),
            Self::Empty => Some(Body::empty().into_response()),
            Self::Oversize => Some(Body::from(vec![b' '; OVERSIZE_BYTES]).into_response()),
            Self::Redirect => Some(
                (StatusCode::FOUND, [(header::LOCATION, HeaderValue::from_static(REDIRECT_TARGET))]).into_response(),
            ),
            Self::RejectKeys => Some(wrong_key()),
            Self::UnknownUser => Some(unknown_user()),
        }
    }
}

/// The vendor's answer to a missing or wrong key.
pub(in crate::demo) fn wrong_key() -> Response {
    reason(StatusCode::FORBIDDEN, "missing or invalid authentication credentials")
}

/// The vendor's answer for a user whom it does not know.
pub(in crate::demo) fn unknown_user() -> Response {
    reason(StatusCode::NOT_FOUND, "user is unknown")
}

/// The vendor's form of a refusal: `{"status", "reason"}`.
pub(in crate::demo) fn reason(status: StatusCode, reason: &str) -> Response {
    let body = serde_json::json!({ "status": status.as_u16(), "reason": reason });
    (status, axum::Json(body)).into_response()
}

impl fmt::Display for Fail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Status(status) => status.as_str(),
            Self::Hang => "hang",
            Self::Garbage => "garbage",
            Self::Empty => "empty",
            Self::Oversize => "oversize",
            Self::Redirect => "redirect",
            Self::RejectKeys => "reject-keys",
            Self::UnknownUser => "unknown-user",
        })
    }
}

impl FromStr for Fail {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "hang" => Self::Hang,
            "garbage" => Self::Garbage,
            "empty" => Self::Empty,
            "oversize" => Self::Oversize,
            "redirect" => Self::Redirect,
            "reject-keys" => Self::RejectKeys,
            "unknown-user" => Self::UnknownUser,
            other => Self::Status(final_status(other).ok_or_else(|| format!("expected {}", Self::WORDS))?),
        })
    }
}

/// 200 to 599: an informational status is no answer.
fn final_status(text: &str) -> Option<StatusCode> {
    let number: u16 = text.parse().ok()?;
    StatusCode::from_u16(number).ok().filter(|_| (200..600).contains(&number))
}

impl Serialize for Fail {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fail {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Raw {
            Number(u16),
            Text(String),
        }
        let text = match Raw::deserialize(deserializer) {
            Ok(Raw::Number(number)) => number.to_string(),
            Ok(Raw::Text(text)) => text,
            Err(_) => return Err(serde::de::Error::custom(format!("expected {}", Self::WORDS))),
        };
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A duration as a command line has it: `2s`, `500ms`, `6h`.
pub(in crate::demo) fn parse_span(text: &str) -> Result<Duration, String> {
    let value = serde_json::Value::from(text);
    Span::deserialize(value).map(|span| span.0).map_err(|fault| fault.to_string())
}

/// `Option<Duration>` in JSON, written as operators write it.
pub(in crate::demo) mod span_text {
    use super::{Deserialize, Deserializer, Duration, Serializer, Span};

    pub(in crate::demo) fn serialize<S: Serializer>(span: &Option<Duration>, out: S) -> Result<S::Ok, S::Error> {
        match span {
            None => out.serialize_none(),
            Some(span) => out.collect_str(&format_args!("{}ms", span.as_millis())),
        }
    }

    pub(in crate::demo) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<Span>::deserialize(from)?.map(|span| span.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_is_read_as_it_is_written() {
        for word in
            ["503", "429", "200", "hang", "garbage", "empty", "oversize", "redirect", "reject-keys", "unknown-user"]
        {
            assert_eq!(word.parse::<Fail>().map(|fail| fail.to_string()), Ok(word.to_owned()));
        }
    }

    #[test]
    fn what_is_no_fault_is_refused_with_the_words_that_are() {
        for wrong in ["", "burn", "100", "199", "600", "99999", "-1"] {
            let fault = wrong.parse::<Fail>().unwrap_err();
            assert!(fault.contains("\"hang\""), "{wrong:?}: {fault}");
        }
    }

    #[test]
    fn durations_are_read_as_everywhere_in_the_product() {
        assert_eq!(parse_span("1h 30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_span("5"), Err("expected a duration such as \"5m\"".to_owned()));
    }

    #[test]
    fn json_takes_a_status_as_number_or_text() {
        let status = Fail::Status(StatusCode::BAD_GATEWAY);
        assert_eq!(serde_json::from_str::<Fail>("502").unwrap(), status);
        assert_eq!(serde_json::from_str::<Fail>("\"502\"").unwrap(), status);
        assert!(serde_json::from_str::<Fail>("[]").is_err());
    }
}

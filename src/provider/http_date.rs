//! Dates as HTTP has them (RFC 9110, section 5.6.7): IMF-fixdate, and the two obsolete forms that a recipient must read all the same.

use crate::clock::Timestamp;

/// The point of time; `None`: it is no date.
pub(super) fn http_date(text: &str) -> Option<Timestamp> {
    if let Ok(date) = httpdate::parse_http_date(text) {
        let since = date.duration_since(std::time::UNIX_EPOCH).ok()?;
        return i64::try_from(since.as_millis()).ok().map(Timestamp::from_millis);
    }
    // With an offset in place of GMT: the form of mail (RFC 5322, section 3.3), from which HTTP's is taken.
    let date = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(Timestamp::from_millis(date.timestamp().as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_three_http_date_forms_are_one_time() {
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "Sun, 06 Nov 1994 09:49:37 +0100",
        ] {
            assert_eq!(http_date(text), Some(Timestamp::from_secs(784_111_777)), "{text}");
        }
        for text in ["", "soon", "1994-11-06T08:49:37", "Sun, 06 Nov 1994 08:49:37", "784111777"] {
            assert_eq!(http_date(text), None, "{text}");
        }
    }
}

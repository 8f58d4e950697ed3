//! Percent-encoding (RFC 3986), and what may stand in a path as it is.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// All but the unreserved characters of RFC 3986, section 2.3, is escaped.
pub(super) const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The type of a form (WHATWG URL, section 5).
pub(super) const FORM: &str = "application/x-www-form-urlencoded";

/// One more pair of a query or a form. `name` is percent-encoded already.
pub(super) fn put_pair(text: &mut String, name: &str, value: &str) {
    if !text.is_empty() {
        text.push('&');
    }
    text.push_str(name);
    text.push('=');
    text.extend(utf8_percent_encode(value, UNRESERVED));
}

/// RFC 3986, section 3.3: `pchar` and `/`.
pub(super) fn literal_fits(literal: &str) -> Result<(), &'static str> {
    let bytes = literal.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        let fits = match byte {
            b'%' => bytes.get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)),
            _ => byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/".contains(byte),
        };
        if !fits {
            return Err(match byte {
                b'?' => "a path has no `?`; parameters stand in `query`",
                _ => "a path starts with `/` and holds only characters of a URL's path",
            });
        }
    }
    Ok(())
}

/// Whether some reader would take a segment for `.` or `..`: an escaped dot counts as a dot (WHATWG URL, section 4.1).
pub(super) fn has_dot_segment(path: &str) -> bool {
    path.split('/').any(|segment| matches!(segment.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | ".."))
}

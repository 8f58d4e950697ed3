//! Header fields that carry a secret.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue};
use zeroize::Zeroizing;

use super::template::Unfit;

/// A field's value that no log shows.
pub(super) fn sensitive(parts: &[&[u8]]) -> Result<HeaderValue, Unfit> {
    let whole = Zeroizing::new(parts.concat());
    let mut value = HeaderValue::from_bytes(&whole).map_err(|_| Unfit)?;
    value.set_sensitive(true);
    Ok(value)
}

/// RFC 7617.
pub(super) fn basic(user: &[u8], password: &[u8]) -> Result<HeaderValue, Unfit> {
    let pair = Zeroizing::new([user, b":", password].concat());
    let encoded = Zeroizing::new(STANDARD.encode(&*pair));
    sensitive(&[b"Basic ", encoded.as_bytes()])
}

/// The name of a field that may carry a secret.
pub(super) fn key_field(name: &str) -> Result<HeaderName, &'static str> {
    match HeaderName::from_bytes(name.as_bytes()) {
        Ok(name) if is_ours(&name) => Err("this field can't carry the key"),
        Ok(name) => Ok(name),
        Err(_) => Err("expected the name of a header field"),
    }
}

/// Whether this text may stand before a key in a field.
pub(super) fn is_prefix(text: &str) -> bool {
    !text.starts_with(' ') && text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

/// Header fields that the client writes itself, or that change how the message is framed.
pub(super) fn is_ours(name: &HeaderName) -> bool {
    const OURS: [&str; 12] = [
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "keep-alive",
        "te",
        "trailer",
        "upgrade",
        "expect",
        "proxy-connection",
        "accept-encoding",
        "user-agent",
    ];
    OURS.contains(&name.as_str())
}

//! The outside of a token: compact serialisation, base64url and header, read strictly (RFC 7515, sections 3.1, 4.1 and 7.1).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::Reason;
use super::json::{self, Object, Value};
use super::settings::SignatureAlgorithm;

/// A token without a type counts as this one.
const PLAIN: &str = "JWT";

/// The three parts of a compact JWS, decoded. Borrows the signed text from the token.
pub(super) struct Parts<'a> {
    /// What the signature covers: header, dot, payload, as sent.
    pub(super) signed: &'a [u8],
    pub(super) header: Vec<u8>,
    pub(super) payload: Vec<u8>,
    pub(super) signature: Signature,
}

/// A signature's bytes.
pub(super) struct Signature(pub(super) Vec<u8>);

impl<'a> Parts<'a> {
    /// Exactly three non-empty parts in base64url: no padding, white space or other alphabet, and the bits that no byte uses are zero.
    pub(super) fn read(token: &'a [u8]) -> Result<Self, Reason> {
        let mut dots = memchr::memchr_iter(b'.', token);
        let (Some(first), Some(second), None) = (dots.next(), dots.next(), dots.next()) else {
            return Err(Reason::Malformed);
        };
        let decode = |part: &[u8]| match URL_SAFE_NO_PAD.decode(part) {
            Ok(bytes) if !bytes.is_empty() => Ok(bytes),
            Ok(_) | Err(_) => Err(Reason::Malformed),
        };
        Ok(Self {
            signed: &token[..second],
            header: decode(&token[..first])?,
            payload: decode(&token[first + 1..second])?,
            signature: Signature(decode(&token[second + 1..])?),
        })
    }
}

/// What of a token's header we use. `jwk`, `jku`, `x5u` and `x5c` are not among it: a token does not choose its own key.
pub(super) struct Header<'a> {
    /// `None` for `none` and for one that nobody can configure.
    pub(super) algorithm: Option<SignatureAlgorithm>,
    members: Object<'a>,
}

impl<'a> Header<'a> {
    /// Reads a decoded header. Refuses `crit` (we understand no extension) and `b64` (RFC 7797), whatever they say.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, Reason> {
        let members = json::object(bytes).ok_or(Reason::Header)?;
        if members.get("crit").is_some() || members.get("b64").is_some() {
            return Err(Reason::CriticalExtension);
        }
        let algorithm = members.get("alg").and_then(Value::text).ok_or(Reason::Header)?;
        let algorithm = SignatureAlgorithm::named(algorithm);
        if members.get("typ").is_some_and(|typ| typ.text().is_none()) {
            return Err(Reason::Type);
        }
        if members.get("kid").is_some_and(|kid| kid.text().is_none()) {
            return Err(Reason::Header);
        }
        Ok(Self { algorithm, members })
    }

    /// `alg` as written.
    pub(super) fn named_algorithm(&self) -> &str {
        self.members.get("alg").and_then(Value::text).unwrap_or_default()
    }

    /// `typ` as written.
    pub(super) fn named_type(&self) -> Option<&str> {
        self.members.get("typ").and_then(Value::text)
    }

    /// Whether the token's type is one of these (RFC 8725, section 3.11).
    pub(super) fn is_of(&self, types: &[Box<str>]) -> bool {
        let named = self.named_type().map_or(PLAIN, bare);
        types.iter().any(|known| known.eq_ignore_ascii_case(named))
    }

    /// Which key signed, by the token's own account.
    pub(super) fn kid(&self) -> Option<&str> {
        self.members.get("kid").and_then(Value::text)
    }
}

/// A media type without the `application/` that may be left out ([RFC 7515, section 4.1.9](https://www.rfc-editor.org/rfc/rfc7515#section-4.1.9)), in any case.
pub fn bare(typ: &str) -> &str {
    const PREFIX: &str = "application/";
    match typ.split_at_checked(PREFIX.len()) {
        Some((start, rest)) if start.eq_ignore_ascii_case(PREFIX) => rest,
        Some(_) | None => typ,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(text: &str) -> Result<(), Reason> {
        Header::read(text.as_bytes()).map(drop)
    }

    #[test]
    fn a_token_has_three_parts_of_strict_base64url() {
        assert!(Parts::read(b"e30.e30.AA").is_ok());
        for wrong in [
            "",
            ".",
            "..",
            "...",
            "e30",
            "e30.e30",
            "e30.e30.",
            ".e30.AA",
            "e30..AA",
            "e30.e30.AA.",
            ".e30.e30.AA",
            "e30.e30.AA.AA.AA",
            "e30=.e30.AA",
            "e30.e30.AA==",
            "e30.e30.AB",
            "e31.e30.AA",
            "e30.e30.A",
            "e30.e30.+/8",
            " e30.e30.AA",
            "e30.e30.AA\n",
            "e3\t0.e30.AA",
            "e30.e30.\u{e9}A",
        ] {
            assert_eq!(Parts::read(wrong.as_bytes()).err(), Some(Reason::Malformed), "{wrong:?}");
        }
    }

    fn is_of(header: &str, types: &[&str]) -> bool {
        let types: Vec<Box<str>> = types.iter().map(|typ| Box::from(*typ)).collect();
        Header::read(header.as_bytes()).is_ok_and(|header| header.is_of(&types))
    }

    #[test]
    fn the_type_is_compared_without_case_and_prefix() {
        let both = ["JWT", "at+jwt"];
        for good in ["JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt", "Application/JWT"] {
            assert!(is_of(&format!(r#"{{"alg":"ES256","typ":"{good}"}}"#), &both), "{good}");
        }
        for wrong in
            ["\"logout+jwt\"", "\"dpop+jwt\"", "\"\"", "\"application/\"", "\"text/jwt\"", "null", "1", "[\"JWT\"]"]
        {
            assert!(!is_of(&format!(r#"{{"alg":"ES256","typ":{wrong}}}"#), &both), "{wrong}");
        }
    }

    #[test]
    fn a_token_without_a_type_is_a_plain_one() {
        assert!(is_of(r#"{"alg":"ES256"}"#, &["jwt"]));
        assert!(!is_of(r#"{"alg":"ES256"}"#, &["at+jwt"]));
        assert!(!is_of(r#"{"alg":"ES256","typ":"JWT"}"#, &["at+jwt"]));
        assert!(is_of(r#"{"alg":"ES256","typ":"at+jwt"}"#, &["at+jwt"]));
    }

    #[test]
    fn extensions_and_members_of_a_wrong_type_are_refused() {
        for (text, reason) in [
            (r#"{"alg":"ES256","crit":["exp"]}"#, Reason::CriticalExtension),
            (r#"{"alg":"ES256","crit":[]}"#, Reason::CriticalExtension),
            (r#"{"alg":"ES256","crit":null}"#, Reason::CriticalExtension),
            (r#"{"alg":"ES256","b64":true}"#, Reason::CriticalExtension),
            (r#"{"alg":"ES256","kid":1}"#, Reason::Header),
            (r#"{"alg":"ES256","kid":null}"#, Reason::Header),
            (r#"{"alg":"ES256","alg":"ES256"}"#, Reason::Header),
            (r#"{"alg":"ES256","x":{"y":1,"y":1}}"#, Reason::Header),
            (r#"{"alg":["ES256"]}"#, Reason::Header),
            (r#"{"kid":"k"}"#, Reason::Header),
            ("[]", Reason::Header),
        ] {
            assert_eq!(header(text), Err(reason), "{text}");
        }
    }

    #[test]
    fn algorithms_are_named_exactly() {
        for wrong in ["none", "None", "es256", "ES512", "ES256K", "HS", "RSA-OAEP", ""] {
            let text = format!(r#"{{"alg":"{wrong}"}}"#);
            assert_eq!(Header::read(text.as_bytes()).ok().unwrap().algorithm, None, "{wrong}");
        }
        assert_eq!(Header::read(br#"{"alg":"EdDSA"}"#).ok().unwrap().algorithm, Some(SignatureAlgorithm::EdDSA));
    }
}

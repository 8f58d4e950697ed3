//! A public key or certificate in PEM. The signature of a certificate and its dates are not checked: the operator vouches for the file.

use simple_asn1::ASN1Block;

use super::algorithm::Kind;
use super::keys::{Key, KeyFault, Label};

/// Reads the first public key or certificate of a PEM file: SubjectPublicKeyInfo (RFC 5280, section 4.1), PKCS #1 (RFC 8017,
/// appendix A.1.1) or X.509. Of a chain the first certificate counts, which is the leaf. A file with a private key in it is refused.
pub(super) fn read(text: &[u8]) -> Result<Key, KeyFault> {
    let blocks = pem::parse_many(text).map_err(|_| KeyFault::NotAPublicKey)?;
    if blocks.iter().any(|block| block.tag().ends_with("PRIVATE KEY")) {
        return Err(KeyFault::Private);
    }
    let block = blocks.first().ok_or(KeyFault::NotAPublicKey)?;
    let asn1 = simple_asn1::from_der(block.contents()).map_err(|_| KeyFault::NotAPublicKey)?;
    let [whole] = asn1.as_slice() else { return Err(KeyFault::NotAPublicKey) };
    match block.tag() {
        "PUBLIC KEY" => read_info(whole),
        "RSA PUBLIC KEY" => read_rsa(whole),
        "CERTIFICATE" => read_info(info_of_certificate(whole).ok_or(KeyFault::NotAPublicKey)?),
        _ => Err(KeyFault::NotAPublicKey),
    }
}

fn sequence(block: &ASN1Block) -> Option<&[ASN1Block]> {
    if let ASN1Block::Sequence(_, members) = block { Some(members) } else { None }
}

/// RFC 5280, section 4.1: version (absent in v1), serialNumber, signature, issuer, validity, subject, subjectPublicKeyInfo.
fn info_of_certificate(certificate: &ASN1Block) -> Option<&ASN1Block> {
    let to_be_signed = sequence(sequence(certificate)?.first()?)?;
    let versioned = matches!(to_be_signed.first()?, ASN1Block::Explicit(..));
    to_be_signed.get(if versioned { 6 } else { 5 })
}

/// SubjectPublicKeyInfo: RFC 3279 (RSA), RFC 5480 (EC), RFC 8410 (Ed25519).
fn read_info(info: &ASN1Block) -> Result<Key, KeyFault> {
    let Some([algorithm, ASN1Block::BitString(_, bits, key)]) = sequence(info) else {
        return Err(KeyFault::NotAPublicKey);
    };
    let Some([ASN1Block::ObjectIdentifier(_, algorithm), parameters @ ..]) = sequence(algorithm) else {
        return Err(KeyFault::NotAPublicKey);
    };
    if *bits != key.len() * 8 {
        return Err(KeyFault::NotAPublicKey);
    }
    let (rsa, ec) = (simple_asn1::oid!(1, 2, 840, 113_549, 1, 1, 1), simple_asn1::oid!(1, 2, 840, 10_045, 2, 1));
    let ed25519 = simple_asn1::oid!(1, 3, 101, 112);
    if algorithm == rsa {
        let inner = simple_asn1::from_der(key).map_err(|_| KeyFault::NotAPublicKey)?;
        read_rsa(inner.first().ok_or(KeyFault::NotAPublicKey)?)
    } else if algorithm == ec {
        Key::point(Label::Any, None, curve(parameters).ok_or(KeyFault::UnknownType)?, key)
    } else if algorithm == ed25519 {
        Key::point(Label::Any, None, Kind::Ed25519, key)
    } else {
        Err(KeyFault::UnknownType)
    }
}

fn curve(parameters: &[ASN1Block]) -> Option<Kind> {
    let [ASN1Block::ObjectIdentifier(_, curve)] = parameters else { return None };
    if curve == simple_asn1::oid!(1, 2, 840, 10_045, 3, 1, 7) {
        Some(Kind::P256)
    } else if curve == simple_asn1::oid!(1, 3, 132, 0, 34) {
        Some(Kind::P384)
    } else {
        None
    }
}

fn read_rsa(key: &ASN1Block) -> Result<Key, KeyFault> {
    let Some([ASN1Block::Integer(_, n), ASN1Block::Integer(_, e)]) = sequence(key) else {
        return Err(KeyFault::NotAPublicKey);
    };
    // A negative modulus or exponent is no key; its two's complement begins with a set bit.
    let (n, e) = (n.to_signed_bytes_be(), e.to_signed_bytes_be());
    if [&n, &e].iter().any(|number| number.first().is_none_or(|b| b & 0x80 != 0)) {
        return Err(KeyFault::NotAPublicKey);
    }
    Key::rsa(Label::Any, None, &n, &e)
}

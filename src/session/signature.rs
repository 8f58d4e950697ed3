//! The signature of a token that opens no session, by the keys of whoever signs such tokens.

use super::jwks_caches::{JwksCaches, Meant};
use super::token::{Header, Parts};
use super::{Reason, SessionFault};

/// Whether one of the keys has signed the token. Waits, at most 2 s, when the token names a key that is unknown. Dropped, a fetch goes on.
pub(super) async fn verify(
    jwks_caches: &JwksCaches,
    parts: &Parts<'_>,
    header: &Header<'_>,
) -> Result<(), SessionFault> {
    let invalid = |reason| Err(SessionFault::Invalid(reason));
    let Some(algorithm) = header.algorithm.filter(|named| jwks_caches.names(*named)) else {
        return invalid(Reason::Algorithm);
    };
    for last in [false, true] {
        let Meant { keys, may_be_newer } = jwks_caches.meant(header.kid(), algorithm);
        if keys.iter().any(|(key, _)| key.verifies(algorithm, parts.signed, &parts.signature)) {
            return Ok(());
        }
        if !may_be_newer {
            return invalid(if keys.is_empty() { Reason::Algorithm } else { Reason::Signature });
        }
        if !last {
            jwks_caches.wait_for_unknown(algorithm).await;
        }
    }
    Err(jwks_caches.without_key(algorithm))
}

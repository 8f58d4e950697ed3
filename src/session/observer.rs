//! The steps of a verification, told to whoever wants to know them: an operator, or nobody.

use super::claims::Claims;
use super::issuer::Issuer;
use super::json::Object;
use super::settings::SignatureAlgorithm;
use super::token::Header;

/// What has been found in order. The verification says it as it goes, so that what is told is what is done.
pub(super) enum Step<'s> {
    Parts,
    Header(&'s Header<'s>),
    Issuer(&'s Issuer),
    Type,
    Algorithm(SignatureAlgorithm),
    Claims(&'s Claims<'s>, &'s Object<'s>, &'s Issuer),
    ExternalId,
    Keys(usize),
    Signature,
}

/// Who is told.
pub(super) trait Observer {
    fn observes(&mut self, step: Step<'_>);
}

/// Nobody: a request.
impl Observer for () {
    fn observes(&mut self, _: Step<'_>) {}
}

//! Hashes that choose a minter and tell the settings of a remote provider apart.

use aws_lc_rs::digest::{Context, SHA256};

use super::minter::Minter;
use crate::provider::settings::ProviderSettings;
use crate::provider::{MintInput, RedirectHosts};

/// Rendezvous hashing: every edge asks for one user at one minter, as long as it is there, so that the user has one URL.
pub(super) fn rank(minter: &Minter, input: &MintInput) -> [u8; 32] {
    digest(&[minter.origin.as_bytes(), input.issuer.as_bytes(), input.subject.as_bytes()])
}

/// What decides which URLs a remote provider may give: part of its leases' keys.
pub(super) fn fingerprint(hosts: &RedirectHosts, settings: &ProviderSettings) -> [u8; 32] {
    let hosts = hosts.canonical();
    let told = settings.minter.iter().flat_map(|link| &link.claims).map(|claim| claim.as_str().as_bytes());
    let parts: Vec<&[u8]> = [b"valet minter 1".as_slice()]
        .into_iter()
        .chain(hosts.iter().map(String::as_bytes))
        .chain([b"claims".as_slice()])
        .chain(told)
        .collect();
    digest(&parts)
}

/// Each part with its length before it.
fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

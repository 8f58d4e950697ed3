//! A vendor's calls as data: presets and the operator's own keys, read once and checked whole.

use http::HeaderName;

use super::auth::Auth;
use super::call::{CallTemplate, Surroundings, fields, register_source, revoke_source};
use super::fingerprint::fingerprint;
use super::jwt::LocalJwt;
use super::key_field::key_field;
use super::needs::{Needs, claim_names};
use super::preset::{Source, effective, preset_names};
use super::redirect_hosts::RedirectHosts;
use super::settings::{AcceptIf, ProviderSettings, RegisterSettings, RevokeSettings};
use super::template::{Place, Value};
use crate::secret::Secret;
use crate::setting::FieldFault;

mod mint;
mod parts;

pub(super) use self::mint::{How, MintCall};
pub(super) use self::parts::{Base, Parts, Register};

/// The statuses that mean that a user exists, where the recipe names none.
const ACCEPTED: [u16; 2] = [200, 201];

type Faults = Vec<FieldFault>;

/// Everything that Valet knows of how a vendor is called. Holds no secret.
#[derive(Clone, Debug)]
pub struct Recipe {
    pub(super) parts: Parts,
    /// The names of `MintInput::claims`, in their order.
    pub(super) claims: Vec<String>,
    fingerprint: [u8; 32],
}

/// Reads a provider's recipe. Faults are (key path below the provider, message), all of them; no message repeats a value.
///
/// # Errors
/// All faults, at their keys below the provider.
pub fn compile(settings: &ProviderSettings) -> Result<Recipe, Vec<FieldFault>> {
    let mut faults = Faults::new();
    let Ok(source) = effective(settings) else {
        faults.push(FieldFault::at("preset", format!("unknown; known are {}", preset_names().join(", "))));
        return Err(faults);
    };
    let needs = Needs::of(&source);
    if settings.base_url.is_none() && needs.base_url {
        faults.push(FieldFault::at("base_url", "is required"));
    }
    let base = settings.base_url.as_ref().map(Base::from).unwrap_or_default();
    if settings.redirect_hosts.is_empty() && needs.urls {
        faults.push(FieldFault::at("redirect_hosts", "at least one host is required"));
    }
    let auth = match &source.auth {
        None if !needs.calls => Some(Auth::None),
        auth => Auth::compile(auth.as_ref(), &mut faults),
    };
    let Calls { register, mints, revoke, forget } = calls(settings, &source, auth.as_ref(), &mut faults);
    match auth {
        Some(mut auth) if faults.is_empty() => {
            if let Auth::Token(grant) = &mut auth {
                grant.set_base_url(base.url());
            }
            let secret_headers = settings.secret_headers.keys().filter_map(|name| key_field(name).ok()).collect();
            let redirect_hosts = RedirectHosts::from(&*settings.redirect_hosts);
            let parts = Parts { base, auth, secret_headers, redirect_hosts, register, mints, revoke, forget };
            let claims = claim_names(settings).into_iter().map(|(name, _)| name).collect();
            Ok(Recipe { fingerprint: fingerprint(&parts), parts, claims })
        }
        _ => Err(faults),
    }
}

/// The calls of a recipe.
struct Calls {
    register: Option<Register>,
    mints: Vec<MintCall>,
    revoke: Option<CallTemplate>,
    forget: Option<CallTemplate>,
}

fn calls(settings: &ProviderSettings, source: &Source, auth: Option<&Auth>, faults: &mut Faults) -> Calls {
    let secret_headers = secret_headers(settings, auth, faults);
    let around = Surroundings { auth, headers: &[], secret_headers: &secret_headers, place: Place::default() };
    let mut fault = |key: &str, message: &str| faults.push(FieldFault::at(key, message));
    let headers = fields("headers", &source.headers, &around, &mut fault);
    let around = Surroundings { headers: &headers, ..around };
    let mut register = source.register.as_ref().and_then(|register| Register::compile(register, &around, faults));
    let behind = Surroundings { place: Place { register: source.register.is_some(), ..around.place }, ..around };
    let mints: Vec<MintCall> =
        source.mint.iter().filter_map(|(name, mint)| MintCall::compile(name, mint, &behind, faults)).collect();
    if source.mint.is_empty() {
        faults.push(FieldFault::at("mint", "missing: a preset, or at least one [provider.mint.NAME]"));
    }
    let mut of_a_person = |key: &str, call: &Option<RevokeSettings>| {
        let call = revoke_source(call.as_ref()?).compile(key, &around, faults)?;
        let unknown = |value: &Value| match value {
            Value::Claim { optional, .. } => !optional,
            Value::Param(_) => true,
            _ => false,
        };
        if call.templates().iter().flat_map(|template| template.values()).any(unknown) {
            let message = "a person's call has no session: claims and parameters are not known, but for {claim:NAME?}, which is left out";
            faults.push(FieldFault::at(key, message));
        }
        Some(call)
    };
    let revoke = of_a_person("revoke", &source.revoke);
    let forget = of_a_person("forget", &source.forget);
    if let Some(register) = &mut register {
        let wanted: std::collections::BTreeSet<&Box<str>> = mints.iter().flat_map(|mint| &mint.register).collect();
        register.wanted = wanted.into_iter().cloned().collect();
    }
    Calls { register, mints, revoke, forget }
}

/// The names of `secret_headers`.
fn secret_headers(settings: &ProviderSettings, auth: Option<&Auth>, faults: &mut Faults) -> Vec<HeaderName> {
    let mut names = Vec::new();
    for name in settings.secret_headers.keys() {
        let mut fault = |message: &str| faults.push(FieldFault::at(format!("secret_headers.{name}"), message));
        match key_field(name) {
            Ok(field) if auth.is_some_and(|auth| auth.takes(&field)) => {
                fault("this header field is the API key's");
            }
            Ok(field) if names.contains(&field) => fault("the same header field twice"),
            Ok(field) => names.push(field),
            Err(message) => fault(message),
        }
    }
    names
}

impl Register {
    fn compile(settings: &RegisterSettings, around: &Surroundings<'_>, faults: &mut Faults) -> Option<Self> {
        let call = register_source(settings).compile("register", around, faults);
        let accept = settings.accept.clone().unwrap_or_else(|| ACCEPTED.to_vec());
        let accept_if = settings.accept_if.clone().unwrap_or_default();
        let is_status = |status: &u16| (200..=599).contains(status);
        if !accept.iter().all(is_status) {
            faults.push(FieldFault::at("register.accept", "expected statuses from 200 to 599"));
        }
        if accept.is_empty() && accept_if.is_empty() {
            faults.push(FieldFault::at("register.accept", "no answer would mean that the user exists"));
        }
        if !accept_if.iter().all(AcceptIf::is_sound) {
            let message = "expected a status from 200 to 599 and a text that is not empty";
            faults.push(FieldFault::at("register.accept_if", message));
        }
        Some(Self { call: call?, accept, accept_if, wanted: Vec::new() })
    }

    /// Whether the answer means that the user exists.
    pub(super) fn accepts(&self, status: u16, body: &[u8]) -> bool {
        self.accept.contains(&status) || self.accept_if.iter().any(|rule| rule.matches(status, body))
    }
}

impl Recipe {
    /// SHA-256 of a canonical form of everything that decides what a URL is: `base_url`, the calls of registration and mints, the kind of
    /// `auth`, the rules for URL and end, `redirect_hosts`. Not the key, the places of files, the limits, or the calls at sign-out and erasure.
    pub fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }

    /// The recipe for a `MintInput::claims` in the order of these names: those of all providers of a configuration, say. Without it
    /// the order is that of [`claim_names`](super::claim_names).
    #[must_use]
    pub fn with_claims(self, names: &[String]) -> Self {
        Self { claims: names.to_vec(), ..self }
    }

    /// The hosts to which a minted URL may point.
    pub fn redirect_hosts(&self) -> &RedirectHosts {
        &self.parts.redirect_hosts
    }

    /// Whether the key can do what it is for: stand where `auth` puts it, sign what is signed here. If not, why, without the key.
    ///
    /// # Errors
    /// In an operator's words: why the recipe can't send this key.
    pub fn check_key(&self, key: &Secret) -> Result<(), &'static str> {
        let signs = self.parts.mints.iter().filter_map(|mint| match &mint.how {
            How::Sign(jwt) => jwt.key_fault(key),
            How::Call(_) => None,
        });
        self.parts.auth.key_fault(key).into_iter().chain(signs).next().map_or(Ok(()), Err)
    }
}

/// Why this key can't do what it is for; `None`: it can, or the recipe has a fault of its own.
pub fn key_fault(settings: &ProviderSettings, key: &Secret) -> Option<&'static str> {
    let source = effective(settings).ok()?;
    let mut faults = Faults::new();
    let auth = source.auth.as_ref().and_then(|auth| Auth::compile(Some(auth), &mut faults)?.key_fault(key));
    let signs = source.mint.values().filter_map(|mint| {
        let jwt = LocalJwt::compile(mint.jwt.as_ref()?, Place { register: true, ..Place::default() }, "", &mut faults)?;
        jwt.key_fault(key)
    });
    auth.or_else(|| signs.into_iter().next())
}

/// Whether a secret can be the value of a header field; if not, why.
///
/// # Errors
/// In an operator's words: why it can't stand in a header field.
pub fn check_header_secret(secret: &Secret) -> Result<(), &'static str> {
    // Looked at here, goes nowhere.
    let visible = !secret.expose().is_empty() && secret.expose().iter().all(u8::is_ascii_graphic);
    if visible { Ok(()) } else { Err("a secret in a header has visible ASCII only, no spaces or line ends") }
}

#[cfg(test)]
mod tests;

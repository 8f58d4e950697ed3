//! A vendor's calls as data: presets and the operator's own keys, read once and checked whole.

use http::{HeaderName, Method};
use url::Url;

use super::answer::{ExpiryRule, UrlRule};
use super::auth::{Auth, key_field};
use super::call::{CallSource, CallTemplate, Surroundings, fields};
use super::fingerprint::fingerprint;
use super::needs::claim_names;
use super::preset::{effective, preset_names};
use super::redirect_hosts::{RedirectHosts, is_local};
use super::settings::{AcceptIf, MintSettings, ProviderSettings, RegisterSettings, RevokeSettings};
use crate::secret::Secret;

/// The statuses that mean that a user exists, where the recipe names none.
const ACCEPTED: [u16; 2] = [200, 201];

type Faults = Vec<(String, String)>;

/// Everything that Valet knows of how a vendor is called. Holds no secret.
#[derive(Clone, Debug)]
pub struct Recipe {
    pub(super) parts: Parts,
    /// The names of `MintInput::claims`, in their order.
    pub(super) claims: Vec<String>,
    fingerprint: [u8; 32],
}

/// The recipe itself.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    pub(super) base: Base,
    pub(super) auth: Auth,
    pub(super) secret_headers: Vec<HeaderName>,
    pub(super) redirect_hosts: RedirectHosts,
    pub(super) register: Option<Register>,
    /// Sorted by name.
    pub(super) mints: Vec<MintCall>,
}

/// `base_url`.
#[derive(Clone, Debug)]
pub(super) struct Base {
    scheme: String,
    /// `host` or `host:port`.
    authority: String,
    /// Without a `/` at its end; empty for the root.
    pub(super) path: String,
}

/// `[provider.register]`.
#[derive(Clone, Debug)]
pub(super) struct Register {
    pub(super) call: CallTemplate,
    pub(super) accept: Vec<u16>,
    pub(super) accept_if: Vec<AcceptIf>,
}

/// `[provider.mint.NAME]`.
#[derive(Clone, Debug)]
pub(super) struct MintCall {
    pub(super) name: String,
    pub(super) call: CallTemplate,
    pub(super) url: UrlRule,
    pub(super) expires: ExpiryRule,
}

impl Base {
    /// `scheme://host[:port]`.
    pub(super) fn origin(&self) -> String {
        format!("{}://{}", self.scheme, self.authority)
    }

    fn compile(text: &str, faults: &mut Faults) -> Option<Self> {
        let verdict = (|| {
            let url = Url::parse(text).map_err(|_| "expected a URL such as \"https://api.example.com\"")?;
            let host = url.host().ok_or("expected a URL such as \"https://api.example.com\"")?;
            match url.scheme() {
                "https" => {}
                "http" if is_local(&host) => {}
                "http" => {
                    return Err(
                        "the API key would travel in the clear: https:// is required, but on loopback and *.localhost",
                    );
                }
                _ => return Err("expected an https:// URL"),
            }
            if !url.username().is_empty() || url.password().is_some() {
                return Err("a user name or password can't stand here; the key has its own place");
            }
            if url.query().is_some() || url.fragment().is_some() {
                return Err("expected no `?` and no `#`; parameters stand in the calls");
            }
            let authority = url.port().map_or(host.to_string(), |port| format!("{host}:{port}"));
            Ok(Self { scheme: url.scheme().into(), authority, path: url.path().trim_end_matches('/').into() })
        })();
        verdict.map_err(|message: &str| faults.push(("base_url".into(), message.into()))).ok()
    }
}

/// Reads a provider's recipe. Faults are (key path below the provider, message), all of them; no message repeats a value.
pub fn compile(settings: &ProviderSettings) -> Result<Recipe, Vec<(String, String)>> {
    let mut faults = Faults::new();
    limits(settings, &mut faults);
    let base = Base::compile(&settings.base_url, &mut faults);
    let redirect_hosts = hosts(settings, &mut faults);
    let Ok(source) = effective(settings) else {
        faults.push(("preset".into(), format!("unknown; known are {}", preset_names().join(", "))));
        return Err(faults);
    };
    let auth = Auth::compile(source.auth.as_ref(), &mut faults);
    let secret_headers = secret_headers(settings, auth.as_ref(), &mut faults);
    let mut fault = |key: &str, message: &str| faults.push((key.to_owned(), message.to_owned()));
    let headers = fields("headers", &source.headers, auth.as_ref(), &secret_headers, &mut fault);
    let around = Surroundings { auth: auth.as_ref(), headers: &headers, secret_headers: &secret_headers };
    let register = source.register.as_ref().and_then(|register| Register::compile(register, &around, &mut faults));
    let mints: Vec<MintCall> =
        source.mint.iter().filter_map(|(name, mint)| MintCall::compile(name, mint, &around, &mut faults)).collect();
    if source.mint.is_empty() {
        faults.push(("mint".into(), "missing: a preset, or at least one [provider.mint.NAME]".into()));
    }
    if let Some(revoke) = &source.revoke {
        // Checked with the rest, though it decides nothing about a URL.
        revoke_source(revoke).compile("revoke", &around, &mut faults);
    }
    match (base, redirect_hosts, auth) {
        (Some(base), Some(redirect_hosts), Some(auth)) if faults.is_empty() => {
            let parts = Parts { base, auth, secret_headers, redirect_hosts, register, mints };
            let claims = claim_names(settings).into_iter().map(|(name, _)| name).collect();
            Ok(Recipe { fingerprint: fingerprint(&parts), parts, claims })
        }
        _ => Err(faults),
    }
}

fn limits(settings: &ProviderSettings, faults: &mut Faults) {
    let mut positive = |good: bool, key: &str| {
        if !good {
            faults.push((key.into(), "must be more than zero".into()));
        }
    };
    positive(!settings.timeout.0.is_zero(), "timeout");
    positive(settings.max_in_flight > 0, "max_in_flight");
    positive(settings.breaker.failures > 0, "breaker.failures");
    positive(!settings.breaker.within.0.is_zero(), "breaker.within");
}

/// The names of `secret_headers`.
fn secret_headers(settings: &ProviderSettings, auth: Option<&Auth>, faults: &mut Faults) -> Vec<HeaderName> {
    let mut names = Vec::new();
    for name in settings.secret_headers.keys() {
        let mut fault = |message: &str| faults.push((format!("secret_headers.{name}"), message.to_owned()));
        match key_field(name) {
            Ok(field) if auth.and_then(Auth::header).as_ref() == Some(&field) => {
                fault("this header field is the API key's");
            }
            Ok(field) if names.contains(&field) => fault("the same header field twice"),
            Ok(field) => names.push(field),
            Err(message) => fault(message),
        }
    }
    names
}

fn hosts(settings: &ProviderSettings, faults: &mut Faults) -> Option<RedirectHosts> {
    if settings.redirect_hosts.is_empty() {
        faults.push(("redirect_hosts".into(), "no minted URL could be sent on: name at least one host".into()));
    }
    let verdict = RedirectHosts::parse(&settings.redirect_hosts);
    verdict
        .map_err(|wrong| {
            let numbered = |(index, message): (usize, String)| {
                ("redirect_hosts".into(), format!("entry {}: {message}", index + 1))
            };
            faults.extend(wrong.into_iter().map(numbered));
        })
        .ok()
}

pub(super) fn register_source(register: &RegisterSettings) -> CallSource<'_> {
    let RegisterSettings { method, path, query, headers, json, form, accept: _, accept_if: _ } = register;
    CallSource { method, default_method: Method::POST, path, query, headers, json, form }
}

pub(super) fn mint_source(mint: &MintSettings) -> CallSource<'_> {
    let MintSettings { method, path, query, headers, json, form, url: _, expires: _ } = mint;
    CallSource { method, default_method: Method::GET, path, query, headers, json, form }
}

pub(super) fn revoke_source(revoke: &RevokeSettings) -> CallSource<'_> {
    let RevokeSettings { method, path, query, headers, json, form } = revoke;
    CallSource { method, default_method: Method::DELETE, path, query, headers, json, form }
}

impl Register {
    fn compile(settings: &RegisterSettings, around: &Surroundings<'_>, faults: &mut Faults) -> Option<Self> {
        let call = register_source(settings).compile("register", around, faults);
        let accept = settings.accept.clone().unwrap_or_else(|| ACCEPTED.to_vec());
        let accept_if = settings.accept_if.clone().unwrap_or_default();
        let is_status = |status: &u16| (200..=599).contains(status);
        if !accept.iter().all(is_status) {
            faults.push(("register.accept".into(), "expected statuses from 200 to 599".into()));
        }
        if accept.is_empty() && accept_if.is_empty() {
            faults.push(("register.accept".into(), "no answer would mean that the user exists".into()));
        }
        if !accept_if.iter().all(|rule| is_status(&rule.status) && !rule.body_contains.is_empty()) {
            let message = "expected a status from 200 to 599 and a text that is not empty";
            faults.push(("register.accept_if".into(), message.into()));
        }
        Some(Self { call: call?, accept, accept_if })
    }

    /// Whether the answer means that the user exists.
    pub(super) fn accepts(&self, status: u16, body: &[u8]) -> bool {
        self.accept.contains(&status)
            || self.accept_if.iter().any(|rule| {
                // Vendors change the case of their words and mean the same.
                let (body, text) = (body.to_ascii_lowercase(), rule.body_contains.to_ascii_lowercase());
                rule.status == status && memchr::memmem::find(&body, text.as_bytes()).is_some()
            })
    }
}

impl MintCall {
    fn compile(name: &str, settings: &MintSettings, around: &Surroundings<'_>, faults: &mut Faults) -> Option<Self> {
        let prefix = format!("mint.{name}");
        let call = mint_source(settings).compile(&prefix, around, faults);
        let mut fault = |key: &str, message: &str| faults.push((format!("{prefix}.{key}"), message.to_owned()));
        let url = match &settings.url {
            Some(text) => UrlRule::parse(text).map_err(|message| fault("url", message)).ok(),
            None => {
                fault("url", "missing: \"text\" or \"json:/pointer\"");
                None
            }
        };
        let expires = match &settings.expires {
            Some(text) => ExpiryRule::parse(text).map_err(|message| fault("expires", message)).ok(),
            None => {
                fault(
                    "expires",
                    "missing: \"jwt:PARAMETER\", \"jwt-path\", \"jwt-fragment\", \"json:/pointer\" or \"fixed\"",
                );
                None
            }
        };
        if let (Some(UrlRule::Text), Some(ExpiryRule::Json(_))) = (&url, &expires) {
            fault("expires", "an answer that is the URL alone has no place for its end");
        }
        Some(Self { name: name.into(), call: call?, url: url?, expires: expires? })
    }
}

impl Recipe {
    /// SHA-256 of a canonical form of everything that decides what a URL is: `base_url`, the calls of registration and mints, the kind of
    /// `auth`, the rules for URL and end, `redirect_hosts`. Not the key, the places of files, the limits, or the call at logout.
    pub fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }

    /// The same recipe, for a `MintInput::claims` in the order of these names: those of all providers of a configuration, say. Without it
    /// the order is that of [`claim_names`](super::claim_names).
    #[must_use]
    pub fn with_claims(self, names: &[String]) -> Self {
        Self { claims: names.to_vec(), ..self }
    }

    /// The hosts to which a minted URL may point.
    pub fn redirect_hosts(&self) -> &RedirectHosts {
        &self.parts.redirect_hosts
    }

    /// Whether the key can stand where `auth` puts it; if not, why, in the operator's words and without the key.
    pub fn check_key(&self, key: &Secret) -> Result<(), &'static str> {
        // Looked at here, goes nowhere.
        self.parts.auth.key_fault(key.expose()).map_or(Ok(()), Err)
    }
}

/// Why this key can't stand where `auth` puts it; `None`: it can, or `auth` has a fault of its own.
pub fn key_fault(settings: &ProviderSettings, key: &Secret) -> Option<&'static str> {
    let source = effective(settings).ok()?;
    // Looked at here, goes nowhere.
    Auth::compile(source.auth.as_ref(), &mut Faults::new())?.key_fault(key.expose())
}

/// Whether a secret can be the value of a header field; if not, why.
pub fn check_header_secret(secret: &Secret) -> Result<(), &'static str> {
    // Looked at here, goes nowhere.
    let visible = !secret.expose().is_empty() && secret.expose().iter().all(u8::is_ascii_graphic);
    if visible { Ok(()) } else { Err("a secret in a header has visible ASCII only, no spaces or line ends") }
}

#[cfg(test)]
mod tests;

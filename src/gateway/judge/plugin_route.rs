//! The plug-in routes: whole paths, each with its rules.

use std::sync::Arc;

use prometheus::{Histogram, IntCounter};
use zeroize::Zeroizing;

use crate::gateway::judge::cross_site::Embed;
use crate::gateway::judge::login::Login;
use crate::gateway::judge::path;
use crate::gateway::settings::PluginSettings;
use crate::lease::settings::Reuse;
use crate::lease::{LeaseKey, LeasePolicy, Opened, Parameters, Scope};
use crate::policy::Authorizer;
use crate::provider::{MintContext, MintInput};
use crate::session::Session;
use crate::telemetry::{Metrics, Outcome, Place};
use crate::web::{HostName, Origin};

/// One plug-in's route.
pub(in crate::gateway) struct PluginRoute {
    pub name: Arc<str>,
    /// As configured.
    path: Box<str>,
    /// The path as [`path::standing`] spells it.
    standing: Box<str>,
    host: Option<HostName>,
    pub lease_policy: Arc<LeasePolicy>,
    /// By the namespace of subjects, sorted.
    scopes: Box<[(Box<str>, Scope)]>,
    claims: Claims,
    pub parameters: Parameters,
    /// Its mint gives a token; `None`: a minter knows.
    pub gives_token: Option<bool>,
    pub languages: Vec<Box<str>>,
    pub allowed_origins: Vec<Origin>,
    pub embed: Embed,
    pub login: Option<Login>,
    /// Asks the policies who may open it.
    pub authorizer: Authorizer,
    pub redirects: IntCounter,
    pub jsons: IntCounter,
    /// `valet_request_duration_seconds` of each.
    pub redirect_duration: Histogram,
    pub json_duration: Histogram,
}

/// Positions in [`Session::claims`] of what the recipe uses.
#[derive(Clone, Debug, Default)]
pub struct Claims {
    /// Every claim that the recipe uses: part of the lease's key.
    pub used: Vec<usize>,
    /// The claims without which nothing is minted.
    pub required: Vec<usize>,
}

/// What a route needs beyond its settings.
pub struct PluginParts {
    /// The plug-in's time rules, and what makes its URLs.
    pub lease_policy: Arc<LeasePolicy>,
    /// The recipe's fingerprint.
    pub fingerprint: [u8; 32],
    /// The claims that the recipe uses.
    pub claims: Claims,
    /// Whether the mint gives a token; `None`: a minter knows.
    pub gives_token: Option<bool>,
    /// Asks the policies who may open it.
    pub authorizer: Authorizer,
}

impl PluginRoute {
    pub fn new(
        settings: &PluginSettings,
        parts: PluginParts,
        issuers: &[String],
        login: Option<Login>,
        metrics: &Metrics,
    ) -> Self {
        let PluginSettings { name, provider, mint, .. } = settings;
        let scope =
            |issuer: &String| (issuer.as_str().into(), Scope::new(issuer, name, provider, mint, &parts.fingerprint));
        let mut scopes: Box<[(Box<str>, Scope)]> = issuers.iter().map(scope).collect();
        scopes.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        Self {
            name: name.as_str().into(),
            path: settings.path.as_str().into(),
            standing: path::standing(&settings.path).into(),
            host: settings.host.clone(),
            lease_policy: parts.lease_policy,
            scopes,
            claims: parts.claims,
            parameters: Parameters::new(&settings.parameters),
            gives_token: parts.gives_token,
            languages: settings.languages.iter().map(|text| text.as_str().into()).collect(),
            allowed_origins: settings.allowed_origins.clone(),
            embed: Embed::new(&settings.embed),
            login,
            authorizer: parts.authorizer,
            redirects: metrics.requests.with_label_values(&[name, Outcome::Redirect.label()]),
            jsons: metrics.requests.with_label_values(&[name, Outcome::Json.label()]),
            redirect_duration: metrics.request_duration.with_label_values(&[name, Outcome::Redirect.label()]),
            json_duration: metrics.request_duration.with_label_values(&[name, Outcome::Json.label()]),
        }
    }

    /// Whether this route answers the judged path, as [`path::standing`] spells it, at this `Host`.
    pub fn matches(&self, path: &str, host: &str) -> bool {
        *self.standing == *path && self.host.as_ref().is_none_or(|own| own.is(host))
    }

    /// The whole path of the route.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether it answers one host only.
    pub fn has_host(&self) -> bool {
        self.host.is_some()
    }

    /// The methods of this route, for `Allow`.
    pub fn allow(&self) -> &'static str {
        match (self.lease_policy.rules.reuse, self.allowed_origins.is_empty()) {
            (Reuse::Never, true) => "GET, POST",
            (Reuse::Never, false) => "GET, POST, OPTIONS",
            (Reuse::User | Reuse::Session, true) => "GET, HEAD, POST",
            (Reuse::User | Reuse::Session, false) => "GET, HEAD, POST, OPTIONS",
        }
    }

    /// The key of this session's lease; `None` if the recipe needs a claim that the session lacks, the vendor can't be told its name, or the
    /// issuer is none of this plug-in's.
    pub fn key(&self, session: &Session, opened: Opened<'_>) -> Option<LeaseKey> {
        if session.name_fault().is_some() || self.lacking(session).next().is_some() {
            return None;
        }
        let at = self.scopes.binary_search_by(|(namespace, _)| (**namespace).cmp(session.namespace())).ok()?;
        let (_, scope) = self.scopes.get(at)?;
        Some(LeaseKey::new(scope, session, self.lease_policy.rules.reuse, opened, &self.claims.used))
    }
}

impl PluginRoute {
    /// The claims, by their places, that the recipe needs and the session lacks.
    pub fn lacking(&self, session: &Session) -> impl Iterator<Item = usize> {
        let has = |position: &usize| session.claims().get(*position).is_some_and(Option::is_some);
        self.claims.required.iter().copied().filter(move |position| !has(position))
    }
}

/// The request that is the occasion of a mint.
pub(in crate::gateway) struct Asker<'a> {
    /// The session's credential, for a minter.
    pub token: &'a [u8],
    pub request_id: &'a str,
    /// Where it stands in a trace.
    pub place: Place,
}

/// What the vendor is told of this session, and a minter of this request.
pub(in crate::gateway) fn input(session: &Session, opened: Opened<'_>, asker: &Asker<'_>) -> MintInput {
    let context = MintContext {
        session: session.session_id().map(Into::into),
        credential: Some(Zeroizing::new(asker.token.into())),
        request_id: Some(asker.request_id.into()),
        place: Some(asker.place),
        ..MintContext::default()
    };
    opened.mint_input(session, context)
}

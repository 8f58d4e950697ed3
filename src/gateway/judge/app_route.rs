//! The apps' routes: prefixes on hosts, each with its rules.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use prometheus::{Histogram, IntCounter};

use crate::app::settings::{AppSettings, SessionNeed, WebsocketEnd};
use crate::app::{Address, Picked, Pool};
use crate::assertion::Audience;
use crate::gateway::judge::login::Login;
use crate::gateway::judge::path;
use crate::http_client::Cause;
use crate::policy::Authorizer;
use crate::session::{FieldClaim, Session};
use crate::telemetry::{Metrics, Outcome};
use crate::web::{HostRule, Origin};

/// One app's route.
pub(in crate::gateway) struct AppRoute {
    pub name: Arc<str>,
    /// As configured, without a `/` at its end.
    prefix: Box<str>,
    reach: Reach,
    /// Another proxy carries its requests, and asks about them: it has no upstreams.
    pub authorize: bool,
    pub need: SessionNeed,
    pub encoded_slash: bool,
    pub pass_credential: bool,
    pub allowed_origins: Vec<Origin>,
    pub login: Option<Login>,
    /// Asks the policies who may reach it.
    pub authorizer: Authorizer,
    pub max_body: u64,
    pub read_timeout: Duration,
    pub websocket_ends_with: WebsocketEnd,
    /// The `Host` that it is told in place of the client's.
    pub request_host: Option<Box<str>>,
    pub websocket_timeout: Duration,
    /// Header fields that carry claims, with the claim's position in [`Session::fields`].
    pub claims: Vec<(HeaderName, usize)>,
    /// Whom its assertions are for; `None`: it gets none.
    pub audience: Option<Arc<Audience>>,
    /// The fields that carry claims to any app: what one believes no client may say to another.
    pub identity: Arc<[HeaderName]>,
    pool: Arc<Pool>,
    /// Requests that may pass: forwarded, or authorized.
    pub passed: IntCounter,
    /// `valet_request_duration_seconds` of those.
    pub passed_duration: Histogram,
    /// `valet_upstream_response_seconds`.
    pub response: Histogram,
}

/// What an app's route needs beyond its settings.
pub struct AppParts {
    /// The app's upstreams.
    pub pool: Arc<Pool>,
    /// Header fields that carry claims, with the claim's position in [`Session::fields`].
    pub claims: Vec<(HeaderName, usize)>,
    /// Asks the policies who may reach it.
    pub authorizer: Authorizer,
    /// Whom its assertions are for; `None`: it gets none.
    pub audience: Option<Arc<Audience>>,
}

/// Which requests an app gets.
struct Reach {
    /// `None`: any.
    host: Option<HostRule>,
    /// As [`path::standing`] spells it, without its final `/`: the empty text is every path.
    prefix: Box<str>,
}

impl Reach {
    fn new(settings: &AppSettings) -> Self {
        Self { host: settings.host.clone(), prefix: path::standing(settings.path.trim_end_matches('/')).into() }
    }

    /// A prefix ends where a segment does. `path`: as [`path::standing`] spells it.
    fn covers(&self, path: &str, host: &str) -> bool {
        let below = path.strip_prefix(&*self.prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        below && self.host.as_ref().is_none_or(|rule| rule.covers(host))
    }

    fn weight(&self) -> impl Ord + use<> {
        (self.host.as_ref().map_or((0, 0), HostRule::weight), self.prefix.len())
    }
}

/// Which of these apps answers a judged path, as [`path::standing`] spells it, at this host.
pub(crate) fn app_at<'s>(
    apps: impl Iterator<Item = &'s AppSettings>,
    path: &str,
    host: &str,
) -> Option<&'s AppSettings> {
    let reached = apps.map(|app| (Reach::new(app), app)).filter(|(reach, _)| reach.covers(path, host));
    reached.max_by_key(|(reach, _)| reach.weight()).map(|(_, app)| app)
}

impl AppRoute {
    /// `identity`: the fields that carry claims to any app.
    pub fn new(
        settings: &AppSettings,
        parts: AppParts,
        identity: Arc<[HeaderName]>,
        login: Option<Login>,
        metrics: &Metrics,
    ) -> Self {
        let passed = if settings.authorize { Outcome::Authorized } else { Outcome::Forwarded }.label();
        Self {
            name: settings.name.as_str().into(),
            prefix: settings.path.trim_end_matches('/').into(),
            reach: Reach::new(settings),
            authorize: settings.authorize,
            need: settings.session,
            encoded_slash: settings.encoded_slash,
            pass_credential: settings.pass_credential,
            allowed_origins: settings.allowed_origins.clone(),
            login,
            max_body: settings.max_body.0,
            read_timeout: settings.read_timeout.0,
            websocket_ends_with: settings.websocket_ends_with,
            request_host: settings.request.host.as_deref().map(Into::into),
            websocket_timeout: settings.websocket_timeout.0,
            claims: parts.claims,
            authorizer: parts.authorizer,
            audience: parts.audience,
            identity,
            pool: parts.pool,
            passed: metrics.requests.with_label_values(&[&settings.name, passed]),
            passed_duration: metrics.request_duration.with_label_values(&[&settings.name, passed]),
            response: metrics.upstream_response.with_label_values(&[&settings.name]),
        }
    }

    /// Whether this route answers the judged path, as [`path::standing`] spells it, at this host.
    pub fn matches(&self, path: &str, host: &str) -> bool {
        self.reach.covers(path, host)
    }

    /// The prefix of its paths, as configured, without a `/` at its end.
    pub fn prefix(&self) -> &str {
        if self.prefix.is_empty() { "/" } else { &self.prefix }
    }

    /// Whether it is spoken to in HTTP/1.1, in the clear, wherever it is.
    pub fn is_plain(&self) -> bool {
        self.pool.is_plain()
    }

    /// Whether it is spoken to in HTTP/1.1, as far as is known, in the clear or by TLS.
    pub fn is_http_1(&self) -> bool {
        self.pool.is_http_1()
    }

    /// An upstream chose HTTP/2 when it was connected to by TLS.
    pub fn note_http_2(&self) {
        self.pool.note_http_2();
    }

    /// What becomes of each field that carries a claim.
    pub fn explain_fields(&self, session: &Session) -> Vec<String> {
        let told = self.claims.iter().filter_map(|(name, at)| Some(explain_field(name, session.fields().get(*at)?)));
        told.collect()
    }

    /// The order of routes: the greatest first.
    pub fn weight(&self) -> impl Ord + use<> {
        self.reach.weight()
    }

    /// An upstream for a request of this session, or of nobody at this address.
    pub fn pick(&self, session: Option<&Session>, peer: &str, tried: &[Address]) -> Option<Picked> {
        let hash = session.map_or(peer, Session::log_id);
        let picked = self.pool.pick(hash.as_bytes(), tried);
        if picked.is_none() {
            self.note_failure(Cause::Dns);
        }
        picked
    }

    /// A failure of the app that no upstream is to blame for.
    pub fn note_failure(&self, cause: Cause) {
        self.pool.note_failure(cause);
    }
}

fn explain_field(name: &HeaderName, claim: &FieldClaim) -> String {
    let sent = match &claim.value {
        Ok(text) => format!("{name} is sent, {} bytes", text.len()),
        Err(why) => format!("{name} is left out: {}", why.text()),
    };
    match claim.omitted {
        0 => sent,
        omitted => format!(
            "{sent}; values left out, for they are empty or have a comma, control characters or white space at their ends: {omitted}"
        ),
    }
}

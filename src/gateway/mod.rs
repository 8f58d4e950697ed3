//! The data plane: one reading of a request, the questions in their order, what is written back.
//!
//! [`Front`] reads heads from Pingora's connections with our own deadlines and sizes; `decide` answers the questions and knows nothing of
//! sockets; `answer` writes.

mod accept;
mod answer;
mod bounds;
mod concurrency;
mod delegate;
pub(crate) mod doctor;
mod drain;
mod ext_authz;
mod forward;
mod front;
mod handle;
mod http1;
mod http2;
mod in_force;
mod judge;
mod receive;
mod request;
pub mod settings;
mod spans;

use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

pub use accept::acceptor::{Acceptor, AcceptorOptions};
pub use accept::connection::ListenerPolicy;
pub use accept::forwarded;
pub use accept::trusted::Trusted;
pub use bounds::Limits;
pub use concurrency::ConcurrencyLimit;
pub use drain::{Drain, Present};
pub(crate) use forward::headers::is_reserved as is_reserved_field;
pub use front::Front;
pub use in_force::InForce;
pub use judge::app_route::AppParts;
pub(crate) use judge::app_route::app_at;
pub(crate) use judge::login::LoginPlace;
pub(crate) use judge::path::standing as standing_path;
pub use judge::plugin_route::{Claims, PluginParts};
pub use receive::Inboxes;

use http::HeaderName;

use crate::app::settings::{AppSettings, SessionNeed};
use crate::assertion::Signer;
use crate::clock::{Clock, Timestamp};
use crate::gateway::judge::app_route::AppRoute;
use crate::gateway::judge::login::Login;
use crate::gateway::judge::permission::AsSeen;
use crate::gateway::judge::plugin_route::PluginRoute;
use crate::gateway::judge::routes::{Route, Routes};
use crate::gateway::settings::PluginSettings;
use crate::lease::{Book, Opened};
use crate::limit::Limits as RequestLimits;
use crate::logging::LineSink;
use crate::policy::{Action, Decision, Person};
use crate::problem::OUTCOMES;
use crate::session::{Session, Sessions, Sources, is_carried_whole};
use crate::telemetry::{Metrics, Outcome};
use crate::web::{LoginUrl, Origin};

/// Everything that answers requests, shared by all connections.
pub struct Gateway {
    routes: Routes,
    /// Where one signs in.
    logins: Box<[LoginPlace]>,
    sources: Sources,
    signer: Option<Arc<Signer>>,
    sessions: Arc<Sessions>,
    book: Arc<Book>,
    clock: Clock,
    /// Our own origin, from `public_url`.
    public_origin: Box<str>,
    /// `host[:port]` of it.
    pub(in crate::gateway) own_host: Box<str>,
    trusted: Trusted,
    metrics: Metrics,
    access_log: Option<LineSink>,
    /// Places for requests to apps and for callers that wait for a mint.
    requests: Arc<ConcurrencyLimit>,
    /// How much one address and one person may ask.
    limits: Arc<RequestLimits>,
    /// Deadlines and sizes of its connections.
    bounds: Limits,
    /// The identity fields of all apps about which other proxies ask, in the order in which they are told.
    authorized_fields: Box<[Box<str>]>,
    inboxes: Inboxes,
}

/// What a [`Gateway`] is made of.
pub struct GatewayParts {
    /// The plug-ins in the order of the configuration.
    pub plugins: Vec<(PluginSettings, PluginParts)>,
    /// The apps in the order of the configuration.
    pub apps: Vec<(AppSettings, AppParts)>,
    /// All configured issuers.
    pub issuers: Vec<String>,
    /// `session.login_url`.
    pub login_url: Option<LoginUrl>,
    /// `server.public_url`; `None`: no browser comes here.
    pub public_url: Option<Origin>,
    /// `server.trusted_proxies`.
    pub trusted: Trusted,
    /// Where credentials stand.
    pub sources: Sources,
    /// The signer of assertions, if there is one.
    pub signer: Option<Arc<Signer>>,
    /// The verifier of sessions.
    pub sessions: Arc<Sessions>,
    /// The lease book.
    pub book: Arc<Book>,
    /// Time.
    pub clock: Clock,
    /// Counters.
    pub metrics: Metrics,
    /// Where access lines go; `None`: nowhere.
    pub access_log: Option<LineSink>,
    /// Deadlines, sizes and numbers of its connections and requests.
    pub bounds: Limits,
    /// Places for requests to apps and for callers that wait for a mint.
    pub requests: Arc<ConcurrencyLimit>,
    /// How much one address and one person may ask.
    pub limits: Arc<RequestLimits>,
    /// Where it is said that sessions have ended.
    pub inboxes: Inboxes,
}

/// What a target leads to.
pub struct Reached<'g> {
    route: Route<'g>,
    /// As judged.
    path: String,
    query: Option<String>,
    host: String,
}

/// What else of a request policies may look at.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The request's method.
    pub method: String,
    /// Where it comes from.
    pub address: Option<IpAddr>,
}

/// What policies say.
pub struct Opinion {
    /// The decision.
    pub decision: Decision,
    /// The policy that decides.
    pub policy: Option<String>,
    /// The attributes that can decide.
    pub reads: Vec<String>,
}

impl Reached<'_> {
    /// What it is, in an operator's words.
    pub fn describe(&self) -> String {
        match self.route {
            Route::Plugin(plugin) => format!("the plug-in {} ({})", plugin.name, plugin.allow()),
            Route::App(app) => format!("the app {} (session: {})", app.name, app.need.as_str()),
        }
    }

    /// The plug-in's name, if it is one.
    pub fn plugin(&self) -> Option<&str> {
        match self.route {
            Route::Plugin(plugin) => Some(&plugin.name),
            Route::App(_) => None,
        }
    }

    /// What becomes of each header field that carries a claim to the app, in an operator's words. Never the claim.
    pub fn fields(&self, session: &Session) -> Vec<String> {
        match self.route {
            Route::Plugin(_) => Vec::new(),
            Route::App(app) => app.explain_fields(session),
        }
    }

    /// Whether a session is asked for.
    pub fn asks_for_session(&self) -> bool {
        match self.route {
            Route::Plugin(_) => true,
            Route::App(app) => app.need != SessionNeed::None,
        }
    }

    /// Whether a request without a session is taken, and so one with a session that has expired.
    pub fn takes_nobody(&self) -> bool {
        matches!(self.route, Route::App(app) if app.need == SessionNeed::Optional)
    }

    /// Whether an app, if it is one, can be told the subject of this session as it is.
    pub fn can_be_told(&self, session: &Session) -> bool {
        match self.route {
            Route::Plugin(_) => true,
            Route::App(_) => is_carried_whole(session.subject()),
        }
    }

    /// The claims, by their places among those that recipes ask for, which the vendor must be told and the session lacks.
    pub fn lacking(&self, session: &Session) -> Vec<usize> {
        match self.route {
            Route::Plugin(plugin) => plugin.lacking(session).collect(),
            Route::App(_) => Vec::new(),
        }
    }

    /// Whether this session has what the vendor must be told.
    pub fn permits(&self, session: &Session) -> bool {
        match self.route {
            Route::Plugin(plugin) => plugin.key(session, Opened::default()).is_some(),
            Route::App(_) => true,
        }
    }

    /// What the policies say to this request of a session; `None`: there are none, or they are not asked.
    pub fn opinion(&self, session: Option<&Session>, asked: &Asked, now: Timestamp) -> Option<Opinion> {
        let (authorizer, action, languages) = match self.route {
            Route::Plugin(plugin) => {
                let action = if asked.method == "POST" { Action::Renew } else { Action::Open };
                (&plugin.authorizer, action, plugin.languages.as_slice())
            }
            Route::App(app) => (&app.authorizer, Action::Reach, [].as_slice()),
        };
        let as_seen = AsSeen {
            method: &asked.method,
            host: &self.host,
            path: &self.path,
            language: judge::negotiate::language(self.query.as_deref(), languages),
            address: asked.address,
        };
        let person = session.map_or_else(Person::anonymous, Person::from);
        let decision = authorizer.decide(action, &person, || as_seen.readings(now))?;
        let policy = authorizer.name(&decision).map(Into::into);
        Some(Opinion { decision, policy, reads: authorizer.reads(action) })
    }
}

impl Gateway {
    /// What a request with this target and `Host` leads to, before anything is asked about its sender.
    ///
    /// # Errors
    /// Nothing is there (`None`), or the target can't be read in one way only: why.
    pub fn reaches(&self, target: &str, host: &str) -> Result<Reached<'_>, Option<&'static str>> {
        let target = judge::path::judge(target, host).map_err(|fault| Some(fault.0))?;
        let route = self.routes.find(&target.path, host);
        let route =
            route.map_err(|_| Some("an app could decode it, or cut it at `;`, to the path of another route"))?;
        if target.encoded_slash && !matches!(route, Some(Route::App(app)) if app.encoded_slash) {
            return Err(Some("it holds an escaped `/`, which an app takes with `encoded_slash = true` alone"));
        }
        let route = route.ok_or(None)?;
        let (path, query) = (target.path.into_owned(), target.query.map(Into::into));
        Ok(Reached { route, path, query, host: host.into() })
    }

    /// Puts the data plane together.
    pub fn new(parts: GatewayParts) -> Arc<Self> {
        begin_at_zero(&parts);
        let own = parts.plugins.iter().filter_map(|(settings, _)| settings.login_url.as_ref());
        let own = own.chain(parts.apps.iter().filter_map(|(settings, _)| settings.login_url.as_ref()));
        let logins = own.chain(parts.login_url.as_ref()).filter_map(LoginPlace::of).collect();
        let routes = parts.plugins.into_iter().map(|(settings, plugin)| {
            let login = settings.login_url.as_ref().or(parts.login_url.as_ref());
            let login = login.map(|url| Login::new(url, parts.public_url.as_ref()));
            PluginRoute::new(&settings, plugin, &parts.issuers, login, &parts.metrics)
        });
        let identity = parts.apps.iter().flat_map(|(_, app)| app.claims.iter().map(|(field, _)| field.clone()));
        let identity: HashSet<HeaderName> = identity.collect();
        let identity: Arc<[HeaderName]> = identity.into_iter().collect();
        let authorized_fields = authorized_fields(&parts.apps);
        let apps = parts.apps.into_iter().map(|(settings, app)| {
            let login = settings.login_url.as_ref().or(parts.login_url.as_ref());
            let login = login.map(|url| Login::new(url, parts.public_url.as_ref()));
            Arc::new(AppRoute::new(&settings, app, identity.clone(), login, &parts.metrics))
        });
        let routes = Routes::new(routes.collect(), apps.collect());
        Arc::new(Self {
            routes,
            logins,
            sources: parts.sources,
            signer: parts.signer,
            sessions: parts.sessions,
            book: parts.book,
            clock: parts.clock,
            own_host: parts.public_url.as_ref().map_or("", Origin::authority).into(),
            public_origin: parts.public_url.as_ref().map_or("", Origin::as_str).into(),
            trusted: parts.trusted,
            metrics: parts.metrics,
            access_log: parts.access_log,
            limits: parts.limits,
            authorized_fields,
            requests: parts.requests,
            bounds: parts.bounds,
            inboxes: parts.inboxes,
        })
    }
}

/// Whom a request is from, and the claims of each app that another proxy may ask about.
fn authorized_fields(apps: &[(AppSettings, AppParts)]) -> Box<[Box<str>]> {
    let claims = apps.iter().filter(|(settings, _)| settings.authorize).flat_map(|(_, app)| &app.claims);
    let claims: BTreeSet<&str> = claims.map(|(field, _)| field.as_str()).collect();
    let own = [forward::headers::SUBJECT, forward::headers::ISSUER, forward::headers::ASSERTION];
    own.into_iter().chain(claims).map(Box::from).collect()
}

/// Every outcome that a route can have is there from the first: a counter that appears with its first event has no rate.
fn begin_at_zero(parts: &GatewayParts) {
    let plugins = parts.plugins.iter().map(|(settings, _)| {
        (
            &*settings.name,
            &[Outcome::Redirect, Outcome::Json, Outcome::Login, Outcome::Preflight][..],
            &[Outcome::AppError, Outcome::AppTimeout][..],
        )
    });
    let apps = parts.apps.iter().map(|(settings, _)| {
        let own = if settings.authorize {
            &[Outcome::Authorized, Outcome::Login, Outcome::Preflight][..]
        } else {
            &[
                Outcome::Forwarded,
                Outcome::Login,
                Outcome::Cancelled,
                Outcome::Cut,
                Outcome::Preflight,
                Outcome::SessionEnded,
            ]
        };
        (&*settings.name, own, &[Outcome::ProviderError, Outcome::ProviderBusy, Outcome::ProviderTimeout][..])
    });
    for (route, own, not) in plugins.chain(apps) {
        let outcomes = OUTCOMES.iter().filter(|outcome| !not.contains(outcome)).chain(own);
        outcomes.for_each(|outcome| drop(parts.metrics.requests.with_label_values(&[route, outcome.label()])));
    }
    for inbox in parts.inboxes.all() {
        for outcome in [Outcome::Received, Outcome::BadRequest, Outcome::Limited, Outcome::Unavailable] {
            drop(parts.metrics.requests.with_label_values(&[inbox.name(), outcome.label()]));
        }
    }
    for outcome in [
        Outcome::KeySet,
        Outcome::Doctor,
        Outcome::NotFound,
        Outcome::MethodNotAllowed,
        Outcome::BadRequest,
        Outcome::Limited,
        Outcome::TooLarge,
        Outcome::TooSlow,
        Outcome::Unavailable,
        Outcome::Malformed,
        Outcome::TurnedAway,
        Outcome::Moved,
    ] {
        drop(parts.metrics.requests.with_label_values(&["none", outcome.label()]));
    }
}

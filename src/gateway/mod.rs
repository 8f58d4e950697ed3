//! The data plane: one reading of a request, the questions in their order, what is written back.
//!
//! [`Front`] reads heads from Pingora's connections with our own deadlines and sizes; `decide` answers the questions and knows nothing of
//! sockets; `answer` writes.

mod accept;
mod access;
mod answer;
mod cross_site;
mod decide;
mod drain;
mod front;
mod handle;
mod head;
mod login;
mod path;
mod reader;
mod route;
pub mod settings;

use std::sync::Arc;

pub use drain::{Drain, Present};
pub use front::{Front, Limits};
pub use route::{Claims, PluginParts};

use crate::clock::Clock;
use crate::gateway::login::Login;
use crate::gateway::route::PluginRoute;
use crate::gateway::settings::PluginSettings;
use crate::lease::Book;
use crate::logging::LineSink;
use crate::problem::Refusal;
use crate::session::{Session, Sessions, Sources};
use crate::telemetry::Metrics;

/// Everything that answers requests, shared by all connections.
pub struct Gateway {
    routes: Vec<PluginRoute>,
    sources: Sources,
    sessions: Arc<Sessions>,
    book: Arc<Book>,
    clock: Clock,
    /// Our own origin, from `public_url`.
    public_origin: Box<str>,
    metrics: Metrics,
    access_log: Option<LineSink>,
}

/// What a [`Gateway`] is made of.
pub struct GatewayParts {
    /// The plug-ins in the order of the configuration.
    pub plugins: Vec<(PluginSettings, PluginParts)>,
    /// All configured issuers.
    pub issuers: Vec<String>,
    /// `session.login_url`.
    pub login_url: Option<String>,
    /// The origin of `server.public_url`.
    pub public_origin: String,
    /// Where credentials stand.
    pub sources: Sources,
    /// Who verifies them.
    pub sessions: Arc<Sessions>,
    /// Who holds the leases.
    pub book: Arc<Book>,
    /// Time.
    pub clock: Clock,
    /// Counters.
    pub metrics: Metrics,
    /// Where access lines go; `None`: nowhere.
    pub access_log: Option<LineSink>,
}

/// What a target leads to.
pub struct Reached<'g>(&'g PluginRoute);

impl Reached<'_> {
    /// The plug-in's name.
    pub fn plugin(&self) -> &str {
        &self.0.name
    }

    /// The methods that it answers.
    pub fn methods(&self) -> &'static str {
        self.0.allow()
    }

    /// Whether this session has what the vendor must be told.
    pub fn permits(&self, session: &Session) -> bool {
        self.0.key(session, None).is_some()
    }
}

impl Gateway {
    /// What a request with this target and `Host` leads to, before anything is asked of who sent it.
    pub fn reaches(&self, target: &str, host: &str) -> Result<Reached<'_>, Refusal> {
        let target = path::judge(target, host).map_err(|_| Refusal::BadRequest)?;
        self.routes.iter().find(|route| route.matches(&target.path, host)).map(Reached).ok_or(Refusal::NotFound)
    }

    /// Puts the data plane together.
    pub fn new(parts: GatewayParts) -> Arc<Self> {
        let routes = parts.plugins.into_iter().map(|(settings, plugin)| {
            let login = settings.login_url.as_deref().or(parts.login_url.as_deref());
            let login = login.map(|url| Login::new(url, &parts.public_origin));
            PluginRoute::new(&settings, plugin, &parts.issuers, login, &parts.metrics)
        });
        let mut routes: Vec<PluginRoute> = routes.collect();
        // The more specific first: a route for one host is not shadowed by one for all.
        routes.sort_by_key(|route| !route.has_host());
        Arc::new(Self {
            routes,
            sources: parts.sources,
            sessions: parts.sessions,
            book: parts.book,
            clock: parts.clock,
            public_origin: parts.public_origin.into(),
            metrics: parts.metrics,
            access_log: parts.access_log,
        })
    }
}

//! Route matching: the plug-ins first, then the apps, the most specific first.

use std::sync::Arc;

use prometheus::Histogram;

use crate::gateway::judge::app_route::AppRoute;
use crate::gateway::judge::login::Login;
use crate::gateway::judge::path;
use crate::gateway::judge::plugin_route::PluginRoute;
use crate::telemetry::Outcome;
use crate::web::Origin;

/// Paths below this are Valet's own, whatever apps there are.
const OWN: &str = "/.valet";

/// All routes.
pub(in crate::gateway) struct Routes {
    plugins: Vec<PluginRoute>,
    apps: Vec<Arc<AppRoute>>,
}

/// Who answers.
#[derive(Clone, Copy)]
pub(in crate::gateway) enum Route<'g> {
    Plugin(&'g PluginRoute),
    App(&'g Arc<AppRoute>),
}

/// Two readings of a path lead to two routes.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::gateway) struct TwoReadings;

impl<'g> Route<'g> {
    /// As metrics and logs call it.
    pub fn name(self) -> &'g str {
        match self {
            Self::Plugin(plugin) => &plugin.name,
            Self::App(app) => &app.name,
        }
    }

    /// The whole path of a plug-in, the prefix of an app.
    pub fn pattern(self) -> &'g str {
        match self {
            Self::Plugin(plugin) => plugin.path(),
            Self::App(app) => app.prefix(),
        }
    }

    /// The histogram of the outcomes that are frequent, found at start-up.
    pub fn duration(self, outcome: Outcome) -> Option<&'g Histogram> {
        match (self, outcome) {
            (Self::Plugin(plugin), Outcome::Redirect) => Some(&plugin.redirect_duration),
            (Self::Plugin(plugin), Outcome::Json) => Some(&plugin.json_duration),
            (Self::App(app), Outcome::Authorized) => Some(&app.passed_duration),
            _ => None,
        }
    }

    /// Whether another proxy carries its requests, and asks about them.
    pub fn is_authorized(self) -> bool {
        matches!(self, Self::App(app) if app.authorize)
    }

    /// The origins whose pages may read its answers, refusals too.
    pub fn allowed_origins(self) -> &'g [Origin] {
        match self {
            Self::Plugin(plugin) => &plugin.allowed_origins,
            Self::App(app) => &app.allowed_origins,
        }
    }

    /// Where one signs in for it.
    pub fn login(self) -> Option<&'g Login> {
        match self {
            Self::Plugin(plugin) => plugin.login.as_ref(),
            Self::App(app) => app.login.as_ref(),
        }
    }
}

impl Routes {
    pub fn new(mut plugins: Vec<PluginRoute>, mut apps: Vec<Arc<AppRoute>>) -> Self {
        // A route for one host is not shadowed by one for all.
        plugins.sort_by_key(|route| !route.has_host());
        apps.sort_by_key(|app| std::cmp::Reverse(app.weight()));
        Self { plugins, apps }
    }

    /// The route of a judged path. An app may decode it, and cut it at `;`, in more than one order: where any of its readings has another route, one
    /// with a session and one without, say, nobody knows which was meant.
    pub fn find(&self, path: &str, host: &str) -> Result<Option<Route<'_>>, TwoReadings> {
        let path = &*path::standing(path);
        if let Some(plugin) = self.plugins.iter().find(|route| route.matches(path, host)) {
            return Ok(Some(Route::Plugin(plugin)));
        }
        let app = self.app(path, host);
        if app.is_some() && memchr::memchr2(b'%', b';', path.as_bytes()).is_some() {
            let leads_elsewhere = |reading: &String| {
                let other = self.app(reading, host);
                !app.zip(other).is_some_and(|(one, other)| Arc::ptr_eq(one, other))
                    || self.plugins.iter().any(|route| route.matches(reading, host))
            };
            if path::readings(path).iter().any(leads_elsewhere) {
                return Err(TwoReadings);
            }
        }
        Ok(app.map(Route::App))
    }

    fn app(&self, path: &str, host: &str) -> Option<&Arc<AppRoute>> {
        if path.strip_prefix(OWN).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
            return None;
        }
        self.apps.iter().find(|app| app.matches(path, host))
    }
}

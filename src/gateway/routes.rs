//! Which route answers a path: the plug-ins first, then the apps, the most specific first.

use std::borrow::Cow;
use std::sync::Arc;

use percent_encoding::percent_decode_str;

use crate::gateway::app_route::AppRoute;
use crate::gateway::login::Login;
use crate::gateway::plugin_route::PluginRoute;

/// Paths below this are Valet's own, whatever apps there are.
const OWN: &str = "/.valet";

/// All routes.
pub(super) struct Routes {
    plugins: Vec<PluginRoute>,
    apps: Vec<Arc<AppRoute>>,
}

/// Who answers.
#[derive(Clone, Copy)]
pub(super) enum Route<'g> {
    Plugin(&'g PluginRoute),
    App(&'g Arc<AppRoute>),
}

/// Two readings of a path lead to two routes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TwoReadings;

impl<'g> Route<'g> {
    /// As metrics and logs call it.
    pub fn name(self) -> &'g str {
        match self {
            Self::Plugin(plugin) => &plugin.name,
            Self::App(app) => &app.name,
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

    /// The route of a judged path. An app may take `%61` for `a` and cut a segment at `;`, or not: where its two readings have two routes,
    /// one with a session and one without, say, nobody knows which was meant.
    pub fn find(&self, path: &str, host: &str) -> Result<Option<Route<'_>>, TwoReadings> {
        if let Some(plugin) = self.plugins.iter().find(|route| route.matches(path, host)) {
            return Ok(Some(Route::Plugin(plugin)));
        }
        let app = self.app(path, host);
        if app.is_some() && memchr::memchr2(b'%', b';', path.as_bytes()).is_some() {
            let plain = plain(path);
            let same = match (app, self.app(&plain, host)) {
                (Some(one), Some(other)) => Arc::ptr_eq(one, other),
                (None, None) => true,
                (Some(_), None) | (None, Some(_)) => false,
            };
            if !same || self.plugins.iter().any(|route| route.matches(&plain, host)) {
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

/// The path as somebody reads it who decodes it and cuts each segment at `;`.
fn plain(path: &str) -> String {
    let segment = |segment: &str| -> String {
        let decoded: Cow<'_, str> = percent_decode_str(segment).decode_utf8_lossy();
        decoded.split(';').next().unwrap_or_default().to_owned()
    };
    let whole = path.split('/').map(segment).collect::<Vec<_>>().join("/");
    // Of several slashes most readers make one.
    let mut out = String::with_capacity(whole.len());
    for c in whole.chars().filter(|c| !c.is_control()) {
        if c != '/' || !out.ends_with('/') {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_path_is_decoded_and_cut() {
        for (path, read) in
            [("/a/b", "/a/b"), ("/%61/b;x=1/c", "/a/b/c"), ("/a%2fb", "/a/b"), ("/;/a", "/a"), ("/a;/", "/a/")]
        {
            assert_eq!(plain(path), read, "{path}");
        }
    }
}

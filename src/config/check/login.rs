//! `login_url`, wherever it stands: whether somebody without a session can sign in there.

use std::collections::BTreeSet;

use super::Report;
use crate::app::settings::SessionNeed;
use crate::config::Config;
use crate::config::tree::Place;
use crate::gateway::{LoginPlace, app_at, standing_path};
use crate::web::{HostName, HostRule, LoginUrl, Origin};

/// A route that sends people to a login page.
struct Sender<'c> {
    /// The key that says where.
    key: Place,
    url: &'c LoginUrl,
    /// A host of the route's own, if it has one.
    host: Option<String>,
}

/// Warns of each `login_url` that leads to what needs a session itself.
pub(super) fn check(config: &Config, report: &mut Report<'_>) {
    let public = config.server.public_url.as_ref().map_or("", Origin::host);
    let mut said = BTreeSet::new();
    for Sender { key, url, host } in senders(config) {
        let here = host.unwrap_or_else(|| public.to_owned());
        let Some(place) = LoginPlace::of(url).filter(|_| report.sound(&key)) else { continue };
        if let Some(what) = what_needs_a_session(config, &place, &here, public)
            && said.insert((key.clone(), what.clone()))
        {
            report.warnings.push(format!(
                "{}: leads to {what}, which needs a session itself: nobody could sign in there. Give the pages that sign people in an [[app]] of \
                 their own with session = \"none\"",
                key.dotted()
            ));
        }
    }
}

fn senders(config: &Config) -> Vec<Sender<'_>> {
    let root = Place::root();
    let common = || Some((root.key("session").key("login_url"), config.session.login_url.as_ref()?));
    let mut senders = Vec::new();
    for (at, plugin) in config.plugins.iter().enumerate() {
        let own = plugin.login_url.as_ref().map(|url| (root.key("plugin").index(at).key("login_url"), url));
        senders.extend(own.or_else(common).map(|(key, url)| Sender {
            key,
            url,
            host: plugin.host.as_ref().map(HostName::to_string),
        }));
    }
    for (at, app) in config.apps.iter().enumerate().filter(|(_, app)| app.session == SessionNeed::Required) {
        let own = app.login_url.as_ref().map(|url| (root.key("app").index(at).key("login_url"), url));
        senders.extend(own.or_else(common).map(|(key, url)| Sender {
            key,
            url,
            host: app.host.as_ref().map(HostRule::example),
        }));
    }
    senders
}

/// What answers at this place and asks for a session, in an operator's words. `here`: the host that somebody comes from.
fn what_needs_a_session(config: &Config, place: &LoginPlace, here: &str, public: &str) -> Option<String> {
    let host = place.host.as_ref().map_or(here, HostName::as_str);
    let is_ours = place.host.as_ref().is_none_or(|host| host.is(public));
    // Another host is ours only where a route names it: one for all hosts would cover the whole world.
    let named = |own: Option<bool>| own.unwrap_or(is_ours);
    let plugin = config.plugins.iter().find(|plugin| {
        standing_path(&plugin.path) == *place.path && named(plugin.host.as_ref().map(|own| own.is(host)))
    });
    if let Some(plugin) = plugin {
        return Some(format!("the plug-in {:?}", plugin.name));
    }
    let apps = config.apps.iter().filter(|app| named(app.host.as_ref().map(|own| own.covers(host))));
    let app = app_at(apps, &place.path, host).filter(|app| app.session == SessionNeed::Required)?;
    Some(format!("the app {:?}", app.name))
}

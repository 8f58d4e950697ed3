//! `login_url`, wherever it stands: whether somebody without a session can sign in there.

use std::collections::BTreeSet;

use url::Url;

use super::Report;
use crate::app::settings::SessionNeed;
use crate::config::Config;
use crate::config::tree::Place;
use crate::gateway::{LoginPlace, app_at};

/// A route that sends people to a login page.
struct Sender<'c> {
    /// The key that says where.
    key: Place,
    url: &'c str,
    /// The route's own host, if it has one.
    host: Option<&'c str>,
}

/// Warns of each `login_url` that leads to what needs a session itself.
pub(super) fn check(config: &Config, report: &mut Report<'_>) {
    let public = Url::parse(&config.server.public_url).ok();
    let public = public.as_ref().and_then(Url::host_str).unwrap_or_default();
    let mut said = BTreeSet::new();
    for Sender { key, url, host } in senders(config) {
        // A host with `*.` stands for any name below it.
        let here = host.map_or_else(|| public.to_owned(), |host| host.replacen('*', "any", 1));
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
    let common = || Some((root.key("session").key("login_url"), config.session.login_url.as_deref()?));
    let mut senders = Vec::new();
    for (at, plugin) in config.plugins.iter().enumerate() {
        let own = plugin.login_url.as_deref().map(|url| (root.key("plugin").index(at).key("login_url"), url));
        senders.extend(own.or_else(common).map(|(key, url)| Sender { key, url, host: plugin.host.as_deref() }));
    }
    for (at, app) in config.apps.iter().enumerate().filter(|(_, app)| app.session == SessionNeed::Required) {
        let own = app.login_url.as_deref().map(|url| (root.key("app").index(at).key("login_url"), url));
        senders.extend(own.or_else(common).map(|(key, url)| Sender { key, url, host: app.host.as_deref() }));
    }
    senders
}

/// What answers at this place and asks for a session, in an operator's words. `here`: the host that somebody comes from.
fn what_needs_a_session(config: &Config, place: &LoginPlace, here: &str, public: &str) -> Option<String> {
    let host = place.host.as_deref().unwrap_or(here);
    let is_ours = place.host.is_none() || host.eq_ignore_ascii_case(public);
    // Another host is ours only where a route names it: one for all hosts would cover the whole world.
    let named = |own: Option<&str>| own.map_or(is_ours, |own| own.contains('*') || own.eq_ignore_ascii_case(host));
    let plugin = config.plugins.iter().find(|plugin| *plugin.path == *place.path && named(plugin.host.as_deref()));
    if let Some(plugin) = plugin {
        return Some(format!("the plug-in {:?}", plugin.name));
    }
    let apps = config.apps.iter().filter(|app| named(app.host.as_deref()));
    let app = app_at(apps, &place.path, host).filter(|app| app.session == SessionNeed::Required)?;
    Some(format!("the app {:?}", app.name))
}

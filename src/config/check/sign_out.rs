//! `[session.logout]` and `[session.events]`.

use super::{Report, plugin, session};
use crate::config::Config;
use crate::config::tree::Place;
use crate::gateway::standing_path;
use crate::session::settings::{SessionSettings, TransmitterSettings};

/// What else Valet serves on every listener.
const OWN: [&str; 3] = ["/.valet/authorize", "/.valet/doctor", "/.valet/jwks.json"];

pub(super) fn check(config: &Config, report: &mut Report<'_>) {
    let (place, session) = (Place::root().key("session"), &config.session);
    let (logout, events) = (place.key("logout"), place.key("events"));
    let mut paths = Vec::new();
    paths.extend(session.logout.as_ref().map(|settings| (logout.key("path"), settings.path.as_str())));
    paths.extend(session.events.as_ref().map(|settings| (events.key("path"), settings.path.as_str())));
    for (place, path) in &paths {
        // Below `/.valet/` they are at home.
        let at_home = path.strip_prefix("/.valet").filter(|rest| rest.starts_with('/'));
        report.note(place, plugin::path(at_home.unwrap_or(path)));
        if OWN.iter().any(|own| path.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))) {
            report.fault(place, "Valet has this path for something else");
        }
        if config.plugins.iter().any(|plugin| standing_path(&plugin.path) == standing_path(path)) {
            report.fault(place, "a plug-in has this path");
        }
    }
    report.unique(paths.into_iter().map(|(place, path)| (place, standing_path(path))), "this path is taken");
    let audiences = place.key("issuer");
    for (i, issuer) in session.issuers.iter().enumerate() {
        let place = audiences.index(i).key("logout_audiences");
        if issuer.logout_audiences.as_ref().is_some_and(|list| list.is_empty() || list.iter().any(String::is_empty)) {
            report.fault(&place, "expected at least one audience, none of them empty; left out, `audiences` are meant");
        }
        if issuer.logout_audiences.is_some() && session.logout.is_none() {
            let message = "has a meaning beside [session.logout] only";
            report.warnings.push(format!("session.issuer.logout_audiences: {message} ({})", issuer.issuer));
        }
    }
    let Some(settings) = &session.events else { return };
    let transmitters = events.key("transmitter");
    if settings.transmitters.is_empty() {
        report.fault(&transmitters, "at least one [[session.events.transmitter]] is required");
    }
    let names = settings.transmitters.iter().enumerate();
    report.unique(
        names.map(|(i, one)| (transmitters.index(i).key("issuer"), &one.issuer)).collect::<Vec<_>>(),
        "this transmitter stands in the file already",
    );
    for (i, one) in settings.transmitters.iter().enumerate() {
        transmitter(session, one, &transmitters.index(i), report);
    }
}

fn transmitter(session: &SessionSettings, settings: &TransmitterSettings, place: &Place, report: &mut Report<'_>) {
    if settings.issuer.is_empty() {
        report.fault(&place.key("issuer"), "must not be empty");
    }
    if settings.audiences.is_empty() || settings.audiences.iter().any(String::is_empty) {
        report.fault(&place.key("audiences"), "expected at least one audience, none of them empty");
    }
    if !session.expanded().iter().any(|issuer| issuer.issuer == settings.subjects_of) {
        report.fault(&place.key("subjects_of"), "no [[session.issuer]] has this `issuer`");
    }
    session::keys(&settings.as_issuer(), place, report);
}

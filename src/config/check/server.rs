//! `[server]`, `[[listener]]`, `[admin]`, `[log]`; which address is whose.

use super::Report;
use super::address::collide;
use crate::admin::check_token;
use crate::config::Config;
use crate::config::tree::Place;
use crate::secret::SecretSource;
use crate::units::{ListenAddress, Span};

/// More threads than this is a slip: the largest machines have fewer cores.
const MAX_THREADS: usize = 1024;

/// As many requests as there are descriptors on the largest machines.
const MAX_REQUESTS: usize = 1 << 20;

pub(super) fn check(config: &Config, report: &mut Report<'_>) {
    let server = Place::root().key("server");
    public_url(config, &server, report);
    if config.server.threads > MAX_THREADS {
        report.fault(&server.key("threads"), "at most 1024");
    }
    if config.server.connections_per_address == Some(0) {
        report.fault(&server.key("connections_per_address"), "expected at least 1; left out, there is no bound");
    }
    if config.server.max_requests.is_some_and(|most| !(1..=MAX_REQUESTS).contains(&most)) {
        let message = "expected 1 to 1048576; left out, it is reckoned from the file descriptors";
        report.fault(&server.key("max_requests"), message);
    }
    let settings = &config.server;
    for (key, span) in [
        ("idle_timeout", settings.idle_timeout),
        ("body_stall", settings.body_stall),
        ("write_stall", settings.write_stall),
    ] {
        if !(Span::secs(1)..=Span::secs(3600)).contains(&span) {
            report.fault(&server.key(key), "must be from \"1s\" to \"1h\"");
        }
    }
    addresses(config, report);
    if let Some(source) = config.admin.as_ref().and_then(|admin| admin.token.as_ref()) {
        admin_token(source, report);
    }
    if let Some(source) = &config.log.subject_key {
        report.secret(&Place::root().key("log").key("subject_key"), source);
    }
}

fn admin_token(source: &SecretSource, report: &mut Report<'_>) {
    let place = Place::root().key("admin").key("token");
    if let Some(secret) = report.secret(&place, source) {
        report.note(&place, check_token(&secret));
    }
}

/// What faces browsers must know its own name.
fn public_url(config: &Config, server: &Place, report: &mut Report<'_>) {
    let place = server.key("public_url");
    let needed = !config.listeners.is_empty() || config.minter.is_none();
    match (report.written(server), report.written(&place)) {
        (false, _) if needed => report.fault(server, "is required"),
        (true, false) if needed => report.fault(&place, "is required"),
        _ => {}
    }
}

fn addresses(config: &Config, report: &mut Report<'_>) {
    let listener = Place::root().key("listener");
    if config.listeners.is_empty() && config.minter.is_none() {
        report.fault(&listener, "at least one [[listener]] is required");
    }
    let own = |owner: &str| Place::root().key(owner).key("address");
    let listeners = config.listeners.iter().enumerate();
    let listeners = listeners.map(|(i, one)| (listener.index(i).key("address"), one.address.clone()));
    let admin = config.admin.iter().map(|admin| (own("admin"), admin.address.clone()));
    let minter = config.minter.iter().map(|minter| (own("minter"), ListenAddress::Tcp(minter.address.clone())));
    let mut taken: Vec<(Place, ListenAddress)> = Vec::new();
    for (place, address) in
        listeners.chain(admin).chain(minter).filter(|(place, _)| report.sound(place)).collect::<Vec<_>>()
    {
        if let Some((other, _)) = taken.iter().find(|(_, other)| collide(other, &address)) {
            let message = format!("this address is taken by {} already{}", other.dotted(), report.line(other));
            report.fault(&place, message);
        }
        taken.push((place, address));
    }
}

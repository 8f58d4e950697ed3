//! `[server]`, `[[listener]]`, `[admin]`, `[log]`, `[leases]`.

use super::Report;
use super::origin::{Address, origin};
use crate::config::Config;
use crate::config::tree::Place;

/// More threads than this is a slip: the largest machines have fewer cores.
const MAX_THREADS: usize = 1024;
/// Leases are kept in memory, about 1 KiB each.
const MAX_LEASES: usize = 1_000_000_000;

pub(super) fn check(config: &Config, report: &mut Report<'_>) {
    let server = Place::root().key("server");
    report.note(&server.key("public_url"), origin(&config.server.public_url));
    if config.server.threads > MAX_THREADS {
        report.fault(&server.key("threads"), "at most 1024");
    }
    if config.server.connections_per_address == Some(0) {
        report.fault(&server.key("connections_per_address"), "expected at least 1; left out, there is no bound");
    }
    addresses(config, report);
    if let Some(source) = &config.log.subject_key {
        report.secret(&Place::root().key("log").key("subject_key"), source);
    }
    if !(1..=MAX_LEASES).contains(&config.leases.capacity) {
        report.fault(&Place::root().key("leases").key("capacity"), "expected 1 to 1000000000");
    }
}

fn addresses(config: &Config, report: &mut Report<'_>) {
    let listener = Place::root().key("listener");
    if config.listeners.is_empty() {
        report.fault(&listener, "at least one [[listener]] is required");
    }
    let listeners = config.listeners.iter().enumerate().map(|(i, l)| (listener.index(i).key("address"), &l.address));
    let admin = config.admin.iter().map(|a| (Place::root().key("admin").key("address"), &a.address));
    let mut taken: Vec<(Place, Address)> = Vec::new();
    for (place, text) in listeners.chain(admin) {
        match Address::parse(text) {
            Err(message) => report.fault(&place, message),
            Ok(address) => {
                if let Some((other, _)) = taken.iter().find(|(_, other)| other.collides(&address)) {
                    let message = format!("this address is taken by {} already", other.dotted());
                    report.fault(&place, message);
                }
                taken.push((place, address));
            }
        }
    }
}

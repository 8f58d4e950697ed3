//! The example of the contract, and its defaults.

use super::*;
use crate::gateway::settings::Embedder;
use crate::lease::settings::{MintsPerSubject, Reuse, StoreKind};
use crate::session::ClaimPath;
use crate::telemetry::LogLevel;
use crate::units::Span;
use crate::web::LoginUrl;

const EXAMPLE: &str = include_str!("contract.toml");

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn the_whole_example_loads_with_the_values_that_it_shows() {
    let config = parse(EXAMPLE).unwrap();
    assert_eq!((config.listeners.len(), config.providers.len(), config.plugins.len()), (1, 2, 1));
    assert_eq!(config.admin.unwrap().address.as_str(), "127.0.0.1:9090");
    let plugin = &config.plugins[0];
    assert_eq!(plugin.languages, strings(&["en", "nl"]));
    assert_eq!(plugin.refresh_ahead, Some(Span::secs(1800)));
    assert_eq!(config.session.login_url.as_ref().map(LoginUrl::as_str), Some("/login"));
    let acme = &config.providers[1];
    assert_eq!(acme.register.as_ref().unwrap().accept_if.as_ref().unwrap()[0].body_contains, "already exists");
    assert_eq!(acme.mint["embed"].query.as_ref().unwrap()["language"], "{language}");
    assert_eq!(acme.revoke.as_ref().unwrap().path.as_deref(), Some("/tokens/{subject}"));
}

#[test]
fn the_defaults_are_those_of_the_contract() {
    let config = parse(GOOD).unwrap();
    assert_eq!(
        (config.server.threads, config.server.drain, config.server.drain_delay),
        (0, Span::secs(30), Span::secs(0))
    );
    assert!(config.admin.is_none());
    assert_eq!((config.log.level, config.log.access), (LogLevel::Info, true));
    assert!(config.log.subject_key.is_none());
    let session = &config.session;
    let sources: Vec<String> = session.sources.iter().map(ToString::to_string).collect();
    assert_eq!(sources, strings(&["header:authorization", "cookie:session"]));
    assert_eq!((session.clock_skew, session.max_token_bytes, session.cache), (Span::secs(30), 8192, 100_000));
    assert_eq!(session.login_url, None);
    let issuer = &session.issuers[0];
    let claims = [&issuer.subject_claim, &issuer.session_claim, &issuer.audience_claim];
    assert_eq!(claims.map(ClaimPath::as_str), ["sub", "sid", "aud"]);
    let provider = &config.providers[0];
    assert_eq!((provider.timeout, provider.max_in_flight), (Span::secs(5), 256));
    let breaker = provider.breaker;
    assert_eq!((breaker.failures, breaker.within, breaker.pause), (20, Span::secs(10), Span::secs(5)));
    let plugin = &config.plugins[0];
    assert_eq!(plugin.reuse, Reuse::User);
    assert_eq!((plugin.max_age, plugin.min_remaining), (Span::secs(6 * 3600), Span::secs(300)));
    assert_eq!((plugin.refresh_ahead, plugin.languages.len(), plugin.allowed_origins.len()), (None, 0, 0));
    assert_eq!(plugin.embed, [Embedder::SameSite]);
    assert_eq!(plugin.mints_per_subject, MintsPerSubject { count: 30, within: Span::secs(3600) });
    assert_eq!((config.leases.store, config.leases.capacity), (StoreKind::Memory, 1_000_000));
}

//! `valet check`.

use std::time::Duration;

use super::{ConfigFile, End, exit, load, runtime, say};
use crate::clock::Clock;
use crate::config::Config;
use crate::provider::{MintFailure, MintInput, Minted};
use crate::server::Parts;
use crate::telemetry::Metrics;

/// Under this name the vendor sees the check.
const CANARY: &str = "valet-check";

pub(super) fn check(file: &ConfigFile, live: bool) -> Result<(), End> {
    let config = load(file)?;
    let clock = Clock::system();
    let parts = parts(&config, &clock)?;
    if live {
        runtime(1)?.block_on(try_out(&config, &parts, &clock))?;
    }
    say(&format!("{}: no fault found", file.config.display()));
    Ok(())
}

/// What `run` would serve with, made but not started: faults that only the making shows are found too.
pub(super) fn parts(config: &Config, clock: &Clock) -> Result<Parts, End> {
    let metrics = Metrics::new(env!("CARGO_PKG_VERSION"), env!("VALET_REVISION"))
        .map_err(|fault| End::new(exit::SOFTWARE, format!("valet: {fault}")))?;
    Parts::new(config, clock, &metrics).map_err(|fault| End { code: exit::CONFIG, lines: fault.lines() })
}

async fn try_out(config: &Config, parts: &Parts, clock: &Clock) -> Result<(), End> {
    let mut faults = parts.sessions.fetch_all().await;
    if faults.is_empty() {
        for issuer in &config.session.issuers {
            say(&format!("issuer {}: keys are there", issuer.issuer));
        }
    }
    for plugin in parts.plugins.iter() {
        let name = &plugin.settings.name;
        match plugin.mint.mint(&canary(CANARY, None, plugin.claim_count)).await {
            Ok(minted) => say(&format!("plugin {name}: minted, {}", life(&minted, clock))),
            Err(failure) => faults.push(format!("plugin {name}: {}", explain(failure))),
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(End { code: exit::UNAVAILABLE, lines: faults }) }
}

/// A user that the vendor may know under this name.
pub(super) fn canary(external_id: &str, language: Option<&str>, claims: usize) -> MintInput {
    MintInput {
        external_id: external_id.into(),
        issuer: "urn:valet:check".into(),
        subject: external_id.into(),
        language: language.map(Into::into),
        claims: vec![Some(CANARY.into()); claims].into(),
    }
}

fn life(minted: &Minted, clock: &Clock) -> String {
    match minted.ends {
        None => "its URL says no end, max_age counts".into(),
        Some(end) => {
            let left = Duration::from_secs(end.since(clock.now()).as_secs());
            format!(
                "its URL has {}h {}m {}s left",
                left.as_secs() / 3600,
                left.as_secs() / 60 % 60,
                left.as_secs() % 60
            )
        }
    }
}

/// In the operator's words, and what to look at.
pub(super) fn explain(failure: MintFailure) -> String {
    match failure {
        MintFailure::Refused => {
            "the provider refused (4xx): look at api_key, and at the paths of register and mint".into()
        }
        MintFailure::Unreachable => {
            "the provider is unreachable, or answered 5xx: look at base_url and the network".into()
        }
        MintFailure::TimedOut => "the provider did not answer within timeout".into(),
        MintFailure::Nonsense => "the answer holds no usable URL: look at the mint's path, url and expires".into(),
        MintFailure::ForbiddenHost => "the minted URL leads to a host outside redirect_hosts".into(),
        MintFailure::Busy(wait) => format!("the provider is busy; it asks to wait {} s", wait.as_secs()),
    }
}

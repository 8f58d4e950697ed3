//! `valet check`.

use std::io::Write;
use std::time::Duration;

use super::fortify::fortify;
use super::{ConfigFile, End, exit, load, runtime, say};
use crate::clock::Clock;
use crate::config::Config;
use crate::lease::{Parameters, Rules};
use crate::provider::wire::Denial;
use crate::provider::{HealthStatus, Mint, MintContext, MintFailure, MintInput, Minted, Provider, Remote};
use crate::server::{Components, MinterComponents, obstacles, rules};
use crate::telemetry::Metrics;
use crate::units::Span;

/// Under this name the vendor sees the check.
const CANARY: &str = "valet-check";

pub(super) fn check(file: &ConfigFile, live: bool) -> Result<(), End> {
    fortify()?;
    let config = load(file)?;
    let clock = Clock::system();
    let components = components(&config, &clock)?;
    for obstacle in obstacles(&config) {
        let _ = writeln!(std::io::stderr(), "warning: {obstacle}");
    }
    if live {
        let runtime = runtime(1)?;
        let tried = runtime.block_on(try_out(&config, &components, &clock));
        // A name that is still asked for is given up.
        runtime.shutdown_background();
        tried?;
    }
    say(&format!("{}: no fault found", file.config.display()));
    Ok(())
}

/// What `run` would serve with, made but not started: faults that only the making shows are found too.
pub(super) fn components(config: &Config, clock: &Clock) -> Result<Components, End> {
    let metrics = Metrics::new(env!("CARGO_PKG_VERSION"), env!("VALET_REVISION"))
        .map_err(|fault| End::new(exit::SOFTWARE, format!("valet: {fault}")))?;
    Components::new(config, clock, &metrics).map_err(|fault| End { code: exit::CONFIG, lines: fault.lines() })
}

async fn try_out(config: &Config, components: &Components, clock: &Clock) -> Result<(), End> {
    let mut faults = components.sessions.fetch_all().await;
    if faults.is_empty() {
        for issuer in config.session.expanded() {
            say(&format!("issuer {}: keys are there", issuer.issuer));
        }
    }
    for provider in components.providers.iter() {
        if let Provider::Remote(remote) = provider {
            faults.extend(greet(remote, config).await);
        }
    }
    for offer in components.minter.iter().flat_map(MinterComponents::offers) {
        if !components.plugins.iter().any(|plugin| plugin.settings.name == offer.0) {
            let input = canary(CANARY, None, components.claim_names.len());
            match offer.1.mint.mint(&input).await {
                Ok(minted) => {
                    let life = life(&minted, clock, &offer.1.rules);
                    say(&format!("mint {}: minted, {life}", offer.0));
                }
                Err(failure) => faults.push(format!("mint {}: {}", offer.0, told(failure, &*offer.1.mint))),
            }
        }
    }
    for plugin in components.plugins.iter().filter(|plugin| !is_remote(components, &plugin.settings.provider)) {
        let name = &plugin.settings.name;
        let parameters = Parameters::new(&plugin.settings.parameters).sample();
        match plugin.mint.mint(&MintInput { parameters, ..canary(CANARY, None, plugin.claim_count) }).await {
            Ok(minted) => {
                let rules = rules(&plugin.settings, &config.providers);
                let life = life(&minted, clock, &rules);
                say(&format!("plugin {name}: minted, {life}"));
            }
            Err(failure) => faults.push(format!("plugin {name}: {}", told(failure, &*plugin.mint))),
        }
    }
    faults.extend(try_store(components).await);
    try_apps(components).await;
    if faults.is_empty() { Ok(()) } else { Err(End { code: exit::UNAVAILABLE, lines: faults }) }
}

/// Whether the shared store can be used. One in a file is opened by `run` alone: a process that serves has it.
async fn try_store(components: &Components) -> Option<String> {
    let store = components.book.store()?;
    match store.try_out().await {
        Ok(()) => {
            say("leases.redis: there, and takes writes");
            None
        }
        Err(why) => Some(format!("leases.redis: the store can't be used: {why}")),
    }
}

/// Whether apps answer. One that does not is a warning alone: the gateway serves without it, and it may start later.
async fn try_apps(components: &Components) {
    let asked = components.apps.iter().map(async |app| (&app.settings.name, app.pool.try_out().await));
    for (name, upstreams) in futures_util::future::join_all(asked).await {
        for (upstream, fault) in upstreams {
            match fault {
                None => say(&format!("app {name}: {upstream} answers")),
                Some(fault) => {
                    let _ = writeln!(std::io::stderr(), "warning: app {name}: {upstream}: {fault}");
                }
            }
        }
    }
}

/// Asks the minters of one provider what this edge may mint. No canary is minted: a minter mints for sessions.
async fn greet(remote: &Remote, config: &Config) -> Vec<String> {
    let mut faults = Vec::new();
    let plugins = || config.plugins.iter().filter(|plugin| plugin.provider == remote.name());
    for (minter, greeting) in remote.greet().await {
        match greeting {
            HealthStatus::Welcome(may) => {
                say(&format!("minter {minter}: there; this edge may mint {}", may.join(", ")));
                let missing = plugins().filter(|plugin| !may.contains(&plugin.mint));
                faults.extend(missing.map(|plugin| {
                    format!("plugin {}: the minter {minter} has no {:?} for this edge: look at its [[minter.edge]]", plugin.name, plugin.mint)
                }));
            }
            HealthStatus::Refused(denial) if denial != Denial::NoEdge => {
                faults.push(format!("minter {minter}: is there and can't mint now ({})", denial.label()));
            }
            HealthStatus::Refused(denial) => faults.push(format!(
                "minter {minter}: refuses this edge ({}): look at its [[minter.edge]] and at the names in this edge's certificate",
                denial.label()
            )),
            HealthStatus::Hangs => faults.push(format!("minter {minter}: does not answer within timeout")),
            HealthStatus::Absent(cause) => faults.push(format!(
                "minter {minter}: can't be reached, or one side does not believe the other's certificate: look at url, ca, and the minter's client_ca ({})",
                cause.map_or("what answers there is no minter".to_owned(), |cause| cause.to_string())
            )),
        }
    }
    faults
}

/// Whether a minter mints for this provider.
pub(super) fn is_remote(components: &Components, provider: &str) -> bool {
    components.providers.iter().any(|known| known.name() == provider && matches!(known, Provider::Remote(_)))
}

/// A user that the vendor may know under this name.
pub(super) fn canary(external_id: &str, language: Option<&str>, claims: usize) -> MintInput {
    MintInput {
        external_id: external_id.into(),
        issuer: "urn:valet:check".into(),
        subject: external_id.into(),
        language: language.map(Into::into),
        claims: vec![Some(CANARY.into()); claims].into(),
        parameters: Box::default(),
        context: MintContext::default(),
    }
}

pub(super) fn life(minted: &Minted, clock: &Clock, rules: &Rules) -> String {
    let max_age = Span(rules.max_age);
    match minted.ends {
        None if minted.end_unread => format!(
            "its URL says no end where `expires` looks: max_age ({max_age}) counts, and programs are told no end; look at the mint's expires"
        ),
        None => format!("its URL says no end, max_age ({max_age}) counts"),
        Some(end) => {
            let left = Duration::from_secs(end.since(clock.now()).as_secs());
            let held = left.min(rules.max_age);
            let short = if held <= rules.min_remaining {
                ", which is not more than min_remaining: it is never held, and each request mints"
            } else {
                ""
            };
            let capped =
                if held < left { format!(", and is held for {max_age} at most (max_age)") } else { String::new() };
            format!("its URL is good for {}{capped}{short}", plain(left))
        }
    }
}

/// As one says it: `6h`, and not `5h 59m 59s` a moment after the mint.
fn plain(life: Duration) -> Span {
    const MINUTE: u64 = 60;
    let seconds = life.as_secs();
    Span::secs(if seconds < 2 * MINUTE { seconds } else { (seconds + MINUTE / 2) / MINUTE * MINUTE })
}

/// The same with what is known of this one failure.
pub(super) fn told(failure: MintFailure, mint: &dyn Mint) -> String {
    let why = mint.why().map_or_else(String::new, |why| format!(" ({why})"));
    explain(failure) + &why
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
        MintFailure::Limited(wait) => format!("too many mints of one subject; wait {} s", wait.as_secs()),
        MintFailure::Session(_) => "the minter does not take this session".into(),
        MintFailure::StoreLost => "the store of leases can't be asked".into(),
        MintFailure::Busy(wait) => format!("the provider is busy; it asks to wait {} s", wait.as_secs()),
    }
}

//! `valet run`.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{Level, error, info};

use super::fortify::fortify;
use super::{ConfigFile, End, exit, load, runtime};
use crate::clock::Clock;
use crate::config::Config;
use crate::gateway::Limits;
use crate::logging::{self, LineSink};
use crate::server::{self, Options, StartFault};
use crate::telemetry::{LogLevel, Metrics};

pub(super) fn run(file: &ConfigFile) -> Result<(), End> {
    // Before the first secret is read.
    fortify()?;
    let config = load(file)?;
    let runtime = runtime(config.server.threads)?;
    let logs = Logs::new(&config)?;
    let served = runtime.block_on(serve(config, &logs));
    // What still runs is beyond the drain's deadline.
    runtime.shutdown_background();
    logs.close();
    served
}

/// Both streams of lines, and what counts their losses.
pub(super) struct Logs {
    access: LineSink,
    events: LineSink,
    metrics: Metrics,
    clock: Clock,
}

impl Logs {
    pub fn new(config: &Config) -> Result<Self, End> {
        let fault = |fault: String| End::new(exit::SOFTWARE, format!("valet: no log: {fault}"));
        let metrics =
            Metrics::new(env!("CARGO_PKG_VERSION"), env!("VALET_REVISION")).map_err(|f| fault(f.to_string()))?;
        let lost = |stream: &str| metrics.log_lines_lost.with_label_values(&[stream]);
        let access = LineSink::new(std::io::stdout(), lost("stdout")).map_err(|f| fault(f.to_string()))?;
        let events = LineSink::new(std::io::stderr(), lost("stderr")).map_err(|f| fault(f.to_string()))?;
        let clock = Clock::system();
        logging::install(events.clone(), level(config.log.level), clock.clone());
        Ok(Self { access, events, metrics, clock })
    }

    pub fn close(&self) {
        self.access.close();
        self.events.close();
    }
}

async fn serve(config: Config, logs: &Logs) -> Result<(), End> {
    let (mut terminate, mut interrupt, mut hangup) =
        (on(SignalKind::terminate())?, on(SignalKind::interrupt())?, on(SignalKind::hangup())?);
    let options = Options {
        clock: logs.clock.clone(),
        access_log: Some(logs.access.clone()),
        limits: limits(&config),
        metrics: logs.metrics.clone(),
    };
    let running = server::start(config, options).map_err(|fault| match fault {
        StartFault::Build(faults) => End { code: exit::CONFIG, lines: faults.lines() },
        fault @ (StartFault::Bind(_) | StartFault::Store(_)) => End::new(exit::SOFTWARE, format!("valet: {fault}")),
    })?;
    // From here on both streams are JSON lines.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(String::new, ToString::to_string);
        error!(target: "valet", place, "a task panicked; the others go on");
    }));
    for address in &running.addresses {
        info!(target: "valet", address, version = super::VERSION, "serving");
    }
    if let Some(address) = &running.minter {
        info!(target: "valet", address, version = super::VERSION, "minting for edges");
    }
    if let Some(address) = &running.admin {
        info!(target: "valet", address, "administration address serving");
    }
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => {
                info!(target: "valet", "reading keys, secrets and certificates again");
                running.reread();
            }
        }
    }
    info!(target: "valet", "draining");
    tokio::select! {
        () = running.stop() => info!(target: "valet", "stopped"),
        // A second Ctrl-C is in a hurry.
        _ = interrupt.recv() => info!(target: "valet", "stopped at once"),
    }
    Ok(())
}

/// As many connections as the file descriptors allow, less those that the vendor's calls and the administration address need: a crowd of
/// silent clients must not take away what health checks need.
fn limits(config: &Config) -> Limits {
    let limits = Limits::default();
    let Ok(descriptors) = rlimit::increase_nofile_limit(u64::MAX) else { return limits };
    let calls = config.providers.iter().map(|provider| provider.max_in_flight as u64).sum();
    let room = room(descriptors, calls, !config.apps.is_empty());
    Limits { max_connections: usize::try_from(room).unwrap_or(usize::MAX).min(limits.max_connections), ..limits }
}

/// The connections that so many file descriptors leave room for, beside so many calls at once.
fn room(descriptors: u64, calls: u64, apps: bool) -> u64 {
    /// Listeners, logs, key files, the administration address, key sets.
    const OWN: u64 = 128;
    let room = descriptors.saturating_sub(OWN.saturating_add(calls)).max(descriptors / 2);
    // A request to an app takes a connection of its own.
    if apps { room / 2 } else { room }
}

fn on(kind: SignalKind) -> Result<Signal, End> {
    signal(kind).map_err(|fault| End::new(exit::SOFTWARE, format!("valet: no signals: {fault}")))
}

fn level(level: LogLevel) -> Level {
    match level {
        LogLevel::Error => Level::ERROR,
        LogLevel::Warn => Level::WARN,
        LogLevel::Info => Level::INFO,
        LogLevel::Debug => Level::DEBUG,
        LogLevel::Trace => Level::TRACE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_descriptors_are_shared_out_before_they_run_out() {
        assert_eq!(room(1024, 0, false), 896);
        assert_eq!(room(1024, 64, false), 832);
        assert_eq!(room(1024, 64, true), 416);
        // Half at least is for clients, or for clients and apps.
        assert_eq!(room(200, 1000, false), 100);
        assert_eq!(room(200, 1000, true), 50);
        assert_eq!(room(u64::MAX, u64::MAX, false), u64::MAX / 2);
    }
}

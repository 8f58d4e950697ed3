//! `valet run`.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{Level, error, info, warn};

use super::fortify::fortify;
use super::{ConfigFile, End, exit, load, notify, runtime, successor};
use crate::clock::Clock;
use crate::config::{self, Config, STDIN};
use crate::gateway::Limits;
use crate::logging::{self, LineSink};
use crate::server::{self, ConfigSource, Handed, Options, ServerHandle, StartFault, Successor, apart};
use crate::telemetry::{LogLevel, Metrics};

pub(super) fn run(file: &ConfigFile, upgrade: bool) -> Result<(), End> {
    // Before the first secret is read.
    fortify()?;
    let read = apart(|| load(file));
    let config = read.map_err(|fault| End::new(exit::SOFTWARE, format!("valet: no thread: {fault}"))).flatten()?;
    if upgrade && config.server.upgrade_socket.is_none() {
        return Err(End::new(
            exit::CONFIG,
            "valet: --upgrade needs server.upgrade_socket, and the configuration has none",
        ));
    }
    let runtime = runtime(config.server.threads)?;
    let logs = Logs::new(&config)?;
    let served = runtime.block_on(serve(config, (file, upgrade), &logs));
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

async fn serve(config: Config, (file, upgrade): (&ConfigFile, bool), logs: &Logs) -> Result<(), End> {
    let mut signals = Signals::new()?;
    let options = Options {
        clock: logs.clock.clone(),
        access_log: Some(logs.access.clone()),
        limits: limits(&config),
        metrics: logs.metrics.clone(),
    };
    let handed = Handed::from_systemd();
    let handed = handed.map_err(|fault| End::new(exit::SOFTWARE, format!("valet: the sockets of systemd: {fault}")))?;
    let strangers = strangers(&handed, &config);
    let started = if upgrade {
        server::take_over(config, options, handed, signals.told_to_end()).await
    } else {
        server::start_with(config, options, handed)
    };
    let running = started.map_err(|fault| match fault {
        StartFault::Build(faults) => End { code: exit::CONFIG, lines: faults.lines() },
        fault => End::new(exit::SOFTWARE, fault.to_string()),
    })?;
    running.reload_from(source(file));
    // From here on both streams are JSON lines.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(String::new, ToString::to_string);
        error!(target: "valet", place, "a task panicked; the others go on");
    }));
    announce(&running, strangers);
    notify::ready();
    let successor = signals.until_the_end(&running, file).await;
    info!(target: "valet", "draining");
    let ending = async {
        match successor {
            Some(successor) => {
                // Before it says to systemd that it is ready.
                notify::main_process(successor.process);
                successor.announce().await;
                running.retire(successor).await;
            }
            None => {
                notify::stopping();
                running.stop().await;
            }
        }
    };
    tokio::select! {
        () = ending => info!(target: "valet", "stopped"),
        // A second Ctrl-C is in a hurry.
        _ = signals.interrupt.recv() => info!(target: "valet", "stopped at once"),
    }
    Ok(())
}

fn announce(running: &ServerHandle, strangers: Vec<String>) {
    for address in &running.addresses {
        info!(target: "valet", address, version = super::VERSION, "serving");
    }
    if let Some(address) = &running.minter {
        info!(target: "valet", address, version = super::VERSION, "minting for edges");
    }
    if let Some(address) = &running.admin {
        info!(target: "valet", address, "administration address serving");
    }
    for name in strangers {
        warn!(target: "valet", name, "systemd has a socket for a listener of this name, and none has it");
    }
}

/// What an operator says to the process.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    quit: Signal,
    first: Signal,
    second: Signal,
}

impl Signals {
    fn new() -> Result<Self, End> {
        Ok(Self {
            terminate: on(SignalKind::terminate())?,
            interrupt: on(SignalKind::interrupt())?,
            hangup: on(SignalKind::hangup())?,
            quit: on(SignalKind::quit())?,
            // Left alone they would end the process without a word.
            first: on(SignalKind::user_defined1())?,
            second: on(SignalKind::user_defined2())?,
        })
    }

    /// Returns when the process is to end. Dropped: nothing that was said is lost.
    async fn told_to_end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.quit.recv() => {}
        }
    }

    /// Does what is said until it is time to end; with the process that has taken over, if one has.
    async fn until_the_end(&mut self, running: &ServerHandle, file: &ConfigFile) -> Option<Successor> {
        loop {
            tokio::select! {
                () = notify::feed_watchdog(running) => {}
                successor = running.taken_over() => return Some(successor),
                _ = self.terminate.recv() => return None,
                () = running.drain_asked() => return None,
                _ = self.interrupt.recv() => return None,
                // As with nginx: to leave gracefully.
                _ = self.quit.recv() => return None,
                _ = self.hangup.recv() => {
                    notify::reloading();
                    // What came of it is told where it is done.
                    running.reload().await;
                    notify::ready();
                }
                _ = self.first.recv() => {
                    warn!(target: "valet", "SIGUSR1 does nothing: lines go to stdout and stderr, and no file is opened again; SIGHUP reads configuration and keys again");
                }
                _ = self.second.recv() => match running.can_be_taken_over() {
                    true => successor::start(file),
                    false => warn!(target: "valet", "SIGUSR2 does nothing without server.upgrade_socket: start another process, and end this one by SIGTERM, which drains"),
                },
            }
        }
    }
}

/// The names of sockets that no listener has.
fn strangers(handed: &Handed, config: &Config) -> Vec<String> {
    let is_ours = |name: &str| config.listeners.iter().any(|listener| listener.name.as_deref() == Some(name));
    handed.names().filter(|name| !is_ours(name)).map(ToOwned::to_owned).collect()
}

/// Reads the file again. One that is read from standard input is there once.
fn source(file: &ConfigFile) -> ConfigSource {
    let path = file.config.clone();
    let is_stdin = path.as_os_str() == STDIN;
    let file = (!is_stdin).then(|| path.clone());
    let read = Box::new(move || {
        if is_stdin {
            return Err(vec!["the configuration came from standard input, and can't be read again".to_owned()]);
        }
        let config =
            config::load(&path).map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        for warning in &config.warnings {
            warn!(target: "valet", warning, "the configuration that is read again has something worth a look");
        }
        Ok(config)
    });
    ConfigSource { file, read }
}

/// As many connections and requests as the file descriptors allow, less those that the vendor's calls and the administration address need: a
/// crowd of silent clients, or of requests on few connections (HTTP/2), must not take away what health checks need.
fn limits(config: &Config) -> Limits {
    let limits = Limits::default();
    let Some(descriptors) = raise_descriptors() else { return limits };
    let calls = config.providers.iter().map(|provider| provider.max_in_flight as u64).sum();
    let needs = Needs {
        calls,
        apps: !config.apps.is_empty(),
        minter: config.minter.is_some(),
        requests: config.server.max_requests.map(|most| most as u64),
    };
    let shares = shares(descriptors, needs);
    if let Some(wanted) = needs.requests.filter(|wanted| *wanted > shares.requests) {
        let allowed = shares.requests;
        warn!(target: "valet", wanted, allowed, descriptors, "server.max_requests is more than the file descriptors allow: raise LimitNOFILE");
    }
    let at_most = |share: u64, most: usize| usize::try_from(share).unwrap_or(usize::MAX).min(most);
    Limits {
        max_connections: at_most(shares.connections, limits.max_connections),
        max_requests: at_most(shares.requests, limits.max_requests),
        idle_to_apps: at_most(shares.idle_to_apps, limits.idle_to_apps),
        max_edge_connections: at_most(shares.edges, limits.max_edge_connections),
        ..limits
    }
}

/// As many file descriptors as this process may have: the hard limit becomes the soft one. `None`: there is no limit, or it can't be raised.
fn raise_descriptors() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).ok()?;
    limit.maximum
}

/// What file descriptors are needed for.
#[derive(Clone, Copy, Default)]
struct Needs {
    /// Calls to vendors at once.
    calls: u64,
    apps: bool,
    minter: bool,
    /// `server.max_requests`.
    requests: Option<u64>,
}

/// Who may have how many of them.
#[derive(Debug, PartialEq, Eq)]
struct Shares {
    connections: u64,
    requests: u64,
    /// Of each of the [`POOLS`].
    idle_to_apps: u64,
    edges: u64,
}

/// Pools of idle connections to apps: the fast path and Pingora's proxy have one for HTTP/1.1 and one for HTTP/2 each.
const POOLS: u64 = 4;

/// Shares out so many file descriptors. Each request to an app takes a connection of its own, and over HTTP/2 one connection of a client has
/// many: the two are counted one by one.
fn shares(descriptors: u64, needs: Needs) -> Shares {
    /// Listeners, logs, key files, the administration address, key sets, the store of leases, health checks of apps.
    const OWN: u64 = 128;
    /// Idle connections of one pool.
    const IDLE: u64 = 1024;
    /// Connections of edges.
    const EDGES: u64 = 1024;
    let room = descriptors.saturating_sub(OWN.saturating_add(needs.calls)).max(descriptors / 2);
    let edges = if needs.minter { EDGES.min(room / 2) } else { 0 };
    let room = room - edges;
    if !needs.apps {
        // Who waits for a mint takes no other than the client's.
        let requests = needs.requests.unwrap_or(room);
        return Shares { connections: room, requests, idle_to_apps: 0, edges };
    }
    let idle_to_apps = IDLE.min(room / 8 / POOLS);
    let idle = POOLS * idle_to_apps;
    // Half for clients, half for apps; who says how many requests there are leaves the others a quarter.
    let requests = needs.requests.unwrap_or(room / 2 - idle).min(room / 4 * 3 - idle);
    Shares { connections: room - requests - idle, requests, idle_to_apps, edges }
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

    fn room(descriptors: u64, calls: u64, apps: bool) -> u64 {
        shares(descriptors, Needs { calls, apps, ..Needs::default() }).connections
    }

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

    #[test]
    fn connections_and_requests_together_never_need_more_descriptors_than_there_are() {
        for descriptors in [64, 256, 1024, 4096, 65_536, 1 << 20, u64::MAX] {
            for requests in [None, Some(1), Some(1000), Some(1 << 20)] {
                for minter in [false, true] {
                    let shares = shares(descriptors, Needs { calls: 64, apps: true, minter, requests });
                    let used = shares.connections + shares.requests + POOLS * shares.idle_to_apps + shares.edges;
                    assert!(used <= descriptors - (192.min(descriptors / 2)), "{descriptors} {shares:?}");
                    assert!(shares.connections > 0 && shares.requests > 0, "{descriptors} {shares:?}");
                    assert!(shares.requests <= requests.unwrap_or(u64::MAX));
                }
            }
        }
    }

    #[test]
    fn requests_that_wait_for_a_mint_alone_need_no_descriptor_of_their_own() {
        let needs = Needs { calls: 64, requests: Some(100_000), ..Needs::default() };
        let shares = shares(1024, needs);
        assert_eq!((shares.connections, shares.requests, shares.edges), (832, 100_000, 0));
    }
}

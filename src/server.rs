//! Puts it together: what the configuration says becomes listeners, tasks and one gateway; and it stops without losing a request.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pingora_core::server::configuration::ServerConf;
use pingora_core::services::Service as _;
use pingora_core::services::listening::Service;
use tokio::sync::watch;
use tokio::task::JoinHandle;

mod acceptors;
mod bind;
mod build;
mod builder;
mod client_ca;
mod minter;
mod tls;

pub use bind::{BindFaults, obstacles};
pub use build::{BuildFault, Components, Plugin, rules};
pub use minter::MinterComponents;

use crate::admin::{Admin, Health};
use crate::clock::Clock;
use crate::config::Config;
use crate::files::Watch;
pub use crate::gateway::Limits;
use crate::gateway::{Acceptor, Drain, Front};
use crate::lease::settings::StoreKind;
use crate::lease::store::{FileStore, Lost, OpenFault};
use crate::logging::LineSink;
use crate::minter::Serving;
use crate::provider::Provider;
use crate::session::Knowledge;
use crate::telemetry::Metrics;

/// How often files that may change are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// What the configuration does not say.
pub struct Options {
    /// Time; the demo and the tests move it.
    pub clock: Clock,
    /// Where access lines go, unless the configuration has turned them off, and a minter's audit log in any case.
    pub access_log: Option<LineSink>,
    /// Deadlines and sizes of connections.
    pub limits: Limits,
    /// All counters.
    pub metrics: Metrics,
}

/// Why it can't serve, in one line; of addresses, one for each.
#[derive(Debug)]
pub enum StartFault {
    /// A part can't be made of the configuration.
    Build(BuildFault),
    /// Addresses can't be had.
    Bind(BindFaults),
    /// The file of leases can't be had. Where the configuration names it, and why.
    Store(String, OpenFault),
    /// The revocations in the file of leases can't be read. Where the configuration names it.
    Unreadable(String),
}

impl std::fmt::Display for StartFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Build(fault) => fault.fmt(f),
            Self::Bind(fault) => fault.fmt(f),
            Self::Store(place, fault) => write!(f, "{place}: {fault}"),
            Self::Unreadable(place) => write!(f, "{place}: the revocations in it can't be read"),
        }
    }
}

impl std::error::Error for StartFault {}

/// A gateway that serves.
pub struct ServerHandle {
    /// The addresses of the listeners, as bound: a port 0 of the configuration is the real one here.
    pub addresses: Vec<String>,
    /// The administration address, as bound.
    pub admin: Option<String>,
    /// Where edges reach the minter, as bound.
    pub minter: Option<String>,
    /// All counters.
    pub metrics: Metrics,
    components: Components,
    front: Arc<Front>,
    health: Arc<Health>,
    drain: Arc<Drain>,
    drain_at_most: Duration,
    drain_delay: Duration,
    backlog: Vec<(bind::Handle, Arc<Acceptor>)>,
    serving: Option<Serving>,
    services: Vec<JoinHandle<()>>,
    stop: watch::Sender<bool>,
    stop_tasks: watch::Sender<bool>,
}

/// Starts everything. When it returns, every address accepts. Must be called on a tokio runtime, on which everything then runs.
///
/// Dropped before it returns: nothing serves.
pub fn start(config: Config, options: Options) -> Result<ServerHandle, StartFault> {
    let Options { clock, access_log, limits, metrics } = options;
    let limits = limits.within(&config.server);
    // Pingora takes another one where none is installed; who comes second changes nothing.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut bound = bind::all(&config).map_err(StartFault::Bind)?;
    let file = match (&config.leases.path, config.leases.store) {
        (Some(path), StoreKind::File) => {
            let path = config.directory.join(path);
            let opened = FileStore::open(&path, config.leases.capacity, clock.clone(), &metrics);
            Some(opened.map_err(|fault| StartFault::Store(config.places.leases.clone(), fault))?)
        }
        _ => None,
    };
    let components = Components::with(&config, &clock, &metrics, file).map_err(StartFault::Build)?;
    let lines = access_log.clone().filter(|_| config.log.access);
    let gateway = components.gateway(&config, &clock, &metrics, lines, limits.max_requests);
    let drain = Drain::new(metrics.connections.clone());
    let health = Health::new(
        metrics.clone(),
        components.sessions.clone(),
        components.providers.clone(),
        components.pools(),
        components.book.store().cloned(),
        clock.clone(),
    );

    let revoker = components.revoker(&config, &clock, &metrics);
    // Before anything is served.
    revoker.take_over().map_err(|Lost| StartFault::Unreadable(config.places.leases.clone()))?;
    if config.leases.store == StoreKind::Redis {
        components.sessions.set_knowledge(Knowledge::Asking);
    }
    let (stop, stopped) = watch::channel(false);
    let (stop_tasks, tasks_stopped) = watch::channel(false);
    let threads = worker_threads(&config);
    let (per_address, proxy) = (config.server.connections_per_address, proxying(&config, &components, &limits));
    let front = Arc::new(Front::new(gateway, drain.clone(), limits, per_address, proxy));
    let acceptors = acceptors::make(&config, &components.listener_tls, &metrics).map_err(StartFault::Build)?;
    let services = serve(&bound, &front, &acceptors, threads, &stopped);
    if let Some(address) = &bound.admin {
        let mut service = Service::new("admin".into(), Admin::new(health.clone(), components.api(revoker.clone())));
        bind::add(&mut service, address);
        let (fds, stopped) = (bound.fds.clone(), tasks_stopped.clone());
        tokio::spawn(async move { service.start_service(Some(fds), stopped, 1).await });
    }
    if let Some(store) = components.book.store().cloned() {
        let (revoker, stop) = (revoker.clone(), tasks_stopped.clone());
        tokio::spawn(async move { store.run(&*revoker, stop).await });
    }
    tokio::spawn(components.book.clone().run(tasks_stopped.clone()));
    tokio::spawn(components.sessions.clone().run(tasks_stopped.clone()));
    for provider in components.providers.iter() {
        if let Provider::Remote(remote) = provider {
            tokio::spawn(remote.clone().run(tasks_stopped.clone()));
        }
    }
    for app in components.apps.iter() {
        tokio::spawn(app.pool.clone().run(tasks_stopped.clone()));
    }
    tokio::spawn(look_at_files(components.clone(), tasks_stopped));
    let serving = match (&components.minter, bound.minter.take()) {
        (Some(minter), Some(listener)) => {
            let serving = minter.serve(listener, &components, &limits, clock, metrics.clone(), access_log);
            Some(serving.map_err(|fault| StartFault::Build(BuildFault(vec![format!("minter: {fault}")])))?)
        }
        _ => None,
    };

    Ok(ServerHandle {
        addresses: bound.listeners,
        admin: bound.admin,
        minter: serving.as_ref().map(|serving| serving.address.clone()),
        metrics,
        components,
        front,
        health,
        drain,
        drain_at_most: config.server.drain.0,
        drain_delay: config.server.drain_delay.0,
        backlog: bound.backlog.into_iter().zip(acceptors).collect(),
        serving,
        services,
        stop,
        stop_tasks,
    })
}

/// How Pingora's proxy is set up, if there is anything for it to do.
fn proxying(config: &Config, components: &Components, limits: &Limits) -> Option<ServerConf> {
    let speaks_http_2 = config.listeners.iter().any(|listener| !listener.tls.is_empty());
    if components.apps.is_empty() && !speaks_http_2 {
        return None;
    }
    let mut conf = ServerConf { upstream_keepalive_pool_size: limits.idle_to_apps, ..ServerConf::default() };
    if !components.apps.iter().any(|app| app.pool.trusts_the_machine()) {
        // Pingora reads the machine's authorities whether they are needed or not, and a machine without any is no reason to fail.
        conf.ca_file = Some("/dev/null".into());
    }
    Some(conf)
}

/// One service for each listener: a connection knows by which listener it came.
fn serve(
    bound: &bind::Bound,
    front: &Arc<Front>,
    acceptors: &[Arc<Acceptor>],
    threads: usize,
    stopped: &watch::Receiver<bool>,
) -> Vec<JoinHandle<()>> {
    let services = bound.listeners.iter().zip(acceptors).map(|(address, acceptor)| {
        let mut service = Service::new("gateway".into(), FrontApp { front: front.clone(), acceptor: acceptor.clone() });
        bind::add(&mut service, address);
        let (fds, stopped) = (bound.fds.clone(), stopped.clone());
        tokio::spawn(async move { service.start_service(Some(fds), stopped, threads).await })
    });
    services.collect()
}

/// [`Front`] for Pingora.
struct FrontApp {
    front: Arc<Front>,
    acceptor: Arc<Acceptor>,
}

#[async_trait::async_trait]
impl pingora_core::apps::ServerApp for FrontApp {
    async fn process_new(
        self: &Arc<Self>,
        session: pingora_core::protocols::Stream,
        shutdown: &pingora_core::server::ShutdownWatch,
    ) -> Option<pingora_core::protocols::Stream> {
        self.front.serve(session, &self.acceptor, self.front.enter(), shutdown).await;
        None
    }

    async fn cleanup(&self) {
        self.front.cleanup().await;
    }
}

impl ServerHandle {
    /// Reads keys and secrets again (SIGHUP). What can't be read keeps its last value, with a line in the log.
    pub fn reread(&self) {
        self.components.reread();
    }

    /// Stops: readiness says no, answers close their connections, listeners close, what is under way ends. Returns when nothing is under
    /// way, or at `drain`.
    ///
    /// Dropped: connections are cut.
    pub async fn stop(mut self) {
        self.health.drain();
        self.serving.iter().for_each(Serving::drain);
        tokio::time::sleep(self.drain_delay).await;
        let began = Instant::now();
        self.drain.lame_duck().await;
        self.stop.send_replace(true);
        // Pingora's accept loops end; a panic of theirs is no reason to cut connections.
        for service in self.services.drain(..) {
            let _ = service.await;
        }
        self.serve_backlog();
        let left = self.drain_at_most.saturating_sub(began.elapsed());
        let edges = async {
            if let Some(serving) = self.serving.take() {
                serving.stop(left).await;
            }
        };
        tokio::join!(self.drain.finish(left), edges);
        self.stop_tasks.send_replace(true);
    }

    /// Connections that the kernel took and Pingora did not: closing the listeners would reset them. Then the listeners close.
    fn serve_backlog(&mut self) {
        for (listener, acceptor) in std::mem::take(&mut self.backlog) {
            while let Some(stream) = listener.accept() {
                let (front, acceptor) = (self.front.clone(), acceptor.clone());
                let (present, stop) = (self.front.enter(), self.stop.subscribe());
                tokio::spawn(async move { front.serve(Box::new(stream), &acceptor, present, &stop).await });
            }
        }
    }
}

async fn look_at_files(components: Components, mut stop: watch::Receiver<bool>) {
    let mut watch = Watch::new(components.watched_files());
    let mut tick = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            _ = tick.tick() => {
                if watch.changed() {
                    components.reread();
                }
            }
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

fn worker_threads(config: &Config) -> usize {
    match config.server.threads {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        threads => threads,
    }
}

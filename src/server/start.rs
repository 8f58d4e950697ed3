//! How a process begins: by itself, or by taking over from another.

use std::sync::Arc;

use super::apart::apart;
use super::bind::{self, Fresh, Held};
use super::build::BuildFault;
use super::generation::{Generation, Origin, Surroundings};
use super::handed::Handed;
use super::{Live, Options, ServerHandle, StartFault, look, upgrade};
use crate::config::{Config, Sections};
use crate::lease::settings::StoreKind;
use crate::lease::store::{FileStore, Lost};
use crate::otlp;
use crate::session::Knowledge;

/// Starts everything. When it returns, every address accepts. Must be called on a tokio runtime, on which everything then runs.
///
/// Dropped before it returns: nothing serves.
///
/// # Errors
/// An address can't be had, or a part can't be made of the configuration. Nothing serves, and nothing is left bound.
///
/// # Examples
/// ```no_run
/// use std::path::Path;
/// use valet_gateway::clock::Clock;
/// use valet_gateway::config;
/// use valet_gateway::server::{self, Limits, Options};
/// use valet_gateway::telemetry::Metrics;
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let config = config::load(Path::new("valet.toml")).map_err(|faults| faults[0].to_string())?;
/// let metrics = Metrics::new("0.1.0", "unknown")?;
/// let options = Options { clock: Clock::system(), access_log: None, limits: Limits::default(), metrics };
/// let gateway = server::start(config, options).map_err(|fault| fault.to_string())?;
/// println!("serving on {}", gateway.addresses[0]);
/// # Ok(())
/// # }
/// ```
pub fn start(config: Config, options: Options) -> Result<ServerHandle, StartFault> {
    start_with(config, options, Handed::default())
}

/// Starts with sockets that somebody else has bound: a listener whose `name` one of them has is not bound.
///
/// Dropped before it returns: nothing serves.
///
/// # Errors
/// As those of [`start`].
pub fn start_with(config: Config, options: Options, handed: Handed) -> Result<ServerHandle, StartFault> {
    Built::new(config, options, handed, FileStore::open)?.take_over_revocations()?.open()
}

/// Takes over from the process that listens at `server.upgrade_socket`: its sockets, and what it knows. When it returns, every address accepts, and that
/// process accepts no more. Without such a process it starts as [`start_with`] does, with a warning in the log. `told_to_end` ends it while it has not
/// accepted yet; later it is not asked.
///
/// Dropped before it accepts: the other process goes on. Later: none of the two serves.
///
/// # Errors
/// Nothing was taken over, and the other process goes on: as those of [`start_with`], and [`StartFault::Upgrade`].
pub async fn take_over(
    config: Config,
    options: Options,
    handed: Handed,
    told_to_end: impl Future<Output = ()>,
) -> Result<ServerHandle, StartFault> {
    upgrade::take_over(config, options, handed, told_to_end).await
}

/// How the file of leases is opened.
pub(super) type OpenStore = fn(
    &std::path::Path,
    usize,
    crate::clock::Clock,
    &crate::telemetry::Metrics,
) -> Result<Arc<FileStore>, crate::lease::store::OpenFault>;

/// Everything is bound and built, and nothing accepts.
pub(super) struct Built {
    pub live: Arc<Live>,
    fresh: Fresh,
}

impl Built {
    pub fn new(config: Config, options: Options, handed: Handed, open: OpenStore) -> Result<Self, StartFault> {
        let Options { clock, access_log, limits, mut metrics } = options;
        metrics.tracer = otlp::tracer(config.telemetry.as_ref(), &metrics);
        // Pingora takes another one where none is installed; a second call changes nothing.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let fresh = bind::all(&config, &Held::default(), handed).map_err(StartFault::Bind)?;
        let file = match (&config.leases.path, config.leases.store) {
            (Some(path), StoreKind::File) => {
                let path = config.directory.join(path);
                let opened = open(&path, config.leases.capacity, clock.clone(), &metrics);
                Some(opened.map_err(|fault| StartFault::Store(config.places.leases.clone(), fault))?)
            }
            _ => None,
        };
        let around = Surroundings { clock, metrics, access_log, limits };
        let origin = Origin::Start(file.clone());
        let built = apart(|| {
            let sections = Sections::of(&config);
            Generation::build(config, sections, origin, &around)
        });
        let no_thread = |fault| BuildFault(vec![format!("there is no thread to build it: {fault}")]);
        let (generation, _) = built.map_err(no_thread).flatten().map_err(StartFault::Build)?;
        if generation.config.leases.store == StoreKind::Redis {
            generation.components.sessions.set_knowledge(Knowledge::Asking);
        }
        Ok(Self { live: Live::new(generation, around, file), fresh })
    }

    /// Reads the revocations in the store: before anything is served.
    pub fn take_over_revocations(self) -> Result<Self, StartFault> {
        let generation = self.live.generation();
        let unreadable = |Lost| StartFault::Unreadable(generation.config.places.leases.clone());
        generation.revoker.take_over().map_err(unreadable)?;
        Ok(self)
    }

    /// Begins to look after the parts: keys of issuers are fetched.
    pub fn look_after(&self) {
        let mut state = self.live.state.lock();
        let generation = state.generation.clone();
        state.tasks.follow(generation.tasks(&self.live.listening));
    }

    /// Accepts.
    pub fn open(self) -> Result<ServerHandle, StartFault> {
        let Self { live, fresh } = self;
        live.open(fresh).map_err(|fault| StartFault::Build(BuildFault(vec![format!("minter: {fault}")])))?;
        live.export();
        tokio::spawn(look::at_files(Arc::downgrade(&live), live.stopping.subscribe()));
        let state = live.state.lock();
        let running = ServerHandle {
            addresses: state.listeners.iter().map(|listener| listener.accepting.address.clone()).collect(),
            admin: state.admin.as_ref().map(|admin| admin.accepting.address.clone()),
            minter: state.edges.as_ref().map(|edges| edges.serving.address.clone()),
            metrics: live.around.metrics.clone(),
            live: live.clone(),
        };
        drop(state);
        Ok(running)
    }
}

//! Puts it together: what the configuration says becomes listeners, tasks and one gateway; and it stops without losing a request.

use std::sync::{Arc, OnceLock};

use tokio::sync::{Notify, watch};

mod accept;
mod acceptors;
mod admin;
mod alive;
mod apart;
mod bind;
mod book;
mod build;
mod builder;
mod change;
mod claims;
mod client_ca;
mod exporting;
mod generation;
mod handed;
mod key_sets;
mod listeners;
mod look;
mod minter;
mod reload;
mod reread;
mod revoker;
mod start;
mod step;
mod stop;
mod tasks;
mod tickets;
mod tls;
mod upgrade;

pub(crate) use apart::apart;
pub use bind::{BindFaults, obstacles};
pub use build::{BuildFault, Components, Plugin, rules};
pub use generation::Shared;
pub use handed::Handed;
pub use minter::MinterComponents;
pub use reload::{ConfigSource, Reloaded, needs_new_process};
pub use start::{start, start_with, take_over};
pub use upgrade::Successor;

use self::admin::AdminListener;
use self::bind::Fresh;
use self::change::EdgeListener;
use self::exporting::Exporting;
use self::generation::{Generation, Proxying, Surroundings};
use self::listeners::Listener;
use self::revoker::RevokerInForce;
use self::tasks::Tasks;
use self::upgrade::{HandOver, UpgradeListener};

use crate::admin::{Admin, Health};
use crate::clock::Clock;
pub use crate::gateway::Limits;
use crate::gateway::{Drain, Front, InForce};
use crate::lease::store::{FileStore, OpenFault};
use crate::logging::LineSink;
use crate::telemetry::Metrics;

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
    /// The process before hands nothing over, or what it has handed over can't be served. Why.
    Upgrade(String),
}

impl std::fmt::Display for StartFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Build(fault) => fault.fmt(f),
            Self::Bind(fault) => fault.fmt(f),
            Self::Store(place, fault) => write!(f, "{place}: {fault}"),
            Self::Unreadable(place) => write!(f, "{place}: the revocations in it can't be read"),
            Self::Upgrade(why) => write!(f, "nothing was taken over: {why}"),
        }
    }
}

impl std::error::Error for StartFault {}

/// A gateway that serves.
pub struct ServerHandle {
    /// The addresses of the listeners at the start, as bound: a port 0 of the configuration is the real one here.
    pub addresses: Vec<String>,
    /// The administration address at the start, as bound.
    pub admin: Option<String>,
    /// Where edges reached the minter at the start, as bound.
    pub minter: Option<String>,
    /// All counters.
    pub metrics: Metrics,
    live: Arc<Live>,
}

/// What runs, whatever configuration is in force.
struct Live {
    around: Surroundings,
    in_force: Arc<InForce>,
    /// Who hears what the store says of other nodes.
    listening: Arc<RevokerInForce>,
    front: Arc<Front>,
    drain: Arc<Drain>,
    admin: OnceLock<Arc<Admin>>,
    source: OnceLock<ConfigSource>,
    /// Held by who reloads.
    turn: Arc<tokio::sync::Mutex<()>>,
    state: parking_lot::Mutex<State>,
    /// True when the process is about to end.
    stopping: watch::Sender<bool>,
    exporting: Exporting,
    drain_asked: Arc<Notify>,
    /// The durable store, if there is one.
    file: Option<Arc<FileStore>>,
    hand_over: HandOver,
}

/// What changes with the configuration.
struct State {
    generation: Arc<Generation>,
    health: Arc<Health>,
    proxying: Option<Proxying>,
    listeners: Vec<Listener>,
    admin: Option<AdminListener>,
    edges: Option<EdgeListener>,
    upgrade: Option<UpgradeListener>,
    tasks: Tasks,
}

impl Live {
    fn new(generation: Generation, around: Surroundings, file: Option<Arc<FileStore>>) -> Arc<Self> {
        let drain = Drain::new(around.metrics.connections.clone());
        let in_force = InForce::new(generation.gateway.clone());
        let listening = RevokerInForce::new(generation.revoker.clone());
        let proxying = generation.proxying();
        let per_address = generation.config.server.connections_per_address;
        let front = Front::new(in_force.clone(), drain.clone(), per_address, proxying.map(Proxying::conf));
        let generation = Arc::new(generation);
        let state = State {
            health: generation.health(&around),
            generation,
            proxying,
            listeners: Vec::new(),
            admin: None,
            edges: None,
            upgrade: None,
            tasks: Tasks::default(),
        };
        Arc::new(Self {
            around,
            in_force,
            listening,
            front: Arc::new(front),
            drain,
            admin: OnceLock::new(),
            source: OnceLock::new(),
            turn: Arc::default(),
            state: parking_lot::Mutex::new(state),
            stopping: watch::Sender::new(false),
            exporting: Exporting::default(),
            drain_asked: Arc::default(),
            file,
            hand_over: HandOver::default(),
        })
    }

    /// Accepts at the addresses of the first configuration, and begins to look after its parts.
    fn open(self: &Arc<Self>, fresh: Fresh) -> std::io::Result<()> {
        let mut state = self.state.lock();
        let generation = state.generation.clone();
        let admin = Arc::new(Admin::new(state.health.clone(), generation.api(self)));
        let admin = self.admin.get_or_init(|| admin);
        if let Some(listener) = fresh.minter {
            state.edges = EdgeListener::start(&generation, listener, &self.around)?;
        }
        self.change_upgrade(&mut state, &generation, fresh.upgrade);
        self.change_listeners(&mut state, &generation, fresh.listeners);
        if let (Some(bound), Some(settings)) = (fresh.admin, &generation.config.admin) {
            state.admin = Some(AdminListener::start(settings.address.as_str(), bound, admin));
        }
        state.tasks.follow(generation.tasks(&self.listening));
        self.note_loaded(&generation, None);
        Ok(())
    }

    fn note_loaded(&self, generation: &Generation, before: Option<&Generation>) {
        let metrics = &self.around.metrics;
        metrics.config_loaded.set(self.around.clock.now().as_secs());
        if let Some(before) = before {
            before.forget_gauges(generation, metrics);
        }
        self.show_digest(&generation.config.digest);
    }

    /// Shows which file is in force: the last one that was read and taken, also where it says the same in other words as the one before.
    fn show_digest(&self, digest: &str) {
        let info = &self.around.metrics.config_info;
        info.reset();
        info.with_label_values(&[digest]).set(1);
    }

    fn generation(&self) -> Arc<Generation> {
        self.state.lock().generation.clone()
    }

    fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    fn show_trouble(&self) {
        let state = self.state.lock();
        state.generation.components.sessions.show_trouble();
        state.health.show_trouble();
    }
}

impl ServerHandle {
    /// From now on [`Self::reload`], and `POST /api/reload`, read the configuration like this.
    pub fn reload_from(&self, source: ConfigSource) {
        // The first one stays.
        let _ = self.live.source.set(source);
    }

    /// Reads configuration, policies, keys and secrets again, and puts all in force, or nothing.
    ///
    /// Dropped while it waits or builds: nothing has changed.
    pub async fn reload(&self) -> Reloaded {
        self.live.reload().await
    }

    /// Whether each listener gives a sign of life within this time.
    ///
    /// Dropped: nothing.
    pub async fn is_alive(&self, patience: std::time::Duration) -> bool {
        self.live.is_alive(patience).await
    }

    /// The addresses of the listeners now, as bound.
    pub fn addresses_now(&self) -> Vec<String> {
        self.live.state.lock().listeners.iter().map(|listener| listener.accepting.address.clone()).collect()
    }

    /// Reads keys and secrets again. What can't be read keeps its last value, with a line in the log.
    pub fn reread(&self) {
        self.live.generation().components.reread();
    }
}

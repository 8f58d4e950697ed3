//! Everything that is made of one configuration, as one value: built beside the one in force, and put in its place in one step.
//!
//! `build`, `builder`, `minter` and this file import one another: a generation is made of components, and components are made with the generation before at
//! hand, from which they take over what stays.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use pingora_core::server::configuration::ServerConf;

use crate::admin::Health;
use crate::clock::Clock;
use crate::config::{Config, Sections, listener_sections};
use crate::gateway::settings::PluginSettings;
use crate::gateway::{Acceptor, ConcurrencyLimit, Gateway, Limits};
use crate::lease::store::FileStore;
use crate::lease::{LeasePolicy, Policies, Rules, Scope};
use crate::limit::Limits as RequestLimits;
use crate::logging::LineSink;
use crate::provider::Provider;
use crate::revocation::Revoker;
use crate::server::acceptors;
use crate::server::apart::{apart, give_back_pages};
use crate::server::build::{BuildFault, Components, Plugin, rules};
use crate::server::builder::LastStep;
use crate::server::revoker::RevokerInForce;
use crate::server::tasks::Wanted;
use crate::server::tls::ListenerTls;
use crate::telemetry::Metrics;

/// What outlives every configuration of a process.
#[derive(Clone)]
pub(super) struct Surroundings {
    pub clock: Clock,
    pub metrics: Metrics,
    pub access_log: Option<LineSink>,
    /// As the command line gives them, before `[server]` has its say.
    pub limits: Limits,
}

/// Everything that is made of one configuration.
pub(super) struct Generation {
    pub config: Config,
    pub sections: Sections,
    pub components: Components,
    pub gateway: Arc<Gateway>,
    pub revoker: Arc<Revoker>,
    pub shared: Shared,
    /// In the order of the listeners.
    pub acceptors: Vec<Arc<Acceptor>>,
}

impl Generation {
    /// How many tasks take connections from a listener.
    pub(super) fn worker_threads(&self) -> usize {
        match self.config.server.threads {
            0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            threads => threads,
        }
    }

    /// Builds it: the first one, or one beside what is in force, which does not change before the last steps are done. Every fault at once.
    pub fn build(
        config: Config,
        sections: Sections,
        origin: Origin<'_>,
        around: &Surroundings,
    ) -> Result<(Self, Vec<LastStep>), BuildFault> {
        let Surroundings { clock, metrics, access_log, limits } = around;
        let before = match &origin {
            Origin::Start(_) => None,
            Origin::Before(before) => Some(*before),
        };
        let (components, last_steps) = Components::with(&config, &sections, origin, (clock, metrics))?;
        let bounds = limits.within(&config.server);
        let shared = match before {
            None => Shared::new(&config, bounds, clock, metrics),
            Some(before) => before.shared.following(&config, bounds, clock, metrics),
        };
        let lines = access_log.clone().filter(|_| config.log.access);
        let gateway = components.gateway(&config, clock, metrics, lines, shared.clone());
        let revoker = components.revoker(&config, clock, metrics);
        let names = listener_sections(&config.listeners);
        let kept = |at: usize| before.and_then(|before| before.acceptor(&config, &sections, names.get(at)?));
        let acceptors = acceptors::make(&config, &components.listener_tls, metrics, kept)?;
        Ok((Self { config, sections, components, gateway, revoker, shared, acceptors }, last_steps))
    }

    /// The acceptor of the listener with this section, where the next configuration says the same of it, files included.
    fn acceptor(&self, next: &Config, sections: &Sections, section: &str) -> Option<Arc<Acceptor>> {
        // Where it redirects to.
        let same = self.config.server.public_url == next.server.public_url;
        self.acceptors.get(self.listener(sections, section)?).filter(|_| same).cloned()
    }

    /// How the listener with this section speaks TLS, where the next configuration says the same of it, files included: its acceptor may stay, and looks
    /// there.
    pub fn listener_tls(&self, sections: &Sections, section: &str) -> Option<ListenerTls> {
        self.components.listener_tls.get(self.listener(sections, section)?).cloned().flatten()
    }

    /// Where among the listeners the one with this section stands, if the next configuration says the same of it, files included.
    fn listener(&self, sections: &Sections, section: &str) -> Option<usize> {
        let same = self.sections.is_same(sections, section);
        listener_sections(&self.config.listeners).iter().position(|known| known == section).filter(|_| same)
    }

    /// What the administration address tells of it.
    pub fn health(&self, around: &Surroundings) -> Arc<Health> {
        Health::new(
            around.metrics.clone(),
            self.components.sessions.clone(),
            self.components.providers.clone(),
            self.components.pools(),
            self.components.book.store().cloned(),
            around.clock.clone(),
        )
    }

    /// How each scope of it is minted.
    pub fn policies(&self, metrics: &Metrics) -> Policies {
        let of_plugin = |plugin: &Plugin| {
            let PluginSettings { name, provider, .. } = &plugin.settings;
            let rules = rules(&plugin.settings, &self.config.providers);
            Arc::new(LeasePolicy::new(name, provider, rules, plugin.mint.clone(), metrics))
        };
        self.of_scopes(of_plugin, Arc::clone)
    }

    /// The rules of time of each scope of it.
    pub(super) fn rules(&self) -> HashMap<Scope, Rules> {
        self.of_scopes(|plugin| rules(&plugin.settings, &self.config.providers), |policy| policy.rules)
    }

    fn of_scopes<T: Clone>(
        &self,
        of_plugin: impl Fn(&Plugin) -> T,
        of_offer: impl Fn(&Arc<LeasePolicy>) -> T,
    ) -> HashMap<Scope, T> {
        let plugins = self.components.plugins.iter().map(|plugin| {
            let PluginSettings { name, provider, mint, .. } = &plugin.settings;
            (name.as_str(), provider.as_str(), mint.as_str(), plugin.fingerprint, of_plugin(plugin))
        });
        let of_offer = &of_offer;
        let offers = self.components.minter.iter().flat_map(move |minter| {
            let told = minter.offers().map(move |(_, policy)| of_offer(policy));
            minter.scopes().zip(told).map(|((name, provider, mint, print), told)| (name, provider, mint, print, told))
        });
        let all: Vec<_> = plugins.chain(offers).collect();
        let issuers = self.config.session.namespaces();
        let of = |issuer: &String| {
            let scope = |(name, provider, mint, print, told): &(&str, &str, &str, [u8; 32], T)| {
                (Scope::new(issuer, name, provider, mint, print), told.clone())
            };
            all.iter().map(scope).collect::<Vec<_>>()
        };
        issuers.iter().flat_map(of).collect()
    }

    /// The tasks that look after its parts.
    pub fn tasks(&self, listening: &Arc<RevokerInForce>) -> Vec<Wanted> {
        let place = |part: *const ()| part.addr();
        let components = &self.components;
        let mut tasks = Vec::new();
        if let Some(store) = components.book.store().cloned() {
            let (at, listening) = (place(Arc::as_ptr(&store).cast()), listening.clone());
            tasks.push(Wanted::new(at, move |stop| async move { store.run(&*listening, stop).await }));
        }
        let (leases, sessions) = (components.book.leases().clone(), components.sessions.clone());
        tasks.push(Wanted::new(place(Arc::as_ptr(&leases).cast()), move |stop| leases.run(stop)));
        tasks.push(Wanted::new(place(Arc::as_ptr(&sessions).cast()), move |stop| sessions.run(stop)));
        for provider in components.providers.iter() {
            if let Provider::Remote(remote) = provider {
                let remote = remote.clone();
                tasks.push(Wanted::new(remote.place(), move |stop| remote.run(stop)));
            }
        }
        for pool in components.pools() {
            tasks.push(Wanted::new(place(Arc::as_ptr(&pool).cast()), move |stop| pool.run(stop)));
        }
        tasks
    }

    /// Takes back the gauges of what the next configuration does not have: nobody would move them any more.
    pub fn forget_gauges(&self, next: &Self, metrics: &Metrics) {
        let whats = |of: &Self| -> HashSet<String> {
            let apps = of.config.apps.iter().map(|app| format!("app:{}", app.name));
            let providers = of.config.providers.iter().map(|provider| format!("provider:{}", provider.name));
            let issuers = of.config.session.expanded().into_iter().map(|issuer| format!("keys:{}", issuer.issuer));
            let events = of.config.session.events.iter().flat_map(|events| &events.transmitters);
            let transmitters = events.map(|transmitter| format!("keys:{}", transmitter.issuer));
            let secrets = of.components.secrets.iter().map(|watched| format!("secret:{}", watched.name));
            apps.chain(providers).chain(issuers).chain(transmitters).chain(secrets).collect()
        };
        for what in whats(self).difference(&whats(next)) {
            let _ = metrics.degraded.remove_label_values(&[what]);
        }
        if next.config.minter.is_none() {
            let _ = metrics.degraded.remove_label_values(&["minter.verify_sessions"]);
        }
        let chains = |of: &Self| -> HashSet<String> {
            let listeners = of.config.listeners.iter().flat_map(|listener| &listener.tls).map(|pair| &pair.chain);
            let minter = of.config.minter.iter().map(|minter| &minter.tls.chain);
            listeners.chain(minter).map(|chain| chain.to_string_lossy().into_owned()).collect()
        };
        for chain in chains(self).difference(&chains(next)) {
            let _ = metrics.tls_certificate_ends.remove_label_values(&[chain]);
        }
        let (old, new) = (self.components.pools(), next.components.pools());
        old.iter().filter(|pool| !new.iter().any(|kept| Arc::ptr_eq(kept, pool))).for_each(|pool| pool.forget_all());
        new.iter().for_each(|pool| pool.show_all());
    }

    /// How Pingora's proxy is set up, if there is anything for it to do.
    pub fn proxying(&self) -> Option<Proxying> {
        if self.components.apps.is_empty() {
            return None;
        }
        Some(Proxying {
            idle_connections: self.shared.bounds.idle_to_apps,
            idle_timeout: self.shared.bounds.idle,
            // Pingora reads the machine's authorities whether they are needed or not, and a machine without any is no reason to fail.
            trusts_the_machine: self.components.apps.iter().any(|app| app.pool.trusts_the_machine()),
        })
    }
}

/// Whether a configuration that was replaced is still used is looked at this often.
const LOOK: Duration = Duration::from_secs(1);

/// Gives back what a replaced configuration was made of, when nothing uses it any more, on a thread on which no request waits: a thousand plug-ins and
/// a hundred thousand verified tokens take milliseconds.
///
/// Dropped: whoever uses it last gives it back.
pub(super) async fn bury(replaced: Arc<Generation>) {
    // Its tasks have been told to end, and do so meanwhile.
    tokio::time::sleep(LOOK).await;
    while Arc::strong_count(&replaced) > 1 || Arc::strong_count(&replaced.gateway) > 1 {
        tokio::time::sleep(LOOK).await;
    }
    // What it holds is well, or the panic hook has told of it.
    let _ = tokio::task::spawn_blocking(move || apart(move || drop(replaced))).await;
    give_back_pages().await;
}

/// How Pingora's proxy is set up. Another one of these is another proxy, with connections of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Proxying {
    idle_connections: usize,
    idle_timeout: Duration,
    trusts_the_machine: bool,
}

impl Proxying {
    pub fn conf(self) -> ServerConf {
        let mut conf = ServerConf { upstream_keepalive_pool_size: self.idle_connections, ..ServerConf::default() };
        if !self.trusts_the_machine {
            conf.ca_file = Some("/dev/null".into());
        }
        conf
    }
}

/// What parts are made from, beside their configuration.
pub(super) enum Origin<'a> {
    /// Nothing is in force. The durable store, opened, if there is one.
    Start(Option<Arc<FileStore>>),
    /// This is in force.
    Before(&'a Generation),
}

/// What several gateways share, one after the other.
#[derive(Clone)]
pub struct Shared {
    /// Deadlines and sizes.
    pub bounds: Limits,
    /// Places for requests.
    pub requests: Arc<ConcurrencyLimit>,
    /// What one address and one person may ask.
    pub limits: Arc<RequestLimits>,
}

impl Shared {
    /// For a gateway that is the first, or the only one.
    pub fn new(config: &Config, bounds: Limits, clock: &Clock, metrics: &Metrics) -> Self {
        let limits = Arc::new(RequestLimits::new(&config.limits, clock, metrics));
        Self { requests: ConcurrencyLimit::new(bounds.max_requests), bounds, limits }
    }

    /// For one that follows another: what is counted goes on.
    pub(super) fn following(&self, config: &Config, bounds: Limits, clock: &Clock, metrics: &Metrics) -> Self {
        let limits = Arc::new(self.limits.following(&config.limits, clock, metrics));
        let same = bounds.max_requests == self.bounds.max_requests;
        let requests = if same { self.requests.clone() } else { ConcurrencyLimit::new(bounds.max_requests) };
        Self { requests, bounds, limits }
    }
}

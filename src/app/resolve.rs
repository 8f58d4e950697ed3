//! The addresses behind a name, asked for again and again.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::TARGET;
use super::address::Address;
use super::endpoints::Endpoints;
use crate::telemetry::Outcome;

/// A deployment that moves is followed in a few breaths; the machine's resolver, which may keep no answer, is not bothered more than it bears.
pub(super) const EVERY: Duration = Duration::from_secs(10);

/// Without any address there is nothing to serve from: at start-up, DNS may be a moment late.
pub(super) const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The C library asks for longer, several times over. The addresses before serve on, so that nobody waits for it; a late answer is not used.
pub(super) const DEADLINE: Duration = Duration::from_secs(5);

/// More replicas of one app than anybody runs behind one name. A pool is looked through for each request.
const MAX_ADDRESSES: usize = 64;

/// Where addresses come from.
#[async_trait]
pub(super) trait Resolver: Send + Sync {
    async fn resolve(&self, name: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
}

/// The machine's own way: its hosts file, its DNS.
pub(super) struct SystemResolver;

#[async_trait]
impl Resolver for SystemResolver {
    async fn resolve(&self, name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host((name, port)).await?.collect())
    }
}

/// Asks for each name until `stop` says so or is gone. Dropped, nobody is asked any more.
pub(super) async fn keep_resolved(
    endpoints: &Arc<Endpoints>,
    resolver: &Arc<dyn Resolver>,
    mut stop: watch::Receiver<bool>,
) {
    let mut names = JoinSet::new();
    for (place, target) in endpoints.targets.iter().enumerate() {
        if let Err((name, port)) = target.lookup() {
            let name =
                Name { endpoints: endpoints.clone(), resolver: resolver.clone(), place, name: name.to_owned(), port };
            names.spawn(name.follow());
        }
    }
    if !names.is_empty() {
        for outcome in [Outcome::Ok, Outcome::Error] {
            endpoints.metrics.upstream_lookups.with_label_values(&[&*endpoints.app, outcome.label()]);
        }
        // Those that follow end with it.
        stop.wait_for(|stop| *stop).await.ok();
    }
}

/// Asks for each name once, for all at once. Dropped, it is given up.
pub(super) async fn resolve_once(endpoints: &Arc<Endpoints>, resolver: &Arc<dyn Resolver>) {
    let names = endpoints.targets.iter().enumerate().filter_map(|(place, target)| {
        let (name, port) = target.lookup().err()?;
        Some(Name { endpoints: endpoints.clone(), resolver: resolver.clone(), place, name: name.to_owned(), port })
    });
    let asked = names.map(async |name| {
        if let Ok(addresses) = name.ask().await {
            name.endpoints.know(name.place, addresses.into_iter().map(Address::Ip).collect());
        }
    });
    futures_util::future::join_all(asked).await;
}

/// A name that is asked for again and again.
struct Name {
    endpoints: Arc<Endpoints>,
    resolver: Arc<dyn Resolver>,
    /// Among the targets.
    place: usize,
    name: String,
    port: u16,
}

impl Name {
    /// Never ends. Dropped, nobody asks for the name any more.
    async fn follow(self) {
        let (app, name) = (&*self.endpoints.app, self.name.as_str());
        let (mut is_known, mut is_failing) = (false, false);
        loop {
            match self.ask().await {
                Ok(addresses) => {
                    if is_failing {
                        tracing::info!(target: TARGET, app, name, "upstream's name resolved again");
                    }
                    let count = addresses.len();
                    if self.endpoints.know(self.place, addresses.into_iter().map(Address::Ip).collect()) {
                        tracing::info!(target: TARGET, app, name, addresses = count, "upstream's addresses changed");
                    }
                    (is_known, is_failing) = (true, false);
                }
                Err(fault) => {
                    if !is_failing {
                        tracing::warn!(target: TARGET, app, name, %fault, "upstream's name not resolved");
                    }
                    is_failing = true;
                }
            }
            // Jittered, so that many names and many gateways do not ask in step.
            let pause = if is_known { EVERY } else { FIRST_PAUSE };
            tokio::time::sleep(pause.mul_f64(0.9 + 0.1 * fastrand::f64())).await;
        }
    }

    /// The addresses in an order of our own: servers of DNS turn theirs.
    async fn ask(&self) -> io::Result<Vec<SocketAddr>> {
        let answer = tokio::time::timeout(DEADLINE, self.resolver.resolve(&self.name, self.port)).await;
        let answer = answer.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).and_then(|mut addresses| {
            addresses.sort_unstable();
            addresses.dedup();
            addresses.truncate(MAX_ADDRESSES);
            if addresses.is_empty() { Err(io::Error::other("the name has no address")) } else { Ok(addresses) }
        });
        let outcome = if answer.is_ok() { Outcome::Ok } else { Outcome::Error };
        self.endpoints.metrics.upstream_lookups.with_label_values(&[&self.endpoints.app, outcome.label()]).inc();
        answer
    }
}

//! The endpoints of a pool, and which of them are most available. What happens to one of them is in `outcome.rs`.

use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use prometheus::IntGauge;
use smallvec::SmallVec;

use super::address::Address;
use super::failure::Failures;
use super::outlier_detection::Availability;
use super::peer::Peers;
use super::settings::EjectionSettings;
use super::target::Target;
use super::upstream::Upstream;
use crate::clock::Clock;
use crate::telemetry::Metrics;

/// All upstreams that are known, in the order of the configuration.
pub(super) type List = Vec<Arc<Upstream>>;

/// The endpoints of one app, with what is known of each. Requests under way hold them, too.
pub(super) struct Endpoints {
    pub(super) app: Arc<str>,
    pub(super) targets: Box<[Arc<Target>]>,
    pub(super) peers: Peers,
    pub(super) ejection: EjectionSettings,
    pub(super) clock: Clock,
    pub(super) metrics: Metrics,
    pub(super) degraded: IntGauge,
    pub(super) failures: Failures,
    pub(super) list: ArcSwap<List>,
    /// Held while `list` or what is known of one endpoint changes: two that fail at once must not each take the other for the one that is left.
    pub(super) known: Mutex<Known>,
}

/// The addresses of each target. Whoever has a reference to it holds the pool's lock.
pub(super) type Known = Vec<Vec<Address>>;

/// The endpoints of the best availability. Only pools of more than this ask for memory at a pick.
pub(super) type Best<'a> = SmallVec<[&'a Arc<Upstream>; 16]>;

/// A pool is looked through for each request, and asked for its health all at once.
const MAX_ENDPOINTS: usize = 256;

impl Endpoints {
    /// Takes the addresses that the target has now. Upstreams that stay keep what is known of them; requests to those that leave go on. Whether
    /// anything has changed.
    pub(super) fn know(&self, place: usize, addresses: Vec<Address>) -> bool {
        let mut known = self.known.lock();
        match known.get_mut(place) {
            Some(before) if *before != addresses => *before = addresses,
            _ => return false,
        }
        let before = self.list.load_full();
        let endpoints = self.gather(&before, &known);
        for gone in before.iter().filter(|old| endpoints.iter().all(|endpoint| endpoint.address != old.address)) {
            self.forget(gone, &known);
        }
        endpoints.iter().for_each(|endpoint| self.show_upstream(endpoint, &known));
        self.list.store(Arc::new(endpoints));
        self.show_degraded(&known);
        true
    }

    /// Two names may lead to one address: the first has it.
    fn gather(&self, before: &List, known: &Known) -> List {
        let mut endpoints = List::new();
        let named = self.targets.iter().zip(known).flat_map(|(target, all)| all.iter().map(move |one| (target, one)));
        for (target, address) in named {
            if endpoints.len() == MAX_ENDPOINTS || endpoints.iter().any(|endpoint| endpoint.address == *address) {
                continue;
            }
            let kept = before.iter().find(|old| old.address == *address && Arc::ptr_eq(&old.target, target));
            let fresh = || Upstream::new(target, address, &self.peers).map(Arc::new);
            endpoints.extend(kept.map(Arc::clone).or_else(fresh));
        }
        endpoints
    }
}

/// The endpoints of the best availability, and which that is. Of one availability those that were not tried come before those that were.
pub(super) fn best(
    endpoints: &List,
    availability: impl Fn(&Upstream) -> (Availability, bool),
) -> Option<(Availability, Best<'_>)> {
    let mut best = Best::new();
    let mut at = None;
    for endpoint in endpoints {
        let here = availability(endpoint);
        if at.is_none_or(|at| here < at) {
            at = Some(here);
            best.clear();
        }
        if at == Some(here) {
            best.push(endpoint);
        }
    }
    at.map(|(availability, _)| (availability, best))
}

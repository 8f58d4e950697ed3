//! The registry of edges: which may mint what, by the names in their certificates.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::bounds::Rate;
use super::settings::EdgeSettings;
use crate::limit::Tokens;
use crate::limit::settings::RateSettings;

/// An edge looks once a second, and an operator now and then; several processes may share a name.
const LOOKS: RateSettings = RateSettings { rate: Tokens::of::<50>(), burst: Tokens::of::<100>() };

/// Connections of one edge: for each of its processes one for its asks, one for its looks, and those that are being replaced.
const PER_EDGE: usize = 64;

/// The configured edges.
pub(super) struct EdgeRegistry(Box<[Arc<Edge>]>);

/// One edge. Connections of the same edge share it.
pub(super) struct Edge {
    pub name: Box<str>,
    /// Places in the mint service's list.
    plugins: Box<[usize]>,
    /// How often it may ask for a URL.
    pub asks: Rate,
    /// How often it may look whether the minter is there.
    pub looks: Rate,
    /// Places for its connections.
    pub connections: Arc<Semaphore>,
}

impl Edge {
    pub fn may(&self, plugin: usize) -> bool {
        self.plugins.contains(&plugin)
    }

    pub fn plugins(&self) -> impl Iterator<Item = usize> {
        self.plugins.iter().copied()
    }
}

impl EdgeRegistry {
    /// `place` finds a plug-in by its name; a name that is none gives no right.
    pub fn new(edges: &[EdgeSettings], rate: RateSettings, place: impl Fn(&str) -> Option<usize>) -> Self {
        let edge = |settings: &EdgeSettings| {
            let plugins = settings.plugins.iter().filter_map(|name| place(name)).collect();
            Arc::new(Edge {
                name: canonical(&settings.name).into(),
                plugins,
                asks: Rate::new(rate),
                looks: Rate::new(LOOKS),
                connections: Arc::new(Semaphore::new(PER_EDGE)),
            })
        };
        Self(edges.iter().map(edge).collect())
    }

    /// The edge with one of these names, the first one of the configuration.
    pub fn find(&self, names: &[Box<str>]) -> Option<Arc<Edge>> {
        self.0.iter().find(|edge| names.iter().any(|name| canonical(name) == *edge.name)).cloned()
    }
}

/// DNS names have no case (RFC 4343); URIs are compared as they are written.
fn canonical(name: &str) -> String {
    if name.contains("://") { name.to_owned() } else { name.to_ascii_lowercase() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry() -> EdgeRegistry {
        let edge = |name: &str, plugins: &[&str]| EdgeSettings {
            name: name.into(),
            plugins: plugins.iter().map(|plugin| (*plugin).to_owned()).collect(),
        };
        let edges = [
            edge("Edge-1.internal", &["face-scan", "unknown"]),
            edge("edge-2.internal", &["health-dashboard"]),
            edge("spiffe://example.com/Edge", &[]),
        ];
        let names = ["face-scan", "health-dashboard"];
        EdgeRegistry::new(&edges, RateSettings { rate: Tokens::of::<1>(), burst: Tokens::of::<1>() }, |name| {
            names.iter().position(|known| *known == name)
        })
    }

    fn found(names: &[&str]) -> Option<String> {
        let names: Vec<Box<str>> = names.iter().map(|name| (*name).into()).collect();
        registry().find(&names).map(|edge| edge.name.to_string())
    }

    #[test]
    fn an_edge_is_who_one_of_its_names_says() {
        assert_eq!(found(&["other", "edge-1.internal"]).as_deref(), Some("edge-1.internal"));
        assert_eq!(found(&["EDGE-2.internal"]).as_deref(), Some("edge-2.internal"));
        assert_eq!(found(&["edge-2.internal", "edge-1.internal"]).as_deref(), Some("edge-1.internal"));
        assert_eq!(found(&["spiffe://example.com/Edge"]).as_deref(), Some("spiffe://example.com/Edge"));
        for strangers in
            [&[][..], &["edge-1"], &["edge-1.internal.evil.example"], &["*.internal"], &["spiffe://example.com/edge"]]
        {
            assert_eq!(found(strangers), None, "{strangers:?}");
        }
    }

    #[test]
    fn an_edge_may_what_is_named_and_nothing_else() {
        let edge = registry().find(&["edge-1.internal".into()]).unwrap();
        assert!(edge.may(0) && !edge.may(1));
        assert_eq!(edge.plugins().collect::<Vec<_>>(), [0]);
    }
}

//! Where the file says what only a start can show to be wrong: an address in use, a file in use.

use super::Source;
use super::tree::{Node, Place};

/// Each as `valet.toml:12:11 listener.address`.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// The address of each listener, in the order of the file.
    pub listeners: Vec<String>,
    /// `admin.address`
    pub admin: String,
    /// `minter.address`
    pub minter: String,
    /// `leases.path`
    pub leases: String,
    /// `leases.store`
    pub store: String,
    /// `leases.redis`
    pub redis: String,
    /// `leases.name_key`
    pub name_key: String,
    /// `log.level`
    pub level: String,
    /// `telemetry`
    pub telemetry: String,
    /// `server.threads`
    pub threads: String,
    /// `server.upgrade_socket`
    pub upgrade_socket: String,
}

impl Places {
    pub(super) fn new(tree: &Node, source: Source<'_>, listeners: usize) -> Self {
        let show = |place: &Place| source.show(place, tree.offset_of(place));
        let of = |table: &str, key: &str| show(&Place::root().key(table).key(key));
        let listener = |i| show(&Place::root().key("listener").index(i).key("address"));
        Self {
            listeners: (0..listeners).map(listener).collect(),
            admin: of("admin", "address"),
            minter: of("minter", "address"),
            leases: of("leases", "path"),
            store: of("leases", "store"),
            redis: of("leases", "redis"),
            name_key: of("leases", "name_key"),
            level: of("log", "level"),
            telemetry: show(&Place::root().key("telemetry")),
            threads: of("server", "threads"),
            upgrade_socket: of("server", "upgrade_socket"),
        }
    }
}

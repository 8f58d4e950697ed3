//! Several servers that are one store.

use super::process::until;
use super::resp::Reply;
use super::server::{Kind, Server};

/// The slots of a cluster.
const SLOTS: usize = 16_384;

/// What makes a server one of a cluster.
const MEMBER: [&str; 3] = ["cluster-enabled yes", "cluster-node-timeout 2000", "cluster-config-file nodes.conf"];

/// Three masters that share the slots.
pub struct Cluster {
    pub servers: Vec<Server>,
}

impl Cluster {
    pub fn start(kind: Kind) -> Option<Self> {
        let servers = (0..3).map(|_| Server::start(kind, &MEMBER)).collect::<Option<Vec<_>>>()?;
        for (number, server) in servers.iter().enumerate() {
            let (from, to) = (number * SLOTS / 3, (number + 1) * SLOTS / 3 - 1);
            server.ask(&["CLUSTER", "ADDSLOTSRANGE", &from.to_string(), &to.to_string()]);
            // Else each would wait for the other's epoch to settle.
            server.ask(&["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()]);
        }
        for other in &servers[1..] {
            let (port, bus) = (other.port.to_string(), (other.port + 1).to_string());
            servers[0].ask(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]);
        }
        let cluster = Self { servers };
        cluster.until_whole();
        Some(cluster)
    }

    /// Waits until each of them serves.
    pub fn until_whole(&self) {
        for server in &self.servers {
            until("the cluster is whole", || {
                let info = server.ask(&["CLUSTER", "INFO"]).text();
                (info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")).then_some(())
            });
        }
    }

    /// A replica of the first, which becomes master in its place when the others miss that one.
    pub fn add_replica(&self, kind: Kind) -> Option<Server> {
        let replica = Server::start(kind, &MEMBER)?;
        let first = &self.servers[0];
        let (port, bus) = (first.port.to_string(), (first.port + 1).to_string());
        replica.ask(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]);
        let name = first.ask(&["CLUSTER", "MYID"]).text();
        until("it follows the first", || {
            // A server that it has not met yet is an error.
            let reply = replica.connection().ask(&[b"CLUSTER", b"REPLICATE", name.as_bytes()])?;
            (reply == Reply::Bytes(b"OK".to_vec())).then_some(())
        });
        until("it has what the first has", || (replica.info("master_link_status") == "up").then_some(()));
        for server in &self.servers {
            until("each of them knows it", || {
                let nodes = server.ask(&["CLUSTER", "NODES"]).text();
                nodes.lines().any(|node| node.contains("slave") && node.contains(&name)).then_some(())
            });
        }
        Some(replica)
    }

    /// The addresses, as the configuration wants them.
    pub fn urls(&self) -> Vec<String> {
        self.servers.iter().map(|server| format!("redis://127.0.0.1:{}", server.port)).collect()
    }
}

/// A master, its replica, and one sentinel whose word is enough.
pub struct Watched {
    pub master: Server,
    pub replica: Server,
    pub sentinel: Server,
}

/// The name that the sentinel knows.
pub const MASTER: &str = "leases";

impl Watched {
    pub fn start() -> Option<Self> {
        let master = Server::redis(&[])?;
        let replica = Server::redis(&[&format!("replicaof 127.0.0.1 {}", master.port)])?;
        until("the replica follows", || (replica.info("master_link_status") == "up").then_some(()));
        let sentinel = Server::sentinel(&master, MASTER);
        let watched = Self { master, replica, sentinel };
        // A sentinel asks the master who follows it every ten seconds; without knowing it could promote nobody.
        until("the sentinel knows the replica", || {
            let known = watched.sentinel.ask(&["SENTINEL", "REPLICAS", MASTER]).list();
            let port = watched.replica.port.to_string();
            known.iter().any(|one| String::from_utf8_lossy(&one.bytes()).contains(&port)).then_some(())
        });
        Some(watched)
    }

    /// Where the sentinel sends who asks for the master.
    pub fn master_port(&self) -> u16 {
        let address = self.sentinel.ask(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER]).list();
        address.get(1).map(|port| port.text()).and_then(|port| port.parse().ok()).expect("a port")
    }

    /// Kills the master and waits until the replica is one.
    pub fn fail_over(&mut self) {
        self.master.kill();
        until("the replica is master", || {
            // Who promotes it ends its connections, and may end this one.
            let role = self.replica.connection().ask(&[b"ROLE"])?.list();
            (role.first()?.text() == "master").then_some(())
        });
    }

    pub fn urls(&self) -> Vec<String> {
        vec![format!("redis://127.0.0.1:{}", self.sentinel.port)]
    }
}

//! The servers that are compared, what each can do, and how it is started. Their configurations stand in `peers/`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::client::Way;
use crate::run::ROLE;
use crate::running::{Running, free_port};
use crate::site::{Site, url};
use crate::versions;

/// One of the servers.
pub struct Peer {
    pub name: &'static str,
    /// Whether it looks at tokens, and so knows whose URL is wanted. The others show what is the least.
    pub looks: bool,
    pub ways: &'static [Way],
    pub websockets: bool,
    /// Whether a million users can be told to it in a reasonable time.
    pub million: bool,
    command: fn(&Place) -> Command,
    /// What it says of its version.
    version: fn() -> Option<String>,
}

/// What a server's configuration is filled with.
struct Place<'a> {
    site: &'a Site,
    name: String,
    plain: u16,
    tls: u16,
    admin: u16,
    origin: SocketAddr,
    descriptors: usize,
}

/// A server that runs.
pub struct Started {
    pub peer: &'static Peer,
    pub running: Running,
    pub plain: SocketAddr,
    pub tls: SocketAddr,
    /// Valet's administration.
    pub admin: SocketAddr,
}

const HTTP1_ONLY: &[Way] = &[Way::Http1, Way::Tls];

pub const VALET: &str = "Valet";

pub static PEERS: [Peer; 10] = [
    Peer {
        name: VALET,
        looks: true,
        ways: &Way::ALL,
        websockets: true,
        million: true,
        command: valet,
        version: versions::valet_version,
    },
    Peer {
        name: "HAProxy",
        looks: true,
        ways: &Way::ALL,
        websockets: true,
        million: true,
        command: haproxy,
        version: versions::haproxy_version,
    },
    Peer {
        name: "nginx + njs",
        looks: true,
        ways: &Way::ALL,
        websockets: true,
        million: false,
        command: njs,
        version: versions::njs_version,
    },
    Peer {
        name: "Envoy",
        looks: true,
        ways: &Way::ALL,
        websockets: true,
        million: false,
        command: envoy,
        version: versions::envoy_version,
    },
    Peer {
        name: "Fastify",
        looks: true,
        ways: &Way::ALL,
        websockets: true,
        million: true,
        command: fastify,
        version: versions::fastify_version,
    },
    Peer {
        name: "Express",
        looks: true,
        ways: HTTP1_ONLY,
        websockets: true,
        million: true,
        command: express,
        version: versions::express_version,
    },
    Peer {
        name: "FastAPI",
        looks: true,
        ways: HTTP1_ONLY,
        websockets: false,
        million: true,
        command: fastapi,
        version: versions::fastapi_version,
    },
    Peer {
        name: "HAProxy, looks at nothing",
        looks: false,
        ways: &Way::ALL,
        websockets: true,
        million: false,
        command: haproxy_plain,
        version: versions::haproxy_version,
    },
    Peer {
        name: "nginx, looks at nothing",
        looks: false,
        ways: &Way::ALL,
        websockets: true,
        million: false,
        command: nginx,
        version: versions::nginx_version,
    },
    Peer {
        name: "Caddy, looks at nothing",
        looks: false,
        ways: &Way::ALL,
        websockets: true,
        million: false,
        command: caddy,
        version: versions::caddy_version,
    },
];

pub static FLOOR: Peer = Peer {
    name: "bare Pingora, looks at nothing",
    looks: false,
    ways: &Way::ALL,
    websockets: true,
    million: false,
    command: floor,
    version: versions::floor_version,
};

/// The least server, by which the load itself is measured. It has the plain address alone.
pub static FIXED: Peer = Peer {
    name: "a fixed 302 by bare system calls",
    looks: false,
    ways: &[Way::Http1],
    websockets: false,
    million: false,
    command: fixed,
    version: versions::floor_version,
};

/// Valet in the row of many users, where it signs the URLs itself.
pub static VALET_OF_MANY: Peer = Peer {
    name: VALET,
    looks: true,
    ways: &Way::ALL,
    websockets: true,
    million: true,
    command: valet_of_many,
    version: versions::valet_version,
};

impl Peer {
    /// Its version, if it is there.
    pub fn version(&self) -> Option<String> {
        (self.version)()
    }

    /// Starts it on core 0.
    pub fn start(
        &'static self,
        site: &Site,
        origin: SocketAddr,
        descriptors: Option<usize>,
    ) -> Result<Started, String> {
        let [plain, tls, admin] = std::array::from_fn(|_| free_port());
        let name = self.name.replace([' ', ',', '+'], "");
        let hard = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
        let most = hard.map_or(1 << 20, |hard| usize::try_from(hard).unwrap_or(1 << 20));
        let place = Place { site, name, plain, tls, admin, origin, descriptors: descriptors.unwrap_or(most) };
        let mut command = (self.command)(&place);
        command.env("PLAIN", plain.to_string()).env("TLS", tls.to_string()).env("ORIGIN", origin.to_string());
        command.env("FILES", site.files()).env("ALG", site.algorithm.name()).env("NODE_ENV", "production");
        let [plain, tls, admin] = [plain, tls, admin].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let addresses = [plain, tls];
        let addresses = if self.ways == [Way::Http1] { &addresses[..1] } else { &addresses[..] };
        let running = Running::start(&command, addresses, descriptors)?;
        Ok(Started { peer: self, running, plain, tls, admin })
    }
}

impl Started {
    pub fn address(&self, way: Way) -> SocketAddr {
        if way == Way::Http1 { self.plain } else { self.tls }
    }
}

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/compare/peers")
}

/// What tools/compare fetched.
pub fn tools(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/compare").join(path)
}

impl Place<'_> {
    /// Fills a configuration in, and says where it is.
    fn fill(&self, file: &str) -> PathBuf {
        let text = std::fs::read_to_string(here().join(file)).unwrap();
        let words = [
            ("plain", self.plain.to_string()),
            ("tls", self.tls.to_string()),
            ("admin", self.admin.to_string()),
            ("origin_port", self.origin.port().to_string()),
            ("origin", self.origin.to_string()),
            ("files", self.site.files().display().to_string()),
            ("alg", self.site.algorithm.name().to_owned()),
            ("key", STANDARD.encode(self.site.public_key())),
            ("name", self.name.clone()),
            ("url", url(0)),
            ("descriptors", self.descriptors.to_string()),
            ("map_size", (2 * self.site.users).max(2048).to_string()),
            // A URL is then about as long as those of the vendor.
            ("room", "x".repeat(160)),
            ("capacity", (2 * self.site.users).max(10_000).to_string()),
        ];
        let filled = words.iter().fold(text, |text, (word, value)| text.replace(&format!("{{{{{word}}}}}"), value));
        // Long, and for one of them only.
        let filled = if filled.contains("{{routes}}") { filled.replace("{{routes}}", &self.routes()) } else { filled };
        let name = if file == "gate.js" { file.to_owned() } else { format!("{}-{file}", self.name) };
        self.site.write(&name, &filled);
        self.site.files().join(name)
    }

    /// Envoy's redirect for each user.
    fn routes(&self) -> String {
        let indent = " ".repeat(40);
        let one = |user: usize| {
            let path = url(user).replace("https://plugin.example", "");
            [
                format!("user-{user}:"),
                "  action:".to_owned(),
                "    name: redirect".to_owned(),
                "    typed_config:".to_owned(),
                "      \"@type\": type.googleapis.com/envoy.config.route.v3.Route".to_owned(),
                "      match: { prefix: / }".to_owned(),
                format!("      redirect: {{ scheme_redirect: https, host_redirect: plugin.example, path_redirect: \"{path}\", response_code: FOUND }}"),
                "      response_headers_to_add:".to_owned(),
                "        - header: { key: cache-control, value: no-store }".to_owned(),
                "        - header: { key: referrer-policy, value: no-referrer }".to_owned(),
            ]
            .map(|line| format!("{indent}{line}\n"))
            .concat()
        };
        (0..self.site.users).map(one).collect::<String>().trim_end().to_owned()
    }
}

/// The build of Valet that is measured.
pub fn valet_path() -> PathBuf {
    let given = std::env::var_os("VALET").map(PathBuf::from);
    given.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/dist/valet"))
}

fn valet(place: &Place) -> Command {
    let mut command = Command::new(valet_path());
    command.args(["run", "--config"]).arg(place.fill("valet.toml"));
    command
}

fn valet_of_many(place: &Place) -> Command {
    let mut command = Command::new(valet_path());
    command.args(["run", "--config"]).arg(place.fill("valet-leases.toml"));
    command
}

fn haproxy(place: &Place) -> Command {
    haproxy_with(place, "haproxy.cfg")
}

fn haproxy_plain(place: &Place) -> Command {
    haproxy_with(place, "haproxy-plain.cfg")
}

fn haproxy_with(place: &Place, file: &str) -> Command {
    let mut command = Command::new("haproxy");
    command.arg("-f").arg(place.fill(file)).arg("-db");
    command
}

fn nginx(place: &Place) -> Command {
    let mut command = Command::new("nginx");
    command.arg("-c").arg(place.fill("nginx.conf"));
    command
}

fn njs(place: &Place) -> Command {
    place.fill("gate.js");
    let mut command = Command::new("nginx");
    command.arg("-c").arg(place.fill("nginx-njs.conf"));
    command
}

fn envoy(place: &Place) -> Command {
    let mut command = python();
    command.arg(tools("python/bin/envoy")).arg("-c").arg(place.fill("envoy.yaml"));
    command.args(["--use-dynamic-base-id", "--concurrency", "1", "--log-level", "warning"]);
    command
}

fn caddy(place: &Place) -> Command {
    let mut command = Command::new(tools("python/bin/caddy"));
    command.args(["run", "--adapter", "caddyfile", "--config"]).arg(place.fill("Caddyfile"));
    command
}

fn fastify(_: &Place) -> Command {
    node("fastify.mjs")
}

fn express(_: &Place) -> Command {
    node("express.mjs")
}

/// Packages are found from the script's own folder upwards: tools/compare puts the scripts beside them.
fn node(script: &str) -> Command {
    let mut command = Command::new("node");
    command.arg(tools("node").join(script));
    command
}

fn fastapi(_: &Place) -> Command {
    let mut command = python();
    command.arg(here().join("python/gate.py"));
    command
}

fn python() -> Command {
    let mut command = Command::new("python3");
    command.env("PYTHONPATH", tools("python")).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

fn fixed(_: &Place) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env(ROLE, "fixed");
    command
}

fn floor(_: &Place) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env(ROLE, "floor");
    command
}

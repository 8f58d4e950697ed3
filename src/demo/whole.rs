//! The whole thing in one process on loopback: vendor, identity provider, gateway.

use std::net::{Ipv4Addr, SocketAddr};

use crate::clock::Clock;
use crate::config::Config;
use crate::demo::idp::{self, IdpOptions, IdpSim};
use crate::demo::provider::{self, ProviderOptions, ProviderSim};
use crate::demo::serve::{Running, SimFault};
use crate::logging::LineSink;
use crate::server::{self, Options, StartFault};
use crate::telemetry::Metrics;

/// The name of the key file beside the demo's configuration, which is never written to disk itself.
const KEY_FILE: &str = "intelliprove.key";

/// A demo that runs.
pub struct Whole {
    /// The simulated vendor.
    pub provider: Running<ProviderSim>,
    /// The simulated identity provider.
    pub idp: Running<IdpSim>,
    /// The gateway, as `valet run` would start it.
    pub gateway: server::Running,
    /// Holds the key file; removed with it.
    _directory: tempfile::TempDir,
}

/// Why the demo can't run.
#[derive(Debug)]
pub enum DemoFault {
    /// A simulator can't.
    Simulator(SimFault),
    /// The gateway can't.
    Gateway(StartFault),
    /// The key file can't be written.
    Files(std::io::Error),
    /// The demo's own configuration is wrong: a fault of ours.
    Configuration(Vec<String>),
}

impl std::fmt::Display for DemoFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Simulator(fault) => fault.fmt(f),
            Self::Gateway(fault) => fault.fmt(f),
            Self::Files(fault) => write!(f, "no temporary file, or no free port: {fault}"),
            Self::Configuration(faults) => f.write_str(&faults.join("\n")),
        }
    }
}

impl std::error::Error for DemoFault {}

/// Starts it. `port`: the gateway's, with the vendor and the identity provider on the two behind it; 0: any free ones.
///
/// Dropped: what has started stops.
pub async fn start(port: u16, metrics: Metrics, access_log: Option<LineSink>) -> Result<Whole, DemoFault> {
    let clock = Clock::system();
    let behind = |offset: u16| {
        let port = if port == 0 { 0 } else { port.saturating_add(offset) };
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    };
    let provider = ProviderSim::new(ProviderOptions { clock: clock.clone(), ..ProviderOptions::default() });
    let provider = provider::spawn(behind(1), provider).await.map_err(DemoFault::Simulator)?;
    let idp =
        IdpSim::with(IdpOptions { clock: clock.clone(), ..IdpOptions::default() }).map_err(DemoFault::Simulator)?;
    let idp = idp::spawn(behind(2), idp).await.map_err(DemoFault::Simulator)?;

    let directory = tempfile::tempdir().map_err(DemoFault::Files)?;
    let mut key_file =
        tempfile::Builder::new().prefix(KEY_FILE).rand_bytes(0).tempfile_in(&directory).map_err(DemoFault::Files)?;
    let key = provider.sim.keys().into_iter().next().unwrap_or_default();
    // The simulator's key, into the gateway's key file.
    std::io::Write::write_all(&mut key_file, key.as_bytes()).map_err(DemoFault::Files)?;
    key_file.keep().map_err(|fault| DemoFault::Files(fault.error))?;

    // The port stands in `public_url` too, so a free one is found before the configuration is written.
    let port = if port == 0 { free_port().map_err(DemoFault::Files)? } else { port };
    let text = configuration(port, &provider.url(), &idp.url());
    let config = Config::parse(&text, "demo.toml", directory.path())
        .map_err(|faults| DemoFault::Configuration(faults.iter().map(ToString::to_string).collect()))?;
    let options = Options { clock, access_log, limits: server::Limits::default(), metrics };
    let gateway = server::start(config, options).map_err(DemoFault::Gateway)?;
    Ok(Whole { provider, idp, gateway, _directory: directory })
}

fn free_port() -> std::io::Result<u16> {
    Ok(std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// What an operator would write for these two.
fn configuration(port: u16, provider: &str, idp: &str) -> String {
    format!(
        r#"
[server]
public_url = "http://127.0.0.1:{port}"
drain = "2s"

[[listener]]
address = "127.0.0.1:{port}"

[admin]
address = "127.0.0.1:0"

[[session.issuer]]
issuer = "{idp}"
audiences = ["my-app"]
algorithms = ["ES256"]
keys = {{ discovery = true }}

[[provider]]
name = "intelliprove"
preset = "intelliprove-v2"
base_url = "{provider}"
api_key = {{ file = "{KEY_FILE}" }}
redirect_hosts = ["127.0.0.1"]

[[plugin]]
name = "face-scan"
provider = "intelliprove"
mint = "face-scan"
path = "/plugins/face-scan"
reuse = "user"
refresh_ahead = "30m"

[[plugin]]
name = "health-dashboard"
provider = "intelliprove"
mint = "health-dashboard"
path = "/plugins/health-dashboard"
reuse = "user"
refresh_ahead = "30m"
"#
    )
}

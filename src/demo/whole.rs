//! The whole thing in one process on loopback: app, gateway, vendor, identity provider.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpListener;

use crate::clock::Clock;
use crate::config::Config;
use crate::demo::app::{self, AppParts, AppSim, Feed, Places, Stage};
use crate::demo::idp::{self, IdpOptions, IdpSim};
use crate::demo::provider::{self, ProviderOptions, ProviderSim};
use crate::demo::serve::{self, Running, SimFault};
use crate::http_client::Client;
use crate::logging::LineSink;
use crate::server::{self, Options, StartFault};
use crate::telemetry::Metrics;

/// The name of the key file beside the demo's configuration, which is never written to disk itself.
const KEY_FILE: &str = "intelliprove.key";

/// A session outlives three steps of the clock, of six hours each, and ends with the fourth.
const SESSION: std::time::Duration = std::time::Duration::from_secs(23 * 3600);

/// A demo that runs.
pub struct Whole {
    /// The app.
    pub app: Running<AppSim>,
    /// The vendor's plug-in pages. Its API is a listener of its own, which the app's buttons close and open.
    pub provider: Running<ProviderSim>,
    /// Where the vendor's API is.
    pub api: SocketAddr,
    /// The simulated identity provider.
    pub idp: Running<IdpSim>,
    /// The gateway, as `valet run` would start it.
    pub gateway: server::Running,
    /// The address of the app's page.
    pub page: String,
    /// The gateway's access lines.
    lines: Option<LineSink>,
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
    /// The demo's own configuration is wrong, or no client can be made: a fault of ours.
    Own(Vec<String>),
}

impl std::fmt::Display for DemoFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Simulator(fault) => fault.fmt(f),
            Self::Gateway(fault) => fault.fmt(f),
            Self::Files(fault) => write!(f, "no temporary file, or no free port: {fault}"),
            Self::Own(faults) => f.write_str(&faults.join("\n")),
        }
    }
}

impl std::error::Error for DemoFault {}

impl From<SimFault> for DemoFault {
    fn from(fault: SimFault) -> Self {
        Self::Simulator(fault)
    }
}

/// Starts it. `port`: the app's, with the gateway, the plug-in's pages, the identity provider and the vendor's API on the four behind it;
/// 0: any free ones. `lines`: where access lines go; `feed`: where the app's page reads them, if they went through its [`Feed::tee`].
///
/// Dropped: what has started stops.
pub async fn start(port: u16, metrics: Metrics, lines: Option<LineSink>, feed: Feed) -> Result<Whole, DemoFault> {
    let (clock, hands) = Clock::shifted();
    let app_listener = listen(port, 0).await?;
    let app_port = serve::address_of(&app_listener)?.port();
    // The gateway binds its own.
    let gateway_port = if port == 0 { free_port().map_err(DemoFault::Files)? } else { behind(port, 1)?.port() };
    let gateway_address = SocketAddr::from((Ipv4Addr::LOCALHOST, gateway_port));
    let (pages, idp_listener, api) = (listen(port, 2).await?, listen(port, 3).await?, listen(port, 4).await?);
    let (pages_port, idp_port) = (serve::address_of(&pages)?.port(), serve::address_of(&idp_listener)?.port());
    let places = Places {
        app: format!("http://app.localhost:{app_port}"),
        gateway: format!("http://app.localhost:{gateway_port}"),
        plugin: format!("http://plugin.localhost:{pages_port}"),
        idp: format!("http://idp.localhost:{idp_port}"),
        gateway_here: format!("http://{gateway_address}"),
        idp_here: format!("http://127.0.0.1:{idp_port}"),
    };

    let provider = ProviderSim::new(ProviderOptions {
        clock: clock.clone(),
        plugin_base: Some(places.plugin.clone()),
        ..ProviderOptions::default()
    });
    let api = provider::spawn_on(api, provider.clone())?;
    let api_address = api.address();
    let provider = provider::spawn_on(pages, provider)?;
    let idp = IdpSim::with(IdpOptions {
        issuer: Some(places.idp.clone()),
        life: SESSION,
        clock: clock.clone(),
        ..IdpOptions::default()
    })?;
    let idp = idp::spawn_on(idp_listener, idp)?;

    let directory = tempfile::tempdir().map_err(DemoFault::Files)?;
    write_key(&directory, &provider.sim).map_err(DemoFault::Files)?;
    let config = Config::parse(&configuration(&places, gateway_address, api_address), "demo.toml", directory.path())
        .map_err(|faults| DemoFault::Own(faults.iter().map(ToString::to_string).collect()))?;
    let limits = server::Limits::default();
    let options = Options { clock, access_log: lines.clone(), limits, metrics: metrics.clone() };
    let gateway = server::start(config, options).map_err(DemoFault::Gateway)?;

    let page = places.app.clone();
    let client = Client::new().map_err(|_| DemoFault::Own(vec!["no HTTP client can be made".into()]))?;
    let stage = Stage::new(api, hands, metrics);
    let app = AppSim::new(AppParts { places, idp: idp.sim.clone(), stage, feed, client });
    let app = app::spawn_on(app_listener, app)?;
    Ok(Whole { app, provider, api: api_address, idp, gateway, page, lines, _directory: directory })
}

impl Whole {
    /// Stops all of it, the gateway first. Dropped: the rest stops all the same, but without waiting for what is under way.
    pub async fn stop(self) {
        self.gateway.stop().await;
        self.app.sim.stage().close().await;
        tokio::join!(self.app.stop(), self.provider.stop(), self.idp.stop());
        if let Some(lines) = self.lines {
            lines.close();
        }
    }
}

async fn listen(port: u16, offset: u16) -> Result<TcpListener, DemoFault> {
    Ok(serve::bind(behind(port, offset)?).await?)
}

/// The port this far behind the first; any, if the first is.
fn behind(port: u16, offset: u16) -> Result<SocketAddr, DemoFault> {
    let wanted = if port == 0 { Some(0) } else { port.checked_add(offset) };
    let fault = || DemoFault::Own(vec![format!("five ports in a row are needed, and {port} has fewer behind it")]);
    Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, wanted.ok_or_else(fault)?)))
}

fn free_port() -> std::io::Result<u16> {
    Ok(std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn write_key(directory: &tempfile::TempDir, provider: &ProviderSim) -> std::io::Result<()> {
    let mut file = tempfile::Builder::new().prefix(KEY_FILE).rand_bytes(0).tempfile_in(directory)?;
    let key = provider.keys().into_iter().next().unwrap_or_default();
    // The simulator's key, into the gateway's key file.
    file.write_all(key.as_bytes())?;
    file.keep()?;
    Ok(())
}

/// What an operator would write for these.
fn configuration(places: &Places, address: SocketAddr, api: SocketAddr) -> String {
    let Places { app, gateway, idp, idp_here, .. } = places;
    format!(
        r#"
[server]
public_url = "{gateway}"
drain = "2s"

[[listener]]
address = "{address}"

[admin]
address = "127.0.0.1:0"

[session]
sources = ["header:authorization", "cookie:session"]
login_url = "{app}/login"

[[session.issuer]]
issuer = "{idp}"
audiences = ["my-app"]
algorithms = ["ES256"]
keys = {{ jwks_url = "{idp_here}/jwks.json", cooldown = "1s" }}

[[provider]]
name = "intelliprove"
preset = "intelliprove-v2"
base_url = "http://{api}"
api_key = {{ file = "{KEY_FILE}" }}
redirect_hosts = ["plugin.localhost"]
timeout = "3s"

[[plugin]]
name = "face-scan"
provider = "intelliprove"
mint = "face-scan"
path = "/plugins/face-scan"
reuse = "session"
refresh_ahead = "30m"
allowed_origins = ["{app}"]

[[plugin]]
name = "health-dashboard"
provider = "intelliprove"
mint = "health-dashboard"
path = "/plugins/health-dashboard"
reuse = "session"
refresh_ahead = "30m"
allowed_origins = ["{app}"]
"#
    )
}

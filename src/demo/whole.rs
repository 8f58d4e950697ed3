//! The whole thing in one process on loopback: the gateway, an app behind it, a vendor, an identity provider.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpListener;

use crate::clock::Clock;
use crate::config::Config;
use crate::demo::app::{self, AppParts, AppSim, Feed, Places, Processes, Stage};
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
    /// The address to open: the gateway's, behind which the app is.
    pub page: String,
    /// Who holds the key.
    pub processes: Processes,
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

/// Starts it. `port`: the gateway's, with the app, the plug-in's pages, the identity provider and the vendor's API on the four behind it;
/// 0: any free ones. `lines`: where access lines go; `feed`: where the app's page reads them, if they went through its [`Feed::tee`].
///
/// Dropped: what has started stops.
pub async fn start(port: u16, metrics: Metrics, lines: Option<LineSink>, feed: Feed) -> Result<Whole, DemoFault> {
    let (clock, hands) = Clock::shifted();
    // The last of the five first: whether there are five is known before anything is bound.
    let api = listen(port, 4).await?;
    let (app_listener, pages, idp_listener) = (listen(port, 1).await?, listen(port, 2).await?, listen(port, 3).await?);
    // The gateway binds its own.
    let gateway_port = if port == 0 { free_port().map_err(DemoFault::Files)? } else { port };
    let gateway_address = SocketAddr::from((Ipv4Addr::LOCALHOST, gateway_port));
    let (pages_port, idp_port) = (serve::address_of(&pages)?.port(), serve::address_of(&idp_listener)?.port());
    let places = Places {
        app: format!("http://app.localhost:{gateway_port}"),
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
    let at = At { gateway: gateway_address, app: serve::address_of(&app_listener)?, api: api_address };
    let config = Config::parse(&configuration(&places, &at), "demo.toml", directory.path())
        .map_err(|faults| DemoFault::Own(faults.iter().map(ToString::to_string).collect()))?;
    let limits = server::Limits::default();
    let options = Options { clock, access_log: lines.clone(), limits, metrics: metrics.clone() };
    let gateway = server::start(config, options).map_err(DemoFault::Gateway)?;

    let page = places.app.clone();
    let client = Client::new().map_err(|_| DemoFault::Own(vec!["no HTTP client can be made".into()]))?;
    let stage = Stage::new(api, hands, metrics);
    let processes = Processes { front: std::process::id() };
    let app = AppSim::new(AppParts { places, idp: idp.sim.clone(), stage, feed, client, processes });
    let app = app::spawn_on(app_listener, app)?;
    Ok(Whole { app, provider, api: api_address, idp, gateway, page, processes, lines, _directory: directory })
}

impl Whole {
    /// Stops all of it, the gateway before what is behind it. Dropped: the rest stops all the same, but without waiting for what is under
    /// way.
    pub async fn stop(self) {
        // A feed has no end of its own, and the gateway would wait for it as long as it may.
        self.app.sim.end_feeds();
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

/// Where programs on this machine reach the parts.
struct At {
    gateway: SocketAddr,
    app: SocketAddr,
    api: SocketAddr,
}

/// What an operator would write for these.
fn configuration(places: &Places, at: &At) -> String {
    let Places { app, idp, idp_here, .. } = places;
    let At { gateway, app: app_here, api } = at;
    // An app with long silences: the gateway waits through two of its signs of life.
    let silence = 3 * app::SIGN_OF_LIFE.as_secs();
    format!(
        r#"
[server]
public_url = "{app}"
drain = "2s"

[[listener]]
address = "{gateway}"

[admin]
address = "127.0.0.1:0"

[session]
sources = ["header:authorization", "cookie:session"]
login_url = "/login"

[[session.issuer]]
issuer = "{idp}"
audiences = ["my-app"]
algorithms = ["ES256"]
keys = {{ jwks_url = "{idp_here}/jwks.json", cooldown = "1s" }}

# The page, and signing in: open to all. With "optional" a cookie that is no good, as after a restart of the demo, would be 401 here too, and
# who has one could not sign in any more.
[[app]]
name = "app"
path = "/"
upstreams = ["{app_here}"]
session = "none"
read_timeout = "{silence}s"

# Who is signed in, if anybody is.
[[app]]
name = "app-me"
path = "/me"
upstreams = ["{app_here}"]
session = "optional"
claims = {{ x-auth-name = "name" }}

# Only for who is signed in.
[[app]]
name = "app-api"
path = "/api"
upstreams = ["{app_here}"]
session = "required"
claims = {{ x-auth-name = "name" }}

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
embed = ["same-origin"]

[[plugin]]
name = "health-dashboard"
provider = "intelliprove"
mint = "health-dashboard"
path = "/plugins/health-dashboard"
reuse = "session"
refresh_ahead = "30m"
embed = ["same-origin"]
"#
    )
}

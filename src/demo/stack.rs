//! The demo's stack on loopback: the gateway, an app behind it, a vendor, an identity provider. In one process, or with the key in another.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;

use tempfile::TempDir;

mod child;
mod configuration;
mod handshake;
pub mod minter;
mod ports;

pub use self::child::Minter;
use self::configuration::{
    At, EDGE, EDGE_CERTIFICATE, EDGE_KEY, KEY_FILE, MINTER_CERTIFICATE, Mints, PEOPLE, POLICIES,
};
use self::handshake::{Handshake, Order, write};
use self::ports::{Place, Ports};
use crate::clock::Clock;
use crate::config::{Config, Fault};
use crate::demo::app::{self, AppParts, AppSim, Controls, Feed, Places, Processes, RemoteControl, Vendor};
use crate::demo::idp::{self, IdpOptions, IdpSim};
use crate::demo::provider::{self, ProviderOptions, ProviderSim};
use crate::demo::serve::{self, ServerHandle, SimFault};
use crate::demo::vendor_control::VendorControl;
use crate::http_client::Client;
use crate::logging::LineSink;
use crate::server::{self, Options, StartFault};
use crate::telemetry::Metrics;

/// A session outlives three steps of the clock, of six hours each, and ends with the fourth.
const SESSION: std::time::Duration = std::time::Duration::from_secs(23 * 3600);

/// A demo that runs.
pub struct Stack {
    /// The app.
    pub app: ServerHandle<AppSim>,
    /// What knows the key.
    pub behind: Behind,
    /// The simulated identity provider.
    pub idp: ServerHandle<IdpSim>,
    /// The gateway, as `valet run` would start it.
    pub gateway: server::ServerHandle,
    /// The address to open: the gateway's, behind which the app is.
    pub page: String,
    /// Who holds the key.
    pub processes: Processes,
    /// The gateway's access lines.
    lines: Option<LineSink>,
    /// Holds the key file, or the edge's own certificate; removed with it.
    _directory: TempDir,
}

/// What knows the key.
pub enum Behind {
    /// The vendor, in this process.
    Here {
        /// Its plug-in pages.
        pages: ServerHandle<ProviderSim>,
        /// Its API: a listener of its own, which the app's buttons close and open.
        vendor_control: Arc<VendorControl>,
        /// Where its API is.
        api: SocketAddr,
    },
    /// The minter and the vendor, in another.
    There(Minter),
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
    /// The minter's process can't.
    Minter(String),
    /// The demo's own configuration is wrong, or no client can be made: a fault of ours.
    Own(Vec<String>),
}

impl std::fmt::Display for DemoFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Simulator(fault) => fault.fmt(f),
            Self::Gateway(fault) => fault.fmt(f),
            Self::Files(fault) => write!(f, "no temporary file, or no free port: {fault}"),
            Self::Minter(fault) => write!(f, "the minter's process {fault}"),
            Self::Own(faults) => f.write_str(&faults.join("\n")),
        }
    }
}

impl std::error::Error for DemoFault {}

impl DemoFault {
    fn wrong(faults: Vec<Fault>) -> Self {
        Self::Own(faults.iter().map(ToString::to_string).collect())
    }
}

impl From<SimFault> for DemoFault {
    fn from(fault: SimFault) -> Self {
        Self::Simulator(fault)
    }
}

/// Starts it. `port`: the gateway's, with the app, the plug-in's pages, the identity provider and the vendor's API on the four behind it;
/// 0: any free ones. `lines`: where access lines go; `feed`: where the app's page reads them, if they went through its [`Feed::tee`].
/// `minter`: what starts a process that does [`minter::start`]; the vendor is in it then, and no key in this one.
///
/// Dropped: what has started stops.
///
/// # Errors
/// A port can't be had, or the gateway does not start.
pub async fn start(
    port: u16,
    metrics: Metrics,
    lines: Option<LineSink>,
    feed: Feed,
    minter: Option<Command>,
) -> Result<Stack, DemoFault> {
    let ports = Ports::from(port)?;
    let (clock, clock_control) = Clock::shifted();
    let (app_listener, idp_listener) = (ports.listen(Place::App).await?, ports.listen(Place::Idp).await?);
    let (gateway_address, held) = ports.gateway().map_err(DemoFault::Files)?;
    let (gateway_port, idp_port) = (gateway_address.port(), serve::address_of(&idp_listener)?.port());
    let (idp, idp_here) = (format!("http://idp.localhost:{idp_port}"), format!("http://127.0.0.1:{idp_port}"));
    let idp_sim = idp::spawn_on(idp_listener, IdpSim::with(identity_provider(&idp, &clock))?)?;

    let directory = tempfile::tempdir().map_err(DemoFault::Files)?;
    let client = Client::new().map_err(|_| DemoFault::Own(vec!["no HTTP client can be made".into()]))?;
    let (behind, mints) = match minter {
        None => here(ports, &clock, &directory).await?,
        Some(command) => there(command, ports, (&idp, &idp_here), &directory, lines.clone()).await?,
    };
    write_policies(&directory)?;
    let places = Places {
        app: format!("http://app.localhost:{gateway_port}"),
        plugin: behind.plugin_origin(),
        idp,
        gateway_here: format!("http://{gateway_address}"),
        idp_here,
    };
    let at = At { gateway: gateway_address, app: serve::address_of(&app_listener)? };
    let config = Config::parse(&configuration::gateway(&places, &at, &mints), "demo.toml", directory.path());
    let limits = server::Limits::default();
    let options = Options { clock, access_log: lines.clone(), limits, metrics: metrics.clone() };
    let gateway = server::start(config.map_err(DemoFault::wrong)?, options).map_err(DemoFault::Gateway)?;
    drop(held);

    let page = places.app.clone();
    let processes = Processes { front: std::process::id(), minter: behind.minter().map(|minter| minter.pid) };
    let controls = Controls::new(behind.vendor(&client), clock_control, metrics);
    let app = AppSim::new(AppParts { places, idp: idp_sim.sim.clone(), controls, feed, client, processes });
    let app = app::spawn_on(app_listener, app)?;
    Ok(Stack { app, behind, idp: idp_sim, gateway, page, processes, lines, _directory: directory })
}

/// The vendor, and its key for the gateway.
async fn here(ports: Ports, clock: &Clock, directory: &TempDir) -> Result<(Behind, Mints), DemoFault> {
    let (api, pages) = (ports.listen(Place::Api).await?, ports.listen(Place::Pages).await?);
    let provider = vendor(clock, plugin_origin(serve::address_of(&pages)?));
    let api = provider::spawn_on(api, provider.clone())?;
    let address = api.address();
    let pages = provider::spawn_on(pages, provider)?;
    write_key(directory, KEY_FILE, &pages.sim)?;
    let behind = Behind::Here { pages, vendor_control: Arc::new(VendorControl::new(api)), api: address };
    Ok((behind, Mints::Itself(address)))
}

/// The minter's process, and what the edge shows it and believes of it. `idp`: its names, as tokens have it and as programs reach it.
async fn there(
    command: Command,
    ports: Ports,
    (idp, idp_here): (&str, &str),
    directory: &TempDir,
    lines: Option<LineSink>,
) -> Result<(Behind, Mints), DemoFault> {
    let handshake = Handshake::new(EDGE)?;
    handshake.write(directory, EDGE_CERTIFICATE, EDGE_KEY)?;
    let order = Order {
        edge: handshake.certificate,
        pages: ports.address(Place::Pages),
        api: ports.address(Place::Api),
        idp: idp.into(),
        idp_here: idp_here.into(),
    };
    let minter = Minter::start(command, &order, lines).await?;
    write(directory, MINTER_CERTIFICATE, &minter.ready.certificate)?;
    let mints = Mints::Minter(minter.ready.minter.clone());
    Ok((Behind::There(minter), mints))
}

impl Behind {
    /// The minter's process, if there is one.
    pub fn minter(&self) -> Option<&Minter> {
        match self {
            Self::Here { .. } => None,
            Self::There(minter) => Some(minter),
        }
    }

    /// The vendor's API, and its plug-in pages.
    pub fn addresses(&self) -> (SocketAddr, SocketAddr) {
        match self {
            Self::Here { api, pages, .. } => (*api, pages.address()),
            Self::There(minter) => (minter.ready.api, minter.ready.pages),
        }
    }

    fn plugin_origin(&self) -> String {
        plugin_origin(self.addresses().1)
    }

    fn vendor(&self, client: &Client) -> Vendor {
        match self {
            Self::Here { vendor_control, .. } => Vendor::Here(vendor_control.clone()),
            Self::There(minter) => {
                Vendor::There(Box::new(RemoteControl::new(client.clone(), format!("http://{}", minter.ready.switches))))
            }
        }
    }

    async fn stop(self) {
        match self {
            Self::Here { pages, vendor_control, .. } => {
                vendor_control.close().await;
                pages.stop().await;
            }
            Self::There(minter) => minter.stop().await,
        }
    }
}

impl Stack {
    /// Waits until it can't go on because the minter's process has ended, and says so. In one process: for ever. Dropped: nothing.
    pub async fn broken(&self) -> DemoFault {
        match self.behind.minter() {
            None => std::future::pending().await,
            Some(minter) => DemoFault::Minter(format!(
                "{} has ended ({}): without the key there are no links, so the demo ends too",
                minter.pid,
                minter.ended().await
            )),
        }
    }

    /// Stops all of it, the gateway before what is behind it. Dropped: the rest stops all the same, but without waiting for what is under
    /// way.
    pub async fn stop(self) {
        // A feed has no end of its own, and the gateway would wait for it as long as it may.
        self.app.sim.end_feeds();
        self.gateway.stop().await;
        tokio::join!(self.behind.stop(), self.app.stop(), self.idp.stop());
        if let Some(lines) = self.lines {
            lines.close();
        }
    }
}

/// A vendor whose links lead to these pages.
fn vendor(clock: &Clock, plugin_base: String) -> ProviderSim {
    ProviderSim::new(ProviderOptions {
        clock: clock.clone(),
        plugin_base: Some(plugin_base),
        ..ProviderOptions::default()
    })
}

/// The pages, as a browser names them.
fn plugin_origin(pages: SocketAddr) -> String {
    format!("http://plugin.localhost:{}", pages.port())
}

/// The identity provider: people, each in a group.
fn identity_provider(issuer: &str, clock: &Clock) -> IdpOptions {
    IdpOptions {
        issuer: Some(issuer.to_owned()),
        users: PEOPLE.map(|(name, _)| name.to_owned()).into(),
        groups: PEOPLE.map(|(name, group)| (name.to_owned(), vec![group.to_owned()])).into(),
        life: SESSION,
        clock: clock.clone(),
        ..IdpOptions::default()
    }
}

/// Who may open what, into a folder beside the configuration.
fn write_policies(directory: &TempDir) -> Result<(), DemoFault> {
    let folder = tempfile::Builder::new().prefix(POLICIES).rand_bytes(0).tempdir_in(directory);
    let mut folder = folder.map_err(DemoFault::Files)?;
    // It goes with the folder around it.
    folder.disable_cleanup(true);
    write(&folder, "demo.cedar", configuration::POLICY_TEXT)?;
    write(&folder, "claims.toml", configuration::CLAIMS_TEXT)
}

/// The simulator's key, into the key file of who mints.
fn write_key(directory: &TempDir, name: &str, provider: &ProviderSim) -> Result<(), DemoFault> {
    write(directory, name, &provider.keys().into_iter().next().unwrap_or_default())
}

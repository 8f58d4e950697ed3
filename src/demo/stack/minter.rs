//! The second process of `valet demo --split`: the minter, with the vendor. It makes the key itself, and tells it to nobody.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tempfile::TempDir;

use super::configuration::{self, EDGE_CERTIFICATE, KEY_FILE, MINTER_CERTIFICATE, MINTER_KEY};
use super::handshake::{Answer, Handshake, Order, Ready, write};
use super::{DemoFault, plugin_origin, vendor, write_key, write_policies};
use crate::clock::Clock;
use crate::config::Config;
use crate::demo::provider::{self, ProviderSim};
use crate::demo::serve::{self, ServerHandle};
use crate::demo::vendor_control::{self, Switches, VendorControl};
use crate::logging::LineSink;
use crate::server::{self, Options};
use crate::telemetry::Metrics;

/// The minter with the vendor behind it.
pub struct Behind {
    minter: server::ServerHandle,
    vendor_control: Arc<VendorControl>,
    pages: ServerHandle<ProviderSim>,
    switches: ServerHandle<Switches>,
    /// Holds the key file; removed with it.
    _directory: TempDir,
}

/// Does what the edge's process orders, which is one line. `lines`: where the audit log goes.
///
/// Returns the line that answers the order, and what runs; `None`: it can't, and the line says why. Dropped: what has started stops.
pub async fn start(order: &str, metrics: Metrics, lines: LineSink) -> (String, Option<Behind>) {
    let (answer, behind) = match run(order, metrics, lines).await {
        Ok((ready, behind)) => (Answer::Ready(ready), Some(behind)),
        Err(fault) => (Answer::from(fault), None),
    };
    // Texts and addresses: nothing in it can fail to be written.
    (serde_json::to_string(&answer).unwrap_or_default(), behind)
}

async fn run(order: &str, metrics: Metrics, lines: LineSink) -> Result<(Ready, Behind), DemoFault> {
    let own = |fault: &str| DemoFault::Own(vec![fault.to_owned()]);
    let order: Order = serde_json::from_str(order)
        .map_err(|_| own("this is a part of `valet demo --split`, which starts it, and nothing to start by hand"))?;
    let (clock, clock_control) = Clock::shifted();
    let (api, pages) = (serve::bind(order.api).await?, serve::bind(order.pages).await?);
    let switches = serve::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
    let provider = vendor(&clock, plugin_origin(serve::address_of(&pages)?));
    let api = provider::spawn_on(api, provider.clone())?;
    let pages = provider::spawn_on(pages, provider)?;
    let api_address = api.address();

    let directory = tempfile::tempdir().map_err(DemoFault::Files)?;
    write_key(&directory, KEY_FILE, &pages.sim)?;
    write(&directory, EDGE_CERTIFICATE, &order.edge)?;
    write_policies(&directory)?;
    let handshake = Handshake::new(&Ipv4Addr::LOCALHOST.to_string())?;
    handshake.write(&directory, MINTER_CERTIFICATE, MINTER_KEY)?;
    let text = configuration::minter(&order.idp, &order.idp_here, api_address);
    let config = Config::parse(&text, "minter.toml", directory.path()).map_err(DemoFault::wrong)?;
    let options = Options { clock, access_log: Some(lines), limits: server::Limits::default(), metrics };
    let minter = server::start(config, options).map_err(DemoFault::Gateway)?;

    let vendor_control = Arc::new(VendorControl::new(api));
    let switches = vendor_control::spawn_on(switches, Switches::new(vendor_control.clone(), clock_control))?;
    let ready = Ready {
        certificate: handshake.certificate,
        minter: minter.minter.clone().ok_or_else(|| own("the minter has no address"))?,
        admin: minter.admin.clone().unwrap_or_default(),
        api: api_address,
        pages: pages.address(),
        switches: switches.address(),
    };
    Ok((ready, Behind { minter, vendor_control, pages, switches, _directory: directory }))
}

impl Behind {
    /// Stops all of it, the minter before the vendor. Dropped: the rest stops all the same, but without waiting for what is under way.
    pub async fn stop(self) {
        self.minter.stop().await;
        self.vendor_control.close().await;
        tokio::join!(self.pages.stop(), self.switches.stop());
    }
}

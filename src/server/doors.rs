//! The ways in, one for each listener.

use std::sync::Arc;

use crate::config::Config;
use crate::gateway::{Door, DoorKind};
use crate::server::BuildFault;
use crate::server::tls::{self, Certificates};
use crate::telemetry::Metrics;

/// In the order of the listeners, as `certificates` are.
pub(super) fn make(
    config: &Config,
    certificates: &[Option<Arc<Certificates>>],
    metrics: &Metrics,
) -> Result<Vec<Arc<Door>>, BuildFault> {
    let doors = config.listeners.iter().zip(certificates).map(|(listener, certificates)| {
        let tls = certificates.clone().map(tls::acceptor).transpose();
        let tls = tls.map_err(|fault| BuildFault(vec![format!("listener.tls: {fault}")]))?;
        let unix = listener.address.starts_with("unix:");
        let kind = DoorKind { unix, proxy_protocol: listener.proxy_protocol };
        Ok(Arc::new(Door::new(kind, tls, metrics)))
    });
    doors.collect()
}

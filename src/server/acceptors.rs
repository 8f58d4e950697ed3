//! The acceptors, one for each listener.

use std::sync::Arc;

use crate::config::Config;
use crate::gateway::{Acceptor, AcceptorOptions};
use crate::server::BuildFault;
use crate::server::tls::{self, Certificates};
use crate::telemetry::Metrics;

/// In the order of the listeners, as `certificates` are.
pub(super) fn make(
    config: &Config,
    certificates: &[Option<Arc<Certificates>>],
    metrics: &Metrics,
) -> Result<Vec<Arc<Acceptor>>, BuildFault> {
    let acceptors = config.listeners.iter().zip(certificates).map(|(listener, certificates)| {
        let tls = certificates.clone().map(tls::acceptor).transpose();
        let tls = tls.map_err(|fault| BuildFault(vec![format!("listener.tls: {fault}")]))?;
        let unix = listener.address.starts_with("unix:");
        let kind = AcceptorOptions { unix, proxy_protocol: listener.proxy_protocol };
        Ok(Arc::new(Acceptor::new(kind, tls, metrics)))
    });
    acceptors.collect()
}

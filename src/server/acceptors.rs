//! The acceptors, one for each listener.

use std::sync::Arc;

use crate::config::Config;
use crate::gateway::settings::ListenerKind;
use crate::gateway::{Acceptor, AcceptorOptions, ListenerPolicy};
use crate::server::BuildFault;
use crate::server::tls::ListenerTls;
use crate::telemetry::Metrics;
use crate::units::ListenAddress;
use crate::web::Origin;

/// In the order of the listeners, as `tls` is. `kept`: the acceptor that is in force for the listener at this place, where it stays as it
/// is: its TLS sessions can be resumed.
pub(super) fn make(
    config: &Config,
    tls: &[Option<ListenerTls>],
    metrics: &Metrics,
    kept: impl Fn(usize) -> Option<Arc<Acceptor>>,
) -> Result<Vec<Arc<Acceptor>>, BuildFault> {
    let acceptors = config.listeners.iter().zip(tls).enumerate().map(|(at, (listener, tls))| {
        if let Some(acceptor) = kept(at) {
            return Ok(acceptor);
        }
        let tls = tls.as_ref().map(ListenerTls::acceptor).transpose();
        let tls = tls.map_err(|fault| BuildFault(vec![format!("listener.tls: {fault}")]))?;
        let unix = matches!(listener.address, ListenAddress::Unix(_));
        let ext_authz = listener.kind == ListenerKind::ExtAuthz;
        let kind = AcceptorOptions { unix, proxy_protocol: listener.proxy_protocol, ext_authz };
        let redirect_to = listener.redirect.and(config.server.public_url.as_ref()).map(Origin::to_string);
        let policy = ListenerPolicy::new(redirect_to, listener.hsts.map(|span| span.0));
        Ok(Arc::new(Acceptor::new(kind, policy, tls, metrics)))
    });
    acceptors.collect()
}

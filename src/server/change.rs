//! The administration address and the minter's, where a configuration moves them.

use std::net::TcpListener;

use super::accept::Bound;
use super::admin::AdminListener;
use super::generation::{Generation, Surroundings};
use super::upgrade::{UpgradeListener, UpgradeSocket};
use super::{Live, State};
use crate::minter::Serving;

/// Where edges ask.
pub(super) struct EdgeListener {
    /// As configured.
    pub setting: String,
    /// A second handle: to hand it over.
    pub handle: TcpListener,
    pub serving: Serving,
}

impl EdgeListener {
    /// Serves edges from now on, if this configuration has a minter.
    pub fn start(of: &Generation, listener: TcpListener, around: &Surroundings) -> std::io::Result<Option<Self>> {
        let (Some(minter), Some(settings)) = (&of.components.minter, &of.config.minter) else { return Ok(None) };
        let handle = listener.try_clone()?;
        // It may be a predecessor's.
        listener.set_nonblocking(true)?;
        let serving = minter.serve(listener, &of.components, &of.shared.bounds, around)?;
        Ok(Some(Self { setting: settings.address.to_string(), handle, serving }))
    }
}

impl Live {
    pub(super) fn change_admin(&self, state: &mut State, next: &Generation, fresh: Option<Bound>) {
        let stays = next.config.admin.is_some() && fresh.is_none();
        if let Some(before) = state.admin.take_if(|_| !stays) {
            before.leave();
        }
        if let (Some(bound), Some(settings), Some(admin)) = (fresh, &next.config.admin, self.admin.get()) {
            state.admin = Some(AdminListener::start(settings.address.as_str(), bound, admin));
        }
    }

    pub(super) fn change_minter(&self, state: &mut State, next: &Generation, fresh: Option<TcpListener>) {
        let stays = next.config.minter.is_some() && fresh.is_none();
        if let Some(before) = state.edges.take_if(|_| !stays) {
            tokio::spawn(before.serving.stop(next.config.server.drain.0));
        }
        match (&state.edges, &next.components.minter, fresh) {
            (Some(edges), Some(minter), _) => minter.replace(&edges.serving, &next.components, &self.around),
            (None, Some(_), Some(listener)) => {
                // A listener that is bound, on a runtime that runs: there is no reason to fail.
                state.edges = EdgeListener::start(next, listener, &self.around).ok().flatten();
            }
            _ => {}
        }
    }

    pub(super) fn change_upgrade(
        self: &std::sync::Arc<Self>,
        state: &mut State,
        next: &Generation,
        fresh: Option<UpgradeSocket>,
    ) {
        let stays = next.config.server.upgrade_socket.is_some() && fresh.is_none();
        if let Some(before) = state.upgrade.take_if(|_| !stays) {
            before.leave();
        }
        if let (Some(socket), Some(setting)) = (fresh, super::bind::upgrade_socket(&next.config)) {
            // As above.
            state.upgrade = UpgradeListener::start(setting, socket, self).ok();
        }
    }
}

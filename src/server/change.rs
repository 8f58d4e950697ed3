//! The administration address and the minter's, where a configuration moves them.

use super::admin::AdminListener;
use super::bind::Bound;
use super::generation::Generation;
use super::{Live, State};

impl Live {
    pub(super) fn change_admin(&self, state: &mut State, next: &Generation, fresh: Option<Bound>) {
        let stays = next.config.admin.is_some() && fresh.is_none();
        if let Some(before) = state.admin.take_if(|_| !stays) {
            before.leave();
        }
        if let (Some(bound), Some(settings), Some(admin)) = (fresh, &next.config.admin, self.admin.get()) {
            state.admin = Some(AdminListener::start(&settings.address, bound, admin));
        }
    }

    pub(super) fn change_minter(&self, state: &mut State, next: &Generation, fresh: Option<std::net::TcpListener>) {
        let stays = next.config.minter.is_some() && fresh.is_none();
        if let Some((_, before)) = state.serving.take_if(|_| !stays) {
            tokio::spawn(before.stop(next.config.server.drain.0));
        }
        let (Some(minter), Some(settings)) = (&next.components.minter, &next.config.minter) else { return };
        match (&state.serving, fresh) {
            (Some((_, serving)), _) => minter.replace(serving, &next.components, &self.around),
            (None, Some(listener)) => {
                // A listener that is bound, on a runtime that runs: there is no reason to fail.
                let serving = minter.serve(listener, &next.components, &next.shared.bounds, &self.around);
                state.serving = serving.ok().map(|serving| (settings.address.clone(), serving));
            }
            (None, None) => {}
        }
    }
}

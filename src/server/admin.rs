//! The administration address: it may move with a configuration, or go.

use std::sync::Arc;

use tokio::sync::{Notify, watch};

use super::Live;
use super::accept::{Accepting, Bound};
use super::build::Components;
use super::generation::Generation;
use super::reload::Reloaded;
use crate::admin::{Admin, Api, Reload};
use crate::clock::Clock;
use crate::config::Config;
use crate::gateway::settings::PluginSettings;
use crate::lease::Scope;
use crate::lease::settings::Reuse;
use crate::revocation::{PluginScope, Revoker, RevokerParts};
use crate::telemetry::{Metrics, Recent};

/// One that accepts.
pub(super) struct AdminListener {
    /// As configured.
    pub setting: String,
    pub accepting: Accepting,
    stop: watch::Sender<bool>,
}

impl AdminListener {
    /// Accepts from now on.
    pub fn start(setting: &str, bound: Bound, admin: &Arc<Admin>) -> Self {
        let (stop, stopped) = watch::channel(false);
        let admin = admin.clone();
        let accepting = bound.accept(1, move |stream| {
            let (admin, stopped) = (admin.clone(), stopped.clone());
            tokio::spawn(async move { admin.serve(stream, stopped).await });
        });
        Self { setting: setting.to_owned(), accepting, stop }
    }

    /// Accepts no more; what is under way is answered.
    pub fn leave(self) {
        self.stop.send_replace(true);
    }
}

impl Generation {
    /// What an administrator sees and does, if there is a token.
    pub(super) fn api(&self, live: &Arc<Live>) -> Option<Api> {
        let (drain, recent) = (live.drain_asked.clone(), live.around.metrics.recent.clone());
        let live = Arc::downgrade(live);
        let reload: Reload = Arc::new(move || {
            let live = live.clone();
            // A task of its own: an administrator who leaves breaks nothing off.
            let reloading = tokio::spawn(async move { Some(live.upgrade()?.reload().await) });
            Box::pin(async move {
                match reloading.await {
                    Ok(Some(Reloaded::Applied(changed))) => Ok(changed),
                    Ok(Some(Reloaded::Refused(faults))) => Err(faults),
                    Ok(None) | Err(_) => Err(vec!["this process is about to end".to_owned()]),
                }
            })
        });
        self.components.api(&self.config, self.revoker.clone(), (reload, drain, recent))
    }
}

impl Components {
    /// What an administrator sees, if there is a token.
    pub(super) fn api(
        &self,
        config: &Config,
        revoker: Arc<Revoker>,
        (reload, drain, recent): (Reload, Arc<Notify>, Recent),
    ) -> Option<Api> {
        let token = self.admin_token.clone()?;
        let (book, sessions, embeds) = (self.book.clone(), self.sessions.clone(), self.embeds(config));
        Some(Api { token, book, sessions, revoker, embeds, reload, drain, recent })
    }

    /// What ends sessions.
    pub(super) fn revoker(&self, config: &Config, clock: &Clock, metrics: &Metrics) -> Arc<Revoker> {
        let parts = RevokerParts {
            sessions: self.sessions.clone(),
            book: self.book.clone(),
            scopes: self.scopes(&config.session.namespaces()),
            former_scopes: self.scopes(&config.session.sharing()),
            providers: self.providers.clone(),
            life: config.session.revocation_life.0,
            clock: clock.clone(),
        };
        Revoker::new(parts, metrics)
    }

    /// Each plug-in's leases of each of these issuers, and at a minter those of edges.
    fn scopes(&self, issuers: &[String]) -> Vec<PluginScope> {
        let plugins = self.plugins.iter().map(|plugin| {
            let PluginSettings { name, provider, mint, reuse, .. } = &plugin.settings;
            ((name.as_str(), provider.as_str(), mint.as_str(), plugin.fingerprint), Some(*reuse))
        });
        let offers = self.minter.iter().flat_map(|minter| minter.scopes().zip(minter.reuses()));
        let named: Vec<_> = plugins.chain(offers).collect();
        let scope = |issuer: &str, of: &((&str, &str, &str, [u8; 32]), Option<Reuse>)| {
            let ((name, provider, mint, fingerprint), reuse) = of;
            PluginScope {
                scope: Scope::new(issuer, name, provider, mint, fingerprint),
                plugin: (*name).to_owned(),
                issuer: issuer.to_owned(),
                by_session: *reuse == Some(Reuse::Session),
            }
        };
        issuers.iter().flat_map(|issuer| named.iter().map(move |of| scope(issuer, of))).collect()
    }
}

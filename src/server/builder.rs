//! The builder of components: sessions, vendors, certificates, plug-ins, apps.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::HeaderName;

use crate::app::settings::AppSettings;
use crate::app::{Pool, PoolFault};
use crate::certificate::CertificateFiles;
use crate::clock::Clock;
use crate::config::Config;
use crate::files;
use crate::gateway::Claims;
use crate::gateway::settings::{ClientCertificate, ListenerSettings, PluginSettings};
use crate::http_client::settings::ProxySettings;
use crate::http_client::{Client, ClientFault, Identity, Route, RouteFault};
use crate::lease::settings::StoreKind;
use crate::lease::store::settings::RedisSettings;
use crate::lease::store::{Backend, FileStore, RedisStore, SealedStore, SealingKeys, Way, check_key};
use crate::limit::MintShares;
use crate::policy::Policies;
use crate::provider::settings::ProviderSettings;
use crate::provider::{self, Mint, Provider, Recipe, Vendor, VendorSecrets};
use crate::revocation::Revocable;
use crate::secret::{Secret, SecretCell, SecretFault, SecretSource, SecretSources};
use crate::server::build::{Accept, App, Plugin, ReloadableSecret};
use crate::server::client_ca::{Asked, ClientCa};
use crate::server::tls::{Certificates, ListenerTls};
use crate::session::settings::IssuerSettings;
use crate::session::{ClaimNames, ClientFault as KeyClientFault, KeyClient, Sessions};
use crate::telemetry::Metrics;

/// Where parts are made, faults are gathered, and secrets are noted for rereading.
pub(super) struct Builder<'a> {
    pub config: &'a Config,
    pub clock: &'a Clock,
    pub metrics: &'a Metrics,
    pub client: Client,
    pub shares: Option<Arc<MintShares>>,
    /// Who has the list of revocations.
    pub sessions: Option<Arc<Sessions>>,
    pub secrets: Vec<ReloadableSecret>,
    pub identities: Vec<(String, Arc<Identity>)>,
    pub faults: Vec<String>,
}

impl Builder<'_> {
    pub fn sessions(&mut self, names: ClaimNames<'_>) -> Option<Arc<Sessions>> {
        let subject_key = match &self.config.log.subject_key {
            Some(source) => match source.read(&self.config.directory) {
                Ok(key) => key,
                Err(SecretFault(fault)) => {
                    self.faults.push(format!("log.subject_key: {fault}"));
                    return None;
                }
            },
            None => random_key(),
        };
        let (config, clock) = (self.config, self.clock.clone());
        let client_of = |issuer: &IssuerSettings| {
            let client = self.client_through(issuer.ca.as_deref(), issuer.proxy.as_ref());
            let client = client.map_err(|faults| {
                let place =
                    |RouteFault { key, message }| format!("session.issuer {:?}: {key}: {message}", issuer.issuer);
                faults.into_iter().map(place).collect::<Vec<String>>()
            })?;
            Ok(Arc::new(KeySets(client)) as Arc<dyn KeyClient>)
        };
        let made = Sessions::new(
            &config.session,
            &config.directory,
            (names, config.policy_set.as_deref().map(Policies::claims)),
            &subject_key,
            &client_of,
            clock,
            self.metrics,
        );
        self.sessions = made.map_err(|faults| self.faults.extend(faults)).ok();
        self.sessions.clone()
    }

    pub fn provider(&mut self, settings: &ProviderSettings, claim_names: &[String]) -> Option<Provider> {
        match &settings.minter {
            Some(link) => self.remote(settings, link, claim_names).map(Provider::Remote),
            None => self.vendor(settings, claim_names).map(Provider::Vendor),
        }
    }

    fn vendor(&mut self, settings: &ProviderSettings, claim_names: &[String]) -> Option<Vendor> {
        let name = &settings.name;
        let recipe: Recipe = match provider::compile(settings) {
            Ok(recipe) => recipe.with_claims(claim_names),
            Err(faults) => {
                self.faults
                    .extend(faults.iter().map(|(key, fault)| format!("provider.{key}: {fault} (provider {name})")));
                return None;
            }
        };
        let sources = settings.api_key.as_ref().map(SecretSources::as_slice).unwrap_or_default();
        let keys: Vec<_> = sources
            .iter()
            .filter_map(|source| self.secret(&format!("{name}.api_key"), source, accepts(&recipe)))
            .collect();
        let subject_key = match settings.subject_key.as_ref().or(self.config.log.subject_key.as_ref()) {
            Some(source) => Some(self.secret(&format!("{name}.subject_key"), source, Box::new(|_| Ok(())))?),
            None => None,
        };
        let headers: Vec<_> = settings
            .secret_headers
            .iter()
            .filter_map(|(header, source)| {
                let accept: Accept = Box::new(provider::check_header_secret);
                self.secret(&format!("{name}.secret_headers.{header}"), source, accept)
            })
            .collect();
        if keys.is_empty() || keys.len() != sources.len() || headers.len() != settings.secret_headers.len() {
            return None;
        }
        let secrets = VendorSecrets { keys, subject: subject_key, headers };
        let client = self.client_through(settings.ca.as_deref(), settings.proxy.as_ref());
        let client = client.map_err(|faults| {
            let place = |RouteFault { key, message }| format!("provider.{key}: {message} (provider {name})");
            self.faults.extend(faults.into_iter().map(place));
        });
        Some(Vendor::new(settings, recipe, secrets, client.ok()?, self.clock.clone(), self.metrics))
    }

    /// The client that all share, or one that goes its own way. Faults by their keys.
    fn client_through(&self, ca: Option<&Path>, proxy: Option<&ProxySettings>) -> Result<Client, Vec<RouteFault>> {
        let route = Route::open(ca, proxy, &self.config.directory)?;
        if route.is_plain() {
            return Ok(self.client.clone());
        }
        Client::through(route)
            .map_err(|_| vec![RouteFault { key: "ca", message: "no HTTP client can be made".to_owned() }])
    }

    pub fn certificates(&mut self, files: &[CertificateFiles]) -> Option<Arc<Certificates>> {
        if files.is_empty() {
            return None;
        }
        let opened = Certificates::open(files, &self.config.directory, self.metrics);
        opened.map_err(|faults| self.faults.extend(faults)).ok()
    }

    /// How a listener speaks TLS, if it does.
    pub fn listener_tls(&mut self, listener: &ListenerSettings) -> Option<ListenerTls> {
        let certificates = self.certificates(&listener.tls);
        let asked = match listener.client_certificate.unwrap_or_default() {
            ClientCertificate::Required => Asked::Required,
            ClientCertificate::Optional => Asked::Optional,
        };
        let client_ca = listener.client_ca.as_ref().map(|path| ClientCa::open(path, &self.config.directory, asked));
        // A fault leaves no listener that asks for no certificate: the start fails.
        let client_ca = client_ca.transpose();
        let client_ca = client_ca.map_err(|fault| self.faults.push(format!("listener.client_ca: {fault}"))).ok()?;
        Some(ListenerTls { certificates: certificates?, least: listener.min_tls, client_ca })
    }

    pub fn plugin(
        &mut self,
        settings: &PluginSettings,
        providers: &[Provider],
        claim_names: &[String],
    ) -> Option<Plugin> {
        let minted_by = providers.iter().find(|provider| provider.name() == settings.provider)?;
        let provider = self.config.providers.iter().find(|provider| provider.name == settings.provider)?;
        let Some(mint) = minted_by.mint(&settings.mint) else {
            self.faults.push(format!("plugin.mint: provider {} has no mint {:?}", settings.provider, settings.mint));
            return None;
        };
        let mint = self.bounded(mint);
        let wanted = provider::claim_names_of(provider, &settings.mint);
        let place = |name: &String| claim_names.iter().position(|known| known == name);
        let claims = Claims {
            used: wanted.iter().filter_map(|(name, _)| place(name)).collect(),
            required: wanted.iter().filter(|(_, optional)| !optional).filter_map(|(name, _)| place(name)).collect(),
        };
        let fingerprint = minted_by.fingerprint();
        let gives_token = provider::gives_token(provider, &settings.mint);
        let claim_count = claim_names.len();
        Some(Plugin { settings: settings.clone(), mint, claim_count, fingerprint, claims, gives_token })
    }

    /// The mint within the tenant's share of `limits.mints_per`, where that is set, and for sessions that have not ended.
    pub fn bounded(&self, mint: Arc<dyn Mint>) -> Arc<dyn Mint> {
        let mint = match &self.shares {
            Some(shares) => shares.bound(mint),
            None => mint,
        };
        match &self.sessions {
            Some(sessions) => Revocable::bound(Arc::clone(sessions), mint),
            // There is a fault, and nothing will be minted.
            None => mint,
        }
    }

    pub fn app(&mut self, (number, settings): (usize, &AppSettings), field_names: &[String]) -> Option<App> {
        let name = &settings.name;
        let directory = &self.config.directory;
        let pool = Pool::open(settings, directory, number as u64 + 1, self.clock.clone(), self.metrics);
        let place = |PoolFault { key, message }| format!("app.{key}: {message} (app {name})");
        let pool = pool.map_err(|faults| self.faults.extend(faults.into_iter().map(place))).ok()?;
        let mut claims = Vec::with_capacity(settings.claims.len());
        for (field, claim) in &settings.claims {
            let position = field_names.iter().position(|known| known == claim);
            match (HeaderName::try_from(field), position) {
                (Ok(field), Some(position)) => claims.push((field, position)),
                _ => self.faults.push(format!("app.claims: {field:?} is no header field (app {name})")),
            }
        }
        Some(App { settings: settings.clone(), pool, claims })
    }

    /// The store behind the book's memory. `file`: the durable one, opened.
    pub fn store(&mut self, file: Option<Arc<FileStore>>) -> Option<Arc<SealedStore>> {
        let settings = &self.config.leases;
        if settings.store == StoreKind::Memory {
            return None;
        }
        let check: fn() -> Accept = || Box::new(check_key);
        let keys: Vec<_> =
            settings.seal_keys.iter().filter_map(|source| self.secret("leases.seal_keys", source, check())).collect();
        let names = settings.name_key.as_ref().map(|source| self.secret("leases.name_key", source, check()));
        if keys.is_empty() || keys.len() != settings.seal_keys.len() || names.as_ref().is_some_and(Option::is_none) {
            return None;
        }
        let backend: Arc<dyn Backend> = match (&settings.redis, file) {
            (Some(redis), _) if settings.store == StoreKind::Redis => {
                RedisStore::new(self.way(redis)?, &redis.prefix, redis.timeout.0, self.metrics)
            }
            (_, Some(file)) => file,
            _ => return None,
        };
        Some(SealedStore::new(SealingKeys::new(keys, names.flatten()), backend, settings.on_store_loss, self.metrics))
    }

    fn way(&mut self, settings: &RedisSettings) -> Option<Way> {
        let password = match &settings.password {
            Some(source) => Some(self.secret("leases.redis.password", source, Box::new(|_| Ok(())))?),
            None => None,
        };
        let ca = settings
            .ca
            .as_ref()
            .map(|path| files::read_bounded(&self.config.directory.join(path), 1024, "bundle of certificates"));
        let ca = ca.transpose().map_err(|fault| self.faults.push(format!("leases.redis.ca: {fault}"))).ok()?;
        Some(Way {
            urls: settings.urls.as_slice().to_vec(),
            sentinel_master: settings.sentinel_master.clone(),
            username: settings.username.clone(),
            password,
            ca,
        })
    }

    pub fn secret(&mut self, name: &str, source: &SecretSource, accept: Accept) -> Option<Arc<SecretCell>> {
        match SecretCell::open(source.clone(), &self.config.directory) {
            Ok(cell) => {
                let cell = Arc::new(cell);
                let trouble = self.metrics.degraded.with_label_values(&[&format!("secret:{name}")]);
                self.secrets.push(ReloadableSecret { name: name.to_owned(), cell: cell.clone(), accept, trouble });
                Some(cell)
            }
            Err(SecretFault(fault)) => {
                self.faults.push(format!("{name}: {fault}"));
                None
            }
        }
    }
}

/// A key that the recipe can't send is none, however new.
fn accepts(recipe: &Recipe) -> Accept {
    let recipe = recipe.clone();
    Box::new(move |key| recipe.check_key(key))
}

/// Dies with the process: without `log.subject_key` hashes of one process say nothing to another.
fn random_key() -> Secret {
    let mut key = vec![0; 32];
    // A machine without randomness can't do TLS either; then the hash is merely guessable, and only in logs.
    let _ = aws_lc_rs::rand::fill(&mut key);
    Secret::new(key)
}

/// The one outgoing client, as `session` wants it.
struct KeySets(Client);

#[async_trait]
impl KeyClient for KeySets {
    async fn get(
        &self,
        url: &url::Url,
        max_bytes: usize,
        deadline: Duration,
    ) -> Result<(u16, Vec<u8>), KeyClientFault> {
        let answer = self.0.get(url, "application/jwk-set+json, application/json", max_bytes, deadline).await;
        answer.map(|answer| (answer.status, answer.body.to_vec())).map_err(|fault| match fault {
            ClientFault::NoConnection(cause) | ClientFault::Unreachable(cause) => KeyClientFault::Unreachable(cause),
            ClientFault::TimedOut => KeyClientFault::TimedOut,
            ClientFault::TooLarge => KeyClientFault::TooLarge,
        })
    }
}

//! The builder of components: sessions, vendors, certificates, plug-ins, apps.

use std::path::Path;
use std::sync::Arc;

use tracing::info;

use crate::app::Pool;
use crate::app::settings::AppSettings;
use crate::assertion::{Audience, BAD_KEY, Signer};
use crate::certificate::CertificateFiles;
use crate::clock::Clock;
use crate::config::{Config, Sections};
use crate::files;
use crate::gateway::Claims;
use crate::gateway::settings::{ClientCertificate, ListenerSettings, PluginSettings};
use crate::http_client::settings::ProxySettings;
use crate::http_client::{Client, Identity, Route};
use crate::lease::settings::StoreKind;
use crate::lease::store::settings::RedisSettings;
use crate::lease::store::{Backend, FileStore, RedisStore, SealedStore, Way};
use crate::limit::MintShares;
use crate::policy::Policies;
use crate::provider::settings::ProviderSettings;
use crate::provider::{self, Mint, Provider, Recipe, SameProvider, Vendor, VendorSecrets};
use crate::revocation::Revocable;
use crate::secret::{Secret, SecretCell, SecretFault, SecretSource, SecretSources};
use crate::server::build::{Accept, App, Plugin, ReloadableSecret};
use crate::server::client_ca::{Asked, ClientCa};
use crate::server::generation::Generation;
use crate::server::key_sets::KeySets;
use crate::server::tickets::Tickets;
use crate::server::tls::{Certificates, ListenerTls};
use crate::session::settings::IssuerSettings;
use crate::session::{ClaimNames, ClaimPath, KeyClient, Sessions};
use crate::setting::FieldFault;
use crate::telemetry::Metrics;
use crate::web::FieldName;

/// Where parts are made, faults are gathered, and secrets are noted for rereading.
pub(super) struct Builder<'a> {
    pub config: &'a Config,
    pub clock: &'a Clock,
    pub metrics: &'a Metrics,
    pub client: Client,
    pub tickets: Arc<Tickets>,
    pub shares: Option<Arc<MintShares>>,
    /// The keeper of the list of revocations.
    pub sessions: Option<Arc<Sessions>>,
    pub secrets: Vec<ReloadableSecret>,
    pub identities: Vec<(String, Arc<Identity>)>,
    pub faults: Vec<String>,
    pub sections: &'a Sections,
    /// What is in force, if this is not the start.
    pub before: Option<&'a Generation>,
    /// What is left to do when the new parts are in force. Nothing of it can fail.
    pub last_steps: Vec<LastStep>,
}

/// Puts something in force that is built and checked.
pub(super) type LastStep = Box<dyn FnOnce() + Send>;

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
        let (config, clock, metrics) = (self.config, self.clock.clone(), self.metrics);
        let client_of = |issuer: &IssuerSettings| {
            let client = self.client_through(issuer.ca.as_deref(), issuer.proxy.as_ref());
            let client = client.map_err(|faults| {
                let place = |fault: FieldFault| format!("session.issuer {:?}: {fault}", issuer.issuer);
                faults.into_iter().map(place).collect::<Vec<String>>()
            })?;
            Ok(Arc::new(KeySets { client, tracer: metrics.tracer.clone(), clock: clock.clone() }) as Arc<dyn KeyClient>)
        };
        // Without one of their own the hashes of the process go on as they began.
        let keep_subject_key = self.config.log.subject_key.is_none()
            && self.before.is_some_and(|before| before.config.log.subject_key.is_none());
        let made = Sessions::new(
            &config.session,
            &config.directory,
            (names, config.policy_set.as_deref().map(Policies::claims)),
            &subject_key,
            &client_of,
            clock.clone(),
            self.metrics,
        );
        let mut sessions = made.map_err(|faults| self.faults.extend(faults)).ok()?;
        if let Some(before) = self.before {
            let now = self.clock.now();
            let (taken_over, taken) = sessions.take_over(&before.components.sessions, keep_subject_key);
            sessions = taken_over;
            self.last_steps.push(Box::new(move || taken.install(now)));
        }
        self.sessions = Some(sessions.clone());
        Some(sessions)
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
                self.faults.extend(faults.iter().map(|fault| format!("provider.{fault} (provider {name})")));
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
            let place = |fault: FieldFault| format!("provider.{fault} (provider {name})");
            self.faults.extend(faults.into_iter().map(place));
        });
        let vendor = Vendor::new(settings, recipe, secrets, client.ok()?, self.clock.clone(), self.metrics);
        let before = self.before.and_then(|before| Some((before, before.components.vendor(name)?)));
        Some(match before {
            Some((before, old)) => vendor.take_over(old, self.same_provider(before, name, claim_names)),
            None => vendor,
        })
    }

    fn same_provider(&self, before: &Generation, name: &str, claim_names: &[String]) -> SameProvider {
        let section = format!("provider.{name}");
        SameProvider {
            settings: self.sections.has_same_settings(&before.sections, &section),
            files: self.sections.is_same(&before.sections, &section),
            claims: *before.components.claim_names == *claim_names,
        }
    }

    /// The client that all share, or one that goes its own way. Faults by their keys.
    fn client_through(&self, ca: Option<&Path>, proxy: Option<&ProxySettings>) -> Result<Client, Vec<FieldFault>> {
        let route = Route::open(ca, proxy, &self.config.directory)?;
        if route.is_plain() {
            return Ok(self.client.clone());
        }
        Client::through(route).map_err(|_| vec![FieldFault::at("ca", "no HTTP client can be made")])
    }

    pub fn certificates(&mut self, files: &[CertificateFiles]) -> Option<Arc<Certificates>> {
        if files.is_empty() {
            return None;
        }
        let opened = Certificates::open(files, &self.config.directory, self.metrics);
        let opened = opened.map_err(|faults| self.faults.extend(faults)).ok()?;
        let before = self.before.map(|before| before.components.all_certificates()).unwrap_or_default();
        let Some(old) = before.into_iter().find(|old| old.are_like(&opened)) else { return Some(opened) };
        let (old, kept) = (old.clone(), old.clone());
        self.last_steps.push(Box::new(move || old.take_those_of(&opened)));
        Some(kept)
    }

    /// How the listener with this section speaks TLS, if it does.
    pub fn listener_tls(&mut self, listener: &ListenerSettings, section: &str) -> Option<ListenerTls> {
        if let Some(kept) = self.before.and_then(|before| before.listener_tls(self.sections, section)) {
            return Some(kept);
        }
        let certificates = self.certificates(&listener.tls);
        let asked = match listener.client_certificate.unwrap_or_default() {
            ClientCertificate::Required => Asked::Required,
            ClientCertificate::Optional => Asked::Optional,
        };
        let client_ca = listener.client_ca.as_ref().map(|path| ClientCa::open(path, &self.config.directory, asked));
        // A fault leaves no listener that asks for no certificate: the start fails.
        let client_ca = client_ca.transpose();
        let client_ca = client_ca.map_err(|fault| self.faults.push(format!("listener.client_ca: {fault}"))).ok()?;
        Some(ListenerTls {
            certificates: certificates?,
            least: listener.min_tls,
            client_ca,
            tickets: self.tickets.clone(),
        })
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

    /// The signer of assertions, if there is one.
    pub fn signer(&mut self) -> Option<Arc<Signer>> {
        // Without an origin no browser and no app is served.
        let (settings, own) = (self.config.assertion.as_ref()?, self.config.server.public_url.as_ref()?);
        let mut keys = Vec::with_capacity(settings.keys.len());
        for source in &settings.keys {
            match source.read(&self.config.directory) {
                Ok(key) => keys.push(key),
                Err(SecretFault(fault)) => self.faults.push(format!("assertion.keys: {fault}")),
            }
        }
        match Signer::new(own.as_str(), settings.life.0, &keys) {
            Ok(signer) => Some(Arc::new(signer)),
            Err(_) => {
                self.faults.push(format!("assertion.keys: {BAD_KEY}"));
                None
            }
        }
    }

    pub fn app(&mut self, (number, settings): (usize, &AppSettings), names: ClaimNames<'_>) -> Option<App> {
        let name = &settings.name;
        let pool = match self.pool_before(name) {
            Some(pool) => pool,
            None => {
                let pool = Pool::open(settings, &self.config.directory, self.clock.clone(), self.metrics);
                let place = |fault: FieldFault| format!("app.{fault} (app {name})");
                pool.map_err(|faults| self.faults.extend(faults.into_iter().map(place))).ok()?
            }
        };
        let carried = |(field, claim): (&FieldName, &ClaimPath)| {
            let (_, position) = place_of(names.fields, claim)?;
            Some((field.name().clone(), position))
        };
        let claims = settings.claims.iter().filter_map(carried).collect();
        let audience = settings.assertion.as_ref().map(|told| Audience {
            number: u32::try_from(number).unwrap_or(u32::MAX),
            name: told.audience.as_str().into(),
            claims: told.claims.iter().filter_map(|claim| place_of(names.assertions, claim)).collect(),
            signed: self.metrics.assertions_signed.with_label_values(&[name]),
        });
        Some(App { settings: settings.clone(), pool, claims, audience: audience.map(Arc::new) })
    }

    /// The upstreams of an app of which nothing has changed, with what is known of their health.
    fn pool_before(&self, name: &str) -> Option<Arc<Pool>> {
        let before = self.before.filter(|before| self.sections.is_same(&before.sections, &format!("app.{name}")))?;
        before.components.apps.iter().find(|app| app.settings.name == name).map(|app| app.pool.clone())
    }

    /// The store behind the book's memory. `file`: the durable one, opened.
    pub fn store(&mut self, file: Option<Arc<FileStore>>) -> Option<Arc<SealedStore>> {
        let settings = &self.config.leases;
        if settings.store == StoreKind::Memory {
            return None;
        }
        let seals = self.seals()?;
        let backend: Arc<dyn Backend> = match (&settings.redis, file) {
            (Some(redis), _) if settings.store == StoreKind::Redis => {
                RedisStore::new(self.way(redis)?, &redis.prefix, redis.timeout.0, self.metrics)
            }
            (_, Some(file)) => file,
            _ => return None,
        };
        Some(SealedStore::new(seals, backend, settings.on_store_loss, self.metrics))
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

    /// The cell that is in force, if there is one in the same place: it takes the new value when the new parts are in force. Else the new one.
    fn cell_before(&mut self, name: &str, fresh: SecretCell) -> Arc<SecretCell> {
        let before = self.before.iter().flat_map(|before| before.components.secrets.iter());
        let old = before.into_iter().find(|watched| watched.name == name && watched.cell.is_like(&fresh));
        let Some(old) = old.map(|watched| watched.cell.clone()) else { return Arc::new(fresh) };
        let (kept, name) = (old.clone(), name.to_owned());
        self.last_steps.push(Box::new(move || {
            if old.take(&fresh) {
                info!(target: "valet", secret = name, "read again: it has changed");
            }
        }));
        kept
    }

    pub fn secret(&mut self, name: &str, source: &SecretSource, accept: Accept) -> Option<Arc<SecretCell>> {
        match SecretCell::open(source.clone(), &self.config.directory) {
            Ok(cell) => {
                if let Err(fault) = accept(&cell.current()) {
                    self.faults.push(format!("{name}: {fault}"));
                    return None;
                }
                let cell = self.cell_before(name, cell);
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

/// A claim, and its place among the names.
fn place_of(names: &[ClaimPath], claim: &ClaimPath) -> Option<(Box<str>, usize)> {
    names.iter().position(|known| known == claim).map(|place| (claim.as_str().into(), place))
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

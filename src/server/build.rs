//! From configuration to parts: sessions, book, vendors, secrets. Opens files, touches no network.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::HeaderName;
use tracing::{info, warn};

use crate::app::settings::AppSettings;
use crate::app::{Pool, PoolFault};
use crate::clock::Clock;
use crate::config::Config;
use crate::gateway::settings::{ListenerSettings, PluginSettings};
use crate::gateway::{AppParts, Claims, Gateway, GatewayParts, PluginParts, Trusted};
use crate::http_client::settings::ProxySettings;
use crate::http_client::{Client, ClientFault, Route, RouteFault};
use crate::lease::{Book, Plan, Rules, Shelves};
use crate::logging::LineSink;
use crate::provider::settings::ProviderSettings;
use crate::provider::{self, Mint, Recipe, Vendor};
use crate::secret::{Secret, SecretCell, SecretFault, SecretSource};
use crate::server::tls::Certificates;
use crate::session::settings::IssuerSettings;
use crate::session::{ClientFault as KeyClientFault, KeyClient, Sessions, Sources};
use crate::telemetry::Metrics;

/// Faults that only the making of the parts shows, in the operator's words.
#[derive(Debug)]
pub struct BuildFault(pub(super) Vec<String>);

impl BuildFault {
    /// One line each.
    pub fn lines(self) -> Vec<String> {
        self.0
    }
}

impl std::fmt::Display for BuildFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

/// What a gateway is made of.
#[derive(Clone)]
pub struct Parts {
    /// Who verifies sessions.
    pub sessions: Arc<Sessions>,
    /// Where credentials stand.
    sources: Sources,
    /// Who holds leases.
    pub book: Arc<Book>,
    /// The plug-ins in the order of the configuration.
    pub plugins: Arc<[Plugin]>,
    /// The apps in the order of the configuration.
    pub apps: Arc<[App]>,
    /// The vendors.
    pub vendors: Arc<[Vendor]>,
    /// The claims that recipes ask for.
    pub claim_names: Arc<[String]>,
    secrets: Arc<[Watched]>,
    /// Of each listener in the order of the configuration; `None`: it speaks plain HTTP.
    pub(super) certificates: Arc<[Option<Arc<Certificates>>]>,
}

/// A secret that is read again.
struct Watched {
    name: String,
    cell: Arc<SecretCell>,
    accept: Accept,
}

/// What a new value must pass before it takes the old one's place.
type Accept = Box<dyn Fn(&Secret) -> Result<(), &'static str> + Send + Sync>;

/// One plug-in, made.
pub struct Plugin {
    /// As configured.
    pub settings: PluginSettings,
    /// Its mint.
    pub mint: Arc<dyn Mint>,
    /// How many claims a `MintInput` has.
    pub claim_count: usize,
    fingerprint: [u8; 32],
    claims: Claims,
}

/// One app, made.
pub struct App {
    /// As configured.
    pub settings: AppSettings,
    /// Its upstreams.
    pub pool: Arc<Pool>,
    claims: Vec<(HeaderName, usize)>,
}

impl Parts {
    /// Makes them. Every fault at once.
    pub fn new(config: &Config, clock: &Clock, metrics: &Metrics) -> Result<Self, BuildFault> {
        let client = Client::new().map_err(|_| BuildFault(vec!["no HTTP client can be made".into()]))?;
        let claim_names = claim_names(config);
        let mut workshop = Workshop { config, clock, metrics, client, secrets: Vec::new(), faults: Vec::new() };
        let sessions = workshop.sessions(&claim_names);
        let sources = Sources::parse(&config.session.sources).map_err(|faults| workshop.faults.extend(faults)).ok();
        let vendors: Vec<Vendor> =
            config.providers.iter().filter_map(|settings| workshop.vendor(settings, &claim_names)).collect();
        let plugins: Vec<Plugin> =
            config.plugins.iter().filter_map(|settings| workshop.plugin(settings, &vendors, &claim_names)).collect();
        let apps: Vec<App> = config.apps.iter().enumerate().filter_map(|at| workshop.app(at, &claim_names)).collect();
        let certificates = config.listeners.iter().map(|listener| workshop.certificates(listener)).collect();
        match (sessions, sources, workshop.faults.is_empty()) {
            (Some(sessions), Some(sources), true) => Ok(Self {
                sessions,
                sources,
                book: Book::new(Shelves::default(), config.leases.capacity, clock.clone(), metrics),
                plugins: plugins.into(),
                apps: apps.into(),
                vendors: vendors.into(),
                claim_names: claim_names.into(),
                secrets: workshop.secrets.into(),
                certificates,
            }),
            _ => Err(BuildFault(workshop.faults)),
        }
    }

    /// The data plane on these parts.
    pub fn gateway(
        &self,
        config: &Config,
        clock: &Clock,
        metrics: &Metrics,
        access_log: Option<LineSink>,
    ) -> Arc<Gateway> {
        let plugins = self.plugins.iter().map(|plugin| {
            let settings = plugin.settings.clone();
            let rules = rules(&settings);
            let plan = Arc::new(Plan::new(&settings.name, &settings.provider, rules, plugin.mint.clone(), metrics));
            (settings, PluginParts { plan, fingerprint: plugin.fingerprint, claims: plugin.claims.clone() })
        });
        let apps = self
            .apps
            .iter()
            .map(|app| (app.settings.clone(), AppParts { pool: app.pool.clone(), claims: app.claims.clone() }));
        Gateway::new(GatewayParts {
            plugins: plugins.collect(),
            apps: apps.collect(),
            issuers: config.session.issuers.iter().map(|issuer| issuer.issuer.clone()).collect(),
            login_url: config.session.login_url.clone(),
            public_origin: origin(&config.server.public_url),
            trusted: Trusted::new(&config.server.trusted_proxies),
            sources: self.sources.clone(),
            sessions: self.sessions.clone(),
            book: self.book.clone(),
            clock: clock.clone(),
            metrics: metrics.clone(),
            access_log,
        })
    }

    /// The upstreams of all apps.
    pub(super) fn pools(&self) -> Vec<Arc<Pool>> {
        self.apps.iter().map(|app| app.pool.clone()).collect()
    }

    /// Reads keys, secrets and certificates again; what can't be read keeps its last value.
    pub(super) fn reread(&self) {
        for Watched { name, cell, accept } in &*self.secrets {
            match cell.reread(accept) {
                Ok(true) => info!(target: "valet", secret = name, "read again: it has changed"),
                Ok(false) => {}
                Err(SecretFault(fault)) => {
                    warn!(target: "valet", secret = name, fault, "can't be read again; the last one stays")
                }
            }
        }
        let certificates = self.certificates.iter().flatten().flat_map(|certificates| certificates.reread());
        for fault in self.sessions.reread_files().into_iter().chain(certificates) {
            warn!(target: "valet", fault, "can't be read again; the last one stays");
        }
    }

    pub(super) fn watched_files(&self) -> Vec<std::path::PathBuf> {
        let secrets = self.secrets.iter().filter_map(|watched| watched.cell.path());
        let certificates = self.certificates.iter().flatten().flat_map(|certificates| certificates.files());
        secrets.chain(self.sessions.watched_files()).chain(certificates).collect()
    }
}

/// Where parts are made, faults are gathered, and secrets are noted for rereading.
struct Workshop<'a> {
    config: &'a Config,
    clock: &'a Clock,
    metrics: &'a Metrics,
    client: Client,
    secrets: Vec<Watched>,
    faults: Vec<String>,
}

impl Workshop<'_> {
    fn sessions(&mut self, claim_names: &[String]) -> Option<Arc<Sessions>> {
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
            claim_names,
            &subject_key,
            &client_of,
            clock,
            self.metrics,
        );
        made.map_err(|faults| self.faults.extend(faults)).ok()
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
        let keys: Vec<_> = settings
            .api_key
            .as_slice()
            .iter()
            .filter_map(|source| self.secret(&format!("{name}.api_key"), source, accepts(&recipe)))
            .collect();
        let subject_key = match settings.subject_key.as_ref().or(self.config.log.subject_key.as_ref()) {
            Some(source) => Some(self.secret(&format!("{name}.subject_key"), source, Box::new(|_| Ok(())))?),
            None => None,
        };
        if keys.len() != settings.api_key.as_slice().len() {
            return None;
        }
        let client = self.client_through(settings.ca.as_deref(), settings.proxy.as_ref());
        let client = client.map_err(|faults| {
            let place = |RouteFault { key, message }| format!("provider.{key}: {message} (provider {name})");
            self.faults.extend(faults.into_iter().map(place));
        });
        Some(Vendor::new(settings, recipe, keys, subject_key, client.ok()?, self.clock.clone(), self.metrics))
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

    fn certificates(&mut self, listener: &ListenerSettings) -> Option<Arc<Certificates>> {
        if listener.tls.is_empty() {
            return None;
        }
        let opened = Certificates::open(&listener.tls, &self.config.directory, self.metrics);
        opened.map_err(|faults| self.faults.extend(faults)).ok()
    }

    fn plugin(&mut self, settings: &PluginSettings, vendors: &[Vendor], claim_names: &[String]) -> Option<Plugin> {
        let vendor = vendors.iter().find(|vendor| vendor.name() == settings.provider)?;
        let provider = self.config.providers.iter().find(|provider| provider.name == settings.provider)?;
        let Some(mint) = vendor.minter(&settings.mint) else {
            self.faults.push(format!("plugin.mint: provider {} has no mint {:?}", settings.provider, settings.mint));
            return None;
        };
        let wanted = provider::claim_names_of(provider, &settings.mint);
        let place = |name: &String| claim_names.iter().position(|known| known == name);
        let claims = Claims {
            used: wanted.iter().filter_map(|(name, _)| place(name)).collect(),
            required: wanted.iter().filter(|(_, optional)| !optional).filter_map(|(name, _)| place(name)).collect(),
        };
        let fingerprint = vendor.recipe().fingerprint();
        Some(Plugin { settings: settings.clone(), mint, claim_count: claim_names.len(), fingerprint, claims })
    }

    fn app(&mut self, (number, settings): (usize, &AppSettings), claim_names: &[String]) -> Option<App> {
        let name = &settings.name;
        let directory = &self.config.directory;
        let pool = Pool::open(settings, directory, number as u64 + 1, self.clock.clone(), self.metrics);
        let place = |PoolFault { key, message }| format!("app.{key}: {message} (app {name})");
        let pool = pool.map_err(|faults| self.faults.extend(faults.into_iter().map(place))).ok()?;
        let mut claims = Vec::with_capacity(settings.claims.len());
        for (field, claim) in &settings.claims {
            let position = claim_names.iter().position(|known| known == claim);
            match (HeaderName::try_from(field), position) {
                (Ok(field), Some(position)) => claims.push((field, position)),
                _ => self.faults.push(format!("app.claims: {field:?} is no header field (app {name})")),
            }
        }
        Some(App { settings: settings.clone(), pool, claims })
    }

    fn secret(&mut self, name: &str, source: &SecretSource, accept: Accept) -> Option<Arc<SecretCell>> {
        match SecretCell::open(source.clone(), &self.config.directory) {
            Ok(cell) => {
                let cell = Arc::new(cell);
                self.secrets.push(Watched { name: name.to_owned(), cell: cell.clone(), accept });
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

/// The claims of all recipes and all apps, each once, sorted.
fn claim_names(config: &Config) -> Vec<String> {
    let recipes = config.providers.iter().flat_map(provider::claim_names).map(|(name, _)| name);
    let apps = config.apps.iter().flat_map(|app| app.claims.values().cloned());
    let mut names: Vec<String> = recipes.chain(apps).collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn rules(settings: &PluginSettings) -> Rules {
    Rules {
        reuse: settings.reuse,
        max_age: settings.max_age.0,
        min_remaining: settings.min_remaining.0,
        refresh_ahead: settings.refresh_ahead.map(|span| span.0),
        mints_per_subject: settings.mints_per_subject,
    }
}

/// `public_url` was checked to be an origin; written as browsers write it in `Origin`.
fn origin(public_url: &str) -> String {
    url::Url::parse(public_url).map_or_else(|_| public_url.to_owned(), |url| url.origin().ascii_serialization())
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
        let answer = self.0.get(url, "application/json", max_bytes, deadline).await;
        answer.map(|answer| (answer.status, answer.body.to_vec())).map_err(|fault| match fault {
            ClientFault::Unreachable => KeyClientFault::Unreachable,
            ClientFault::TimedOut => KeyClientFault::TimedOut,
            ClientFault::TooLarge => KeyClientFault::TooLarge,
        })
    }
}

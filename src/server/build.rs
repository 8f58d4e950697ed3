//! From configuration to components: sessions, book, vendors, secrets. Opens files, touches no network.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use prometheus::IntGauge;

use crate::admin::{EmbedPolicy, check_token};
use crate::app::Pool;
use crate::app::settings::{AppSettings, SessionNeed};
use crate::assertion::{Audience, Signer};
use crate::clock::Clock;
use crate::config::{Config, Sections, listener_sections};
use crate::gateway::settings::PluginSettings;
use crate::gateway::{AppParts, Claims, Gateway, GatewayParts, Inboxes, PluginParts, Trusted};
use crate::http_client::{Client, Identity};
use crate::lease::{Book, LeasePolicy, Rules, ShardedRecords};
use crate::limit::MintShares;
use crate::logging::LineSink;
use crate::policy::{Action, Authorizer, Authorizers, Target};
use crate::provider::settings::ProviderSettings;
use crate::provider::{Mint, Provider, RedirectHosts, Vendor};
use crate::secret::{Secret, SecretCell};
use crate::server::builder::{Builder, LastStep};
use crate::server::claims::{assertion_names, claim_names, field_names, mint_shares};
use crate::server::generation::{Origin, Shared};
use crate::server::minter::MinterComponents;
use crate::server::tickets::Tickets;
use crate::server::tls::{Certificates, ListenerTls};
use crate::session::{ClaimNames, Sessions, Sources};
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
pub struct Components {
    /// The verifier of sessions.
    pub sessions: Arc<Sessions>,
    /// Where credentials stand.
    sources: Sources,
    /// The lease book.
    pub book: Arc<Book>,
    /// The plug-ins in the order of the configuration.
    pub plugins: Arc<[Plugin]>,
    /// The apps in the order of the configuration.
    pub apps: Arc<[App]>,
    /// The providers: vendors, and those behind a minter.
    pub providers: Arc<[Provider]>,
    /// The claims that recipes ask for.
    pub claim_names: Arc<[String]>,
    pub(super) secrets: Arc<[ReloadableSecret]>,
    /// The outgoing client that all share.
    pub(super) client: Client,
    shares: Option<Arc<MintShares>>,
    pub(super) admin_token: Option<Arc<SecretCell>>,
    pub(super) identities: Arc<[(String, Arc<Identity>)]>,
    /// The role that mints for edges, if this process has it.
    pub minter: Option<MinterComponents>,
    /// Of each listener in the order of the configuration; `None`: it speaks plain HTTP.
    pub(super) listener_tls: Arc<[Option<ListenerTls>]>,
    /// `valet_degraded{what="certificates"}`: 1 while a certificate, its key or a file of authorities could not be read again.
    pub(super) certificates_trouble: IntGauge,
    /// What sessions of TLS are resumed by.
    pub(super) tickets: Arc<Tickets>,
    /// The signer of assertions.
    signer: Option<Arc<Signer>>,
}

/// A secret that is read again.
pub(super) struct ReloadableSecret {
    pub name: String,
    pub cell: Arc<SecretCell>,
    pub accept: Accept,
    /// `valet_degraded{what="secret:NAME"}`: 1 while the last reading failed.
    pub trouble: IntGauge,
}

/// What a new value must pass before it takes the old one's place.
pub(super) type Accept = Box<dyn Fn(&Secret) -> Result<(), &'static str> + Send + Sync>;

/// One plug-in, made.
pub struct Plugin {
    /// As configured.
    pub settings: PluginSettings,
    /// What makes the plug-in's URLs.
    pub mint: Arc<dyn Mint>,
    /// How many claims a `MintInput` has.
    pub claim_count: usize,
    pub(super) fingerprint: [u8; 32],
    pub(super) claims: Claims,
    /// Its mint gives a token; `None`: a minter knows.
    pub(super) gives_token: Option<bool>,
}

/// One app, made.
pub struct App {
    /// As configured.
    pub settings: AppSettings,
    /// The app's upstreams.
    pub pool: Arc<Pool>,
    pub(super) claims: Vec<(HeaderName, usize)>,
    /// Whom assertions for it are for.
    pub(super) audience: Option<Arc<Audience>>,
}

impl Components {
    /// Makes the components of a configuration. Tells every fault at once, and opens no store.
    ///
    /// # Errors
    /// All faults, each a line.
    pub fn new(config: &Config, clock: &Clock, metrics: &Metrics) -> Result<Self, BuildFault> {
        let sections = Sections::default();
        Self::with(config, &sections, Origin::Start(None), (clock, metrics)).map(|(components, _)| components)
    }

    /// Makes the components at a start, with the durable store, opened; or beside the parts that are in force, from which they take over what is the same. Those in
    /// force don't change before the last steps are done.
    #[allow(
        clippy::too_many_lines,
        reason = "the parts of a configuration in the order in which they need one another"
    )]
    pub(super) fn with(
        config: &Config,
        sections: &Sections,
        origin: Origin<'_>,
        (clock, metrics): (&Clock, &Metrics),
    ) -> Result<(Self, Vec<LastStep>), BuildFault> {
        let before = match &origin {
            Origin::Start(_) => None,
            Origin::Before(before) => Some(*before),
        };
        let client = match before {
            Some(before) => before.components.client.clone(),
            None => Client::new().map_err(|_| BuildFault(vec!["no HTTP client can be made".into()]))?,
        };
        let tickets = before.map(|before| before.components.tickets.clone()).or_else(|| Tickets::new(clock.clone()));
        let tickets = tickets.ok_or_else(|| BuildFault(vec!["no random key can be made".into()]))?;
        let (claim_names, field_names) = (claim_names(config), field_names(config));
        let shares = mint_shares(
            config,
            &claim_names,
            before.and_then(|before| before.components.shares.as_deref()),
            (clock, metrics),
        );
        let mut builder = Builder {
            config,
            clock,
            metrics,
            client,
            tickets,
            shares,
            sessions: None,
            secrets: Vec::new(),
            identities: Vec::new(),
            faults: Vec::new(),
            sections,
            before,
            last_steps: Vec::new(),
        };
        let assertion_names = assertion_names(config);
        let names = ClaimNames { recipes: &claim_names, fields: &field_names, assertions: &assertion_names };
        let sessions = builder.sessions(names);
        let signer = builder.signer();
        let sources = Sources::from(&*config.session.sources);
        let providers: Vec<Provider> =
            config.providers.iter().filter_map(|settings| builder.provider(settings, &claim_names)).collect();
        let plugins: Vec<Plugin> =
            config.plugins.iter().filter_map(|settings| builder.plugin(settings, &providers, &claim_names)).collect();
        let apps: Vec<App> = config.apps.iter().enumerate().filter_map(|at| builder.app(at, names)).collect();
        let listener_tls = config.listeners.iter().zip(listener_sections(&config.listeners));
        let listener_tls = listener_tls.map(|(listener, section)| builder.listener_tls(listener, &section)).collect();
        let minter = config.minter.as_ref().and_then(|settings| builder.minter(settings, &providers, &claim_names));
        let book = match origin {
            Origin::Start(file) => {
                let store = builder.store(file);
                Book::with(ShardedRecords::default(), config.leases.capacity, clock.clone(), metrics, store)
            }
            Origin::Before(before) => {
                builder.keep_book(&before.components.book);
                before.components.book.clone()
            }
        };
        let token = config.admin.as_ref().and_then(|admin| admin.token.as_ref());
        let admin_token = token.and_then(|source| builder.secret("admin.token", source, Box::new(check_token)));
        match (sessions, builder.faults.is_empty()) {
            (Some(sessions), true) => Ok((
                Self {
                    sessions,
                    sources,
                    book,
                    plugins: plugins.into(),
                    apps: apps.into(),
                    providers: providers.into(),
                    claim_names: claim_names.into(),
                    secrets: builder.secrets.into(),
                    admin_token,
                    identities: builder.identities.into(),
                    minter,
                    listener_tls,
                    certificates_trouble: metrics.degraded.with_label_values(&["certificates"]),
                    signer,
                    client: builder.client,
                    tickets: builder.tickets,
                    shares: builder.shares,
                },
                builder.last_steps,
            )),
            _ => Err(BuildFault(builder.faults)),
        }
    }

    /// The data plane on these parts.
    pub fn gateway(
        &self,
        config: &Config,
        clock: &Clock,
        metrics: &Metrics,
        access_log: Option<LineSink>,
        shared: Shared,
    ) -> Arc<Gateway> {
        let mut authorizers = Authorizers::new(config.policy_set.clone(), metrics);
        let plugins = self.plugins.iter().map(|plugin| {
            let settings = plugin.settings.clone();
            let target = Target::Plugin(&settings.name, &settings.provider);
            let authorizer = authorizers.of(target, &[Action::Open, Action::Renew]);
            let rules = rules(&settings, &config.providers);
            let lease_policy =
                Arc::new(LeasePolicy::new(&settings.name, &settings.provider, rules, plugin.mint.clone(), metrics));
            (
                settings,
                PluginParts {
                    lease_policy,
                    fingerprint: plugin.fingerprint,
                    claims: plugin.claims.clone(),
                    gives_token: plugin.gives_token,
                    authorizer,
                },
            )
        });
        let plugins = plugins.collect();
        let apps = self.apps.iter().map(|app| {
            let authorizer = match app.settings.session {
                SessionNeed::None => Authorizer::not_asked(),
                SessionNeed::Required | SessionNeed::Optional => {
                    authorizers.of(Target::App(&app.settings.name), &[Action::Reach])
                }
            };
            let (pool, claims) = (app.pool.clone(), app.claims.clone());
            (app.settings.clone(), AppParts { pool, claims, authorizer, audience: app.audience.clone() })
        });
        Gateway::new(GatewayParts {
            plugins,
            apps: apps.collect(),
            issuers: config.session.namespaces(),
            login_url: config.session.login_url.clone(),
            public_url: config.server.public_url.clone(),
            trusted: Trusted::new(&config.server.trusted_proxies),
            sources: self.sources.clone(),
            signer: self.signer.clone(),
            sessions: self.sessions.clone(),
            book: self.book.clone(),
            clock: clock.clone(),
            metrics: metrics.clone(),
            access_log,
            bounds: shared.bounds,
            requests: shared.requests,
            limits: shared.limits,
            inboxes: Inboxes::new(
                config.session.logout.as_ref().map(|logout| &*logout.path),
                config.session.events.as_ref().map(|events| &*events.path),
                self.revoker(config, clock, metrics),
            ),
        })
    }

    /// What pages need that embed a plug-in.
    pub(super) fn embeds(&self, config: &Config) -> Vec<EmbedPolicy> {
        self.plugins.iter().filter_map(|plugin| embed(plugin, config)).collect()
    }

    /// The vendor of this name, if it is one.
    pub(super) fn vendor(&self, name: &str) -> Option<&Vendor> {
        self.providers.iter().find_map(|provider| match provider {
            Provider::Vendor(vendor) if vendor.name() == name => Some(vendor),
            _ => None,
        })
    }

    /// The certificates of all listeners, and the minter's.
    pub(super) fn all_certificates(&self) -> Vec<&Arc<Certificates>> {
        let minter = self.minter.iter().map(|minter| &minter.certificates);
        self.listener_tls.iter().flatten().map(|tls| &tls.certificates).chain(minter).collect()
    }

    /// The upstreams of all apps.
    pub(super) fn pools(&self) -> Vec<Arc<Pool>> {
        self.apps.iter().filter(|app| !app.settings.authorize).map(|app| app.pool.clone()).collect()
    }
}

/// What a page needs that embeds this plug-in; `None`: it is a token, and no page.
fn embed(plugin: &Plugin, config: &Config) -> Option<EmbedPolicy> {
    if plugin.gives_token == Some(true) {
        return None;
    }
    let PluginSettings { name, provider, path, host, permissions, .. } = &plugin.settings;
    let provider = config.providers.iter().find(|settings| settings.name == *provider)?;
    let public = config.server.public_url.as_ref()?;
    Some(EmbedPolicy {
        plugin: name.clone(),
        origin: host.as_ref().map_or_else(|| public.to_string(), |host| public.at(host)),
        path: path.clone(),
        hosts: RedirectHosts::from(&*provider.redirect_hosts),
        permissions: permissions.clone(),
    })
}

/// The rules of a plug-in's leases.
pub fn rules(settings: &PluginSettings, providers: &[ProviderSettings]) -> Rules {
    let paced = providers.iter().any(|provider| provider.name == settings.provider && provider.rate.is_some());
    // Half of the time that there is for it: a caller in the other half still finds it renewed.
    let room = settings.refresh_ahead.map_or(Duration::ZERO, |ahead| ahead.0.saturating_sub(settings.min_remaining.0));
    Rules {
        reuse: settings.reuse,
        max_age: settings.max_age.0,
        min_remaining: settings.min_remaining.0,
        refresh_ahead: settings.refresh_ahead.map(|span| span.0),
        spread: if paced { room / 2 } else { Duration::ZERO },
        mints_per_subject: settings.mints_per_subject,
    }
}

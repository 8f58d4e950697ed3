//! The minter's part of a process: what edges may ask for, and the TLS by which they are known.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::server::NoServerSessionStorage;
use rustls::{Error, ServerConfig};

use super::build::{Components, rules};
use super::builder::Builder;
use super::client_ca::{Asked, ClientCa};
use super::generation::{Generation, Surroundings};
use super::tls::Certificates;
use crate::gateway::{Limits, settings};
use crate::http_client::{Client, Identity, Route};
use crate::lease::settings::{MintsPerSubject, Reuse};
use crate::lease::{LeasePolicy, Parameters, Rules};
use crate::minter::settings::MinterSettings;
use crate::minter::{self, AtOnce, Bounded, MintService, MintServiceParts, Offer, Serving};
use crate::policy::{Action, Authorizers, Target};
use crate::provider::settings::{MinterLink, ProviderSettings};
use crate::provider::{self, Provider, Remote, RemoteParts};
use crate::setting::FieldFault;
use crate::web::Origin;

/// The minter's part of a process, made but not started.
#[derive(Clone)]
pub struct MinterComponents {
    settings: MinterSettings,
    offers: Vec<Offer>,
    pub(super) certificates: Arc<Certificates>,
    edges: Arc<ClientCa>,
    tls: Arc<ServerConfig>,
}

impl MinterComponents {
    /// What edges may ask for: the names, and how each is minted.
    pub fn offers(&self) -> impl Iterator<Item = (&str, &Arc<LeasePolicy>)> {
        self.offers.iter().map(|offer| (offer.name.as_str(), &offer.lease_policy))
    }

    /// What makes up each offer's scope.
    pub(super) fn scopes(&self) -> impl Iterator<Item = (&str, &str, &str, [u8; 32])> {
        self.offers
            .iter()
            .map(|offer| (offer.name.as_str(), offer.provider.as_str(), offer.mint.as_str(), offer.fingerprint))
    }

    /// For whom each offer's URL is used again, in the order of the scopes; `None`: edges say it.
    pub(super) fn reuses(&self) -> impl Iterator<Item = Option<Reuse>> {
        self.offers.iter().map(|offer| offer.reuse)
    }

    pub(super) fn reread(&self) -> Vec<String> {
        let certificates =
            self.certificates.reread().into_iter().map(|fault| fault.replace("listener.tls", "minter.tls"));
        let edges = self.edges.reread().err().map(|fault| format!("minter.tls.client_ca: {fault}"));
        certificates.chain(edges).collect()
    }

    pub(super) fn files(&self) -> Vec<PathBuf> {
        self.certificates.files().chain([self.edges.path()]).collect()
    }

    /// Serves edges on a listener that is bound.
    pub(super) fn serve(
        &self,
        listener: TcpListener,
        of: &Components,
        limits: &Limits,
        around: &Surroundings,
    ) -> std::io::Result<Serving> {
        let bounds = AtOnce { connections: limits.max_edge_connections, asks: limits.max_requests };
        minter::serve(listener, self.tls.clone(), self.service(of, around), bounds)
    }

    /// Judges what edges ask on a listener that serves already.
    pub(super) fn replace(&self, serving: &Serving, of: &Components, around: &Surroundings) {
        serving.replace(self.service(of, around), self.tls.clone());
    }

    fn service(&self, of: &Components, around: &Surroundings) -> Arc<MintService> {
        Arc::new(MintService::new(MintServiceParts {
            settings: &self.settings,
            offers: self.offers.clone(),
            sessions: of.sessions.clone(),
            claim_count: of.claim_names.len(),
            book: of.book.clone(),
            clock: around.clock.clone(),
            metrics: around.metrics.clone(),
            lines: around.access_log.clone(),
        }))
    }
}

impl Builder<'_> {
    /// The plug-ins, and each mint of a provider that no plug-in is named after.
    pub fn minter(
        &mut self,
        settings: &MinterSettings,
        providers: &[Provider],
        claim_names: &[String],
    ) -> Option<MinterComponents> {
        let certificates = self.certificates(&[settings.tls.identity()]);
        let edges = ClientCa::open(&settings.tls.client_ca, &self.config.directory, Asked::Required)
            .map_err(|fault| self.faults.push(format!("minter.tls.client_ca: {fault}")));
        let mut authorizers = Authorizers::new(self.config.policy_set.clone(), self.metrics);
        let mut offers = Vec::new();
        for provider in &self.config.providers {
            let Some(made) = providers.iter().find(|made| made.name() == provider.name) else { continue };
            let names = provider::mint_names(provider);
            let mints = Bounded::all(
                names.iter().filter_map(|name| made.mint(name)).collect(),
                settings.per_provider,
                &provider.name,
                self.metrics,
            );
            for (mint, minted) in names.iter().zip(mints) {
                let needs = provider::claim_names_of(provider, mint).into_iter();
                let claims: Vec<_> = needs
                    .filter_map(|(name, optional)| {
                        let at = claim_names.iter().position(|known| *known == name)?;
                        Some((name, at, optional))
                    })
                    .collect();
                let mut offer = |name: &str, reuse, languages, parameters, rules| Offer {
                    name: name.to_owned(),
                    provider: provider.name.clone(),
                    mint: mint.clone(),
                    reuse,
                    languages,
                    parameters,
                    told: Arc::default(),
                    lease_policy: Arc::new(LeasePolicy::new(
                        name,
                        &provider.name,
                        rules,
                        self.bounded(minted.clone()),
                        self.metrics,
                    )),
                    fingerprint: made.fingerprint(),
                    claims: claims.clone(),
                    // Edges may ask for a plug-in by its mint's name too.
                    authorizers: BTreeSet::from([name, mint])
                        .into_iter()
                        .map(|name| {
                            let target = Target::Plugin(name, &provider.name);
                            (name.to_owned(), authorizers.of(target, &[Action::Mint]))
                        })
                        .collect(),
                };
                let plugins = self.config.plugins.iter();
                let ours = plugins.filter(|plugin| plugin.provider == provider.name && plugin.mint == *mint);
                offers.extend(ours.map(|plugin| {
                    offer(
                        &plugin.name,
                        Some(plugin.reuse),
                        (!plugin.languages.is_empty()).then(|| plugin.languages.clone()),
                        Parameters::new(&plugin.parameters),
                        rules(plugin, &self.config.providers),
                    )
                }));
                if !self.config.plugins.iter().any(|plugin| plugin.name == *mint) {
                    offers.push(offer(mint, None, None, Parameters::default(), default_rules()));
                }
            }
        }
        let (certificates, edges) = (certificates?, edges.ok()?);
        let tls =
            tls(certificates.clone(), edges.clone()).map_err(|fault| self.faults.push(format!("minter: {fault}")));
        Some(MinterComponents { settings: settings.clone(), offers, certificates, edges, tls: tls.ok()? })
    }

    /// The one that is in force, where nothing of it has changed.
    fn remote_before(&self, name: &str, claim_names: &[String]) -> Option<(&Generation, Remote)> {
        let before = self.before?;
        let same = self.sections.is_same(&before.sections, &format!("provider.{name}"))
            && *before.components.claim_names == *claim_names;
        let mut remotes = before.components.providers.iter().filter_map(|provider| match provider {
            Provider::Remote(remote) if remote.name() == name => Some(remote.clone()),
            _ => None,
        });
        Some((before, remotes.next().filter(|_| same)?))
    }

    pub fn remote(&mut self, settings: &ProviderSettings, link: &MinterLink, claim_names: &[String]) -> Option<Remote> {
        let name = &settings.name;
        let directory = &self.config.directory;
        if let Some((before, remote)) = self.remote_before(name, claim_names) {
            let own = format!("provider.minter ({name})");
            self.identities.extend(before.components.identities.iter().find(|(name, _)| *name == own).cloned());
            return Some(remote);
        }
        let identity = Identity::open(link.identity(), directory).map_err(|faults| {
            let lines =
                faults.iter().map(|fault| format!("provider.minter.{} (provider {name})", identity_fault(fault)));
            self.faults.extend(lines);
        });
        let identity = Arc::new(identity.ok()?);
        let mut client = || {
            let route = Route::to_our_own(&link.ca, identity.clone(), directory).map_err(|fault| {
                self.faults.push(format!("provider.minter.{fault} (provider {name})"));
            });
            let client = Client::through(route.ok()?).map_err(|_| {
                self.faults.push(format!("provider.minter: no HTTP client can be made (provider {name})"));
            });
            client.ok()
        };
        let (client, looks) = (client()?, client()?);
        self.identities.push((format!("provider.minter ({name})"), identity));
        let origins = link.url.as_slice().iter().map(Origin::to_string).collect();
        let parts = RemoteParts { client, looks, origins, claim_names: claim_names.to_vec() };
        Some(Remote::new(settings, parts, self.clock.clone(), self.metrics))
    }
}

/// The rules of a plug-in that leaves everything out.
fn default_rules() -> Rules {
    Rules {
        // As the edge says.
        reuse: Reuse::User,
        max_age: settings::default_max_age().0,
        min_remaining: settings::default_min_remaining().0,
        refresh_ahead: None,
        spread: Duration::ZERO,
        mints_per_subject: MintsPerSubject::default(),
    }
}

/// `key: what is wrong`, by the keys of a certificate in `minter`.
pub(super) fn identity_fault(fault: &FieldFault) -> String {
    match &*fault.path {
        "chain" => format!("certificate: {}", fault.message),
        _ => fault.to_string(),
    }
}

/// TLS 1.3 alone, HTTP/2 alone, and no session is resumed: each connection shows its certificate again.
pub(super) fn tls(certificates: Arc<Certificates>, edges: Arc<ClientCa>) -> Result<Arc<ServerConfig>, Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(edges)
        .with_cert_resolver(certificates);
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

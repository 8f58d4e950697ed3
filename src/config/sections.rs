//! The sections of a configuration: what an operator changes, by its name, and whether two configurations say the same of it.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use super::{Config, policies};
use crate::files;
use crate::gateway::settings::ListenerSettings;
use crate::provider::settings::ProviderSettings;
use crate::secret::{SecretSource, SecretSources};
use crate::session::settings::{IssuerSettings, TransmitterSettings};

/// What is said of one section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    /// Of the settings themselves.
    settings: u64,
    /// Of the contents of the files that they name.
    files: u64,
}

/// All sections of a configuration, by names such as `plugin.face-scan`, `issuer.https://idp.example.com`, `limits`.
#[derive(Clone, Debug, Default)]
pub struct Sections {
    sections: BTreeMap<String, Section>,
    files: Vec<PathBuf>,
}

impl Sections {
    /// Reads the files that the configuration names, to tell one content from another: to be called before they are read for use, so that a later change
    /// is noticed. Policies were read for use with the configuration: of them that content counts.
    pub fn of(config: &Config) -> Self {
        let read = config.policies.iter().flat_map(|settings| {
            let file = |(file, hash): &(PathBuf, u64)| (settings.directory.join(file), Some(*hash));
            config.policy_files.iter().map(file)
        });
        Self::with_policies(config, read.collect())
    }

    /// The sections with all files as they are now.
    pub fn now(config: &Config) -> Self {
        let at = &config.directory;
        let files = config.policies.iter().flat_map(|settings| policies::files_of(at, &settings.directory));
        let read = files.map(|file| {
            let hash = files::fingerprint(&at.join(&file));
            (file, hash)
        });
        Self::with_policies(config, read.collect())
    }

    fn with_policies(config: &Config, policies: Vec<(PathBuf, Option<u64>)>) -> Self {
        let mut sections = Self::default();
        let at = &config.directory;
        for plugin in &config.plugins {
            sections.add(format!("plugin.{}", plugin.name), at, plugin, &[]);
        }
        for app in &config.apps {
            let certificate = app.client_certificate.iter().flat_map(|files| [&files.chain, &files.key]);
            let paths: Vec<_> = app.ca.iter().chain(certificate).collect();
            sections.add(format!("app.{}", app.name), at, app, &paths);
        }
        for provider in &config.providers {
            sections.add(format!("provider.{}", provider.name), at, provider, &provider_files(provider));
        }
        for issuer in &config.session.issuers {
            sections.add(format!("issuer.{}", issuer.issuer), at, issuer, &issuer_files(issuer));
        }
        for (listener, name) in config.listeners.iter().zip(listener_sections(&config.listeners)) {
            let pairs = listener.tls.iter().flat_map(|pair| [&pair.chain, &pair.key]);
            let paths: Vec<_> = pairs.chain(&listener.client_ca).collect();
            sections.add(name, at, listener, &paths);
        }
        let session = crate::session::settings::SessionSettings { issuers: Vec::new(), ..config.session.clone() };
        let transmitters = session.events.iter().flat_map(|events| &events.transmitters);
        let transmitters: Vec<_> = transmitters.map(TransmitterSettings::as_issuer).collect();
        let keys: Vec<_> = transmitters.iter().flat_map(issuer_files).collect();
        sections.add("session".into(), at, &session, &keys);
        sections.add("server".into(), at, &config.server, &[]);
        sections.add("limits".into(), at, &config.limits, &[]);
        sections.add("log".into(), at, &config.log, &file_of(config.log.subject_key.as_ref()));
        let token = config.admin.as_ref().and_then(|admin| admin.token.as_ref());
        sections.add("admin".into(), at, &config.admin, &file_of(token));
        let edges = config.minter.as_ref().map(|minter| &minter.tls);
        let paths: Vec<_> = edges.iter().flat_map(|tls| [&tls.chain, &tls.key, &tls.client_ca]).collect();
        sections.add("minter".into(), at, &config.minter, &paths);
        let keys: Vec<_> = config.assertion.iter().flat_map(|assertion| &assertion.keys).filter_map(path_of).collect();
        sections.add("assertion".into(), at, &config.assertion, &keys);
        let leases = &config.leases;
        let redis = leases.redis.as_ref();
        let secrets = leases.seal_keys.iter().chain(&leases.name_key);
        let secrets = secrets.chain(redis.and_then(|redis| redis.password.as_ref()));
        let paths: Vec<_> = secrets.flat_map(path_of).chain(redis.and_then(|redis| redis.ca.as_ref())).collect();
        sections.add("leases".into(), at, leases, &paths);
        sections.add_read("policies".into(), at, &config.policies, policies);
        sections.files.extend(config.policies.iter().map(|settings| at.join(&settings.directory)));
        sections
    }

    /// The files that the configuration names, and the directory of its policies, in which others may appear.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    fn add(&mut self, name: String, directory: &Path, settings: &impl std::fmt::Debug, paths: &[&PathBuf]) {
        let now = |path: &&PathBuf| ((*path).clone(), files::fingerprint(&directory.join(path)));
        self.add_read(name, directory, settings, paths.iter().map(now).collect());
    }

    fn add_read(
        &mut self,
        name: String,
        directory: &Path,
        settings: &impl std::fmt::Debug,
        read: Vec<(PathBuf, Option<u64>)>,
    ) {
        let hash = |value: &dyn Fn(&mut DefaultHasher)| {
            let mut hasher = DefaultHasher::new();
            value(&mut hasher);
            hasher.finish()
        };
        // `Debug` of settings shows every key of them; a secret's is its place.
        let settings = hash(&|hasher| (directory, format!("{settings:?}")).hash(hasher));
        let files = hash(&|hasher| read.hash(hasher));
        self.sections.insert(name, Section { settings, files });
        self.files.extend(read.into_iter().map(|(path, _)| directory.join(path)));
    }

    /// The names of those that are there in one of the two only, or differ, or name files whose content differs; sorted.
    pub fn changed(&self, other: &Self) -> Vec<String> {
        let (own, others) = (&self.sections, &other.sections);
        let all = own.keys().chain(others.keys().filter(|name| !own.contains_key(*name)));
        let mut changed: Vec<String> = all.filter(|name| own.get(*name) != others.get(*name)).cloned().collect();
        changed.sort_unstable();
        changed
    }

    /// Whether both say the same of this section, the files that it names included.
    pub fn is_same(&self, other: &Self, name: &str) -> bool {
        self.sections.get(name).is_some_and(|section| other.sections.get(name) == Some(section))
    }

    /// Whether both say the same of this section, whatever is in the files that it names.
    pub fn has_same_settings(&self, other: &Self, name: &str) -> bool {
        let settings = |sections: &Self| sections.sections.get(name).map(|section| section.settings);
        settings(self).is_some() && settings(self) == settings(other)
    }
}

/// The section of each listener, in their order: `listener.ADDRESS` as written. With port 0 several listeners may have one address as written: the second
/// of them is `listener.ADDRESS#2`.
pub fn listener_sections(listeners: &[ListenerSettings]) -> Vec<String> {
    let mut seen = BTreeMap::new();
    listeners.iter().map(|listener| numbered(&mut seen, format!("listener.{}", listener.address))).collect()
}

/// The name itself the first time, then `NAME#2` and so on.
pub(super) fn numbered(seen: &mut BTreeMap<String, usize>, name: String) -> String {
    let count = seen.entry(name.clone()).or_default();
    *count += 1;
    if *count == 1 { name } else { format!("{name}#{count}") }
}

fn path_of(source: &SecretSource) -> Option<&PathBuf> {
    match source {
        SecretSource::File(path) => Some(path),
        SecretSource::Env(_) => None,
    }
}

fn file_of(source: Option<&SecretSource>) -> Vec<&PathBuf> {
    source.and_then(path_of).into_iter().collect()
}

fn provider_files(provider: &ProviderSettings) -> Vec<&PathBuf> {
    let keys = provider.api_key.as_ref().map(SecretSources::as_slice).unwrap_or_default();
    let secrets = keys.iter().chain(provider.secret_headers.values()).chain(&provider.subject_key);
    let secrets = secrets.chain(provider.proxy.as_ref().and_then(|proxy| proxy.credentials()));
    let link = provider.minter.iter().flat_map(|link| [&link.ca, &link.certificate, &link.key]);
    secrets.flat_map(path_of).chain(&provider.ca).chain(link).collect()
}

fn issuer_files(issuer: &IssuerSettings) -> Vec<&PathBuf> {
    let keys = issuer.keys.as_slice().iter();
    let keys =
        keys.flat_map(|keys| keys.jwks_file.iter().chain(&keys.pem_file).chain(keys.secret.as_ref().and_then(path_of)));
    let proxy = issuer.proxy.as_ref().and_then(|proxy| proxy.credentials()).and_then(path_of);
    keys.chain(&issuer.ca).chain(proxy).collect()
}

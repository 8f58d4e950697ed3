//! The directory of `[policies]`: what is in it, read and checked, with every fault of every file at once.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use toml::de::DeTable;

use super::fault::{Fault, position};
use super::gather::{self, Found};
use super::outline::Outline;
use super::tree::{Node, Place};
use super::{Config, hint, read_bytes, utf8};
use crate::files;
use crate::policy::case::{Case, CasesFile};
use crate::policy::settings::ClaimsFile;
use crate::policy::{self, Inventory, Policies, Source};
use crate::provider;

/// What declares claims.
const CLAIMS: &str = "claims.toml";

/// A directory of policies without a fault.
#[derive(Debug)]
pub struct PolicyDirectory {
    /// The set.
    pub policies: Arc<Policies>,
    /// Each case with the file that it stands in, in the order of files and lines.
    pub cases: Vec<(String, Case)>,
    /// What is worth a look though it is no fault, one line each.
    pub warnings: Vec<String>,
    /// Each file that was read, by name, and [`files::fingerprint_of`] its content.
    pub files: Vec<(PathBuf, u64)>,
}

/// Reads and checks a directory. `inventory`: what the configuration has, if there is one. Every fault, in the order of the files.
///
/// # Errors
/// All faults, each with file, line and column.
pub fn policy_directory(directory: &Path, inventory: Option<&Inventory>) -> Result<PolicyDirectory, Vec<Fault>> {
    let mut reading = Reading { directory, faults: Vec::new(), read: Vec::new() };
    let files = reading.files();
    let claims = reading.claims(&files);
    let mut sources = Vec::new();
    let mut cases = Vec::new();
    for (file, text) in &files {
        if file.ends_with(".cedar") {
            sources.push(Source { file: file.clone(), text: text.clone() });
        } else if file.ends_with(".cases.toml") {
            cases.extend(reading.typed::<CasesFile>(file, text).map(|(cases, tree)| (file, text, cases, tree)));
        }
    }
    let compiled = policy::compile(&sources, claims.as_ref(), inventory);
    for fault in compiled.faults {
        reading.note(&files, fault);
    }
    let known = claims.clone().unwrap_or_default();
    for (file, text, cases, tree) in &cases {
        reading.judge(file, text, (cases, tree), |case| {
            let mut faults = case.faults(&known, compiled.policies.as_ref(), inventory);
            // Where the declarations are faulty, nothing is known of a claim.
            faults.retain(|(keys, _)| claims.is_some() || !keys.iter().any(|key| key == "claims"));
            faults
        });
    }
    match compiled.policies {
        Some(policies) if reading.faults.is_empty() => {
            let mut warnings: Vec<String> =
                compiled.warnings.into_iter().map(|warning| reading.place(&files, warning).to_string()).collect();
            if policies.is_empty() {
                warnings.push(format!("{}: there is no policy in it: everyone is denied", directory.display()));
            }
            let cases = cases.into_iter().flat_map(|(file, _, cases, _)| {
                cases.cases.into_iter().map(|case| (file.clone(), case)).collect::<Vec<_>>()
            });
            let (cases, files) = (cases.collect(), reading.read);
            Ok(PolicyDirectory { policies: Arc::new(policies), cases, warnings, files })
        }
        _ => Err(reading.faults),
    }
}

/// The schema for a directory, by its `claims.toml`; without one, or without the directory, that of no claims.
///
/// # Errors
/// All faults, each with file, line and column.
pub fn policy_schema(directory: &Path) -> Result<String, Vec<Fault>> {
    let mut reading = Reading { directory, faults: Vec::new(), read: Vec::new() };
    let path = directory.join(CLAIMS);
    let files = if path.exists() { reading.file(CLAIMS).into_iter().collect() } else { Vec::new() };
    match reading.claims(&files) {
        Some(claims) if reading.faults.is_empty() => Ok(policy::schema(&claims)),
        _ => Err(reading.faults),
    }
}

/// What policies may be about.
pub fn inventory(config: &Config) -> Inventory {
    let mut inventory = Inventory {
        plugins: Default::default(),
        providers: config.providers.iter().map(|provider| provider.name.clone()).collect(),
        apps: config.apps.iter().map(|app| app.name.clone()).collect(),
    };
    if config.minter.is_some() {
        // An edge may ask for a mint by its own name.
        for provider in &config.providers {
            let mints = provider::mint_names(provider).into_iter();
            inventory.plugins.extend(mints.map(|mint| (mint, provider.name.clone())));
        }
    }
    let plugins = config.plugins.iter().map(|plugin| (plugin.name.clone(), plugin.provider.clone()));
    inventory.plugins.extend(plugins);
    inventory
}

/// A directory that is being read.
struct Reading<'d> {
    directory: &'d Path,
    faults: Vec<Fault>,
    /// Each file that was read, and the hash of its bytes.
    read: Vec<(PathBuf, u64)>,
}

impl Reading<'_> {
    fn path(&self, file: &str) -> PathBuf {
        self.directory.join(file)
    }

    fn shown(&self, file: &str) -> String {
        self.path(file).display().to_string()
    }

    /// Name and text of each file that is ours, by name.
    fn files(&mut self) -> Vec<(String, String)> {
        let shown = self.directory.display().to_string();
        let entries = match std::fs::read_dir(self.directory) {
            Ok(entries) => entries,
            Err(fault) => {
                self.faults.push(Fault::of_file(&shown, unreadable(&fault)));
                return Vec::new();
            }
        };
        let mut names = Vec::new();
        for entry in entries {
            match entry {
                Ok(entry) => match entry.file_name().into_string() {
                    Ok(name) => names.extend(Some(name).filter(|name| is_ours(name))),
                    // It may be the one that forbids, too.
                    Err(name) if is_ours(&name.to_string_lossy()) => {
                        let name = self.shown(&name.to_string_lossy());
                        self.faults.push(Fault::of_file(&name, "has a name that is not UTF-8: rename it"));
                    }
                    Err(_) => {}
                },
                // One that can't be seen may be the one that forbids.
                Err(fault) => self.faults.push(Fault::of_file(&shown, format!("can't be read whole: {fault}"))),
            }
        }
        names.sort_unstable();
        names.iter().filter_map(|name| self.file(name)).collect()
    }

    fn file(&mut self, name: &str) -> Option<(String, String)> {
        let read = read_bytes(&self.path(name)).and_then(|bytes| {
            self.read.push((PathBuf::from(name), files::fingerprint_of(&bytes)));
            utf8(bytes)
        });
        match read {
            Ok(text) => Some((name.to_owned(), text)),
            Err(message) => {
                self.faults.push(Fault::of_file(&self.shown(name), message));
                None
            }
        }
    }

    /// `None`: faulty. Without the file there are no claims.
    fn claims(&mut self, files: &[(String, String)]) -> Option<ClaimsFile> {
        let Some((file, text)) = files.iter().find(|(file, _)| file == CLAIMS) else {
            return Some(ClaimsFile::default()).filter(|_| self.faults.is_empty());
        };
        let (claims, tree) = self.typed::<ClaimsFile>(file, text)?;
        for (keys, message) in claims.faults() {
            self.fault(file, text, tree.offset_of(&below(Place::root(), &keys)), &keys.join("."), message);
        }
        Some(claims)
    }

    /// The settings in a text of TOML; the faults of shape are noted.
    fn typed<T: DeserializeOwned + JsonSchema>(&mut self, file: &str, text: &str) -> Option<(T, Node)> {
        let table = match DeTable::parse(text) {
            Ok(table) => table,
            Err(error) => {
                let offset = error.span().map_or(0, |span| span.start);
                let hint = hint::of(text, position(text, offset).0, error.message(), &Outline::of::<T>);
                self.fault(file, text, offset, "", format!("not TOML: {}{hint}", error.message()));
                return None;
            }
        };
        let gathered = gather::gather::<T>(Node::from_toml(table));
        let sound = gathered.found.is_empty();
        for Found { place, offset, message } in gathered.found {
            self.fault(file, text, offset, &place.dotted(), message);
        }
        gathered.settings.filter(|_| sound).map(|settings| (settings, gathered.tree))
    }

    /// Notes what `faults_of` finds in each case.
    fn judge(
        &mut self,
        file: &str,
        text: &str,
        (cases, tree): (&CasesFile, &Node),
        faults_of: impl Fn(&Case) -> Vec<policy::case::CaseFault>,
    ) {
        let list = Place::root().key("case");
        for (at, case) in cases.cases.iter().enumerate() {
            for (keys, message) in faults_of(case) {
                let place = below(list.index(at), &keys);
                let offset = tree.offset_of(&place);
                self.fault(file, text, offset, &place.dotted(), format!("{message} (case {:?})", case.name));
            }
        }
    }

    fn fault(&mut self, file: &str, text: &str, offset: usize, key: &str, message: String) {
        let (line, column) = position(text, offset);
        self.faults.push(Fault { file: self.shown(file), line, column, key: key.into(), message });
    }

    fn note(&mut self, files: &[(String, String)], fault: policy::Fault) {
        let fault = self.place(files, fault);
        self.faults.push(fault);
    }

    fn place(&self, files: &[(String, String)], fault: policy::Fault) -> Fault {
        let text = files.iter().find(|(file, _)| *file == fault.file).map_or("", |(_, text)| text);
        let (line, column) = position(text, fault.offset);
        Fault { file: self.shown(&fault.file), line, column, key: "policy".into(), message: fault.message }
    }
}

/// The files of ours in a directory, which stands below `root`, by name; their paths start where its own does.
pub(super) fn files_of(root: &Path, directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root.join(directory)).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut files: Vec<PathBuf> = names.filter(|name| is_ours(name)).map(|name| directory.join(name)).collect();
    files.sort_unstable();
    files
}

/// Whether there is such a directory; else what is wrong, for the key that names it.
pub(super) fn is_readable(directory: &Path) -> Result<(), String> {
    std::fs::read_dir(directory).map(drop).map_err(|fault| format!("{}: {}", directory.display(), unreadable(&fault)))
}

fn unreadable(fault: &std::io::Error) -> String {
    format!("the directory of policies can't be read: {fault} (an empty one denies everyone)")
}

/// Hidden files are editors' and file systems' own.
fn is_ours(name: &str) -> bool {
    !name.starts_with('.') && (name == CLAIMS || name.ends_with(".cedar") || name.ends_with(".cases.toml"))
}

fn below(place: Place, keys: &[String]) -> Place {
    keys.iter().fold(place, |place, key| place.key(key))
}

//! The whole configuration file as types, and every fault of it at once, with line and column.
//!
//! Shape comes from the `derive(Deserialize)` of the settings (`gather`), rules from `check`. A place that is faulty in shape becomes a
//! *hole*, and no rule speaks about holes: one mistake, one line.

mod check;
mod diff;
mod fault;
mod gather;
mod hint;
mod outline;
mod places;
mod policies;
mod read;
mod schema;
mod sections;
mod tree;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use toml::de::DeTable;

pub use diff::diff;
pub use fault::Fault;
pub use places::Places;
pub use policies::{PolicyDirectory, inventory, policy_directory, policy_schema};
pub use schema::schema;
pub use sections::{Sections, listener_sections};

use crate::admin::settings::AdminSettings;
use crate::app::settings::AppSettings;
use crate::assertion::settings::AssertionSettings;
use crate::gateway::settings::{ListenerSettings, PluginSettings, ServerSettings};
use crate::lease::settings::LeasesSettings;
use crate::limit::settings::LimitsSettings;
use crate::minter::settings::MinterSettings;
use crate::otlp::settings::TelemetrySettings;
use crate::policy::Policies;
use crate::policy::settings::PoliciesSettings;
use crate::provider::settings::ProviderSettings;
use crate::session::settings::SessionSettings;
use crate::telemetry::LogSettings;

/// A file larger than this is no configuration; reading it whole to say so would cost memory.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// In place of a file's name: standard input.
pub const STDIN: &str = "-";

/// A configuration without a fault.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Valet", description = "The configuration of the session gateway `valet`.")]
pub struct Config {
    /// Where relative paths of the file start: the folder of the file.
    #[serde(skip)]
    pub directory: PathBuf,
    /// What is worth a look though it is no fault, one line each.
    #[serde(skip)]
    pub warnings: Vec<String>,
    /// Where the file says what only a start can show to be wrong.
    #[serde(skip)]
    pub places: Places,
    /// SHA-256 of the file, in lower-case hexadecimal: what `sha256sum` says of it.
    #[serde(skip)]
    pub digest: String,
    /// The process, and the address under which browsers know it. Required, except for a minter alone.
    #[serde(default)]
    pub server: ServerSettings,
    /// The addresses at which browsers reach the gateway. At least one, except for a minter alone.
    #[serde(default, rename = "listener")]
    pub listeners: Vec<ListenerSettings>,
    /// The administration address: health and metrics. Without it there is none.
    pub admin: Option<AdminSettings>,
    /// Logs.
    #[serde(default)]
    pub log: LogSettings,
    /// Traces and metrics for an OpenTelemetry collector. Without it none are sent.
    pub telemetry: Option<TelemetrySettings>,
    /// Where credentials are read, and how sessions are judged. Required, except for a minter that believes its edges.
    #[serde(default)]
    pub session: SessionSettings,
    /// The vendors.
    #[serde(default, rename = "provider")]
    pub providers: Vec<ProviderSettings>,
    /// What users open.
    #[serde(default, rename = "plugin")]
    pub plugins: Vec<PluginSettings>,
    /// The apps behind the gateway.
    #[serde(default, rename = "app")]
    pub apps: Vec<AppSettings>,
    /// The keys of assertions: signed words on sessions, for apps that must not trust the network.
    pub assertion: Option<AssertionSettings>,
    /// Who may open what. Without it every valid session may do everything.
    pub policies: Option<PoliciesSettings>,
    /// The checked policies of that directory.
    #[serde(skip)]
    pub policy_set: Option<Arc<Policies>>,
    /// The files that it was made of, each with a hash of the content that was read.
    #[serde(skip)]
    pub policy_files: Vec<(PathBuf, u64)>,
    /// The role that holds the key, and mints for edges that don't.
    pub minter: Option<MinterSettings>,
    /// How much one client address, one person and one tenant may ask of this node.
    #[serde(default)]
    pub limits: LimitsSettings,
    /// Where plug-in URLs are kept, and how many.
    #[serde(default)]
    pub leases: LeasesSettings,
}

/// Reads and checks the file, and the keys and secrets that it names. Touches no network. All faults, in the order of the file.
/// `-` is standard input, whose relative paths start in the working directory.
///
/// # Errors
/// All faults of the file, each with line and column.
pub fn load(path: &Path) -> Result<Config, Vec<Fault>> {
    if path == Path::new(STDIN) {
        let text = read_stdin().map_err(|message| vec![Fault::of_file("stdin", message)])?;
        return Config::parse(&text, "stdin", Path::new(""));
    }
    let name = path.display().to_string();
    let text = read_file(path).map_err(|message| vec![Fault::of_file(&name, message)])?;
    // `parent` of a bare file name is the empty path, which joins to what is relative to the working directory: the same folder.
    Config::parse(&text, &name, path.parent().unwrap_or(Path::new("")))
}

fn read_file(path: &Path) -> Result<String, String> {
    utf8(read_bytes(path)?)
}

fn read_bytes(path: &Path) -> Result<Vec<u8>, String> {
    let meta = std::fs::metadata(path).map_err(|e| format!("can't be read: {e}"))?;
    if meta.is_dir() {
        return Err("is a folder, not a file".into());
    }
    if meta.len() > MAX_FILE_BYTES {
        return Err("is larger than 1 MiB; that is no configuration".into());
    }
    std::fs::read(path).map_err(|e| format!("can't be read: {e}"))
}

fn read_stdin() -> Result<String, String> {
    let mut bytes = Vec::new();
    let mut stdin = std::io::stdin().lock().take(MAX_FILE_BYTES + 1);
    stdin.read_to_end(&mut bytes).map_err(|e| format!("can't be read: {e}"))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err("is larger than 1 MiB; that is no configuration".into());
    }
    utf8(bytes)
}

fn utf8(bytes: Vec<u8>) -> Result<String, String> {
    let utf16 = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
    let fault = if utf16 { "is not UTF-8, but looks like UTF-16: save it as UTF-8" } else { "is not UTF-8" };
    // Editors of Windows begin a file with a mark; it is no part of the text.
    let text = String::from_utf8(bytes).map_err(|_| fault.to_owned())?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

impl Config {
    /// Reads a configuration from a text. `name` is what faults call the file, `directory` where its relative paths start.
    ///
    /// # Errors
    /// All faults of the text, each with line and column.
    ///
    /// # Examples
    /// ```
    /// use std::path::Path;
    /// use valet_gateway::config::Config;
    ///
    /// let faults = Config::parse("[server]\ndrain = \"soon\"", "valet.toml", Path::new("")).unwrap_err();
    /// let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
    /// assert!(lines.contains(&"valet.toml:2:9 server.drain: expected a duration such as \"5m\"".into()), "{lines:#?}");
    /// ```
    pub fn parse(text: &str, name: &str, directory: &Path) -> Result<Self, Vec<Fault>> {
        let table = DeTable::parse(text).map_err(|error| {
            let (line, column) = fault::position(text, error.span().map_or(0, |span| span.start));
            let hint = hint::of(text, line, error.message(), &outline::Outline::of::<Self>);
            let message = format!("not TOML: {}{hint}", error.message());
            vec![Fault { file: name.into(), line, column, key: String::new(), message }]
        })?;
        let mut gathered = gather::gather::<Self>(tree::Node::from_toml(table));
        let mut found = std::mem::take(&mut gathered.found);
        if let Some(config) = &mut gathered.settings {
            config.directory = directory.to_owned();
            config.digest = digest(text);
            let source = Source { name, text };
            config.places = Places::new(&gathered.tree, source, config.listeners.len());
            let report = check::check(config, source, &gathered.tree, &gathered.holes);
            found.extend(report.found);
            config.warnings = report.warnings;
        }
        found.sort_by(|a, b| (a.offset, &a.place).cmp(&(b.offset, &b.place)));
        let mut faults: Vec<Fault> = found.into_iter().map(|found| as_fault(found, text, name)).collect();
        if let Some(config) = &mut gathered.settings
            && !gathered.holes.iter().any(|hole| hole.starts_with(&tree::Place::root().key("policies")))
        {
            faults.extend(config.read_policies(faults.is_empty(), Source { name, text }, &gathered.tree));
        }
        match gathered.settings {
            Some(config) if faults.is_empty() => Ok(config),
            // Not reached as far as we know; but a refusal always says something.
            None if faults.is_empty() => Err(vec![Fault::of_file(name, "can't be understood")]),
            _ => Err(faults),
        }
    }

    /// The faults of the policies, whose files follow the configuration. `sound`: what they are about is known.
    fn read_policies(&mut self, sound: bool, source: Source<'_>, tree: &tree::Node) -> Vec<Fault> {
        let Some(PoliciesSettings { directory }) = &self.policies else { return Vec::new() };
        let directory = self.directory.join(directory);
        if let Err(message) = policies::is_readable(&directory) {
            let place = tree::Place::root().key("policies").key("directory");
            let offset = tree.offset_of(&place);
            return vec![as_fault(gather::Found { place, offset, message }, source.text, source.name)];
        }
        let inventory = sound.then(|| inventory(self));
        match policy_directory(&directory, inventory.as_ref()) {
            Ok(read) => {
                self.warnings.extend(read.warnings);
                self.policy_set = Some(read.policies);
                self.policy_files = read.files;
                Vec::new()
            }
            Err(faults) => faults,
        }
    }
}

/// The file behind the tree.
#[derive(Clone, Copy)]
struct Source<'a> {
    name: &'a str,
    text: &'a str,
}

impl Source<'_> {
    /// The line of an offset, from 1.
    fn line(self, offset: usize) -> usize {
        fault::position(self.text, offset).0
    }

    /// `valet.toml:12:11 listener.address`
    fn show(self, place: &tree::Place, offset: usize) -> String {
        let (line, column) = fault::position(self.text, offset);
        fault::one_line(&format!("{}:{line}:{column} {}", self.name, place.dotted()))
    }
}

/// The text of a configuration file.
///
/// # Errors
/// The file can't be read, is too large, or is not UTF-8.
pub fn text(path: &Path) -> Result<String, Fault> {
    read_file(path).map_err(|message| Fault::of_file(&path.display().to_string(), message))
}

/// [`Config::digest`] of the file as it is now; `None`: it can't be read.
pub fn digest_of(path: &Path) -> Option<String> {
    read_file(path).ok().map(|text| digest(&text))
}

fn digest(text: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    digest.as_ref().iter().fold(String::with_capacity(64), |text, byte| text + &format!("{byte:02x}"))
}

fn as_fault(found: gather::Found, text: &str, name: &str) -> Fault {
    let (line, column) = fault::position(text, found.offset);
    Fault { file: name.into(), line, column, key: found.place.dotted(), message: found.message }
}

#[cfg(test)]
mod tests;

//! The whole configuration file as types, and every fault of it at once, with line and column.
//!
//! Shape comes from the `derive(Deserialize)` of the settings (`gather`), rules from `check`. A place that is faulty in shape becomes a
//! *hole*, and no rule speaks about holes: one mistake, one line.

mod check;
mod fault;
mod gather;
mod read;
mod schema;
mod tree;

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;
use toml::de::DeTable;

pub use fault::Fault;
pub use schema::schema;

use crate::admin::settings::AdminSettings;
use crate::app::settings::AppSettings;
use crate::gateway::settings::{ListenerSettings, PluginSettings, ServerSettings};
use crate::lease::settings::LeasesSettings;
use crate::minter::settings::MinterSettings;
use crate::provider::settings::ProviderSettings;
use crate::session::settings::SessionSettings;
use crate::telemetry::LogSettings;

/// A file larger than this is no configuration; reading it whole to say so would cost memory.
const MAX_FILE_BYTES: u64 = 1 << 20;

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
    /// The process, and the address under which browsers know it. Required, but of a minter alone.
    #[serde(default)]
    pub server: ServerSettings,
    /// The addresses at which browsers reach the gateway. At least one, but of a minter alone.
    #[serde(default, rename = "listener")]
    pub listeners: Vec<ListenerSettings>,
    /// The administration address: health and metrics. Without it there is none.
    pub admin: Option<AdminSettings>,
    /// Logs.
    #[serde(default)]
    pub log: LogSettings,
    /// Where credentials are read, and how sessions are judged. Required, but of a minter that believes its edges.
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
    /// The role that holds the key, and mints for edges that don't.
    pub minter: Option<MinterSettings>,
    /// Where plug-in URLs are kept, and how many.
    #[serde(default)]
    pub leases: LeasesSettings,
}

/// Reads and checks the file, and the keys and secrets that it names. Touches no network. All faults, in the order of the file.
pub fn load(path: &Path) -> Result<Config, Vec<Fault>> {
    let name = path.display().to_string();
    let text = read_file(path).map_err(|message| vec![Fault::of_file(&name, message)])?;
    // `parent` of a bare file name is the empty path, which joins to what is relative to the working directory: the same folder.
    Config::parse(&text, &name, path.parent().unwrap_or(Path::new("")))
}

fn read_file(path: &Path) -> Result<String, String> {
    let meta = std::fs::metadata(path).map_err(|e| format!("can't be read: {e}"))?;
    if meta.is_dir() {
        return Err("is a folder, not a file".into());
    }
    if meta.len() > MAX_FILE_BYTES {
        return Err("is larger than 1 MiB; that is no configuration".into());
    }
    let bytes = std::fs::read(path).map_err(|e| format!("can't be read: {e}"))?;
    String::from_utf8(bytes).map_err(|_| "is not UTF-8".into())
}

impl Config {
    /// The same from a text. `name` is what faults call the file, `directory` where its relative paths start.
    pub fn parse(text: &str, name: &str, directory: &Path) -> Result<Self, Vec<Fault>> {
        let table = DeTable::parse(text).map_err(|error| {
            let (line, column) = fault::position(text, error.span().map_or(0, |span| span.start));
            let message = format!("not TOML: {}", error.message());
            vec![Fault { file: name.into(), line, column, key: String::new(), message }]
        })?;
        let mut gathered = gather::gather::<Self>(tree::Node::from_toml(table));
        let mut found = std::mem::take(&mut gathered.found);
        if let Some(config) = &mut gathered.settings {
            config.directory = directory.to_owned();
            let report = check::check(config, &gathered.tree, &gathered.holes);
            found.extend(report.found);
            config.warnings = report.warnings;
        }
        found.sort_by(|a, b| (a.offset, &a.place).cmp(&(b.offset, &b.place)));
        match gathered.settings {
            Some(config) if found.is_empty() => Ok(config),
            // Not reached as far as we know; but a refusal always says something.
            None if found.is_empty() => Err(vec![Fault::of_file(name, "can't be understood")]),
            _ => Err(found.into_iter().map(|found| as_fault(found, text, name)).collect()),
        }
    }
}

fn as_fault(found: gather::Found, text: &str, name: &str) -> Fault {
    let (line, column) = fault::position(text, found.offset);
    Fault { file: name.into(), line, column, key: found.place.dotted(), message: found.message }
}

#[cfg(test)]
mod tests;

//! The rules that types can't say, one file for each part of the configuration.

mod address;
mod app;
mod assertion;
mod files;
mod leases;
mod limits;
mod listener;
mod login;
mod minter;
mod persons;
mod plugin;
mod provider;
mod remote;
mod route;
mod server;
mod session;
mod sign_out;
mod telemetry;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::gather::Found;
use super::tree::{Node, Place, Value};
use super::{Config, Source};
use crate::secret::{Secret, SecretSource};
use crate::setting::FieldFault;

/// What the rules found.
pub(super) struct Report<'a> {
    source: Source<'a>,
    tree: &'a Node,
    holes: &'a BTreeSet<Place>,
    directory: &'a Path,
    pub(super) found: Vec<Found>,
    pub(super) warnings: Vec<String>,
}

/// Every rule, for all that is not a hole.
pub(super) fn check<'a>(
    config: &'a Config,
    source: Source<'a>,
    tree: &'a Node,
    holes: &'a BTreeSet<Place>,
) -> Report<'a> {
    let directory = config.directory.as_path();
    let mut report = Report { source, tree, holes, directory, found: Vec::new(), warnings: Vec::new() };
    server::check(config, &mut report);
    listener::check(config, &mut report);
    session::check(config, &mut report);
    sign_out::check(config, &mut report);
    provider::check(config, &mut report);
    plugin::check(config, &mut report);
    app::check(config, &mut report);
    assertion::check(config, &mut report);
    login::check(config, &mut report);
    minter::check(config, &mut report);
    leases::check(config, &mut report);
    limits::check(config, &mut report);
    telemetry::check(config, &mut report);
    report
}

impl Report<'_> {
    /// Records a fault, unless something at, around or inside the place is faulty in shape already.
    fn fault(&mut self, place: &Place, message: impl Into<String>) {
        if self.sound(place) {
            let offset = self.tree.offset_of(place);
            self.found.push(Found { place: place.clone(), offset, message: message.into() });
        }
    }

    /// Records what a rule says against a value.
    fn note(&mut self, place: &Place, verdict: Result<(), impl Into<String>>) {
        if let Err(message) = verdict {
            self.fault(place, message);
        }
    }

    /// Records what a settings type says of itself, each at its key below the place.
    fn fields(&mut self, place: &Place, faults: impl IntoIterator<Item = FieldFault>) {
        for FieldFault { path, message } in faults {
            let place = self.resolve(place, &path);
            self.fault(&place, message);
        }
    }

    /// Whether the settings at this place are the file's own, and not made up for a hole.
    fn sound(&self, place: &Place) -> bool {
        !self.holes.iter().any(|hole| place.starts_with(hole) || hole.starts_with(place))
    }

    /// Whether the whole value here was made up.
    fn is_hole(&self, place: &Place) -> bool {
        self.holes.iter().any(|hole| place.starts_with(hole))
    }

    /// Whether the file has this key.
    fn written(&self, place: &Place) -> bool {
        self.tree.get(place).is_some()
    }

    /// Reads a secret, to know that it can be read; `None` and a fault if not. Warns if others can read it, too.
    fn secret(&mut self, place: &Place, source: &SecretSource) -> Option<Secret> {
        if !self.sound(place) {
            return None;
        }
        match source.read(self.directory) {
            Ok(secret) => {
                if let SecretSource::File(path) = source {
                    self.warnings.extend(files::readable_by_others(&self.directory.join(path)));
                }
                Some(secret)
            }
            Err(fault) => {
                self.fault(place, fault.0);
                None
            }
        }
    }

    /// ` (line 12)`, for what stands elsewhere.
    fn line(&self, place: &Place) -> String {
        format!(" (line {})", self.source.line(self.tree.offset_of(place)))
    }

    /// Says `message`, and where the earlier one stands, at each place whose value an earlier one had already.
    fn unique<K: Ord>(&mut self, entries: impl IntoIterator<Item = (Place, K)>, message: &str) {
        let mut seen: BTreeMap<K, Place> = BTreeMap::new();
        for (place, key) in entries.into_iter().collect::<Vec<_>>() {
            if !self.sound(&place) {
                continue;
            }
            match seen.get(&key) {
                Some(earlier) => self.fault(&place, format!("{message}{}", self.line(earlier))),
                None => drop(seen.insert(key, place)),
            }
        }
    }

    /// The place that a dotted path of keys means, seen from `from`; keys may hold dots themselves.
    fn resolve(&self, from: &Place, dotted: &str) -> Place {
        let mut place = from.clone();
        let mut rest = dotted;
        while !rest.is_empty() {
            let known = match self.tree.get(&place).map(|node| &node.value) {
                Some(Value::Table(table)) => table
                    .keys()
                    .filter(|key| rest.strip_prefix(key.as_str()).is_some_and(|r| r.is_empty() || r.starts_with('.')))
                    .max_by_key(|key| key.len())
                    .cloned(),
                _ => None,
            };
            let key = known.unwrap_or_else(|| rest.split('.').next().unwrap_or(rest).to_owned());
            rest = rest.get(key.len() + 1..).unwrap_or("");
            place = place.key(&key);
        }
        place
    }
}

/// Names of providers, plug-ins and mints: they stand in metrics, logs and keys.
fn name(text: &str) -> Result<(), &'static str> {
    let good = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if text.is_empty() || text.len() > 64 || !text.bytes().all(good) {
        return Err("expected a name of 1 to 64 letters, digits, `-` and `_`");
    }
    Ok(())
}

/// Visible ASCII without spaces, 0x21 to 0x7E.
fn is_visible(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_graphic)
}

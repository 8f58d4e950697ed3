//! Another configuration while it runs: built beside the one in force, and put in its place in one step, or not at all.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::OwnedMutexGuard;
use tracing::{error, info};

use super::Live;
use super::apart::apart;
use super::bind::{self, Fresh, Held};
use super::generation::{Generation, Origin};
use super::handed::Handed;
use super::step::{NotWhole, Prepared};
use crate::config::{Config, Sections};
use crate::telemetry::Outcome;

/// Where a configuration is read again.
pub struct ConfigSource {
    /// The file, which is looked at with `server.watch`; `None`: it can't be.
    pub file: Option<PathBuf>,
    /// Reads it. The faults are lines for the operator, `valet.toml:31:17 …`.
    pub read: Box<dyn Fn() -> Result<Config, Vec<String>> + Send + Sync>,
}

/// How a reload ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reloaded {
    /// The sections that have changed, and are in force; `[]`: nothing has.
    Applied(Vec<String>),
    /// What was in force is in force, or what else the lines say. Why, a line each.
    Refused(Vec<String>),
}

impl Live {
    /// Reads everything again, and puts it in force whole, or not at all. One at a time.
    ///
    /// Dropped while it waits or builds: nothing has changed.
    pub(super) async fn reload(self: &Arc<Self>) -> Reloaded {
        let one_at_a_time = self.turn.clone().lock_owned().await;
        let live = self.clone();
        // Reading, and compiling policies, may take longer than a request should wait for its thread.
        let prepared = tokio::task::spawn_blocking(move || apart(|| live.prepare())).await;
        let prepared = match prepared {
            Ok(Ok(prepared)) => prepared,
            Ok(Err(fault)) => Err(vec![format!("there is no thread for it: {fault}; what was in force goes on")]),
            Err(_) => Err(vec!["the reload panicked; what was in force goes on".into()]),
        };
        let reloads = &self.around.metrics.reloads;
        let outcome = match prepared {
            Ok(None) => {
                reloads.with_label_values(&[Outcome::Unchanged.label()]).inc();
                info!(target: "valet", changed = "", "read again: nothing has changed");
                Reloaded::Applied(Vec::new())
            }
            Ok(Some(prepared)) => self.finish(prepared, one_at_a_time).await,
            Err(faults) => {
                reloads.with_label_values(&[Outcome::Refused.label()]).inc();
                self.generation().components.try_secrets();
                let lines = some_of(&faults, "; ");
                error!(target: "valet", faults = lines, "read again, and refused: the configuration before stays in force");
                Reloaded::Refused(faults)
            }
        };
        // Parts that were built and not used have set their gauges back.
        self.show_trouble();
        outcome
    }

    /// Puts it in force.
    pub(super) async fn finish(self: &Arc<Self>, prepared: Prepared, turn: OwnedMutexGuard<()>) -> Reloaded {
        let (changed, live) = (prepared.changed.clone(), self.clone());
        // A thousand plug-ins take as long here. Whoever waits for this may be dropped: the turn is held until it is done.
        let step = tokio::task::spawn_blocking(move || {
            let done = apart(|| live.put_in_force(prepared));
            drop(turn);
            done.unwrap_or_else(|fault| {
                Err(NotWhole(vec![format!("there is no thread for it: {fault}; what was in force goes on")]))
            })
        });
        let ending = |_| Err(NotWhole(vec!["this process is about to end".into()]));
        let reloads = &self.around.metrics.reloads;
        match step.await.unwrap_or_else(ending) {
            Ok(()) => {
                reloads.with_label_values(&[Outcome::Applied.label()]).inc();
                info!(target: "valet", changed = some_of(&changed, ", "), "read again: the new configuration is in force");
                Reloaded::Applied(changed)
            }
            Err(NotWhole(faults)) => {
                reloads.with_label_values(&[Outcome::Refused.label()]).inc();
                self.generation().components.try_secrets();
                error!(target: "valet", faults = faults.join("; "), "read again, and not in force as a whole");
                Reloaded::Refused(faults)
            }
        }
    }

    /// Reads, checks, binds and builds. `None`: nothing has changed.
    pub(super) fn prepare(&self) -> Result<Option<Prepared>, Vec<String>> {
        if self.is_stopping() {
            return Err(vec!["this process is draining, and takes no other configuration".into()]);
        }
        let source = self.source.get().ok_or_else(|| vec!["this process has no configuration file".to_owned()])?;
        let config = (source.read)()?;
        let before = self.generation();
        let faults = needs_new_process(&before.config, &config);
        if !faults.is_empty() {
            return Err(faults);
        }
        let sections = Sections::of(&config);
        let changed = before.sections.changed(&sections);
        if changed.is_empty() {
            // Remarks and white space are no sections, but of the file.
            self.show_digest(&config.digest);
            return Ok(None);
        }
        let fresh = self.bind(&config).map_err(|faults| faults.lines())?;
        let (next, last_steps) = Generation::build(config, sections, Origin::Before(&before), &self.around)
            .map_err(|faults| faults.lines())?;
        Ok(Some(Prepared { next, fresh, last_steps, changed }))
    }

    fn bind(&self, config: &Config) -> Result<Fresh, bind::BindFaults> {
        let state = self.state.lock();
        let held = Held {
            listeners: state.listeners.iter().map(|listener| &*listener.setting).collect(),
            admin: state.admin.as_ref().map(|admin| &*admin.setting),
            minter: state.edges.as_ref().map(|edges| &*edges.setting),
            upgrade: state.upgrade.as_ref().map(|upgrade| &*upgrade.setting),
        };
        bind::all(config, &held, Handed::default())
    }
}

/// So many names of sections, or faults, stand in a log line.
const NAMED: usize = 20;

/// The first ones, and how many there are beside them.
fn some_of(all: &[String], between: &str) -> String {
    let named = all[..all.len().min(NAMED)].join(between);
    match all.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

/// What can't change while the process runs, as faults at the new value's place.
pub fn needs_new_process(before: &Config, next: &Config) -> Vec<String> {
    let mut faults = Vec::new();
    let mut compare = |same: bool, place: &str, what: &str| {
        if !same {
            faults.push(format!("{place}: {what} needs a new process: restart"));
        }
    };
    let (old, new) = (&before.leases, &next.leases);
    compare(before.server.threads == next.server.threads, &next.places.threads, "another number of threads");
    compare(before.log.level == next.log.level, &next.places.level, "another level of log lines");
    compare(old.store == new.store, &next.places.store, "another store of leases");
    let at = |config: &Config| config.leases.path.as_ref().map(|path| config.directory.join(path));
    compare(at(before) == at(next), &next.places.leases, "another file of leases");
    let redis = |config: &Config| format!("{:?}", config.leases.redis);
    compare(redis(before) == redis(next), &next.places.redis, "another place of the store");
    compare(before.telemetry == next.telemetry, &next.places.telemetry, "another collector or share of traces");
    let names = |config: &Config| config.leases.name_key.clone();
    compare(names(before) == names(next), &next.places.name_key, "another key of names");
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_twenty_sections_or_faults_and_counts_the_others() {
        let sections = |count: usize| (0..count).map(|number| format!("plugin.scan-{number}")).collect::<Vec<_>>();
        assert_eq!(some_of(&[], ", "), "");
        assert_eq!(some_of(&sections(2), ", "), "plugin.scan-0, plugin.scan-1");
        assert!(some_of(&sections(20), ", ").ends_with(", plugin.scan-18, plugin.scan-19"));
        assert!(some_of(&sections(21), ", ").ends_with(", plugin.scan-19 and 1 more"));
        let thousand = some_of(&sections(1_000), ", ");
        assert!(thousand.ends_with("plugin.scan-19 and 980 more") && thousand.len() < 400, "{thousand}");
    }
}

//! Files that may change are looked at: a renamed or remounted file tells no watcher.

use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::watch;

use super::Live;
use super::generation::Generation;
use crate::config::{Sections, digest_of};
use crate::files::Watch;

/// How often.
const LOOK: Duration = Duration::from_secs(2);

/// What is looked at, for one configuration.
struct Looked {
    /// Not held: whoever drops the last handle pays for all that it holds.
    generation: Weak<Generation>,
    /// Keys, secrets and certificates, each of which is read again by itself.
    keys: Watch,
    /// With `server.watch` everything, for a reload.
    all: Option<Watch>,
    /// Something has changed, and may go on changing.
    changing: bool,
}

impl Looked {
    fn at(live: &Live) -> Self {
        let generation = live.generation();
        let all = generation.config.server.watch.then(|| Watch::new(paths(live, &generation)));
        let keys = Watch::new(generation.components.watched_files());
        // What has changed between its reading and now.
        let named = Sections::now(&generation.config);
        if !generation.sections.changed(&named).is_empty() {
            generation.components.reread();
        }
        let file = live.source.get().and_then(|source| source.file.as_ref());
        let changing = file.and_then(|file| digest_of(file)).is_some_and(|digest| digest != generation.config.digest)
            || !generation.sections.changed(&named).is_empty();
        Self { keys, all, generation: Arc::downgrade(&generation), changing }
    }

    /// Whether it is time for a reload: something has changed, and nothing since the look before.
    fn has_settled(&mut self) -> bool {
        let changed = self.all.as_mut().is_some_and(Watch::changed);
        std::mem::replace(&mut self.changing, changed) && !changed && self.all.is_some()
    }
}

fn paths(live: &Live, generation: &Generation) -> Vec<PathBuf> {
    let file = live.source.get().and_then(|source| source.file.clone());
    file.into_iter().chain(generation.sections.files().iter().cloned()).collect()
}

/// Looks until `stop`. What a look finds of keys is in force at once; what needs a reload, when it has settled.
pub(super) async fn at_files(live: Weak<Live>, mut stop: watch::Receiver<bool>) {
    let mut looked: Option<Looked> = None;
    let mut tick = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        let Some(live) = live.upgrade() else { return };
        let current = live.generation();
        let looked = match &mut looked {
            Some(looked) if looked.generation.as_ptr() == Arc::as_ptr(&current) => looked,
            other => {
                *other = Some(Looked::at(&live));
                continue;
            }
        };
        if looked.keys.changed() {
            current.components.reread();
        }
        if looked.has_settled() {
            // What came of it is told where it is done.
            live.reload().await;
        }
    }
}

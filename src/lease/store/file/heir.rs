//! The file changes hands: one process has it at a time, and the other asks that one.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use redb::Database;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::open::open;
use super::{Batch, Disk, FLUSHED, FileStore, OpenFault, Place, TARGET};
use crate::clock::Stopwatch;
use crate::lease::store::Lost;
use crate::lease::store::revocations::Kept;
use crate::lease::store::seal::NAME;

/// How long the last batch and the reads under way may take before the file is closed.
const CLOSING: Duration = Duration::from_secs(5);

/// A file that another process is closing is tried again after this.
const AGAIN: Duration = Duration::from_millis(20);

/// What of a batch goes into one message.
const PIECE: usize = 32 * 1024;

/// The process that has the file.
#[derive(Clone, Default)]
pub(super) enum Keeper {
    /// This process.
    #[default]
    Ours,
    /// Nobody: writes and reads wait.
    Nobody,
    /// The process that has taken over from this one.
    Theirs(Arc<dyn Heir>),
}

/// The process that has taken over the file.
#[async_trait]
pub trait Heir: Send + Sync {
    /// Writes this, and returns when it is on disk. Blocks: called by the store's own thread.
    ///
    /// # Errors
    /// The heir is gone, or its disk is.
    fn write(&self, part: Written) -> Result<(), Lost>;

    /// What is held in this place: its end (Unix time in milliseconds), sealed. Dropped: nothing.
    ///
    /// # Errors
    /// The heir is gone, or its disk is.
    async fn look(&self, place: Vec<u8>) -> Result<Option<(i64, Vec<u8>)>, Lost>;
}

/// A part of what is to be written: first what is forgotten, then the rest. All of it is sealed.
#[derive(Default, Serialize, Deserialize)]
pub struct Written {
    forgotten: Vec<[u8; NAME]>,
    leases: Vec<(Packed, i64, Packed)>,
    revocations: Vec<([u8; NAME], i64, Packed)>,
}

#[derive(Serialize, Deserialize)]
struct Packed(#[serde(with = "crate::units::base64_bytes")] Vec<u8>);

impl FileStore {
    /// Ends writing and reading here, and closes the file when all is on disk. From then on writes and reads wait until [`Self::take_back`] or
    /// [`Self::hand_to`].
    ///
    /// Dropped: it may be closed or not; [`Self::take_back`] opens it again.
    ///
    /// # Errors
    /// The disk takes nothing.
    pub async fn close(&self) -> Result<(), Lost> {
        self.disk.want(Keeper::Nobody);
        let mut keeper = self.disk.keeper.subscribe();
        let closed = keeper.wait_for(|keeper| matches!(keeper, Keeper::Nobody));
        tokio::time::timeout(CLOSING, closed).await.map_err(|_| Lost)?.map_err(|_| Lost)?;
        Ok(())
    }

    /// The file is this process's again: opened as soon as it is free.
    pub fn take_back(&self) {
        self.disk.want(Keeper::Ours);
    }

    /// What is written and read from now on goes to this one.
    pub fn hand_to(&self, heir: Arc<dyn Heir>) {
        self.disk.want(Keeper::Theirs(heir));
    }

    /// Opens a file that this store was made for by [`Self::later`], waiting for `patience` while another process closes it. Blocks.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_now(&self, patience: Duration) -> Result<(), OpenFault> {
        let began = Stopwatch::start();
        let database = loop {
            match open(&self.disk.path) {
                Err(OpenFault::Taken(_)) if began.elapsed() < patience => std::thread::sleep(AGAIN),
                opened => break opened?,
            }
        };
        *self.disk.database.lock() = Some(Arc::new(database));
        self.disk.want(Keeper::Ours);
        Ok(())
    }

    /// Writes what a predecessor sends, and returns when it is on disk.
    ///
    /// Dropped: it is written all the same.
    ///
    /// # Errors
    /// The disk takes nothing.
    pub async fn take(&self, part: Written) -> Result<(), Lost> {
        let (flushed, done) = oneshot::channel();
        let Written { forgotten, leases, revocations } = part;
        self.disk.wait(|waiting| {
            for owner in forgotten {
                waiting.next.leases.retain(|place, _| !place.starts_with(&owner));
                waiting.next.forgotten.insert(owner);
            }
            for (place, end, sealed) in leases {
                if let Ok(place) = Place::try_from(place.0) {
                    waiting.next.leases.insert(place, (end, sealed.0));
                }
            }
            let kept = revocations.into_iter().map(|(id, expires, sealed)| Kept { id, expires, sealed: sealed.0 });
            waiting.next.revocations.extend(kept);
            waiting.flushed.push(flushed);
        });
        let done = tokio::time::timeout(FLUSHED, done).await;
        done.map_err(|_| Lost)?.map_err(|_| Lost)
    }

    /// What is held in this place, for a predecessor.
    ///
    /// Dropped: nothing.
    ///
    /// # Errors
    /// The disk can't be read.
    pub async fn look_for(&self, place: Vec<u8>) -> Result<Option<(i64, Vec<u8>)>, Lost> {
        let place = Place::try_from(place).map_err(|_| Lost)?;
        self.disk.find(place).await
    }
}

impl Disk {
    fn want(&self, keeper: Keeper) {
        *self.wanted.lock() = keeper;
        self.wait(|waiting| waiting.stirred = true);
    }

    /// Follows who is to have the file. Called by the store's own thread, between two batches.
    pub(super) fn follow(&self) {
        let wanted = self.wanted.lock().clone();
        let before = self.keeper.borrow().clone();
        match (&before, &wanted) {
            (Keeper::Ours, Keeper::Nobody) => {
                if let Some(database) = self.database.lock().take() {
                    close(database);
                }
                self.keeper.send_replace(Keeper::Nobody);
            }
            // A file that is open is closed before it is another's.
            (Keeper::Ours, _) | (_, Keeper::Nobody) => {}
            (_, Keeper::Ours) => {
                let mut database = self.database.lock();
                if database.is_none() {
                    *database = open(&self.path).ok().map(Arc::new);
                }
                let open = database.is_some();
                drop(database);
                self.degraded.set(i64::from(!open));
                if open {
                    self.keeper.send_replace(Keeper::Ours);
                } else {
                    std::thread::sleep(AGAIN);
                }
            }
            (_, Keeper::Theirs(_)) => {
                self.keeper.send_replace(wanted.clone());
            }
        }
    }

    /// Lets the heir write a batch. What it did not write the next start begins without, for it is gone or its disk is: then nobody of `flushed` is told
    /// that the batch is on disk.
    pub(super) fn forward(&self, heir: &Arc<dyn Heir>, batch: &Batch, flushed: &mut Vec<oneshot::Sender<()>>) {
        if batch.is_empty() {
            return;
        }
        let mut written = true;
        for part in parts(batch) {
            written &= heir.write(part).is_ok();
        }
        let was_well = self.degraded.get() == 0;
        self.degraded.set(i64::from(!written));
        if !written {
            flushed.clear();
            // What is owed is tried twice a second.
            if was_well {
                tracing::warn!(target: TARGET, "the process that has taken over takes no writes");
            }
        }
    }

    /// What is held in this place, wherever it is. Dropped: nothing.
    pub(super) async fn find(self: &Arc<Self>, place: Place) -> Result<Option<(i64, Vec<u8>)>, Lost> {
        if let Some(found) = self.look_in_waiting(&place) {
            return Ok(found);
        }
        let mut keeper = self.keeper.subscribe();
        let keeper = keeper.wait_for(|keeper| !matches!(keeper, Keeper::Nobody));
        let keeper = tokio::time::timeout(FLUSHED, keeper).await.map_err(|_| self.fault())?.map_err(|_| Lost)?.clone();
        if let Keeper::Theirs(heir) = keeper {
            return heir.look(place.to_vec()).await;
        }
        let disk = self.clone();
        // The disk may be slow, and others have requests.
        let found = tokio::task::spawn_blocking(move || disk.look(&place));
        tokio::time::timeout(FLUSHED, found).await.map_err(|_| self.fault())?.map_err(|_| Lost)?
    }
}

/// Closes it when the reads under way are done.
fn close(database: Arc<Database>) {
    let began = Stopwatch::start();
    let mut database = database;
    loop {
        match Arc::try_unwrap(database) {
            Ok(last) => return drop(last),
            // The last reader closes it.
            Err(shared) if began.elapsed() > FLUSHED => return drop(shared),
            Err(shared) => {
                database = shared;
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

/// A batch as messages of bounded size.
fn parts(batch: &Batch) -> Vec<Written> {
    let mut parts = Vec::new();
    for owners in batch.forgotten.iter().copied().collect::<Vec<_>>().chunks(PIECE / 256) {
        parts.push(Written { forgotten: owners.to_vec(), ..Written::default() });
    }
    let (mut part, mut size) = (Written::default(), 0);
    for (place, (end, sealed)) in &batch.leases {
        size += sealed.len() + place.len();
        part.leases.push((Packed(place.to_vec()), *end, Packed(sealed.clone())));
        if size > PIECE {
            parts.push(std::mem::take(&mut part));
            size = 0;
        }
    }
    for kept in &batch.revocations {
        size += kept.sealed.len() + NAME;
        part.revocations.push((kept.id, kept.expires, Packed(kept.sealed.clone())));
        if size > PIECE {
            parts.push(std::mem::take(&mut part));
            size = 0;
        }
    }
    if size > 0 {
        parts.push(part);
    }
    parts
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use parking_lot::Mutex;
    use tokio::sync::watch;

    use super::*;
    use crate::clock::Clock;
    use crate::lease::store::settings::OnStoreLoss;
    use crate::lease::store::{Backend as _, Listener, SealedStore, SealingKeys};
    use crate::secret::{SecretCell, SecretSource};
    use crate::session::{Knowledge, Revocation};
    use crate::telemetry::Metrics;

    /// A process that has taken over: it says when it is to write, and writes when it is told how that ends.
    struct Scripted {
        asked: Sender<()>,
        ends: Mutex<Receiver<Result<(), Lost>>>,
    }

    #[async_trait]
    impl Heir for Scripted {
        fn write(&self, _: Written) -> Result<(), Lost> {
            let _ = self.asked.send(());
            self.ends.lock().recv().unwrap_or(Err(Lost))
        }

        async fn look(&self, _: Vec<u8>) -> Result<Option<(i64, Vec<u8>)>, Lost> {
            Err(Lost)
        }
    }

    struct HandedOver {
        store: Arc<FileStore>,
        asked: Receiver<()>,
        ends: Sender<Result<(), Lost>>,
        folder: tempfile::TempDir,
    }

    fn handed_over() -> HandedOver {
        let folder = tempfile::tempdir().unwrap();
        let metrics = Metrics::new("0", "test").unwrap();
        let store = FileStore::later(&folder.path().join("leases.redb"), 100, Clock::system(), &metrics).unwrap();
        let ((tell, asked), (ends, end)) = (channel(), channel());
        store.hand_to(Arc::new(Scripted { asked: tell, ends: Mutex::new(end) }));
        HandedOver { store, asked, ends, folder }
    }

    fn kept(number: u8) -> Kept {
        Kept { id: [number; NAME], expires: 1, sealed: vec![number] }
    }

    #[tokio::test]
    async fn what_the_process_that_has_taken_over_did_not_write_is_not_acknowledged() {
        let HandedOver { store, ends, .. } = &handed_over();
        ends.send(Err(Lost)).unwrap();
        assert!(store.revoke(kept(1)).await.is_err());
        assert!(!store.is_well());
        ends.send(Err(Lost)).unwrap();
        assert!(store.forget(&[1; NAME], Vec::new()).await.is_err());
        ends.send(Ok(())).unwrap();
        assert!(store.revoke(kept(1)).await.is_ok());
        assert!(store.is_well());
    }

    #[tokio::test]
    async fn who_waits_for_what_was_written_before_waits_for_no_sweep() {
        let HandedOver { store, asked, ends, .. } = handed_over();
        let mut revoked = Box::pin(store.revoke(kept(1)));
        tokio::select! {
            biased;
            _ = &mut revoked => panic!("nobody has written it"),
            () = std::future::ready(()) => {}
        }
        // The store's thread does not sleep: it is told of nothing.
        tokio::task::spawn_blocking(move || asked.recv()).await.unwrap().unwrap();
        let mut flushed = Box::pin(store.take(Written::default()));
        tokio::select! {
            biased;
            _ = &mut flushed => panic!("what is written before it is not on disk"),
            () = std::future::ready(()) => {}
        }
        ends.send(Ok(())).unwrap();
        assert!(revoked.await.is_ok());
        assert!(flushed.await.is_ok());
    }

    struct Nobody;

    impl Listener for Nobody {
        fn forget(&self, _: &[u8]) {}
        fn revoke(&self, _: Revocation) {}
        fn known(&self, _: Knowledge) {}
        fn revocations(&self) -> Vec<Arc<Revocation>> {
            Vec::new()
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_sign_out_that_the_process_that_has_taken_over_did_not_take_is_tried_again_though_nothing_else_is_written()
     {
        let HandedOver { store, asked, ends, folder } = handed_over();
        std::fs::write(folder.path().join("seal"), STANDARD.encode([1; 32])).unwrap();
        let cell = Arc::new(SecretCell::open(SecretSource::File("seal".into()), folder.path()).unwrap());
        let (keys, metrics) = (SealingKeys::new(vec![cell], None), Metrics::new("0", "test").unwrap());
        let sealed = SealedStore::new(keys, store, OnStoreLoss::Local, &metrics);
        let (stop, stopped) = watch::channel(false);
        let looking = tokio::spawn({
            let sealed = sealed.clone();
            async move { sealed.run(&Nobody, stopped).await }
        });
        ends.send(Err(Lost)).unwrap();
        let what = Revocation {
            namespace: "https://login.example.com".into(),
            sharing: Vec::new(),
            subject: Some("ada".into()),
            session: None,
            until: 1,
            expires: i64::MAX,
            token: None,
        };
        assert!(sealed.revoke(&Arc::new(what)).await.is_err());
        assert!(sealed.owes_revocations() && !sealed.is_well());
        ends.send(Ok(())).unwrap();
        let again = || (0..2).try_for_each(|_| asked.recv_timeout(Duration::from_secs(60)));
        assert!(tokio::task::block_in_place(again).is_ok(), "it is tried no more");
        stop.send_replace(true);
        looking.await.unwrap();
    }
}

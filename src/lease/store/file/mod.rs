//! The durable store: one file of this process alone (redb).

mod batch;
mod heir;
mod open;
mod revocations;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::{Condvar, Mutex};
use prometheus::IntGauge;
use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, Table, TableDefinition};
use tokio::sync::{oneshot, watch};
use tracing::{info, warn};

use self::batch::{Batch, Waiting, place};
use self::heir::Keeper;
pub use self::heir::{Heir, Written};
pub use self::open::OpenFault;
use self::open::open;
use super::revocations::{Kept, News};
use super::seal::NAME;
use super::{Acquired, Backend, Claim, Known, Lost, Name};
use crate::clock::{Clock, Stopwatch, Timestamp};
use crate::telemetry::Metrics;

/// The `tracing` target of this module.
const TARGET: &str = "valet::store";

/// Owner and variant → end, sealed lease.
const LEASES: TableDefinition<&[u8], (i64, &[u8])> = TableDefinition::new("valet leases 1");

/// End, owner and variant: what ends soonest stands first.
const ENDS: TableDefinition<(i64, &[u8]), ()> = TableDefinition::new("valet ends 1");

/// What comes within this time is written together: one flush for many mints, and on disk in a fraction of a second.
const BATCH: Duration = Duration::from_millis(100);

/// What has ended is cleared away this often.
const SWEEP: Duration = Duration::from_secs(30);

/// After a fault of the disk the file is opened again after this.
const AGAIN: Duration = Duration::from_millis(500);

/// How long forgetting waits for the disk.
const FLUSHED: Duration = Duration::from_secs(2);

/// Leases that wait for a disk that is full or gone; more are in memory only.
const MAX_WAITING: usize = 100_000;

type Place = [u8; 2 * NAME];
type Leases<'a> = Table<'a, &'static [u8], (i64, &'static [u8])>;
type Ends<'a> = Table<'a, (i64, &'static [u8]), ()>;

/// A store of one process.
pub struct FileStore {
    disk: Arc<Disk>,
}

struct Disk {
    path: PathBuf,
    capacity: u64,
    clock: Clock,
    database: Mutex<Option<Arc<Database>>>,
    /// The process that has the file; and the one that is to have it, as the thread finds between two batches.
    keeper: watch::Sender<Keeper>,
    wanted: Mutex<Keeper>,
    waiting: Mutex<Waiting>,
    wake: Condvar,
    stopped: AtomicBool,
    degraded: IntGauge,
}

impl FileStore {
    /// Opens the file, or makes it. One that is torn, or not ours, is set aside, with a line in the log.
    ///
    /// # Errors
    /// The file can't be opened, is another process's, or is not a file of leases.
    pub fn open(path: &Path, capacity: usize, clock: Clock, metrics: &Metrics) -> Result<Arc<Self>, OpenFault> {
        let database = open(path)?;
        Self::with(path, Some(database), (capacity, clock, metrics))
    }

    /// A store on a file that another process has: it is not touched before [`Self::open_now`], and what is asked waits.
    ///
    /// # Errors
    /// As those of [`Self::open`].
    pub fn later(path: &Path, capacity: usize, clock: Clock, metrics: &Metrics) -> Result<Arc<Self>, OpenFault> {
        Self::with(path, None, (capacity, clock, metrics))
    }

    fn with(
        path: &Path,
        database: Option<Database>,
        (capacity, clock, metrics): (usize, Clock, &Metrics),
    ) -> Result<Arc<Self>, OpenFault> {
        let keeper = if database.is_some() { Keeper::Ours } else { Keeper::Nobody };
        let degraded = metrics.degraded.with_label_values(&["leases.store"]);
        degraded.set(0);
        let disk = Arc::new(Disk {
            path: path.to_owned(),
            capacity: capacity as u64,
            clock,
            database: Mutex::new(database.map(Arc::new)),
            keeper: watch::Sender::new(keeper.clone()),
            wanted: Mutex::new(keeper),
            waiting: Mutex::default(),
            wake: Condvar::new(),
            stopped: AtomicBool::new(false),
            degraded,
        });
        let there = disk.clone();
        let thread = std::thread::Builder::new().name("leases".into());
        thread.spawn(move || there.write_out()).map_err(|fault| OpenFault::Io(path.to_owned(), fault))?;
        Ok(Arc::new(Self { disk }))
    }

    /// On disk soon; `false`: too many wait for it.
    fn put(&self, name: &Name, life: Duration, sealed: Vec<u8>) -> bool {
        let end = self.disk.clock.now().plus(life).as_millis();
        self.disk.wait(|waiting| {
            let room = waiting.next.leases.len() < MAX_WAITING;
            if room {
                waiting.next.leases.insert(place(name), (end, sealed));
            }
            room
        })
    }
}

impl Drop for FileStore {
    fn drop(&mut self) {
        self.disk.stopped.store(true, Ordering::Relaxed);
        self.disk.wake.notify_one();
    }
}

impl Disk {
    fn database(&self) -> Result<Arc<Database>, Lost> {
        self.database.lock().clone().ok_or(Lost)
    }

    fn look_in_waiting(&self, place: &Place) -> Option<Option<(i64, Vec<u8>)>> {
        let waiting = self.waiting.lock();
        waiting.next.find(place).or_else(|| waiting.now.find(place))
    }

    fn look(&self, place: &Place) -> Result<Option<(i64, Vec<u8>)>, Lost> {
        if let Some(found) = self.look_in_waiting(place) {
            return Ok(found);
        }
        let read = || -> Result<_, redb::Error> {
            let Ok(database) = self.database() else { return Err(redb::Error::DatabaseClosed) };
            let table = database.begin_read()?.open_table(LEASES)?;
            Ok(table.get(place.as_slice())?.map(|held| {
                let (end, sealed) = held.value();
                (end, sealed.to_vec())
            }))
        };
        read().map_err(|_| self.fault())
    }

    fn fault(&self) -> Lost {
        self.degraded.set(1);
        Lost
    }

    /// The thread's life: writes what waits, clears away what has ended, opens the file again after a fault.
    fn write_out(&self) {
        let mut swept = Stopwatch::start();
        loop {
            self.follow();
            let keeper = self.keeper.borrow().clone();
            if let (Keeper::Nobody, false) = (&keeper, self.stopped.load(Ordering::Relaxed)) {
                self.pause();
                continue;
            }
            let (batch, mut flushed) = {
                let mut waiting = self.waiting.lock();
                if waiting.is_idle() && !self.stopped.load(Ordering::Relaxed) {
                    self.wake.wait_for(&mut waiting, SWEEP);
                }
                waiting.stirred = false;
                waiting.now = Arc::new(std::mem::take(&mut waiting.next));
                // Callers queued so far are acknowledged when this batch is on disk.
                (waiting.now.clone(), std::mem::take(&mut waiting.flushed))
            };
            let sweep = swept.elapsed() >= SWEEP;
            let stopped = self.stopped.load(Ordering::Relaxed);
            if (batch.is_empty() && stopped) || matches!(keeper, Keeper::Nobody) {
                return;
            }
            if let Keeper::Theirs(heir) = &keeper {
                self.forward(heir, &batch, &mut flushed);
            } else if !batch.is_empty() || sweep {
                while let Err(fault) = self.write(&batch, sweep) {
                    self.recover(&fault);
                    if self.stopped.load(Ordering::Relaxed) {
                        return;
                    }
                }
                if sweep {
                    swept = Stopwatch::start();
                }
                self.degraded.set(0);
            }
            let mut waiting = self.waiting.lock();
            waiting.now = Arc::default();
            for flushed in flushed {
                // A caller that has stopped waiting is not told.
                let _ = flushed.send(());
            }
            drop(waiting);
            if !stopped {
                std::thread::sleep(BATCH);
            }
        }
    }

    /// Waits for a word on who is to have the file.
    fn pause(&self) {
        let mut waiting = self.waiting.lock();
        if !std::mem::take(&mut waiting.stirred) {
            self.wake.wait_for(&mut waiting, BATCH);
        }
    }

    fn write(&self, batch: &Batch, sweep: bool) -> Result<(), redb::Error> {
        let database = self.database().map_err(|Lost| redb::Error::DatabaseClosed)?;
        let write = database.begin_write()?;
        {
            let (mut leases, mut ends) = (write.open_table(LEASES)?, write.open_table(ENDS)?);
            for owner in &batch.forgotten {
                let (from, to) = ([owner.as_slice(), &[0; NAME]].concat(), [owner.as_slice(), &[0xff; NAME]].concat());
                let mut gone = Vec::new();
                for held in leases.range(from.as_slice()..=to.as_slice())? {
                    let (place, value) = held?;
                    gone.push((value.value().0, place.value().to_vec()));
                }
                remove(&mut leases, &mut ends, gone)?;
            }
            for (place, (end, sealed)) in &batch.leases {
                if let Some(old) = leases.insert(place.as_slice(), (*end, sealed.as_slice()))? {
                    ends.remove((old.value().0, place.as_slice()))?;
                }
                ends.insert((*end, place.as_slice()), ())?;
            }
            if sweep {
                let now = self.clock.now().as_millis();
                let over = leases.len()?.saturating_sub(self.capacity);
                let mut gone = Vec::new();
                for (count, held) in ends.iter()?.enumerate() {
                    let (key, _) = held?;
                    let (end, place) = key.value();
                    if end > now && count as u64 >= over {
                        break;
                    }
                    gone.push((end, place.to_vec()));
                }
                remove(&mut leases, &mut ends, gone)?;
            }
        }
        revocations::write(&write, &batch.revocations, sweep.then(|| self.clock.now().as_secs()))?;
        write.commit()?;
        Ok(())
    }

    /// Waits a little and opens the file again: after a fault the library takes no more writes.
    fn recover(&self, fault: &redb::Error) {
        if self.degraded.get() == 0 || self.database.lock().is_some() {
            let kind = match fault {
                redb::Error::Io(fault) => fault.kind().to_string(),
                _ => "the file can't be used".to_owned(),
            };
            warn!(target: TARGET, why = kind, "the lease store takes no writes");
        }
        self.degraded.set(1);
        *self.database.lock() = None;
        std::thread::sleep(AGAIN);
        if let Ok(database) = open(&self.path) {
            *self.database.lock() = Some(Arc::new(database));
            info!(target: TARGET, "the lease store is open again");
        }
    }

    /// Forgets an owner's leases, and keeps one in their place. On disk before anybody is told: what is forgotten must not come back with the next
    /// start. Dropped: it is forgotten all the same.
    async fn forget(&self, owner: &[u8; NAME], instead: Option<(Place, (i64, Vec<u8>))>) -> Result<(), Lost> {
        let (flushed, done) = oneshot::channel();
        self.wait(|waiting| {
            waiting.next.leases.retain(|place, _| !place.starts_with(owner));
            waiting.next.forgotten.insert(*owner);
            waiting.next.leases.extend(instead);
            waiting.flushed.push(flushed);
        });
        let done = tokio::time::timeout(FLUSHED, done).await;
        done.map_err(|_| Lost)?.map_err(|_| Lost)
    }

    fn wait<T>(&self, change: impl FnOnce(&mut Waiting) -> T) -> T {
        let changed = change(&mut self.waiting.lock());
        self.wake.notify_one();
        changed
    }
}

/// Takes leases out, and their ends.
fn remove(leases: &mut Leases<'_>, ends: &mut Ends<'_>, gone: Vec<(i64, Vec<u8>)>) -> Result<(), redb::StorageError> {
    for (end, place) in gone {
        leases.remove(place.as_slice())?;
        ends.remove((end, place.as_slice()))?;
    }
    Ok(())
}

/// One process: it is always this one's turn.
const OURS: Claim = Claim { fence: 0, generation: 0 };

#[async_trait]
impl Backend for FileStore {
    async fn begin(&self, name: &Name, life: Option<Duration>, _: &Known) -> Result<Acquired, Lost> {
        let found = self.disk.find(place(name)).await?;
        let now = self.disk.clock.now();
        let left = |end| Timestamp::from_millis(end).since(now);
        Ok(match (found, life) {
            (Some((end, sealed)), Some(life)) if left(end) > life => Acquired::Held(sealed, 0, left(end)),
            _ => Acquired::Claim(OURS),
        })
    }

    async fn renew(&self, _: &Name, _: Claim) -> Result<bool, Lost> {
        Ok(true)
    }

    async fn keep(&self, name: &Name, _: Claim, life: Duration, sealed: Vec<u8>) -> Result<bool, Lost> {
        if self.put(name, life, sealed) { Ok(true) } else { Err(Lost) }
    }

    fn keep_later(&self, name: &Name, life: Duration, sealed: Vec<u8>) {
        self.put(name, life, sealed);
    }

    async fn give_up(&self, _: &Name, _: Claim, _: Option<u8>) -> Result<(), Lost> {
        Ok(())
    }

    async fn announce(&self, _: &[u8; NAME]) -> Result<u64, Lost> {
        Ok(OURS.generation)
    }

    async fn replace(&self, name: &Name, _: u64, life: Duration, sealed: Vec<u8>, _: Vec<u8>) -> Result<bool, Lost> {
        let end = self.disk.clock.now().plus(life).as_millis();
        self.disk.forget(&name.owner, Some((place(name), (end, sealed)))).await.map(|()| true)
    }

    async fn forget(&self, owner: &[u8; NAME], _: Vec<u8>) -> Result<u64, Lost> {
        self.disk.forget(owner, None).await.map(|()| OURS.generation)
    }

    fn subscription(&self, _: &Name) -> watch::Receiver<u64> {
        watch::Sender::new(0).subscribe()
    }

    fn epoch(&self) -> u32 {
        0
    }

    fn is_well(&self) -> bool {
        self.disk.degraded.get() == 0
    }

    fn may_take(&self) -> bool {
        // Whether an heir's disk takes writes again nobody tells: the next write does.
        self.is_well() || matches!(*self.disk.keeper.borrow(), Keeper::Theirs(_))
    }

    fn was_well(&self) -> bool {
        true
    }

    async fn revoke(&self, kept: Kept) -> Result<(), Lost> {
        self.disk.revoke(kept).await
    }

    fn kept_revocations(&self) -> Result<Vec<Vec<u8>>, Lost> {
        revocations::read(&*self.disk.database()?).map_err(|_| self.disk.fault())
    }

    async fn run(&self, _: &News<'_>, mut stop: watch::Receiver<bool>) {
        let _ = stop.wait_for(|stop| *stop).await;
    }
}

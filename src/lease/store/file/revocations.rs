//! Revocations on disk.

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, TableError};
use tokio::sync::oneshot;

use super::{Disk, FLUSHED};
use crate::lease::store::Lost;
use crate::lease::store::revocations::Kept;

/// End (Unix time in seconds) and name → sealed revocation. What ends soonest stands first.
const REVOCATIONS: TableDefinition<(i64, &[u8]), &[u8]> = TableDefinition::new("valet revocations 1");

impl Disk {
    /// Returns when it is on disk. Dropped: it is written all the same.
    pub(super) async fn revoke(&self, kept: Kept) -> Result<(), Lost> {
        let (flushed, done) = oneshot::channel();
        self.wait(|waiting| {
            waiting.next.revocations.push(kept);
            waiting.flushed.push(flushed);
        });
        let done = tokio::time::timeout(FLUSHED, done).await;
        done.map_err(|_| Lost)?.map_err(|_| Lost)
    }
}

/// Writes these, and takes out what has ended.
pub(super) fn write(write: &redb::WriteTransaction, kept: &[Kept], ended: Option<i64>) -> Result<(), redb::Error> {
    if kept.is_empty() && ended.is_none() {
        return Ok(());
    }
    let mut table = write.open_table(REVOCATIONS)?;
    for Kept { id, expires, sealed } in kept {
        table.insert((*expires, id.as_slice()), sealed.as_slice())?;
    }
    if let Some(now) = ended {
        table.retain_in(..(now, [].as_slice()), |_, _| false)?;
    }
    Ok(())
}

/// All that are kept.
pub(super) fn read(database: &Database) -> Result<Vec<Vec<u8>>, redb::Error> {
    let table = match database.begin_read()?.open_table(REVOCATIONS) {
        Ok(table) => table,
        // None was ever written.
        Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
        Err(fault) => return Err(fault.into()),
    };
    let mut all = Vec::new();
    for entry in table.iter()? {
        all.push(entry?.1.value().to_vec());
    }
    Ok(all)
}

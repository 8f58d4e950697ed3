//! Opening the file, whatever it is.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use redb::{Database, DatabaseError, StorageError};
use tracing::warn;

use super::{ENDS, LEASES, TARGET};
use crate::clock::Clock;

/// Why the file can't be had.
#[derive(Debug)]
pub enum OpenFault {
    /// Another process has it.
    Taken(PathBuf),
    /// The system says no.
    Io(PathBuf, io::Error),
}

impl std::fmt::Display for OpenFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Taken(path) => write!(f, "{}: another process has this lease store open", path.display()),
            Self::Io(path, fault) => write!(f, "{}: {fault}", path.display()),
        }
    }
}

/// The file as a database; set aside first if it is none.
pub(super) fn open(path: &Path) -> Result<Database, OpenFault> {
    let io = |fault| OpenFault::Io(path.to_owned(), fault);
    // Nobody else's to read, from the first moment on.
    OpenOptions::new().create(true).append(true).mode(0o600).open(path).map_err(io)?;
    match try_open(path) {
        Ok(database) => Ok(database),
        Err(Unusable::Taken) => Err(OpenFault::Taken(path.to_owned())),
        Err(Unusable::Io(fault)) => Err(io(fault)),
        Err(Unusable::Foreign(why)) => {
            let seconds = Clock::system().now().as_secs();
            let aside = path.with_extension(format!("set-aside-{seconds}"));
            fs::rename(path, &aside).map_err(io)?;
            let (file, aside) = (path.display().to_string(), aside.display().to_string());
            warn!(target: TARGET, file, aside, why, "the lease store can't be read: set aside, and begun anew");
            OpenOptions::new().create(true).append(true).mode(0o600).open(path).map_err(io)?;
            try_open(path).map_err(|fault| match fault {
                Unusable::Taken => OpenFault::Taken(path.to_owned()),
                Unusable::Io(fault) => io(fault),
                Unusable::Foreign(why) => io(io::Error::other(why)),
            })
        }
    }
}

enum Unusable {
    Taken,
    Io(io::Error),
    Foreign(&'static str),
}

fn try_open(path: &Path) -> Result<Database, Unusable> {
    // A torn file may make the library fall over: that is no reason for us to.
    let opened = std::panic::catch_unwind(|| {
        let database = Database::create(path)?;
        let write = database.begin_write().map_err(|fault| DatabaseError::Storage(storage(fault.into())))?;
        let tables = write.list_tables()?.count();
        let ours = write.open_table(LEASES).is_ok() && write.open_table(ENDS).is_ok();
        let fresh = write.list_tables()?.count();
        write.commit().map_err(|fault| DatabaseError::Storage(storage(fault.into())))?;
        Ok::<_, DatabaseError>((database, ours && (tables == 0 || tables == fresh)))
    });
    match opened {
        Ok(Ok((database, true))) => Ok(database),
        Ok(Ok((_, false))) => Err(Unusable::Foreign("it is another program's")),
        Ok(Err(DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch)) => Err(Unusable::Taken),
        Ok(Err(DatabaseError::Storage(StorageError::Io(fault))))
            if !matches!(fault.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) =>
        {
            Err(Unusable::Io(fault))
        }
        Ok(Err(_)) => Err(Unusable::Foreign("it is torn, or no lease store")),
        Err(_) => Err(Unusable::Foreign("it is torn")),
    }
}

fn storage(fault: redb::Error) -> StorageError {
    match fault {
        redb::Error::Io(fault) => StorageError::Io(fault),
        _ => StorageError::Corrupted(String::new()),
    }
}

//! Opening the file, whatever it is.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use redb::{Database, TableError};
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
    let told = |fault| match fault {
        Unusable::Taken => OpenFault::Taken(path.to_owned()),
        Unusable::Io(fault) => io(fault),
        Unusable::Foreign(why) => io(io::Error::other(why)),
    };
    match try_open(path) {
        Err(Unusable::Foreign(why)) => {
            let seconds = Clock::system().now().as_secs();
            let mut names = (0..).map(|number| path.with_extension(format!("set-aside-{seconds}-{number}")));
            let aside = names.find(|name| !name.exists()).unwrap_or_else(|| path.with_extension("set-aside"));
            fs::rename(path, &aside).map_err(io)?;
            let (file, aside) = (path.display().to_string(), aside.display().to_string());
            warn!(target: TARGET, file, aside, why, "the lease store can't be read: set aside, and begun anew");
            try_open(path).map_err(told)
        }
        opened => opened.map_err(told),
    }
}

enum Unusable {
    Taken,
    Io(io::Error),
    Foreign(&'static str),
}

fn try_open(path: &Path) -> Result<Database, Unusable> {
    // Nobody else's to read, from the first moment on.
    OpenOptions::new().create(true).append(true).mode(0o600).open(path).map_err(Unusable::Io)?;
    // A torn file may make the library fall over: that is no reason for us to.
    let opened = std::panic::catch_unwind(|| -> Result<_, redb::Error> {
        let database = Database::create(path)?;
        let write = database.begin_write()?;
        let before = write.list_tables()?.count();
        let opened = write.open_table(LEASES).map(drop).and_then(|()| write.open_table(ENDS).map(drop));
        let ours = match opened {
            Ok(()) => true,
            Err(TableError::Storage(fault)) => return Err(fault.into()),
            Err(_) => false,
        };
        let ours = ours && (before == 0 || before == write.list_tables()?.count());
        write.commit()?;
        Ok((database, ours))
    });
    match opened {
        Ok(Ok((database, true))) => Ok(database),
        Ok(Ok((_, false))) => Err(Unusable::Foreign("it is another program's")),
        Ok(Err(redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch)) => Err(Unusable::Taken),
        // What the disk refuses now it may give later: no reason to begin a new file.
        Ok(Err(redb::Error::Io(fault)))
            if !matches!(fault.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) =>
        {
            Err(Unusable::Io(fault))
        }
        Ok(Err(redb::Error::PreviousIo)) => Err(Unusable::Io(io::Error::other("the disk failed"))),
        Ok(Err(_)) => Err(Unusable::Foreign("it is torn, or no lease store")),
        Err(_) => Err(Unusable::Foreign("it is torn")),
    }
}

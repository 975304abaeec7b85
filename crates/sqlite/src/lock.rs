//! A lock file: held for the life of the value, released by the system however the process ends.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::error::OpenError;

/// Says that a data directory belongs to this process, as an open [`SqliteStore`](crate::SqliteStore) does.
#[derive(Debug)]
pub struct Owned {
    _lock: Lock,
}

impl Owned {
    /// Takes a directory whose store is not to be opened; refused while a server has it.
    pub fn take(directory: &Path) -> Result<Self, OpenError> {
        let path = directory.join(LOCK_NAME);
        let lock = Lock::try_take(&path)?.ok_or(OpenError::InUse { path })?;
        Ok(Self { _lock: lock })
    }
}

/// The file whose lock says that a server owns the data directory.
pub(crate) const LOCK_NAME: &str = "lock";

/// An exclusive `flock` on a file of its own.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock, or returns `None` at once if somebody else has it.
    pub(crate) fn try_take(path: &Path) -> Result<Option<Self>, OpenError> {
        let file = open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(OpenError::io(path, error)),
        }
    }
    /// Takes the lock, waiting for whoever has it.
    pub(crate) fn take(path: &Path) -> Result<Self, OpenError> {
        let file = open(path)?;
        flock(&file, FlockOperation::LockExclusive).map_err(|error| OpenError::io(path, error))?;
        Ok(Self { _file: file })
    }
}

fn open(path: &Path) -> Result<File, OpenError> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    options.open(path).map_err(|error| OpenError::io(path, error))
}

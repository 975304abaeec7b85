//! A copy of one moment of a store, made while it is in use: by its own process or by another.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::error::OpenError;
use crate::file;
use crate::schema::FORMAT;
use crate::store::FILE_NAME;

/// Copies the store in `directory` to the new file `to`, beside whichever process is using it.
///
/// The copy is one moment, compact, mode 0600, and durable on return; an existing file is never replaced.
pub fn backup(directory: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<(), OpenError> {
    copy(&file::open_read_only(&directory.as_ref().join(FILE_NAME), FORMAT)?, to.as_ref())
}

pub(crate) fn copy(connection: &Connection, to: &Path) -> Result<(), OpenError> {
    let unfinished = Unfinished::new(to)?;
    fill(connection, &unfinished.path)?;
    unfinished.publish(to)
}

/// A file under a name of its own until it is whole and durable; removed when that is never.
pub(crate) struct Unfinished {
    pub(crate) path: PathBuf,
}

impl Unfinished {
    /// A new, empty file beside `to`, mode 0600.
    pub(crate) fn new(to: &Path) -> Result<Self, OpenError> {
        // Said before the work and not only after it; the rename decides.
        if fs::symlink_metadata(to).is_ok() {
            return Err(OpenError::io(to, Errno::EXIST));
        }
        let mut path = OsString::from(to);
        path.push(format!(".partial-{}", std::process::id()));
        let path = PathBuf::from(path);
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        made.map_err(|error| OpenError::io(&path, error))?;
        Ok(Self { path })
    }

    /// Makes it durable and gives it its name, unless something has that name.
    pub(crate) fn publish(self, to: &Path) -> Result<(), OpenError> {
        let synced = File::open(&self.path).and_then(|file| file.sync_all());
        synced.map_err(|error| OpenError::io(&self.path, error))?;
        renameat_with(CWD, &self.path, CWD, to, RenameFlags::NOREPLACE)
            .map_err(|error| OpenError::io(to, error))?;
        file::sync_parent(to)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // After a publication there is nothing; what failed before is the news, a left-over is only untidy.
        let _ = fs::remove_file(&self.path);
    }
}

/// Copies the store into an empty file: one moment of it.
pub(crate) fn fill(connection: &Connection, partial: &Path) -> Result<(), OpenError> {
    // As bytes, since a path need not be UTF-8.
    let name = ToSqlOutput::Borrowed(ValueRef::Text(partial.as_os_str().as_bytes()));
    connection.execute("VACUUM INTO ?1", [name]).map_err(|error| OpenError::sqlite(partial, error))?;
    Ok(())
}

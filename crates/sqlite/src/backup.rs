//! A copy of one moment of a store, made while it is in use: by its own process or by another.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rusqlite::Connection;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rustix::fs::{CWD, RenameFlags, renameat_with};

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
    let mut partial = OsString::from(to);
    partial.push(format!(".partial-{}", std::process::id()));
    let partial = Path::new(&partial);

    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(partial);
    made.map_err(|error| OpenError::io(partial, error))?;
    let copied = fill(connection, partial).and_then(|()| publish(partial, to));
    if copied.is_err() {
        // What failed is the news; a left-over is only untidy.
        let _ = fs::remove_file(partial);
    }
    copied
}

fn fill(connection: &Connection, partial: &Path) -> Result<(), OpenError> {
    // As bytes, since a path need not be UTF-8.
    let name = ToSqlOutput::Borrowed(ValueRef::Text(partial.as_os_str().as_bytes()));
    connection.execute("VACUUM INTO ?1", [name]).map_err(|error| OpenError::sqlite(partial, error))?;
    File::open(partial).and_then(|file| file.sync_all()).map_err(|error| OpenError::io(partial, error))
}

fn publish(partial: &Path, to: &Path) -> Result<(), OpenError> {
    renameat_with(CWD, partial, CWD, to, RenameFlags::NOREPLACE).map_err(|error| OpenError::io(to, error))?;
    file::sync_parent(to)
}

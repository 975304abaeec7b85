//! Opening a store file: directory and modes, whose file it is, its format, forward migrations, SQLite's settings.
//!
//! A file is ours if its `application_id` says so; its format is `user_version`. Format N is what the first N
//! migrations make. A migration that was released is never changed; a new one is added at the end.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use crate::error::OpenError;

/// The first version without the bug in which resetting the write-ahead log can lose what was committed.
const OLDEST_LIBRARY: i32 = 3_051_003;
/// How long another process may hold the write lock before a call gives up.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// What a reset write-ahead log is cut down to, in bytes.
const WAL_SIZE_LIMIT: i64 = 64 << 20;
/// Prepared statements kept per connection; there are fewer different ones.
const STATEMENTS: usize = 64;

/// One kind of store file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Format {
    /// Four letters at a fixed place in the file's header.
    pub(crate) application_id: i32,
    /// `migrations[n]` leads from format n to format n + 1.
    pub(crate) migrations: &'static [&'static str],
}

impl Format {
    /// The newest format this program knows.
    pub(crate) fn newest(&self) -> i64 {
        i64::try_from(self.migrations.len()).unwrap_or(i64::MAX)
    }
}

/// Makes a directory that only its owner can enter, with its parents; one that exists is left as it is.
pub(crate) fn make_directory(path: &Path) -> Result<(), OpenError> {
    if path.is_dir() {
        return Ok(());
    }
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| OpenError::io(path, error))?;
    sync_parent(path)
}

/// Opens a store file for writing, after making and migrating it as needed.
pub(crate) fn open(path: &Path, format: Format) -> Result<Connection, OpenError> {
    let mut connection = open_as_it_is(path, format)?;
    migrate(&mut connection, path, format)?;
    Ok(connection)
}

/// The same without migrations: a file that was just made is empty.
pub(crate) fn open_as_it_is(path: &Path, format: Format) -> Result<Connection, OpenError> {
    check_library()?;
    create(path)?;
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let sqlite = |error| OpenError::sqlite(path, error);
    // Judge before changing anything: not even the journal mode of a foreign file is touched.
    judge(&connection, path, format)?;
    let mode: String =
        connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).map_err(sqlite)?;
    if mode != "wal" {
        return Err(OpenError::NoWal { path: path.to_owned() });
    }
    configure_writer(&connection).map_err(sqlite)?;
    Ok(connection)
}

/// Opens a store file for reading beside its writer, whichever process that is.
pub(crate) fn open_read_only(path: &Path, format: Format) -> Result<Connection, OpenError> {
    check_library()?;
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    match judge(&connection, path, format)? {
        // A reader cannot migrate; the writer it stands beside has done so.
        found if found < format.newest() => Err(OpenError::Foreign { path: path.to_owned() }),
        _ => Ok(connection),
    }
}

pub(crate) fn check_library() -> Result<(), OpenError> {
    if rusqlite::version_number() < OLDEST_LIBRARY {
        return Err(OpenError::OldLibrary { found: rusqlite::version() });
    }
    Ok(())
}

/// Makes the file if it is absent, so that it has its mode from the first moment; SQLite's side files inherit it.
fn create(path: &Path) -> Result<(), OpenError> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => sync_parent(path),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(OpenError::io(path, error)),
    }
}

/// Makes a directory entry durable.
pub(crate) fn sync_parent(path: &Path) -> Result<(), OpenError> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| OpenError::io(parent, error))
}

pub(crate) fn connect(path: &Path, access: OpenFlags) -> Result<Connection, OpenError> {
    // The connection never leaves its thread, so SQLite's own mutexes would only cost time.
    let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let sqlite = |error| OpenError::sqlite(path, error);
    // SQLite says "unable to open" for whatever the reason; the system says which.
    fs::metadata(path).map_err(|error| OpenError::io(path, error))?;
    let connection = Connection::open_with_flags(path, flags).map_err(sqlite)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(sqlite)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.execute_batch("PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;").map_err(sqlite)?;
    connection.execute_batch("PRAGMA temp_store = MEMORY; PRAGMA cache_size = -8192;").map_err(sqlite)?;
    Ok(connection)
}

fn configure_writer(connection: &Connection) -> rusqlite::Result<()> {
    // FULL syncs the log at every commit; NORMAL would acknowledge what a power cut can still take.
    connection.pragma_update(None, "synchronous", "FULL")?;
    // What is deleted is overwritten: an erased message must not live on in free pages.
    connection.pragma_update(None, "secure_delete", "ON")?;
    connection.pragma_update(None, "journal_size_limit", WAL_SIZE_LIMIT)
}

/// Returns the file's format, 0 for an empty file, or refuses it.
pub(crate) fn judge(connection: &Connection, path: &Path, format: Format) -> Result<i64, OpenError> {
    let number = |sql: &str| -> Result<i64, OpenError> {
        connection.query_row(sql, [], |row| row.get(0)).map_err(|error| OpenError::sqlite(path, error))
    };
    let application_id = number("PRAGMA application_id")?;
    let found = number("PRAGMA user_version")?;
    let tables = number("SELECT count(*) FROM sqlite_schema")?;
    if (application_id, found, tables) == (0, 0, 0) {
        return Ok(0);
    }
    if application_id != i64::from(format.application_id) || found < 1 {
        return Err(OpenError::Foreign { path: path.to_owned() });
    }
    if found > format.newest() {
        return Err(OpenError::Newer { path: path.to_owned(), found, known: format.newest() });
    }
    Ok(found)
}

/// Brings the file to the newest format, one transaction a step.
fn migrate(connection: &mut Connection, path: &Path, format: Format) -> Result<(), OpenError> {
    migrate_to(connection, path, format, format.newest())
}

/// Brings the file to a format, which it must not have passed.
pub(crate) fn migrate_to(
    connection: &mut Connection,
    path: &Path,
    format: Format,
    goal: i64,
) -> Result<(), OpenError> {
    let sqlite = |error| OpenError::sqlite(path, error);
    loop {
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(sqlite)?;
        // Judged again under the lock: another process may have migrated in the meantime.
        let found = judge(&transaction, path, format)?;
        let migration = usize::try_from(found).ok().filter(|_| found < goal);
        let Some(migration) = migration.and_then(|found| format.migrations.get(found)) else {
            return Ok(());
        };
        transaction.execute_batch(migration).map_err(sqlite)?;
        transaction.pragma_update(None, "application_id", format.application_id).map_err(sqlite)?;
        transaction.pragma_update(None, "user_version", found + 1).map_err(sqlite)?;
        transaction.commit().map_err(sqlite)?;
        tracing::debug!(path = %path.display(), format = found + 1, "store migrated");
    }
}

//! A backup with everything in it, as one file: the store of one moment, and whatever files belong to it.
//!
//! The file is a store (`VACUUM INTO`) with two tables more and an `application_id` of its own, so that it is never
//! taken for a store in use. Files are kept in parts of at most [`PART`] bytes. [`Archive::restore`] begins a new epoch
//! in every room: what readers have seen since the backup is another history.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use hikyaku_storage::{Head, RoomId, limits};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use std::os::unix::ffi::OsStrExt;

use crate::backup::{Unfinished, fill};
use crate::error::OpenError;
use crate::file::{self, Format};
use crate::queries;
use crate::schema::FORMAT;
use crate::store::FILE_NAME;

const APPLICATION_ID: i32 = i32::from_be_bytes(*b"HKYB");
const ARCHIVE: Format = Format { application_id: APPLICATION_ID, migrations: FORMAT.migrations };
/// The most bytes in one row.
const PART: usize = 1 << 20;

const TABLES: &str = "
CREATE TABLE archive_facts (name TEXT NOT NULL PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE archive_parts (
    name  TEXT    NOT NULL,
    part  INTEGER NOT NULL,
    bytes BLOB    NOT NULL,
    UNIQUE (name, part)
) STRICT;
";

/// How much a backup holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// When it was made, in milliseconds since 1970.
    pub created_ms: u64,
    /// Rooms in it.
    pub rooms: u64,
    /// Events in them.
    pub events: u64,
    /// Keys of the store.
    pub keys: u64,
    /// Files beside the store.
    pub files: u64,
}

/// A backup that is being written.
pub struct ArchiveWriter {
    connection: Connection,
    unfinished: Unfinished,
    to: PathBuf,
    created_ms: u64,
}

impl ArchiveWriter {
    /// Copies the store in `directory` as it is now, beside whichever process is using it. `to` must not exist.
    pub fn create(directory: &Path, to: &Path, created_ms: u64) -> Result<Self, OpenError> {
        let store = file::open_read_only(&directory.join(FILE_NAME), FORMAT)?;
        let unfinished = Unfinished::new(to)?;
        fill(&store, &unfinished.path)?;
        let sqlite = |error| OpenError::sqlite(&unfinished.path, error);
        let connection = file::connect(&unfinished.path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        // Nobody sees the file before it is whole and synced: no journal, no sync on the way.
        let settings = "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;";
        connection.execute_batch(settings).map_err(sqlite)?;
        connection.pragma_update(None, "application_id", APPLICATION_ID).map_err(sqlite)?;
        connection.execute_batch(TABLES).map_err(sqlite)?;
        let fact = "INSERT INTO archive_facts VALUES ('created_ms', ?1)";
        connection.execute(fact, [queries::signed(created_ms)]).map_err(sqlite)?;
        Ok(Self { connection, unfinished, to: to.to_owned(), created_ms })
    }

    /// Adds a file under a name that no other has; returns its length.
    pub fn add(&mut self, name: &str, content: impl Read) -> Result<u64, OpenError> {
        let path = &self.unfinished.path;
        let sqlite = |error| OpenError::sqlite(path, error);
        let transaction = self.connection.transaction().map_err(sqlite)?;
        let sql = "INSERT INTO archive_parts VALUES (?1, ?2, ?3)";
        let mut content = content.take(u64::MAX);
        let (mut length, mut buffer) = (0_u64, Vec::with_capacity(PART));
        for number in 0_i64.. {
            buffer.clear();
            content.set_limit(PART as u64);
            content.read_to_end(&mut buffer).map_err(|error| OpenError::io(Path::new(name), error))?;
            // A file without content has one empty part.
            if buffer.is_empty() && number > 0 {
                break;
            }
            let mut insert = transaction.prepare_cached(sql).map_err(sqlite)?;
            insert.execute(params![name, number, &buffer[..]]).map_err(sqlite)?;
            length += buffer.len() as u64;
            if buffer.len() < PART {
                break;
            }
        }
        transaction.commit().map_err(sqlite)?;
        Ok(length)
    }

    /// Makes the backup durable under its name.
    pub fn finish(self) -> Result<Contents, OpenError> {
        let contents = contents(&self.connection, &self.unfinished.path, self.created_ms)?;
        let closed = self.connection.close().map_err(|(_, error)| error);
        closed.map_err(|error| OpenError::sqlite(&self.unfinished.path, error))?;
        self.unfinished.publish(&self.to)?;
        Ok(contents)
    }
}

/// A backup to restore from.
pub struct Archive {
    connection: Connection,
    path: PathBuf,
    /// What it holds.
    pub contents: Contents,
}

/// What a restoration did to the rooms.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// The highest epoch begun; 0 without rooms.
    pub epoch: u32,
}

impl Archive {
    /// Opens a backup and checks its structure from end to end.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        file::check_library()?;
        let connection = file::connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        if file::judge(&connection, path, ARCHIVE)? == 0 {
            return Err(OpenError::Foreign { path: path.to_owned() });
        }
        let sqlite = |error| OpenError::sqlite(path, error);
        let state: String =
            connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).map_err(sqlite)?;
        if state != "ok" {
            return Err(OpenError::Damaged { path: path.to_owned(), reason: state });
        }
        let fact = "SELECT value FROM archive_facts WHERE name = 'created_ms'";
        let created_ms = connection.query_row(fact, [], |row| queries::unsigned(row, 0)).map_err(sqlite)?;
        let contents = contents(&connection, path, created_ms)?;
        Ok(Self { connection, path: path.to_owned(), contents })
    }

    /// The names of the files beside the store, in order.
    pub fn files(&self) -> Result<Vec<String>, OpenError> {
        let sqlite = |error| OpenError::sqlite(&self.path, error);
        let sql = "SELECT name FROM archive_parts WHERE part = 0 ORDER BY name";
        let mut statement = self.connection.prepare(sql).map_err(sqlite)?;
        let names = statement.query_map([], |row| row.get(0)).map_err(sqlite)?;
        names.collect::<Result<_, _>>().map_err(sqlite)
    }

    /// Writes a file's content to `to`.
    pub fn read(&self, name: &str, mut to: impl Write) -> Result<(), OpenError> {
        let sqlite = |error| OpenError::sqlite(&self.path, error);
        let sql = "SELECT bytes FROM archive_parts WHERE name = ?1 AND part = ?2";
        let mut statement = self.connection.prepare_cached(sql).map_err(sqlite)?;
        for number in 0_i64.. {
            let part = statement.query_row(params![name, number], |row| queries::blob(row, 0)).optional();
            let Some(part) = part.map_err(sqlite)? else { break };
            to.write_all(&part).map_err(|error| OpenError::io(Path::new(name), error))?;
        }
        Ok(())
    }

    /// Makes a store in `directory`, which must have none, from the one in the backup. Each room begins a new epoch:
    /// one above its epoch in the backup and above the one that `seen` gives, and `ahead` more where `seen` says
    /// nothing, since nobody knows then how often this backup was restored before.
    pub fn restore(
        &self,
        directory: &Path,
        seen: &HashMap<RoomId, u32>,
        ahead: u32,
    ) -> Result<Restored, OpenError> {
        file::make_directory(directory)?;
        let path = directory.join(FILE_NAME);
        let sqlite = |error| OpenError::sqlite(&path, error);
        if path.exists() {
            return Err(OpenError::io(&path, io::Error::from(io::ErrorKind::AlreadyExists)));
        }
        let format = file::judge(&self.connection, &self.path, ARCHIVE)?;
        let mut store = file::open_as_it_is(&path, FORMAT)?;
        // First to the backup's format, so that the tables are alike, then on to this program's.
        file::migrate_to(&mut store, &path, FORMAT, format)?;
        let source = ToSqlOutput::Borrowed(ValueRef::Text(self.path.as_os_str().as_bytes()));
        store.execute("ATTACH ?1 AS archive", [source]).map_err(sqlite)?;
        let copy = "BEGIN;
            INSERT OR REPLACE INTO main.counters SELECT * FROM archive.counters;
            INSERT INTO main.keys SELECT * FROM archive.keys;
            INSERT INTO main.rooms SELECT * FROM archive.rooms;
            INSERT INTO main.events SELECT * FROM archive.events;
            COMMIT; DETACH archive;";
        store.execute_batch(copy).map_err(sqlite)?;
        file::migrate_to(&mut store, &path, FORMAT, FORMAT.newest())?;
        let restored = raise_epochs(&mut store, seen, ahead).map_err(sqlite)?;
        store.close().map_err(|(_, error)| sqlite(error))?;
        file::sync_parent(&path)?;
        Ok(restored)
    }
}

fn contents(connection: &Connection, path: &Path, created_ms: u64) -> Result<Contents, OpenError> {
    let count = |table: &str| {
        let sql = format!("SELECT count(*) FROM {table}");
        let counted = connection.query_row(&sql, [], |row| queries::unsigned(row, 0));
        counted.map_err(|error| OpenError::sqlite(path, error))
    };
    Ok(Contents {
        created_ms,
        rooms: count("rooms")?,
        events: count("events")?,
        keys: count("keys")?,
        files: count("archive_parts WHERE part = 0")?,
    })
}

/// The epoch of every room of the store in `directory`, whatever else may be wrong with it.
pub fn epochs(directory: &Path) -> Result<HashMap<RoomId, u32>, OpenError> {
    let path = directory.join(FILE_NAME);
    let connection = file::connect(&path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let sqlite = |error| OpenError::sqlite(&path, error);
    let mut statement = connection.prepare("SELECT id, epoch FROM rooms").map_err(sqlite)?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).map_err(sqlite)?;
    let rooms = rows.map(|row| row.map(|(id, epoch): ([u8; 16], u32)| (RoomId(id), epoch)));
    rooms.collect::<Result<_, _>>().map_err(sqlite)
}

fn raise_epochs(
    store: &mut Connection,
    seen: &HashMap<RoomId, u32>,
    ahead: u32,
) -> rusqlite::Result<Restored> {
    let transaction = store.transaction()?;
    let mut restored = Restored::default();
    let rooms: Vec<[u8; 16]> = {
        let mut statement = transaction.prepare("SELECT id FROM rooms")?;
        statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?
    };
    for id in rooms {
        let Some((number, mut head)) = queries::numbered_head(&transaction, RoomId(id))? else { continue };
        let above = match seen.get(&RoomId(id)) {
            Some(seen) => head.epoch.max(*seen),
            None => head.epoch.saturating_add(ahead),
        };
        head.epoch = above.saturating_add(1);
        begin(&mut head);
        restored.epoch = restored.epoch.max(head.epoch);
        let sql = "UPDATE rooms SET epoch = ?2, epochs = ?3 WHERE number = ?1";
        let epochs = queries::epochs_to(&head.epochs);
        transaction.prepare_cached(sql)?.execute(params![number, head.epoch, epochs])?;
    }
    transaction.commit()?;
    Ok(restored)
}

/// Notes where the head's epoch begins. With too many of them the oldest is forgotten: who still has events of it
/// reads from the beginning.
fn begin(head: &mut Head) {
    if head.epochs.len() >= limits::MAX_EPOCHS {
        head.epochs.remove(0);
    }
    head.epochs.push((head.epoch, head.last + 1));
}

#[cfg(test)]
mod tests;

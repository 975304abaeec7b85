//! What a client keeps about one server: one SQLite file, safe for several processes at once.
//!
//! Reads are methods of [`ClientStore`]; everything that changes happens inside [`ClientStore::change`], one
//! transaction that is durable when it returns. So an event and the cursor behind it, or a message and the key that
//! names it, are stored together or not at all. All calls are synchronous and may wait for another process's
//! transaction and for the disk: call them from a thread that may block.

mod events;
mod outbox;
mod rooms;
mod schema;
mod transfers;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, Transaction, TransactionBehavior, params};

pub use events::MAX_CACHED_EVENTS;
pub use outbox::{
    MAX_BODY, MAX_DETAILS, MAX_NAME, MAX_OUTBOX, MessageId, NewMessage, OutboxEntry, OutboxLock, OutboxState,
};
pub use rooms::{Cursor, KnownRoom};
pub use transfers::{Direction, MAX_TRANSFER_STATE, Transfer, TransferId};

use crate::error::OpenError;
use crate::lock::Lock;
use crate::{file, queries};

/// The client's file within its directory.
pub const FILE_NAME: &str = "server.sqlite";

/// Why the client's own store refused or failed; nothing of the change was kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Something is larger or more than this client keeps.
    #[error("client store limit: {what} is {size}, the limit is {limit}")]
    Limit {
        /// What is too large, with its unit.
        what: &'static str,
        /// How large it is.
        size: u64,
        /// How large it may be.
        limit: u64,
    },
    /// A key that stands for a message still waiting was given with another message.
    #[error("the key {key:?} already stands for another message that is still waiting: choose a new key")]
    KeyReused {
        /// The key.
        key: String,
    },
    /// The disk is full.
    #[error("this computer's disk is full; nothing was stored")]
    Full,
    /// Another process of this client kept the file locked for too long.
    #[error("another hikyaku process keeps this client's store locked")]
    Busy,
    /// A file beside the store could not be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// SQLite refused.
    #[error("this client's store failed: {0}")]
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for ClientError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy,
            _ => Self::Sqlite(error),
        }
    }
}

/// What the client's store answers with.
pub type Result<T> = std::result::Result<T, ClientError>;

/// A client's store for one server.
#[derive(Debug)]
pub struct ClientStore {
    connection: Connection,
    directory: PathBuf,
}

impl ClientStore {
    /// Opens the store in `directory`, making both as needed (modes 0600 and 0700) and migrating it to this program's
    /// format. Other processes may have it open.
    pub fn open(directory: impl AsRef<Path>) -> std::result::Result<Self, OpenError> {
        let directory = directory.as_ref().to_owned();
        file::make_directory(&directory)?;
        // Several processes may meet the new file at once, and the switch to a write-ahead log does not wait.
        let _opening = Lock::take(&directory.join("open.lock"))?;
        let connection = file::open(&directory.join(FILE_NAME), schema::FORMAT)?;
        Ok(Self { connection, directory })
    }

    /// Runs `change` in one transaction: durable on `Ok`, undone on `Err`.
    ///
    /// The closure should be short: other processes wait for it.
    pub fn change<T>(&mut self, change: impl FnOnce(&Changes<'_>) -> Result<T>) -> Result<T> {
        // Immediate: what it reads is still so when it writes, in whatever process.
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let changes = Changes { transaction };
        let outcome = change(&changes)?;
        changes.transaction.commit()?;
        Ok(outcome)
    }

    /// A named value, as written by [`Changes::set_meta`].
    pub fn meta(&self, name: &str) -> Result<Option<Bytes>> {
        named(&self.connection, name)
    }
}

fn named(connection: &Connection, name: &str) -> Result<Option<Bytes>> {
    let mut statement = connection.prepare_cached("SELECT value FROM meta WHERE name = ?1")?;
    Ok(statement.query_row([name], |row| queries::blob(row, 0)).optional()?)
}

/// One transaction on a client's store.
#[derive(Debug)]
pub struct Changes<'a> {
    transaction: Transaction<'a>,
}

impl Changes<'_> {
    /// A named value as it is in this transaction: it stays so until its end.
    pub fn meta(&self, name: &str) -> Result<Option<Bytes>> {
        named(&self.transaction, name)
    }

    /// Writes a named value, or with `None` removes it.
    pub fn set_meta(&self, name: &str, value: Option<&[u8]>) -> Result<()> {
        let sql = "INSERT INTO meta VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
        match value {
            Some(value) => self.transaction.prepare_cached(sql)?.execute(params![name, value])?,
            None => self.transaction.prepare_cached("DELETE FROM meta WHERE name = ?1")?.execute([name])?,
        };
        Ok(())
    }
}

fn within(what: &'static str, size: usize, limit: usize) -> Result<()> {
    if size <= limit {
        return Ok(());
    }
    let [size, limit] = [size, limit].map(|n| u64::try_from(n).unwrap_or(u64::MAX));
    Err(ClientError::Limit { what, size, limit })
}

/// A column that holds an identifier of 16 bytes.
fn identifier(row: &Row<'_>, column: usize) -> rusqlite::Result<[u8; 16]> {
    row.get(column)
}

#[cfg(test)]
mod tests;

//! The server's store: a lock, a writer, readers, and the state of health they share.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use hikyaku_storage::{
    Batch, Committed, Head, Key, Page, Pending, RoomId, Store, StoreError, Versioned, limits,
};
use rusqlite::{Connection, ErrorCode};

use crate::error::OpenError;
use crate::lock::Owned;
use crate::readers::Readers;
use crate::schema::FORMAT;
use crate::writer::Writer;
use crate::{backup, file, queries};

/// The store's file within the data directory.
pub const FILE_NAME: &str = "store.sqlite";

/// A [`Store`] in a directory on the local disk.
///
/// Dropping it finishes what is queued, closes the file and gives the directory free; that can take a moment, so a
/// program does it last.
pub struct SqliteStore {
    // Dropped in this order: readers first, so that the writer is the last to close and tidies the log away; the lock
    // only when nobody writes any more.
    readers: Readers,
    /// `None` if the store was opened for reading only.
    writer: Option<Writer>,
    health: Arc<Health>,
    path: PathBuf,
    _lock: Option<Owned>,
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteStore").field("path", &self.path).finish_non_exhaustive()
    }
}

/// How much has been written since the store was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Transactions that reached the disk with at least one batch.
    pub commits: u64,
    /// Batches applied in them.
    pub batches: u64,
}

impl SqliteStore {
    /// Opens the store in `directory`, making both as needed (modes 0600 and 0700), and migrates it to this program's
    /// format. The directory is this process's alone until the store is dropped.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self, OpenError> {
        Self::open_with(directory.as_ref(), |_| Ok(()))
    }

    /// Opens the store and lets `prepare` see the writer's connection first; tests make it fail through this.
    pub(crate) fn open_with(
        directory: &Path,
        prepare: impl FnOnce(&mut Connection) -> rusqlite::Result<()>,
    ) -> Result<Self, OpenError> {
        file::make_directory(directory)?;
        let lock = Owned::take(directory)?;
        let path = directory.join(FILE_NAME);
        let mut connection = file::open(&path, FORMAT)?;
        prepare(&mut connection).map_err(|error| OpenError::sqlite(&path, error))?;

        let health = Arc::new(Health::default());
        let writer = Writer::start(connection, &path, Arc::clone(&health))?;
        let readers = Readers::start(&path, Arc::clone(&health))?;
        Ok(Self { readers, writer: Some(writer), health, path, _lock: Some(lock) })
    }

    /// Opens the store in `directory` for reading, beside whichever process is using it. Every commit is refused.
    pub fn open_read_only(directory: impl AsRef<Path>) -> Result<Self, OpenError> {
        let path = directory.as_ref().join(FILE_NAME);
        let health = Arc::new(Health::default());
        let readers = Readers::start(&path, Arc::clone(&health))?;
        Ok(Self { readers, writer: None, health, path, _lock: None })
    }

    /// How much has been written since the store was opened.
    pub fn stats(&self) -> Stats {
        let [commits, batches] =
            [&self.health.commits, &self.health.batches].map(|count| count.load(Ordering::Relaxed));
        Stats { commits, batches }
    }

    /// Writes a copy of this moment to the new file `to`, durable when it resolves, while the store goes on working.
    pub fn backup(&self, to: impl AsRef<Path>) -> Pending<'_, ()> {
        let to = to.as_ref().to_owned();
        Box::pin(async move {
            self.readers
                .run(move |connection| Ok(backup::copy(connection, &to)))
                .await?
                .map_err(|error| StoreError::Failed(error.to_string()))
        })
    }
}

impl Store for SqliteStore {
    fn commit(&self, batch: Batch) -> Pending<'_, Committed> {
        match &self.writer {
            Some(writer) => Box::pin(writer.commit(batch)),
            None => {
                let refused = StoreError::Failed("it was opened for reading only".to_owned());
                Box::pin(std::future::ready(Err(refused)))
            }
        }
    }

    fn get(&self, key: &Key) -> Pending<'_, Option<Versioned>> {
        let key = key.clone();
        Box::pin(async move {
            limits::check_key(&key)?;
            self.readers.run(move |connection| queries::get(connection, &key)).await
        })
    }

    fn get_many(&self, keys: Vec<Key>) -> Pending<'_, Vec<Option<Versioned>>> {
        Box::pin(async move {
            limits::check_keys(&keys)?;
            self.readers.run(move |connection| queries::get_many(connection, &keys)).await
        })
    }

    fn scan(&self, prefix: Key, after: Option<Key>, limit: usize) -> Pending<'_, Vec<(Key, Versioned)>> {
        Box::pin(async move {
            limits::check_key(&prefix)?;
            self.readers
                .run(move |connection| queries::scan(connection, &prefix, after.as_ref(), limit))
                .await
        })
    }

    fn head(&self, room: RoomId) -> Pending<'_, Option<Head>> {
        Box::pin(self.readers.run(move |connection| queries::head(connection, room)))
    }

    fn heads(&self, rooms: Vec<RoomId>) -> Pending<'_, Vec<Option<Head>>> {
        Box::pin(async move {
            limits::check_read("rooms in one read", rooms.len())?;
            self.readers.run(move |connection| queries::heads(connection, &rooms)).await
        })
    }

    fn events(&self, room: RoomId, from: u64, max_count: usize, max_bytes: usize) -> Pending<'_, Page> {
        Box::pin(
            self.readers.run(move |connection| queries::events(connection, room, from, max_count, max_bytes)),
        )
    }

    fn seq_at(&self, room: RoomId, ts_ms: u64) -> Pending<'_, u64> {
        Box::pin(self.readers.run(move |connection| queries::seq_at(connection, room, ts_ms)))
    }
}

/// Whether the store can still keep its promises, and what it has done.
#[derive(Debug, Default)]
pub(crate) struct Health {
    /// Why the store went out of service; never taken back.
    poison: OnceLock<String>,
    pub(crate) commits: AtomicU64,
    pub(crate) batches: AtomicU64,
}

impl Health {
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        self.poison.get().map_or(Ok(()), |reason| Err(StoreError::Fatal(reason.clone())))
    }

    /// Puts the store out of service; the first reason stays.
    pub(crate) fn fail(&self, reason: String) -> StoreError {
        let first = self.poison.get_or_init(|| {
            tracing::error!(%reason, "the store goes out of service");
            reason
        });
        StoreError::Fatal(first.clone())
    }

    /// What a failed read means: damage is the end, anything else is this read's affair.
    pub(crate) fn judge_read(&self, error: &rusqlite::Error) -> StoreError {
        let damage = matches!(error, rusqlite::Error::IntegralValueOutOfRange(..))
            || matches!(
                error.sqlite_error_code(),
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
            );
        if damage {
            self.fail(format!("the file is damaged: {error}"))
        } else {
            StoreError::Failed(error.to_string())
        }
    }
}

#[cfg(test)]
mod tests;

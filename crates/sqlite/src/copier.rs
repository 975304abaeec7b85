//! The copier thread: copies the write-ahead log into the store's file beside the writer, so that no commit waits for it.
//!
//! Copying thousands of pages and syncing the file takes tens of milliseconds. What the writer appends meanwhile is copied
//! in further, shorter passes; the last few pages are left to the writer, who alone can be sure that nothing comes behind
//! them: only a log that is copied to its end begins anew.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::{self, JoinHandle};

use rusqlite::{Connection, ErrorCode};

use crate::error::OpenError;
use crate::file;
use crate::schema::FORMAT;
use crate::store::Health;

/// The log is copied when so many of its pages are not in the file yet: 16 MiB. A page that changes often is copied once for
/// all of it.
pub(crate) const PAGES: i64 = 4_000;
/// So few pages are the writer's to copy: little more than two syncs.
pub(crate) const FEW_PAGES: i64 = 64;
/// Passes of one copy. Each is shorter than the one before, unless the disk is slower than the writer.
const PASSES: usize = 4;

/// How long the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Log {
    pub(crate) pages: i64,
    /// Those that are not in the file yet.
    pub(crate) left: i64,
}

impl Log {
    /// Looks without copying anything.
    pub(crate) fn of(connection: &Connection) -> rusqlite::Result<Self> {
        Self::after(connection, "PRAGMA wal_checkpoint(NOOP)")
    }

    /// Copies what no reader stands in the way of, without waiting for anybody.
    pub(crate) fn copy(connection: &Connection) -> rusqlite::Result<Self> {
        Self::after(connection, "PRAGMA wal_checkpoint(PASSIVE)")
    }

    fn after(connection: &Connection, sql: &str) -> rusqlite::Result<Self> {
        connection.prepare_cached(sql)?.query_row([], |row| {
            let (pages, copied): (i64, i64) = (row.get(1)?, row.get(2)?);
            Ok(Self { pages, left: pages - copied })
        })
    }
}

/// What an error while copying means: everything stays safe in the log where the disk is full or somebody is in the way;
/// after any other nobody can say what is on the disk.
pub(crate) fn judge(health: &Health, error: &rusqlite::Error) {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull | ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            tracing::warn!(%error, "the store's log could not be copied into its file yet");
        }
        _ => drop(health.fail(format!("copying the log into the file failed: {error}"))),
    }
}

/// The thread as the writer sees it.
pub(crate) struct Copier {
    /// `None` only while being dropped.
    orders: Option<SyncSender<()>>,
    busy: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Copier {
    pub(crate) fn start(path: &Path, health: Arc<Health>) -> Result<Self, OpenError> {
        let connection = file::open(path, FORMAT)?;
        let (orders, queue) = mpsc::sync_channel(1);
        let busy = Arc::new(AtomicBool::new(false));
        let working = Arc::clone(&busy);
        let thread = thread::Builder::new().name("store-copier".to_owned());
        let thread = thread.spawn(move || serve(&connection, &queue, &working, &health));
        let thread = thread.map_err(|error| OpenError::io(path, error))?;
        Ok(Self { orders: Some(orders), busy, thread: Some(thread) })
    }

    /// Begins a copy. The caller has seen that none is on its way.
    pub(crate) fn begin(&self) {
        self.busy.store(true, Ordering::Release);
        // The thread ends only when this does.
        let sent = self.orders.as_ref().is_some_and(|orders| orders.try_send(()).is_ok());
        if !sent {
            self.busy.store(false, Ordering::Release);
        }
    }

    /// Whether a copy is on its way.
    pub(crate) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Acquire)
    }
}

impl Drop for Copier {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(connection: &Connection, orders: &Receiver<()>, busy: &AtomicBool, health: &Health) {
    while orders.recv().is_ok() {
        if health.check().is_ok()
            && let Err(error) = copy(connection)
        {
            judge(health, &error);
        }
        busy.store(false, Ordering::Release);
    }
}

fn copy(connection: &Connection) -> rusqlite::Result<()> {
    for _ in 0..PASSES {
        Log::copy(connection)?;
        if Log::of(connection)?.left <= FEW_PAGES {
            break;
        }
    }
    Ok(())
}
